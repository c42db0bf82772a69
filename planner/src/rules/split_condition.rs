//! [`SplitCondition`] evaluates the cheap part of a filter first, then one call after the other.
//!
//! ```text
//! Before:                                     After:
//! Filter: p(x) AND k < 10 AND q(x)            Projection: x, k
//!   TableScan: t                                Filter: __async_1
//!                                                 AsyncCalc: q(x) AS __async_1
//!                                                   Filter: __async_0
//!                                                     AsyncCalc: p(x) AS __async_0
//!                                                       Filter: k < 10
//!                                                         TableScan: t
//! ```
//! Calls that declare no cost and no selectivity are tested in the order in which they are written.
//! Safe: SQL fixes no order inside AND; a row dropped early costs no call; the Projection restores
//! the schema. Within one condition calls keep their guards, and only TRUE matters: `c OR p(x)`
//! calls p where c is not TRUE. Declines: no call in the predicate; calls of which a field is read,
//! which are left to `split_condition_rex_field`. Conditions on a call that has been made join its
//! filter, so that `f(x) BETWEEN 1 AND 2` calls f once.
//! Needs: runs after `split_join_condition`, which leaves filters. Source: Flink's
//! `SPLIT_CONDITION`, which calls for every row; re-derived.

use std::sync::Arc;

use crate::calls::{Names, has_call};
use crate::cost::Ranking;
use crate::extract::{Extraction, Place, Wanted};
use crate::rewrite::{Order, filter, restore, rewrite_nodes};
use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, Filter, LogicalPlan, Operator};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

/// Takes calls out of filters.
#[derive(Debug, Default)]
pub struct SplitCondition;

impl OptimizerRule for SplitCondition {
    fn name(&self) -> &str {
        "split_condition"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| split_filter(node, Wanted::Plain, names))
    }
}

/// Takes the wanted calls out of a filter, stage by stage.
pub(super) fn split_filter(
    plan: LogicalPlan,
    wanted: Wanted<'_>,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(node) if wanted.is_in(&node.predicate) => {
            let Filter { predicate, input, .. } = node;
            let schema = Arc::clone(input.schema());
            let staged = stage(input, split_conjunction_owned(predicate), wanted, names)?;
            Ok(Transformed::yes(restore(staged, schema)?))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

fn stage(
    input: Arc<LogicalPlan>,
    conditions: Vec<Expr>,
    wanted: Wanted<'_>,
    names: &mut Names,
) -> Result<LogicalPlan> {
    let (cheap, mut dear): (Vec<_>, Vec<_>) =
        conditions.into_iter().partition(|condition| !has_call(condition));
    let ranking = Ranking::among(&dear, Operator::And);
    dear.sort_by(|a, b| ranking.rank(a).total_cmp(&ranking.rank(b)));
    let mut plan = Arc::unwrap_or_clone(input);
    // What the next filter tests: cheap conditions, and calls that another rule takes.
    let mut pending = cheap;
    let mut rest = dear.into_iter();
    while let Some(condition) = rest.next() {
        if !wanted.is_in(&condition) {
            pending.push(condition);
            continue;
        }
        plan = filter(plan, std::mem::take(&mut pending))?;
        let mut extraction = Extraction::new(names, wanted);
        pending.push(extraction.rewrite(condition, &Place::condition())?);
        let mut later = Vec::new();
        for condition in rest {
            match extraction.reuse(&condition, &Place::condition())? {
                Some(known) => pending.push(known),
                None => later.push(condition),
            }
        }
        plan = Arc::unwrap_or_clone(extraction.calculate(Arc::new(plan))?);
        rest = later.into_iter();
    }
    filter(plan, pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn tests_cheap_conditions_first_and_then_call_by_call() {
        assert_rule!(
            SplitCondition,
            fires,
            "SELECT x FROM t WHERE p(x) AND k < 10 AND q(x)",
            @r"
            Projection: t.x
              Projection: t.x, t.k
                Filter: __async_1
                  AsyncCalc: q(t.x) AS __async_1
                    Filter: __async_0
                      AsyncCalc: p(t.x) AS __async_0
                        Filter: t.k < Int64(10)
                          TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn merges_between_before_staging() {
        assert_rule!(
            SplitCondition,
            fires,
            "SELECT x FROM t WHERE f(x) BETWEEN 10 AND 20 AND g(x) > 3",
            @r"
            Projection: t.x
              Filter: __async_1 > Int64(3)
                AsyncCalc: g(t.x) AS __async_1
                  Filter: __async_0 >= Int64(10) AND __async_0 <= Int64(20)
                    AsyncCalc: f(t.x) AS __async_0
                      TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn guards_within_or() {
        assert_rule!(
            SplitCondition,
            fires,
            "SELECT x FROM t WHERE k < 9 OR (n > 3 AND p(x))",
            @r"
            Projection: t.x
              Projection: t.x, t.k, t.n
                Filter: t.k < Int64(9) OR t.n > Int64(3) AND __async_0
                  AsyncCalc: p(t.x) AS __async_0 WHEN t.k < Int64(9) IS NOT TRUE AND t.n > Int64(3) IS TRUE
                    TableScan: t projection=[x, k, n]
            "
        );
    }

    #[test]
    fn tests_what_is_cheap_and_drops_much_first() {
        assert_rule!(
            SplitCondition,
            fires,
            "SELECT x FROM t WHERE p(x) AND dear(x) AND rare(x) AND NOT rare(n)",
            @r"
            Projection: t.x
              Projection: t.x, t.n
                Filter: __async_3
                  AsyncCalc: dear(t.x) AS __async_3
                    Filter: NOT __async_2
                      AsyncCalc: rare(t.n) AS __async_2
                        Filter: __async_1
                          AsyncCalc: p(t.x) AS __async_1
                            Filter: __async_0
                              AsyncCalc: rare(t.x) AS __async_0
                                TableScan: t projection=[x, n]
            "
        );
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitCondition, declines, "SELECT f(x) FROM t WHERE k < 10");
    }
}
