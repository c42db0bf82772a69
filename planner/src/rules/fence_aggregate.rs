//! [`FenceAggregate`] keeps DataFusion from testing calls before an aggregation that always gives a row.
//!
//! ```text
//! Before:                                After:
//! Filter: g(7) < 7                       Filter: g(7) < 7
//!   Aggregate: groupBy=[[]], [min(k)]      Limit: skip=0, fetch=1
//!     TableScan: t                           Aggregate: groupBy=[[]], [min(k)]
//!                                              TableScan: t
//! ```
//! DataFusion's `push_down_filter` moves a condition that reads no column below any aggregation. Below
//! `min(k)` it drops the rows of t, and their minimum, NULL, is still a row of the result, where SQL
//! wants none. A synchronous constant is folded before that; a call is not. A condition may lose its
//! columns on the way (`WHERE g(c) < 7` over `SELECT 7 AS c`), so the aggregation is fenced and not
//! the condition: no filter passes a Limit.
//!
//! Safe: an aggregation without keys gives one row, and any gives fewer than 2^63. Declines: no
//! condition with a call above; group keys, which leave no group to be given for no row;
//! correlated subqueries, which get group keys when they become joins, and would not with a Limit.
//! Needs: runs after `wrap_foreign_functions`. `remove_fence` takes the Limit away again.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNodeRewriter};
use datafusion_expr::{Aggregate, Expr, GroupingSet, Limit, LogicalPlan, lit};
use datafusion_optimizer::AnalyzerRule;

use crate::calls::has_call;
use crate::free::free_references;
use crate::presence::plan_has_call;

/// The limit of a fence above grouping sets, whose number of rows is not known: more than there can be.
pub(super) const MORE_THAN_ANY: i64 = i64::MAX;

/// Puts a limit that drops nothing above aggregations that always give a row.
#[derive(Debug, Default)]
pub struct FenceAggregate;

impl AnalyzerRule for FenceAggregate {
    fn name(&self) -> &str {
        "fence_aggregate"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !plan_has_call(&plan)? {
            return Ok(plan);
        }
        plan.rewrite_with_subqueries(&mut Fencing::default()).data()
    }
}

#[derive(Default)]
struct Fencing {
    /// How many nodes above the one at hand have conditions with calls.
    testing: usize,
}

impl TreeNodeRewriter for Fencing {
    type Node = LogicalPlan;

    fn f_down(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        self.testing += usize::from(tests_a_call(&node));
        Ok(Transformed::no(node))
    }

    fn f_up(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        self.testing -= usize::from(tests_a_call(&node));
        match &node {
            LogicalPlan::Aggregate(aggregate)
                if self.testing > 0
                    && aggregate.group_expr.iter().all(groups_nothing)
                    && free_references(&node).is_empty() =>
            {
                let rows = most_rows(aggregate);
                let fetch = Some(Box::new(lit(rows)));
                let fence = Limit { skip: None, fetch, input: Arc::new(node) };
                Ok(Transformed::yes(LogicalPlan::Limit(fence)))
            }
            _ => Ok(Transformed::no(node)),
        }
    }
}

fn tests_a_call(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Filter(filter) => has_call(&filter.predicate),
        LogicalPlan::Join(join) => join.filter.as_ref().is_some_and(has_call),
        _ => false,
    }
}

/// Says whether a key is a list of grouping sets one of which is empty.
fn groups_nothing(key: &Expr) -> bool {
    match key {
        Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_)) => true,
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().any(Vec::is_empty),
        _ => false,
    }
}

fn most_rows(aggregate: &Aggregate) -> i64 {
    if aggregate.group_expr.is_empty() { 1 } else { MORE_THAN_ANY }
}

#[cfg(test)]
mod tests {
    use crate::testing::{analyzed, assert_plan, assert_snapshot_of, assert_twin_rows, rows};

    #[test]
    fn fences_an_aggregation_below_a_condition_with_a_call() {
        assert_snapshot_of!(
            analyzed("SELECT v FROM (SELECT min(k) AS v FROM t) q WHERE g(7) < 7"),
            @r"
            Projection: q.v
              Filter: g(Int64(7)) < Int64(7)
                SubqueryAlias: q
                  Projection: min(t.k) AS v
                    Limit: skip=0, fetch=1
                      Aggregate: groupBy=[[]], aggr=[[min(t.k)]]
                        TableScan: t
            "
        );
    }

    #[test]
    fn fences_grouping_sets_with_an_empty_one() {
        let plan = analyzed(
            "SELECT * FROM (SELECT k, count(*) FROM t GROUP BY ROLLUP (k)) q WHERE g(7) < 7",
        );
        assert!(plan.display_indent().to_string().contains("fetch=9223372036854775807"));
    }

    #[test]
    fn declines_without_a_call_above_and_for_keys_and_correlated_subqueries() {
        for sql in [
            "SELECT f(v) FROM (SELECT min(k) AS v FROM t) q WHERE v < 7",
            "SELECT v FROM (SELECT min(k) AS v FROM t WHERE p(x)) q",
            "SELECT k, min(x) FROM t GROUP BY k HAVING g(7) < 7",
            "SELECT x FROM t WHERE p(x) AND x > (SELECT min(y) FROM b WHERE b.k = t.k)",
        ] {
            let plan = analyzed(sql).display_indent().to_string();
            assert!(!plan.contains("Limit"), "{plan}");
        }
    }

    #[test]
    fn a_condition_without_columns_is_tested_on_the_aggregate() {
        assert_plan!("SELECT v FROM (SELECT min(k) AS v FROM t) q WHERE g(7) < 7", @r"
        SubqueryAlias: q
          Projection: min(t.k) AS v
            Filter: __async_0 < Int64(7)
              AsyncCalc: g(Int64(7)) AS __async_0
                Aggregate: groupBy=[[]], aggr=[[min(t.k)]]
                  TableScan: t projection=[k]
        ");
    }

    #[test]
    fn a_condition_that_loses_its_columns_is_tested_there_as_well() {
        for sql in [
            "SELECT v, y FROM (SELECT min(k) AS v FROM t) q, b WHERE g(7) < 7",
            "SELECT v, y FROM (SELECT min(k) AS v FROM t) q JOIN b ON v = y AND g(7) < 7",
            "SELECT y FROM b WHERE y IN (SELECT min(k) FROM t HAVING g(7) < 7)",
            "SELECT y, (SELECT max(x) FROM t HAVING g(7) < 7) FROM b",
            // What LATERAL reads of its left side does not correlate the aggregation above it.
            "SELECT count(*) FROM t a CROSS JOIN LATERAL (SELECT 1 FROM b r WHERE r.k = a.x) l HAVING g(7) < 7",
        ] {
            assert_twin_rows(sql);
        }
        // DataFusion itself is no oracle: it folds g(7) only after it has been moved.
        let sql = "SELECT v FROM (SELECT min(k) AS v, 7 AS c FROM t) q WHERE g(c) < 7";
        assert_eq!(rows(sql), Vec::<String>::new());
    }
}
