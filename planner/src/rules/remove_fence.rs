//! [`RemoveFence`] takes away the limits that `fence_aggregate` put above aggregations.
//!
//! ```text
//! Before:                                After:
//! Filter: g(7) < 7                       Filter: g(7) < 7
//!   Projection: min(k) AS v                Projection: min(k) AS v
//!     Limit: skip=0, fetch=1                 Aggregate: groupBy=[[]], [min(k)]
//!       Aggregate: groupBy=[[]], [min(k)]      TableScan: t
//!         TableScan: t
//! ```
//! Safe: an aggregation without keys gives one row, and none gives 2^63 - 1; a limit that was
//! written so drops nothing either. Declines: limits that may drop a row or skip one.
//! Needs: runs after DataFusion's push-down and in the pass in which calls leave the filters: from
//! then on the conditions read columns that they are not moved below.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::{FetchType, Limit, LogicalPlan, SkipType};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use super::fence_aggregate::MORE_THAN_ANY;
use crate::rewrite::{Order, rewrite_nodes};

/// Removes limits that drop nothing.
#[derive(Debug, Default)]
pub struct RemoveFence;

impl OptimizerRule for RemoveFence {
    fn name(&self) -> &str {
        "remove_fence"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::BottomUp, |node, _| match node {
            LogicalPlan::Limit(limit) if drops_nothing(&limit)? => {
                Ok(Transformed::yes(Arc::unwrap_or_clone(limit.input)))
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

fn drops_nothing(limit: &Limit) -> Result<bool> {
    let (SkipType::Literal(0), FetchType::Literal(Some(fetch))) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(false);
    };
    Ok(fetch == MORE_THAN_ANY as usize || (fetch > 0 && gives_one_row(&limit.input)))
}

fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn removes_the_limit_above_an_aggregation() {
        assert_rule!(
            RemoveFence,
            fires,
            "SELECT v FROM (SELECT min(k) AS v FROM t) q WHERE g(7) < 7",
            @r"
            SubqueryAlias: q
              Projection: min(t.k) AS v
                Filter: g(Int64(7)) < Int64(7)
                  Aggregate: groupBy=[[]], aggr=[[min(t.k)]]
                    TableScan: t projection=[k]
            "
        );
    }

    #[test]
    fn declines_for_a_limit_that_drops_rows() {
        assert_rule!(RemoveFence, declines, "SELECT f(k) FROM t GROUP BY k LIMIT 1");
    }

    #[test]
    fn declines_for_a_limit_that_skips_the_only_row() {
        assert_rule!(RemoveFence, declines, "SELECT f(min(k)) FROM t LIMIT 1 OFFSET 1");
    }
}
