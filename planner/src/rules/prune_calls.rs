//! [`PruneCalls`] removes calls whose results nobody reads.
//!
//! ```text
//! Before:                               After:
//! Projection: x, __async_0              Projection: x, __async_0
//!   AsyncCalc: q(x) AS __async_1          AsyncCalc: p(x) AS __async_0
//!     AsyncCalc: p(x) AS __async_0          TableScan: t
//!       TableScan: t
//! ```
//! Safe: generated names are unique in a plan, so a name that no expression mentions, and that
//! reaches neither the result nor a node that passes all its columns on, is read by nobody.
//! Declines: functions with side effects, which are called for their own sake.
//! Needs: DataFusion prunes a call that still stands in a projection by itself, but no column of a
//! node that it does not know; such columns are left over when it simplifies what read them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{GENERATED_PREFIX, find_call};
use crate::logical::{AsyncCalc, CallColumn};
use crate::presence::plan_has_call;
use crate::rewrite::calculate;

/// Removes calls that are not read.
#[derive(Debug, Default)]
pub struct PruneCalls;

impl OptimizerRule for PruneCalls {
    fn name(&self) -> &str {
        "prune_calls"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !plan_has_call(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let read = read_columns(&plan)?;
        let is_read = |column: &CallColumn| {
            let side_effects = find_call(&column.call)
                .is_some_and(|udf| udf.function().declaration().has_side_effects());
            side_effects || read.contains(&column.name)
        };
        let mut pruned = false;
        plan.transform_up_with_subqueries(|node| match AsyncCalc::find(&node) {
            Some(calc) if !calc.calls().iter().all(is_read) => {
                pruned = true;
                let (input, mut calls) = calc.clone().into_parts();
                calls.retain(is_read);
                let kept = calculate(input, calls)?;
                Ok(Transformed::yes(Arc::unwrap_or_clone(kept)))
            }
            // The nodes above pass one column less.
            _ if pruned => Ok(Transformed::yes(node.recompute_schema()?)),
            _ => Ok(Transformed::no(node)),
        })
    }
}

/// Returns the generated names that someone reads.
fn read_columns(plan: &LogicalPlan) -> Result<HashSet<String>> {
    let mut read = generated(plan);
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Column(column) = part
                    && column.name.starts_with(GENERATED_PREFIX)
                {
                    read.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if passes_all_columns(node) {
            for input in node.inputs() {
                read.extend(generated(input));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(read)
}

fn generated(plan: &LogicalPlan) -> HashSet<String> {
    let names = plan.schema().fields().iter().map(|field| field.name());
    names.filter(|name| name.starts_with(GENERATED_PREFIX)).cloned().collect()
}

/// Says whether a node may read columns that none of its expressions mentions.
fn passes_all_columns(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Join(_) => false,
        node => AsyncCalc::find(node).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn removes_a_call_whose_reader_was_simplified_away() {
        assert_rule!(
            PruneCalls,
            fires,
            "SELECT p(x) AND (p(x) OR q(k)) FROM t",
            @r"
            Projection: __async_0 AS p(t.x) AND p(t.x) OR q(t.k)
              AsyncCalc: p(t.x) AS __async_0
                TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn declines_when_all_results_are_read() {
        assert_rule!(PruneCalls, declines, "SELECT p(x) AND (k > 3 OR q(k)) FROM t");
    }
}
