//! [`SplitAggregate`] makes the calls in group keys and aggregate functions before the aggregation.
//!
//! ```text
//! Before:                                     After:
//! Aggregate: groupBy=[[f(k)]],                Aggregate: groupBy=[[__async_0 AS f(k)]],
//!   aggr=[[sum(g(x)) FILTER (WHERE n > 1)]]     aggr=[[sum(__async_1) FILTER .. AS sum(g(x)) ..]]
//!   TableScan: t                                AsyncCalc: f(k) AS __async_0,
//!                                                          g(x) AS __async_1 WHEN n > 1 IS TRUE
//!                                                 TableScan: t
//! ```
//! Safe: keys and arguments are evaluated on the input's rows either way. A FILTER guards the
//! arguments and the ORDER BY of its function, since rows that do not pass it are not read. Names
//! are kept by alias, for each element of grouping sets too. Group keys, and the keys of one
//! aggregate function, merge by plain equality, as DataFusion has compared them that way already.
//! Declines: no call.
//! Needs: runs after DataFusion has turned DISTINCT and DISTINCT ON into aggregates.

use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{Aggregate, Expr, GroupingSet, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::has_call;
use crate::extract::{Extraction, Place, Wanted};
use crate::guard::is_true;
use crate::rewrite::{Order, rewrite_nodes};

/// Takes calls out of aggregations.
#[derive(Debug, Default)]
pub struct SplitAggregate;

impl OptimizerRule for SplitAggregate {
    fn name(&self) -> &str {
        "split_aggregate"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Aggregate(aggregate)
                if aggregate.group_expr.iter().chain(&aggregate.aggr_expr).any(has_call) =>
            {
                let Aggregate { input, group_expr, aggr_expr, schema, .. } = aggregate;
                let mut extraction = Extraction::new(names, Wanted::All);
                let group_expr = group_expr
                    .into_iter()
                    .map(|key| split_key(key, &mut extraction))
                    .collect::<Result<_>>()?;
                let aggr_expr = aggr_expr
                    .into_iter()
                    .map(|expr| split_function(expr, &mut extraction))
                    .collect::<Result<_>>()?;
                let input = extraction.calculate(input)?;
                let aggregate =
                    Aggregate::try_new_with_schema(input, group_expr, aggr_expr, schema)?;
                Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

fn split_key(key: Expr, extraction: &mut Extraction<'_>) -> Result<Expr> {
    let place = Place::value().of_keys();
    let mut split = |keys: Vec<Expr>| extraction.rewrite_all_named(keys, &place);
    match key {
        Expr::GroupingSet(set) => Ok(Expr::GroupingSet(match set {
            GroupingSet::Rollup(keys) => GroupingSet::Rollup(split(keys)?),
            GroupingSet::Cube(keys) => GroupingSet::Cube(split(keys)?),
            GroupingSet::GroupingSets(sets) => {
                GroupingSet::GroupingSets(sets.into_iter().map(split).collect::<Result<_>>()?)
            }
        })),
        key => extraction.rewrite_named(key, &place),
    }
}

fn split_function(expr: Expr, extraction: &mut Extraction<'_>) -> Result<Expr> {
    if !has_call(&expr) {
        return Ok(expr);
    }
    let name = NamePreserver::new_for_projection().save(&expr);
    let expr = expr.transform_down(|part| match part {
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } =
                params;
            let mut place = Place::value();
            if let Some(filter) = &filter {
                place = place.guarded(is_true(filter.as_ref().clone()));
            }
            if distinct {
                // `array_agg(DISTINCT f(k) ORDER BY f(k))` demands that the two be one column.
                place = place.of_keys();
            }
            let filter = filter
                .map(|filter| extraction.rewrite(*filter, &Place::condition()))
                .transpose()?
                .map(Box::new);
            let args = args
                .into_iter()
                .map(|arg| extraction.rewrite(arg, &place))
                .collect::<Result<_>>()?;
            let order_by = order_by
                .into_iter()
                .map(|mut sort| {
                    sort.expr = extraction.rewrite(sort.expr, &place)?;
                    Ok(sort)
                })
                .collect::<Result<_>>()?;
            let params =
                AggregateFunctionParams { args, distinct, filter, order_by, null_treatment };
            let function = Expr::AggregateFunction(AggregateFunction { func, params });
            Ok(Transformed::new(function, true, TreeNodeRecursion::Jump))
        }
        part => Ok(Transformed::no(part)),
    })?;
    Ok(name.restore(expr.data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_calls_of_arguments_and_keys() {
        assert_rule!(
            SplitAggregate,
            fires,
            "SELECT f(k), sum(g(x)), max(h(x)) FROM t GROUP BY f(k)",
            @r"
            Aggregate: groupBy=[[__async_0 AS f(t.k)]], aggr=[[sum(__async_1) AS sum(g(t.x)), max(__async_2) AS max(h(t.x))]]
              AsyncCalc: f(t.k) AS __async_0, g(t.x) AS __async_1, h(t.x) AS __async_2
                TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn guards_arguments_by_the_filter() {
        assert_rule!(
            SplitAggregate,
            fires,
            "SELECT sum(f(x)) FILTER (WHERE n > 3 AND p(x)) FROM t",
            @r"
            Aggregate: groupBy=[[]], aggr=[[sum(__async_1) FILTER (WHERE t.n > Int64(3) AND __async_0) AS sum(f(t.x)) FILTER (WHERE t.n > Int64(3) AND p(t.x))]]
              AsyncCalc: p(t.x) AS __async_0 WHEN t.n > Int64(3) IS TRUE, f(t.x) AS __async_1 WHEN t.n > Int64(3) IS TRUE AND p(t.x) IS TRUE
                TableScan: t projection=[x, n]
            "
        );
    }

    #[test]
    fn keeps_the_names_in_grouping_sets() {
        assert_rule!(
            SplitAggregate,
            fires,
            "SELECT f(k), n, count(*) FROM t GROUP BY GROUPING SETS ((f(k)), (f(k), n), ())",
            @r"
            Projection: f(t.k), t.n, count(Int64(1)) AS count(*)
              Aggregate: groupBy=[[GROUPING SETS ((__async_0 AS f(t.k)), (__async_0 AS f(t.k), t.n), ())]], aggr=[[count(Int64(1))]]
                AsyncCalc: f(t.k) AS __async_0
                  TableScan: t projection=[k, n]
            "
        );
    }

    #[test]
    fn orders_by_a_call_within_the_aggregate() {
        assert_rule!(
            SplitAggregate,
            fires,
            "SELECT array_agg(x ORDER BY f(x) DESC) FROM t",
            @r"
            Aggregate: groupBy=[[]], aggr=[[array_agg(t.x) ORDER BY [__async_0 DESC NULLS FIRST] AS array_agg(t.x) ORDER BY [f(t.x) DESC NULLS FIRST]]]
              AsyncCalc: f(t.x) AS __async_0
                TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitAggregate, declines, "SELECT sum(x) FROM t WHERE p(x) GROUP BY k");
    }
}
