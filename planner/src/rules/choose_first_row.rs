//! [`ChooseFirstRow`] chooses the first row of a group, or the last, before it calls on that row.
//!
//! ```text
//! Before:                                           After:
//! Aggregate: groupBy=[[k]],                         Projection: k, f(__async_0) AS first_value(f(x)) ..
//!   aggr=[[first_value(f(x)) ORDER BY [id]]]          Aggregate: groupBy=[[k]],
//!   TableScan: t                                        aggr=[[first_value(x) ORDER BY [id] AS __async_0]]
//!                                                       TableScan: t
//! ```
//! DISTINCT ON is such an aggregation: `SELECT DISTINCT ON (k) k, f(x) FROM t ORDER BY k, id`.
//!
//! Safe: `first_value` returns what its argument is in one row, so the argument may be computed from
//! what its column is in that row. It reads one column, because two could be taken from two rows where
//! rows are equal in the order. Declines: no call in the argument; several columns in it, or something
//! volatile; a function that is not deterministic; a call that the keys or the order need in every row
//! anyway; FILTER, IGNORE NULLS, no keys or grouping sets, where there may be no row to call on.
//! Needs: runs after DataFusion has turned DISTINCT ON into an aggregation, and before the rules that
//! split filters and projections.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, Result};
use datafusion_expr::expr::{AggregateFunction, AggregateFunctionParams, NullTreatment};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Aggregate, Expr, LogicalPlan, Projection, ident};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, any_part, find_call, has_call, is_volatile};
use crate::rewrite::{Order, rewrite_nodes};

/// Makes calls on what `first_value` and `last_value` return.
#[derive(Debug, Default)]
pub struct ChooseFirstRow;

impl OptimizerRule for ChooseFirstRow {
    fn name(&self) -> &str {
        "choose_first_row"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Aggregate(aggregate)
                if aggregate
                    .aggr_expr
                    .iter()
                    .any(|expr| of_one_row(expr, &aggregate).is_some()) =>
            {
                Ok(Transformed::yes(choose(aggregate, names)?))
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

fn choose(aggregate: Aggregate, names: &mut Names) -> Result<LogicalPlan> {
    let schema = Arc::clone(&aggregate.schema);
    let mut above: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let keys = above.len() - aggregate.aggr_expr.len();
    let mut below = Vec::with_capacity(aggregate.aggr_expr.len());
    for (index, expr) in aggregate.aggr_expr.iter().enumerate() {
        let Some((function, column)) = of_one_row(expr, &aggregate) else {
            below.push(expr.clone());
            continue;
        };
        let name = names.next();
        let call = unalias(function.params.args[0].clone())
            .transform_up(|part| match &part {
                Expr::Column(_) => Ok(Transformed::yes(ident(&name))),
                _ => Ok(Transformed::no(part)),
            })
            .data()?;
        let shown = schema.qualified_field(keys + index);
        above[keys + index] = call.alias_qualified(shown.0.cloned(), shown.1.name());
        let args = vec![Expr::Column(column.clone())];
        let params = AggregateFunctionParams { args, ..function.params.clone() };
        let chosen = AggregateFunction { func: Arc::clone(&function.func), params };
        below.push(Expr::AggregateFunction(chosen).alias(name));
    }
    let chosen = Aggregate::try_new(aggregate.input, aggregate.group_expr, below)?;
    let chosen = Arc::new(LogicalPlan::Aggregate(chosen));
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(above, chosen, schema)?))
}

/// Finds an aggregate that returns its argument in one row of each group, and the column that the
/// argument is called on.
fn of_one_row<'a>(
    expr: &'a Expr,
    aggregate: &Aggregate,
) -> Option<(&'a AggregateFunction, &'a Column)> {
    let function = match expr {
        Expr::AggregateFunction(function) => function,
        Expr::Alias(alias) => return of_one_row(&alias.expr, aggregate),
        _ => return None,
    };
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } =
        &function.params;
    let keys = &aggregate.group_expr;
    let has_row = !keys.is_empty() && !keys.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
    let picks = matches!(function.func.name(), "first_value" | "last_value")
        && *null_treatment != Some(NullTreatment::IgnoreNulls);
    let [arg] = args.as_slice() else { return None };
    if !has_row || !picks || *distinct || filter.is_some() || !has_call(arg) || is_volatile(arg) {
        return None;
    }
    let known: Vec<&Expr> = keys.iter().chain(order_by.iter().map(|sort| &sort.expr)).collect();
    let may_wait = |part: &Expr| match find_call(part) {
        Some(udf) => {
            udf.function().declaration().is_reusable()
                && !known.iter().any(|known| any_part(known, |other| other == part))
        }
        None => true,
    };
    if any_part(arg, |part| !may_wait(part)) {
        return None;
    }
    let mut columns = arg.column_refs().into_iter();
    match (columns.next(), columns.next()) {
        (Some(column), None) => Some((function, column)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_rule, calls};

    #[test]
    fn calls_on_the_rows_of_distinct_on() {
        assert_rule!(
            ChooseFirstRow,
            fires,
            "SELECT DISTINCT ON (k) k, f(x) + 1 AS v FROM t ORDER BY k, x",
            @r"
            Projection: first_value(t.k) ORDER BY [t.k ASC NULLS LAST, t.x ASC NULLS LAST] AS k, first_value(v) ORDER BY [t.k ASC NULLS LAST, t.x ASC NULLS LAST] AS v
              Sort: t.k ASC NULLS LAST
                Projection: t.k, first_value(t.k) ORDER BY [t.k ASC NULLS LAST, t.x ASC NULLS LAST], f(__async_0) + Int64(1) AS first_value(v) ORDER BY [t.k ASC NULLS LAST, t.x ASC NULLS LAST]
                  Aggregate: groupBy=[[t.k]], aggr=[[first_value(t.k) ORDER BY [t.k ASC NULLS LAST, t.x ASC NULLS LAST], first_value(t.x) ORDER BY [t.k ASC NULLS LAST, t.x ASC NULLS LAST] AS __async_0]]
                    TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn calls_once_for_each_group() {
        for (sql, expected) in [
            (
                "SELECT DISTINCT ON (k) k, f(g(x)), h(a) FROM t ORDER BY k, x DESC",
                "f 10, g 10, h 10",
            ),
            ("SELECT k, last_value(f(x) ORDER BY x), sum(g(x)) FROM t GROUP BY k", "f 10, g 60"),
            ("SELECT k FROM t GROUP BY k HAVING first_value(f(x) ORDER BY x) > 3", "f 10"),
            ("SELECT k, first_value(f(x) ORDER BY f(x)) FROM t GROUP BY k", "f 60"),
        ] {
            assert_eq!(calls(sql), expected, "{sql}");
        }
    }

    #[test]
    fn declines_where_the_row_or_its_values_may_be_others() {
        for sql in [
            "SELECT first_value(f(x) ORDER BY x) FROM t",
            "SELECT k, n, first_value(f(x) ORDER BY x) FROM t GROUP BY ROLLUP (k, n)",
            "SELECT k, first_value(f(x) ORDER BY x) FILTER (WHERE n > 3) FROM t GROUP BY k",
            "SELECT k, first_value(f(x) ORDER BY x) IGNORE NULLS FROM t GROUP BY k",
            "SELECT k, first_value(p2(x, n) ORDER BY x) FROM t GROUP BY k",
            "SELECT k, first_value(fv(x) ORDER BY x) FROM t GROUP BY k",
            "SELECT k, first_value(x ORDER BY f(x)) FROM t GROUP BY k",
            "SELECT DISTINCT ON (f(k)) f(k), x FROM t ORDER BY f(k), x",
        ] {
            assert_rule!(ChooseFirstRow, declines, sql);
        }
    }
}
