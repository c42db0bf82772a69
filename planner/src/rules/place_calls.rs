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
//! 4. *The node above drops rows.* Limit, Sort with a limit, Filter, semi, anti and inner joins, cross
//!    joins among them (their other side may be empty), outer joins for the side that may be missing,
//!    UNNEST (of a list that may be empty), inner, semi and anti lookup joins and the pairing with the
//!    rows of a table function.
//!    Through a plain Sort nothing is won. A LEFT lookup join drops no row, so a Sort with a limit
//!    above it limits the rows below it, too.
//! 5. *It reads neither the result nor a result that depends on it.* Calls that sort keys, the
//!    filter or the join need stay below, with what they depend on in turn; the others go above.
//!    A filter on a result goes up with its call, through joins only: a row that is dropped later
//!    is dropped all the same, but a Limit would count it. Filters of both sides are then staged.
//! 6. *It does not null-extend the row, or the call sees that.* Above an outer join a call of the side
//!    that may be missing is guarded by a column that is TRUE in every row of that side; what is
//!    computed from its columns is NULL where it is missing. A filter on a call of that side, or of the
//!    other side of a semi, anti or mark join, must not drop pairs: it becomes a condition of the join,
//!    and the join is made of the same nodes as one that was written with such a condition (RowId,
//!    a join on the rest, Resolve). Filters stay below a FULL join, whose sides are both kept, and
//!    below the join of a NOT IN whose keys may be NULL, which would have to look at all pairs.
//! 7. *It does not multiply the row, or copies of a row cost nothing.* Above a join that gives a row
//!    several times the call has no arguments that it did not have below, only fewer, so the memo
//!    of the query makes each of them one call, and a filter keeps or drops all copies alike. That
//!    holds for deterministic functions with `dedup`, whose arguments hold nothing volatile. Others
//!    wait only for joins whose other side is known to be unique in its keys. `dedup` is what
//!    holds for the call's own function, whatever level says so. Above `dedup_max_bytes` of arguments copies may cost calls after all.
//! 8. *The function has no side effects.* Such calls are made for the rows of the clause that they
//!    were written in.
//!
//! 9. *Conditions on calls wait for cheap ones further up* (`farcall.planner.wait_for_conditions`): the cheap
//!    conditions of a filter, and joins, take them also from below nodes that drop no row by themselves,
//!    outer joins and mark joins on the side that they keep, aggregations and windows by the columns that
//!    a condition reads. `rise` says why they give the same rows. A condition stays where what is evaluated
//!    in between may fail on the rows that it drops.
//!
//! Projections and aliases between the call and the node are dissolved and put back on top, unless
//! they hold a volatile expression, which must not be computed twice: there the chain ends. Columns
//! that an alias told apart from those of a join's other side get generated names.
//!
//! Deferral never undoes reuse: what reads a merged result keeps it below, and reuse runs again after
//! deferral, because two calls that were on both sides of a join may stand in one chain then.
//!
//! Declines: no equal call in the chain below, no node that a call may wait for.
//! Needs: runs after `nested_split`, when no call holds another, and before `one_async_per_calc`,
//! so that a Projection never comes between calls that could be made at the same time.

mod chain;
mod defer;
mod join;
mod lookup;
mod pairs;
mod reuse;
mod rise;
mod top_k;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};
use farcall_udf::FarcallConfig;

use crate::logical::AsyncCalc;
use crate::presence::plan_has_call;
use crate::rewrite::{Order, rewrite_nodes};
use crate::switches::{WAIT_FOR_CONDITIONS, is_on};

/// What a session says to this rule.
#[derive(Debug, Clone, Copy)]
struct Session<'c> {
    /// Which equal calls are made once at run time.
    config: &'c FarcallConfig,
    /// Whether conditions on calls wait for cheap ones above them.
    waits: bool,
}

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
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !plan_has_call(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let options = config.options();
        let config = FarcallConfig::of(&options);
        let session = Session { config: &config, waits: is_on(&options, WAIT_FOR_CONDITIONS) };
        reuse(plan)?
            .transform_data(|plan| {
                rewrite_nodes(plan, Order::BottomUp, |node, names| {
                    defer::defer(node, session, names)
                })
            })?
            .transform_data(reuse)
    }
}

fn reuse(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    rewrite_nodes(plan, Order::BottomUp, |node, _| match AsyncCalc::find(&node) {
        Some(calc) => match reuse::reuse_below(calc)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(node)),
        },
        None => Ok(Transformed::no(node)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_rule, calls, optimized_under};

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
    fn calls_wait_for_a_join_that_may_multiply() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT v, y FROM (SELECT x, f(x) AS v FROM t) q JOIN b o ON q.x = o.k",
            @r"
            Projection: q.v, o.y
              Projection: t.x AS x, __async_0 AS v, o.y, o.k
                AsyncCalc: f(t.x) AS __async_0
                  Inner Join: t.x = o.k
                    TableScan: t projection=[x]
                    SubqueryAlias: o
                      TableScan: b projection=[y, k]
            "
        );
    }

    #[test]
    fn filters_of_both_sides_wait_for_a_join_and_are_staged() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x, y FROM t, b WHERE t.k = b.k AND p(t.x) AND q(b.y)",
            @r"
            Projection: t.x, b.y
              Projection: t.x, t.k, b.y, b.k
                Filter: __async_1
                  AsyncCalc: q(b.y) AS __async_1
                    Filter: __async_0
                      AsyncCalc: p(t.x) AS __async_0
                        Inner Join: t.k = b.k
                          TableScan: t projection=[x, k]
                          TableScan: b projection=[y, k]
            "
        );
    }

    #[test]
    fn calls_wait_for_a_cross_join() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT v, y FROM (SELECT f(x) AS v FROM t) q CROSS JOIN b",
            @r"
            Projection: __async_0 AS v, b.y
              AsyncCalc: f(t.x) AS __async_0
                Cross Join:
                  TableScan: t projection=[x]
                  TableScan: b projection=[y]
            "
        );
    }

    #[test]
    fn sides_of_one_table_are_told_apart_above_their_join() {
        assert_rule!(
            PlaceCalls,
            fires,
            "WITH q AS (SELECT x, k, f(x) AS v FROM t) SELECT a.v, c.v FROM q a JOIN q c ON a.k = c.x",
            @r"
            Projection: a.v, c.v
              Projection: t.k AS k, __async_0 AS v, __async_2 AS x, __async_1 AS v
                AsyncCalc: f(t.x) AS __async_0, f(__async_2) AS __async_1
                  Inner Join: t.k = __async_2
                    TableScan: t projection=[x, k]
                    Projection: t.x AS __async_2
                      TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn a_call_of_both_sides_of_a_join_is_made_once_above_it() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT f(t.x) FROM t JOIN b ON t.k = b.k WHERE f(t.x) > 5",
            @r"
            Projection: __async_1 AS f(t.x)
              Projection: t.x, t.k, b.k, __async_0 AS __async_1
                Projection: t.x, t.k, b.k, __async_0
                  Filter: __async_0 > Int64(5)
                    AsyncCalc: f(t.x) AS __async_0
                      Inner Join: t.k = b.k
                        TableScan: t projection=[x, k]
                        TableScan: b projection=[k]
            "
        );
    }

    #[test]
    fn declines_to_wait_for_a_join_on_the_result() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT v, y FROM (SELECT x, f(x) AS v FROM t) q JOIN b o ON q.v = o.k"
        );
    }

    #[test]
    fn calls_of_the_side_that_may_be_missing_wait_for_an_outer_join() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT v, w, y FROM b o LEFT JOIN (SELECT x, f(x) AS v, coalesce(g(n), 7) AS w FROM t) q
             ON q.x = o.k",
            @r"
            Projection: q.v, q.w, o.y
              Projection: o.y, o.k, t.x AS x, __async_0 AS v, CASE WHEN __async_2 IS TRUE THEN CASE WHEN __async_1 IS NOT NULL THEN __async_1 ELSE Int64(7) END END AS w
                AsyncCalc: f(t.x) AS __async_0 WHEN __async_2 IS TRUE, g(t.n) AS __async_1 WHEN __async_2 IS TRUE
                  Left Join: o.k = t.x
                    SubqueryAlias: o
                      TableScan: b projection=[y, k]
                    Projection: t.x, t.n, Boolean(true) AS __async_2
                      TableScan: t projection=[x, n]
            "
        );
    }

    #[test]
    fn declines_to_wait_for_an_outer_join_on_the_side_that_it_keeps() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT v, y FROM (SELECT x, f(x) AS v FROM t) q LEFT JOIN b o ON q.x = o.k"
        );
    }

    #[test]
    fn a_filter_of_the_side_that_may_be_missing_is_tested_on_pairs() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x, v, y FROM b o LEFT JOIN
             (SELECT x, g(x) + 1 AS v FROM t WHERE p(x) AND f(x) > 3) q ON q.x = o.k",
            @r"
            Projection: q.x, q.v, o.y
              Projection: o.y, o.k, t.x AS x, CASE WHEN __async_3 IS TRUE THEN __async_2 + Int64(1) END AS v
                AsyncCalc: g(t.x) AS __async_2 WHEN __async_3 IS TRUE
                  Projection: o.y, o.k, t.x, __async_0, __async_1, CASE WHEN __async_5 IS TRUE THEN Boolean(true) END AS __async_3
                    Resolve: Outer rows __async_4 where __async_6
                      Projection: o.y, o.k, t.x, __async_5, __async_0, __async_1, __async_4, __async_5 IS TRUE AND __async_0 IS TRUE AND __async_1 > Int64(3) IS TRUE AS __async_6
                        AsyncCalc: f(t.x) AS __async_1 WHEN __async_5 IS TRUE AND __async_0 IS TRUE
                          AsyncCalc: p(t.x) AS __async_0 WHEN __async_5 IS TRUE
                            Left Join: o.k = t.x
                              RowId: __async_4
                                SubqueryAlias: o
                                  TableScan: b projection=[y, k]
                              Projection: t.x, Boolean(true) AS __async_5
                                TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn a_filter_of_a_subquery_is_tested_on_pairs() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x FROM t WHERE q(x) AND k IN (SELECT y FROM b WHERE p(z))",
            @r"
            Projection: t.x
              Projection: t.x, t.k
                Filter: __async_0
                  AsyncCalc: q(t.x) AS __async_0
                    Projection: t.x, t.k
                      Resolve: Semi rows __async_2 where __async_4
                        Projection: t.x, t.k, __async_2, __async_3 IS TRUE AND __async_1 IS TRUE AS __async_4
                          AsyncCalc: p(b.z) AS __async_1 WHEN __async_3 IS TRUE
                            Left Join: t.k = b.y
                              RowId: __async_2
                                TableScan: t projection=[x, k]
                              Projection: b.y, b.z, Boolean(true) AS __async_3
                                TableScan: b projection=[y, z]
            "
        );
    }

    #[test]
    fn declines_to_move_a_filter_above_a_full_join() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT x, y FROM b o FULL JOIN (SELECT x FROM t WHERE p(x)) q ON q.x = o.k"
        );
    }

    #[test]
    fn declines_to_test_pairs_whose_keys_may_be_null_in_not_in() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT x FROM t WHERE n NOT IN (SELECT z FROM b WHERE p(y))"
        );
    }

    #[test]
    fn pairs_of_not_in_are_tested_where_keys_are_never_null() {
        assert_eq!(calls("SELECT y FROM b WHERE y NOT IN (SELECT x FROM t WHERE p(x))"), "p 10");
    }

    #[test]
    fn declines_to_test_pairs_that_are_joined_by_another_call() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT x FROM t WHERE k IN (SELECT f(y) FROM b WHERE p(z))"
        );
    }

    #[test]
    fn calls_wait_until_lists_are_unnested() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT f(x), unnest(CASE WHEN k < 5 THEN [n, x] END) FROM t",
            @r"
            Projection: f(t.x), __unnest_placeholder(CASE WHEN t.k < Int64(5) THEN make_array(t.n,t.x) END,depth=1) AS UNNEST(CASE WHEN t.k < Int64(5) THEN make_array(t.n,t.x) END)
              Projection: __async_0 AS f(t.x), __unnest_placeholder(CASE WHEN t.k < Int64(5) THEN make_array(t.n,t.x) END,depth=1)
                AsyncCalc: f(t.x) AS __async_0
                  Unnest: lists[__unnest_placeholder(CASE WHEN t.k < Int64(5) THEN make_array(t.n,t.x) END)|depth=1] structs[]
                    Projection: CASE WHEN t.k < Int64(5) THEN make_array(t.n, t.x) END AS __unnest_placeholder(CASE WHEN t.k < Int64(5) THEN make_array(t.n,t.x) END), t.x
                      TableScan: t projection=[x, k, n]
            "
        );
    }

    #[test]
    fn declines_to_wait_where_the_call_makes_the_list() {
        assert_rule!(PlaceCalls, declines, "SELECT x, unnest([f(x), k]) FROM t");
    }

    #[test]
    fn declines_to_repeat_what_is_volatile() {
        assert_rule!(
            PlaceCalls,
            declines,
            "SELECT v, y FROM (SELECT x, fv(x) AS v FROM t) q JOIN b o ON q.x = o.k"
        );
    }

    #[test]
    fn dedup_of_a_function_is_a_matter_of_its_own_calls() {
        let sql = "SELECT v, w, y FROM (SELECT x, f(x) AS v, g(x) AS w FROM t) q
                   JOIN b o ON q.x = o.k";
        let waits = |settings: &[(&str, &str)]| {
            let plan = optimized_under(settings, sql).display_indent().to_string();
            let place = |part: &str| plan.find(part).unwrap_or_else(|| panic!("{part}: {plan}"));
            [place("f(t.x)"), place("g(t.x)")].map(|call| call < place("Inner Join"))
        };
        let of_f = |value| ("function.f.dedup", value);
        assert_eq!(waits(&[]), [true, true]);
        assert_eq!(waits(&[("function.other.dedup", "false")]), [true, true]);
        assert_eq!(waits(&[of_f("false")]), [false, true]);
        assert_eq!(waits(&[("async_scalar.dedup", "false")]), [false, false]);
        assert_eq!(waits(&[("async_scalar.dedup", "false"), of_f("true")]), [true, false]);
        assert_eq!(waits(&[("async_lookup.dedup", "false")]), [true, true]);
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
