//! [`PlaceCalls`] makes each call once along a chain of nodes, and above what drops rows.
//!
//! ```text
//! Before:                                   After:
//! AsyncCalc: f(x) AS __async_1              Projection: x, __async_0 AS __async_1
//!   Projection: x                             Projection: x, __async_0
//!     Filter: __async_0 > 5                     Filter: __async_0 > 5
//!       AsyncCalc: f(x) AS __async_0              AsyncCalc: f(x) AS __async_0
//!         TableScan: t                              TableScan: t
//!
//! Before:                                   After:
//! Sort: x, fetch=5                          Projection: x, __async_0
//!   Projection: x, __async_0                  AsyncCalc: f(x) AS __async_0
//!     AsyncCalc: f(x) AS __async_0              Sort: x, fetch=5
//!       TableScan: t                              TableScan: t
//! ```
//! It is one rule, because the two halves would otherwise undo each other: reuse (first) carries a
//! result up a chain, deferral (second) carries the call itself up.
//!
//! # When a call may be merged into one below it, and why
//!
//! 1. *The nodes between neither multiply nor null-extend nor change a row.* A chain consists of
//!    Projection, Filter, Sort, Limit, SubqueryAlias, Window and AsyncCalc: each row above it is
//!    one row below it, so the value computed below is the value of that row. Joins, aggregations
//!    and unions end the chain: rows come from several places there, and carrying a column through
//!    them costs more than the memo at run time, which merges what the plan keeps apart.
//! 2. *Both calls have the same value on that row.* The arguments are followed down through
//!    projections, and through results of reusable unguarded calls, until they are written in the
//!    same columns; then the expressions must be equal, and either the function is deterministic
//!    and free of side effects, or both are copies of one call site. Arguments that hold a volatile
//!    synchronous function (`f(random())`) are never equal, nor is a column followed through one.
//! 3. *Wherever the upper call is needed, the lower one was made.* The upper guard must imply the
//!    lower one, which is seen from their conditions alone: every conjunction of the upper guard
//!    holds all conditions of some conjunction of the lower. An unguarded call below serves every
//!    guard above: its further values are read by nobody. An unguarded call above a guarded one is
//!    left alone, because widening the lower guard would make calls for rows that a filter in
//!    between drops.
//!
//! The columns in between are widened by the lower result, and a Projection in place of the upper
//! node restores the schema; DataFusion folds it away.
//!
//! # When a call may wait, and why
//!
//! 4. *The node above drops rows.* Limit, Sort with a limit, Filter, semi and anti joins; an inner
//!    join whose other side is known to be unique in its keys. Through a plain Sort nothing is won.
//! 5. *It reads neither the result nor a result that depends on it.* Calls that sort keys, the
//!    filter or the join need stay below, with what they depend on in turn; the others go above.
//!    A filter on a result goes up with its call, through joins only: a row that is dropped later
//!    is dropped all the same, but a Limit would count it.
//! 6. *It neither multiplies nor null-extends the row.* Else one call would become several (which
//!    the memo would merge only while it is large enough), or would see a row that is not there.
//! 7. *The function has no side effects.* Such calls are made for the rows of the clause that they
//!    were written in.
//!
//! Projections and aliases between the call and the node are dissolved and put back on top, unless
//! they hold a volatile expression, which must not be computed twice: there the chain ends.
//!
//! Declines: no equal call in the chain below, no node that a call may wait for.
//! Needs: runs after `nested_split`, when no call holds another, and before `one_async_per_calc`,
//! so that a Projection never comes between calls that could be made at the same time.

mod defer;
mod reuse;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::logical::AsyncCalc;
use crate::rewrite::{Order, rewrite_nodes};

/// Merges calls along chains, and lets them wait.
#[derive(Debug, Default)]
pub struct PlaceCalls;

impl OptimizerRule for PlaceCalls {
    fn name(&self) -> &str {
        "place_calls"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::BottomUp, |node, _| match AsyncCalc::find(&node) {
            Some(calc) => match reuse::reuse_below(calc)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => Ok(Transformed::no(node)),
            },
            None => Ok(Transformed::no(node)),
        })?
        .transform_data(|plan| rewrite_nodes(plan, Order::BottomUp, |node, _| defer::defer(node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_call_of_select_and_where_once() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x, f(x) FROM t WHERE f(x) > 5",
            @r"
            Projection: t.x, __async_1 AS f(t.x)
              Projection: t.x, __async_0 AS __async_1
                Projection: t.x, __async_0
                  Filter: __async_0 > Int64(5)
                    AsyncCalc: f(t.x) AS __async_0
                      TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn follows_a_chain_with_a_limit_and_an_alias() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT f(y) FROM (SELECT x AS y, f(x) AS v FROM t ORDER BY f(x) LIMIT 5) q WHERE v > 2",
            @r"
            Projection: __async_0 AS f(q.y)
              Projection: q.y, q.v AS __async_0
                SubqueryAlias: q
                  Projection: y, v
                    Filter: v > Int64(2)
                      Limit: skip=0, fetch=5
                        Projection: y, v
                          Sort: __async_2 ASC NULLS LAST, fetch=5
                            Projection: y, v, v AS __async_2
                              Projection: t.x AS y, __async_1 AS v
                                AsyncCalc: f(t.x) AS __async_1
                                  TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn declines_for_volatile_functions() {
        assert_rule!(PlaceCalls, declines, "SELECT fv(x) FROM t WHERE fv(x) > 5");
    }

    #[test]
    fn declines_for_side_effects() {
        assert_rule!(PlaceCalls, declines, "SELECT send(x) FROM t WHERE send(x) > 5");
    }

    #[test]
    fn declines_when_the_lower_call_was_not_made_for_every_row() {
        assert_rule!(PlaceCalls, declines, "SELECT f(x) FROM t WHERE k < 5 OR f(x) > 20");
    }

    #[test]
    fn calls_wait_for_a_limit_behind_a_sort() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x, f(x) + 1 AS v, g(k) FROM t ORDER BY g(k), x LIMIT 5",
            @r"
            Projection: t.x, __async_0 + Int64(1) AS v, __async_1 AS g(t.k)
              AsyncCalc: f(t.x) AS __async_0
                Limit: skip=0, fetch=5
                  Sort: __async_1 ASC NULLS LAST, t.x ASC NULLS LAST, fetch=5
                    AsyncCalc: g(t.k) AS __async_1
                      TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn calls_and_their_filters_wait_for_a_semi_join() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT f(x) FROM t WHERE p(x) AND x IN (SELECT y FROM b)",
            @r"
            Projection: __async_1 AS f(t.x)
              AsyncCalc: f(t.x) AS __async_1
                Projection: t.x
                  Filter: __async_0
                    AsyncCalc: p(t.x) AS __async_0
                      LeftSemi Join: t.x = __correlated_sq_1.y
                        TableScan: t projection=[x]
                        SubqueryAlias: __correlated_sq_1
                          TableScan: b projection=[y]
            "
        );
    }

    #[test]
    fn calls_wait_for_an_inner_join_with_unique_keys() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT v, m FROM (SELECT x, f(x) AS v FROM t) q
             JOIN (SELECT k, max(y) AS m FROM b GROUP BY k) o ON q.x = o.k",
            @r"
            Projection: q.v, o.m
              Projection: t.x AS x, __async_0 AS v, o.k, o.m
                AsyncCalc: f(t.x) AS __async_0
                  Inner Join: t.x = o.k
                    TableScan: t projection=[x]
                    SubqueryAlias: o
                      Projection: b.k, max(b.y) AS m
                        Aggregate: groupBy=[[b.k]], aggr=[[max(b.y)]]
                          TableScan: b projection=[y, k]
            "
        );
    }

    #[test]
    fn declines_to_wait_for_a_join_that_may_multiply() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT v, y FROM (SELECT x, f(x) AS v FROM t) q JOIN b o ON q.x = o.k"
        );
    }

    #[test]
    fn declines_to_wait_with_side_effects() {
        assert_rule!(PlaceCalls, declines, "SELECT send(x) FROM t ORDER BY x LIMIT 5");
    }

    #[test]
    fn declines_to_wait_for_a_sort_without_a_limit() {
        assert_rule!(PlaceCalls, declines, "SELECT f(x) FROM t ORDER BY k, x");
    }
}
