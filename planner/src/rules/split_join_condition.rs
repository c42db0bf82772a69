//! [`SplitJoinCondition`] makes the calls of the key without which a join would have none below it, those of
//! an inner join's other conditions above it, and those of all other joins on the pairs that are left.
//!
//! ```text
//! Before:                                        After:
//! Inner Join: f(t.x) = b.y AND p2(t.x, b.z)      Projection: t.x, b.y, b.z
//!   TableScan: t                                   Filter: p2(t.x, b.z)
//!   TableScan: b                                     Inner Join: __async_0 = b.y
//!                                                      AsyncCalc: f(t.x) AS __async_0
//!                                                        TableScan: t
//!                                                      TableScan: b
//!
//! Left Join: t.k = b.k AND p2(t.x, b.y)          Resolve: Outer rows __async_0 where __async_2
//!   TableScan: t                                   Projection: .., __async_1 IS TRUE AND __async_3 IS TRUE AS __async_2
//!   TableScan: b                                     AsyncCalc: p2(t.x, b.y) AS __async_3 WHEN __async_1 IS TRUE
//!                                                      Left Join: t.k = b.k
//!                                                        RowId: __async_0
//!                                                          TableScan: t
//!                                                        Projection: b.*, true AS __async_1
//!                                                          TableScan: b
//! ```
//! An equality with a call is a key where the two sides would otherwise meet without one, whether DataFusion
//! has made it one or a condition; then its call is made for every row of its side. Beside another key it
//! is a condition on the pairs, if its calls cost no more for several pairs of a row than for one.
//! `farcall.planner.join_on_calls = false` leaves all as DataFusion has made them.
//!
//! Safe: a key is evaluated on every row of its side either way, in every kind of join, and keeps the pairs
//! that the same equality keeps as a condition; an inner join keeps exactly the pairs that pass all conditions, so one of them may be tested later, on
//! the pairs that the cheap ones leave (the filter above is split by `split_condition`). In the
//! other joins a row must survive a condition that fails: the preserved side is numbered and stands
//! once in the plan, an outer join finds its candidates, `__async_1` tells a partner from none, and
//! Resolve keeps per number the matches, or the row itself with NULLs (outer), or says whether there
//! was one (semi, anti, mark). NOT IN with a further condition becomes an anti join on pairs whose
//! keys may be equal. A FULL join numbers both sides and resolves its candidates twice, first by the
//! rows of the left side, then by those of the right.
//! Declines: no call. A key stays a key in NOT IN, whose keys may be NULL, and beside nothing cheaper.
//! Needs: runs before the rules that split filters.

pub(super) mod candidates;
mod keys;

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, Join, JoinType, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};
use farcall_udf::FarcallConfig;

use crate::calls::{Names, has_call};
use crate::extract::{Extraction, Place, Wanted};
use crate::presence::plan_has_call;
use crate::rewrite::{Order, filter, restore, rewrite_nodes};
use crate::switches::{JOIN_ON_CALLS, is_on};
use candidates::{preserves_left, resolve_full, resolve_join};
use keys::{Choice, choose_keys};

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
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !plan_has_call(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let options = config.options();
        let farcall = FarcallConfig::of(&options);
        let choice = Choice { on: is_on(&options, JOIN_ON_CALLS), config: &farcall };
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Join(join) if is_split(&join) => {
                split_join(choose_keys(join, choice)?, names)
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

fn is_split(join: &Join) -> bool {
    join.on.iter().any(|(left, right)| has_call(left) || has_call(right))
        || join.filter.as_ref().is_some_and(has_call)
}

fn split_join(join: Join, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(&join.schema);
    let (left_keys, right_keys) = join.on.into_iter().unzip();
    let (left, left_keys) = split_keys(join.left, left_keys, names)?;
    let (right, right_keys) = split_keys(join.right, right_keys, names)?;
    let on = left_keys.into_iter().zip(right_keys).collect();
    let (dear, cheap): (Vec<_>, Vec<_>) = join
        .filter
        .map(split_conjunction_owned)
        .unwrap_or_default()
        .into_iter()
        .partition(has_call);
    let with_filter = |filter: Option<Expr>| {
        Join::try_new(
            left,
            right,
            on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )
    };
    let plan = match (join.join_type, preserves_left(join.join_type)) {
        (_, Some(preserves_left)) if !dear.is_empty() => {
            resolve_join(with_filter(None)?, preserves_left, cheap, dear, names)?
        }
        (JoinType::Full, _) if !dear.is_empty() => {
            resolve_full(with_filter(None)?, cheap, dear, names)?
        }
        _ => filter(LogicalPlan::Join(with_filter(conjunction(cheap))?), dear)?,
    };
    Ok(Transformed::yes(restore(plan, schema)?))
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
    Ok((extraction.calculate(input)?, keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_rule, calls};

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
    fn an_equality_beside_a_cheap_one_is_a_condition_on_pairs() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT t.x, b.y FROM t JOIN b ON t.k = b.k WHERE f(t.x) = b.y",
            @r"
            Projection: t.x, b.y
              Projection: t.x, t.k, b.y, b.k
                Filter: f(t.x) = b.y
                  Inner Join: t.k = b.k
                    TableScan: t projection=[x, k]
                    TableScan: b projection=[y, k]
            "
        );
        for (sql, expected) in [
            ("SELECT t.x FROM t JOIN b ON t.k = b.k AND b.y < 3 WHERE f(t.x) = b.y", "f 18"),
            ("SELECT t.x FROM t LEFT JOIN b ON t.x = b.y AND f(t.x) = b.z", "f 10"),
            ("SELECT t.x FROM t FULL JOIN b ON t.x = b.y AND f(t.x) = b.z", "f 10"),
            (
                "SELECT y FROM b o WHERE EXISTS (SELECT 1 FROM t WHERE t.x = o.k AND f(t.x) = o.z)",
                "f 10",
            ),
            // Neither is a function that is called for each pair on purpose.
            ("SELECT t.x FROM t LEFT JOIN b ON t.x = b.y AND fv(t.x) = b.z", "fv 60"),
        ] {
            assert_eq!(calls(sql), expected, "{sql}");
        }
    }

    #[test]
    fn an_equality_joins_where_nothing_cheaper_does() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT t.x, o.y FROM t, b o WHERE f(t.x) = o.y AND t.k IN (SELECT z FROM b)",
            @r"
            Projection: t.x, o.y
              LeftSemi Join: t.k = __correlated_sq_1.z
                Projection: t.x, t.k, o.y
                  Inner Join: __async_0 = o.y
                    AsyncCalc: f(t.x) AS __async_0
                      TableScan: t projection=[x, k]
                    SubqueryAlias: o
                      TableScan: b projection=[y]
                SubqueryAlias: __correlated_sq_1
                  TableScan: b projection=[z]
            "
        );
    }

    #[test]
    fn of_two_equalities_with_calls_one_is_the_key() {
        let sql = "SELECT t.x, b.y FROM t, b WHERE f(t.x) = b.y AND g(t.x) = b.z";
        assert_eq!(calls(sql), "f 60, g 9");
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitJoinCondition, declines, "SELECT f(t.x), b.y FROM t JOIN b ON t.k = b.k");
    }

    #[test]
    fn calls_on_the_candidates_of_an_outer_join() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT t.x, b.y FROM t LEFT JOIN b ON t.k = b.k AND p2(t.x, b.y) AND p(t.x)",
            @r"
            Projection: t.x, b.y
              Projection: t.x, t.k, b.y, b.k
                Resolve: Outer rows __async_0 where __async_2
                  Projection: t.x, t.k, b.y, b.k, __async_0, __async_1 IS TRUE AND __async_3 IS TRUE AND __async_4 IS TRUE AS __async_2
                    AsyncCalc: p2(t.x, b.y) AS __async_3 WHEN __async_1 IS TRUE, p(t.x) AS __async_4 WHEN __async_1 IS TRUE AND p2(t.x, b.y) IS TRUE
                      Left Join: t.k = b.k
                        RowId: __async_0
                          TableScan: t projection=[x, k]
                        Projection: b.y, b.k, Boolean(true) AS __async_1
                          TableScan: b projection=[y, k]
            "
        );
    }

    #[test]
    fn calls_on_the_candidates_of_a_semi_join() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT y FROM b o WHERE EXISTS (SELECT 1 FROM t WHERE t.k = o.k AND p2(t.x, o.y))",
            @r"
            Projection: o.y
              Projection: o.y, o.k
                Resolve: Semi rows __async_0 where __async_2
                  Projection: o.y, o.k, __async_0, __async_1 IS TRUE AND __async_3 IS TRUE AS __async_2
                    AsyncCalc: p2(__correlated_sq_1.x, o.y) AS __async_3 WHEN __async_1 IS TRUE
                      Left Join: o.k = __correlated_sq_1.k
                        RowId: __async_0
                          SubqueryAlias: o
                            TableScan: b projection=[y, k]
                        Projection: __correlated_sq_1.k, __correlated_sq_1.x, Boolean(true) AS __async_1
                          SubqueryAlias: __correlated_sq_1
                            Projection: t.k, t.x
                              TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn not_in_counts_pairs_whose_keys_may_be_equal() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT x FROM t WHERE n NOT IN (SELECT z FROM b o WHERE p2(t.x, o.y))",
            @r"
            Projection: t.x
              Projection: t.x, t.n
                Resolve: Anti rows __async_0 where __async_2
                  Projection: t.x, t.n, __async_0, __async_1 IS TRUE AND __async_3 IS TRUE AS __async_2
                    AsyncCalc: p2(t.x, __correlated_sq_1.y) AS __async_3 WHEN __async_1 IS TRUE
                      Left Join:  Filter: t.n = __correlated_sq_1.z IS NOT FALSE
                        RowId: __async_0
                          TableScan: t projection=[x, n]
                        Projection: __correlated_sq_1.z, __correlated_sq_1.y, Boolean(true) AS __async_1
                          SubqueryAlias: __correlated_sq_1
                            Projection: o.z, o.y
                              SubqueryAlias: o
                                TableScan: b projection=[y, z]
            "
        );
    }

    #[test]
    fn resolves_a_full_join_by_its_left_and_then_by_its_right_rows() {
        assert_rule!(
            SplitJoinCondition,
            fires,
            "SELECT t.x, b.y FROM t FULL JOIN b ON t.k = b.k AND b.z > 4 AND p2(t.x, b.y)",
            @r"
            Projection: t.x, b.y
              Projection: t.x, t.k, b.y, b.k, b.z
                Resolve: Outer rows __async_1 where __async_3
                  Projection: t.x, t.k, b.y, b.k, b.z, __async_1, __async_0 IS NOT NULL AND __async_1 IS NOT NULL AS __async_3
                    Resolve: Full rows __async_0 where __async_2
                      Projection: t.x, t.k, b.y, b.k, b.z, __async_0, __async_1, CASE WHEN __async_1 IS NOT NULL THEN __async_0 IS NOT NULL AND __async_1 IS NOT NULL AND __async_4 IS TRUE END AS __async_2
                        AsyncCalc: p2(t.x, b.y) AS __async_4 WHEN __async_0 IS NOT NULL AND __async_1 IS NOT NULL
                          Full Join: t.k = b.k Filter: b.z > Int64(4)
                            RowId: __async_0
                              TableScan: t projection=[x, k]
                            RowId: __async_1
                              TableScan: b projection=[y, k, z]
            "
        );
    }
}
