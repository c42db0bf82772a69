//! [`associate`], which takes a table function out of the join that it stands in, to the rows it reads.
//!
//! ```text
//! Before: t, f(t.x) AS q JOIN s ON s.y = q.a      After:
//! Cross Join                                      Inner Join: s.y = q.a
//!   TableScan: t                                    Cross Join
//!   Inner Join: s.y = q.a                             TableScan: t
//!     SubqueryAlias: q                                SubqueryAlias: q
//!       Subquery: f(outer_ref(t.x))                     Subquery: f(outer_ref(t.x))
//!     TableScan: s                                  TableScan: s
//! ```
//! Safe: ON of the inner join does not see the rows outside of it, so it says the same of each of them,
//! and a LEFT JOIN keeps what stands on its left for each of them. The columns keep their order.

use std::sync::Arc;

use datafusion_common::tree_node::TreeNode;
use datafusion_common::{DFSchema, JoinType, Result};
use datafusion_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};

use crate::calls::any_part;
use crate::logical::TableCall;

/// Moves the join in the right side of a join above it, if a table function in there reads the left
/// side. The conditions of `join` itself are left to the caller, who filters by them.
///
/// Declines: an outer join around, and a join inside that keeps rows of its right side; they are what
/// they are for all rows of the left side together.
pub(super) fn associate(join: &Join) -> Result<Option<Join>> {
    let LogicalPlan::Join(inside) = join.right.as_ref() else { return Ok(None) };
    if join.join_type != JoinType::Inner
        || !matches!(inside.join_type, JoinType::Inner | JoinType::Left)
        || !reads(&join.right, join.left.schema())
    {
        return Ok(None);
    }
    let rows = LogicalPlanBuilder::from(Arc::clone(&join.left));
    let rows = rows.cross_join(inside.left.as_ref().clone())?.build()?;
    let associated = Join::try_new(
        Arc::new(rows),
        Arc::clone(&inside.right),
        inside.on.clone(),
        inside.filter.clone(),
        inside.join_type,
        inside.join_constraint,
        inside.null_equality,
        inside.null_aware,
    )?;
    Ok(Some(associated))
}

/// Says whether a table function in FROM reads columns of `rows`.
pub(super) fn reads(plan: &LogicalPlan, rows: &DFSchema) -> bool {
    let of_rows = |part: &Expr| match part {
        Expr::OuterReferenceColumn(_, column) => rows.has_column(column),
        _ => false,
    };
    let calls = |node: &LogicalPlan| {
        Ok(TableCall::find(node).is_some_and(|node| any_part(node.call(), of_rows)))
    };
    match plan {
        LogicalPlan::Join(join) => reads(&join.left, rows) || reads(&join.right, rows),
        LogicalPlan::SubqueryAlias(alias) => reads(&alias.input, rows),
        // The closure never fails, so neither does the walk.
        LogicalPlan::Subquery(subquery) => subquery.subquery.exists(calls).unwrap_or_default(),
        _ => false,
    }
}
