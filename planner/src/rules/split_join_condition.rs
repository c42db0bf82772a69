//! [`SplitJoinCondition`] makes the calls of join keys below the join, and those of an inner join's
//! other conditions above it.
//!
//! ```text
//! Before:                                        After:
//! Inner Join: f(t.x) = b.y AND p2(t.x, b.z)      Projection: t.x, b.y, b.z
//!   TableScan: t                                   Filter: p2(t.x, b.z)
//!   TableScan: b                                     Inner Join: __async_0 = b.y
//!                                                      AsyncCalc: f(t.x) AS __async_0
//!                                                        TableScan: t
//!                                                      TableScan: b
//! ```
//! Safe: a key is evaluated on every row of its side either way, in every kind of join; an inner
//! join keeps exactly the pairs that pass all conditions, so one of them may be tested later, on
//! the pairs that the cheap ones leave. The filter above is split by `split_condition`. Declines: no
//! call; conditions of outer, semi, anti and mark joins, where the row must survive a condition that
//! fails.
//! Needs: runs before the rules that split filters.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, Join, JoinType, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, has_call};
use crate::extract::{Extraction, Place, Wanted};
use crate::rewrite::{Order, calculate, filter, restore, rewrite_nodes};

/// Takes calls out of join conditions.
#[derive(Debug, Default)]
pub struct SplitJoinCondition;

impl OptimizerRule for SplitJoinCondition {
    fn name(&self) -> &str {
        "split_join_condition"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Join(join) if is_split(&join) => split_join(join, names),
            node => Ok(Transformed::no(node)),
        })
    }
}

fn is_split(join: &Join) -> bool {
    join.on.iter().any(|(left, right)| has_call(left) || has_call(right))
        || (join.join_type == JoinType::Inner && join.filter.as_ref().is_some_and(has_call))
}

fn split_join(join: Join, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let Join { left, right, on, filter: condition, join_type, schema, .. } = join;
    let (left_keys, right_keys) = on.into_iter().unzip();
    let (left, left_keys) = split_keys(left, left_keys, names)?;
    let (right, right_keys) = split_keys(right, right_keys, names)?;
    let on = left_keys.into_iter().zip(right_keys).collect();
    let mut above = Vec::new();
    let mut within = condition;
    if join_type == JoinType::Inner {
        let conditions = within.map(split_conjunction_owned).unwrap_or_default();
        let (dear, cheap): (Vec<_>, Vec<_>) = conditions.into_iter().partition(has_call);
        above = dear;
        within = conjunction(cheap);
    }
    let joined = LogicalPlan::Join(Join::try_new(
        left,
        right,
        on,
        within,
        join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?);
    Ok(Transformed::yes(restore(filter(joined, above)?, schema)?))
}

fn split_keys(
    input: Arc<LogicalPlan>,
    keys: Vec<Expr>,
    names: &mut Names,
) -> Result<(Arc<LogicalPlan>, Vec<Expr>)> {
    let mut extraction = Extraction::new(names, Wanted::All);
    let keys = keys
        .into_iter()
        .map(|key| extraction.rewrite(key, &Place::value()))
        .collect::<Result<_>>()?;
    Ok((calculate(input, extraction.into_calls())?, keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_keys_below_and_other_conditions_above() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT t.x, b.y FROM t JOIN b ON f(t.x) = b.y AND p2(t.x, b.z)",
            @r"
            Projection: t.x, b.y
              Projection: t.x, b.y, b.z
                Filter: p2(t.x, b.z)
                  Inner Join: __async_0 = b.y
                    AsyncCalc: f(t.x) AS __async_0
                      TableScan: t projection=[x]
                    TableScan: b projection=[y, z]
            "
        );
    }

    #[test]
    fn makes_the_keys_of_an_outer_join() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT t.x, b.y FROM t LEFT JOIN b ON f(t.x) = g(b.y)",
            @r"
            Projection: t.x, b.y
              Left Join: __async_0 = __async_1
                AsyncCalc: f(t.x) AS __async_0
                  TableScan: t projection=[x]
                AsyncCalc: g(b.y) AS __async_1
                  TableScan: b projection=[y]
            "
        );
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitJoinCondition, declines, "SELECT f(t.x), b.y FROM t JOIN b ON t.k = b.k");
    }
}
