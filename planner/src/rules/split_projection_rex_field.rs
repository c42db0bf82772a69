//! [`SplitProjectionRexField`] makes the calls of which a projection reads one field.
//!
//! ```text
//! Before:                                  After:
//! Projection: fs(x)['a'], fs(x)['b']       Projection: __async_0['a'], __async_0['b']
//!   TableScan: t                             AsyncCalc: fs(x) AS __async_0
//!                                              TableScan: t
//! ```
//! Safe: as `split_project`; the field is read from the one answer. Declines: no field of a call is
//! read. Two fields of one call are one call.
//! Needs: runs before `split_project`, which takes what is left. Source: Flink's
//! `SPLIT_PROJECTION_REX_FIELD`, re-derived.

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use super::split_project::split_projection;
use crate::extract::Wanted;
use crate::rewrite::{Order, rewrite_nodes};

/// Takes calls out of field accesses in projections.
#[derive(Debug, Default)]
pub struct SplitProjectionRexField;

impl OptimizerRule for SplitProjectionRexField {
    fn name(&self) -> &str {
        "split_projection_rex_field"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| {
            split_projection(node, Wanted::FieldAccess, names)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_two_fields_of_one_call_one_call() {
        assert_rule!(
            SplitProjectionRexField,
            fires,
            "SELECT fs(x)['a'], fs(x)['b'] FROM t",
            @r#"
            Projection: get_field(__async_0, Utf8("a")) AS fs(t.x)[a], get_field(__async_0, Utf8("b")) AS fs(t.x)[b]
              AsyncCalc: fs(t.x) AS __async_0
                TableScan: t projection=[x]
            "#
        );
    }

    #[test]
    fn leaves_other_calls_to_split_project() {
        assert_rule!(
            SplitProjectionRexField,
            fires,
            "SELECT fs(x)['a'] + f(x) FROM t",
            @r#"
            Projection: get_field(__async_0, Utf8("a")) + f(t.x) AS fs(t.x)[a] + f(t.x)
              AsyncCalc: fs(t.x) AS __async_0
                TableScan: t projection=[x]
            "#
        );
    }

    #[test]
    fn declines_when_no_field_is_read() {
        assert_rule!(SplitProjectionRexField, declines, "SELECT fs(x), f(s['a']) FROM t");
    }
}
