//! [`SplitConditionRexField`] makes the calls of which a filter reads one field.
//!
//! ```text
//! Before:                                     After:
//! Filter: k < 10 AND fs(x)['a'] > 1           Projection: x, k
//!   TableScan: t                                Filter: __async_0['a'] > 1
//!                                                 AsyncCalc: fs(x) AS __async_0
//!                                                   Filter: k < 10
//!                                                     TableScan: t
//! ```
//! Safe: as `split_condition`, with the same stages: conditions before this one, and all cheap
//! ones, go below the call, those after it stay above. Declines: no field of a call is read.
//! Needs: runs before `split_condition`, which takes what is left. Source: Flink's
//! `SPLIT_CONDITION_REX_FIELD`, re-derived.

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use super::split_condition::split_filter;
use crate::extract::Wanted;
use crate::rewrite::{Order, rewrite_nodes};

/// Takes calls out of field accesses in filters.
#[derive(Debug, Default)]
pub struct SplitConditionRexField;

impl OptimizerRule for SplitConditionRexField {
    fn name(&self) -> &str {
        "split_condition_rex_field"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| {
            split_filter(node, Wanted::FieldAccess, names)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn keeps_the_stages_around_the_call() {
        assert_rule!(
            SplitConditionRexField,
            fires,
            "SELECT x FROM t WHERE p(x) AND k < 9 AND fs(x)['a'] BETWEEN 1 AND 30 AND q(x)",
            @r#"
            Projection: t.x
              Projection: t.x, t.k
                Filter: get_field(__async_0, Utf8("a")) >= Int64(1) AND get_field(__async_0, Utf8("a")) <= Int64(30) AND q(t.x)
                  AsyncCalc: fs(t.x) AS __async_0
                    Filter: t.k < Int64(9) AND p(t.x)
                      TableScan: t projection=[x, k]
            "#
        );
    }

    #[test]
    fn declines_when_no_field_is_read() {
        assert_rule!(SplitConditionRexField, declines, "SELECT x FROM t WHERE s['a'] = 1 AND p(x)");
    }
}
