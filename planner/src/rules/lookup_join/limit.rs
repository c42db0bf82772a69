//! [`look_up_below`], lookups for a cross join whose sides DataFusion has limited.
//!
//! ```text
//! Before:                            After:
//! Limit: fetch=3                     Limit: fetch=3
//!   Cross Join                         AsyncLookupJoin: Inner users
//!     Limit: fetch=3                     AsyncCalc: users[..](7) AS __async_0
//!       TableScan: t                       Limit: fetch=3
//!     Limit: fetch=3                         TableScan: t
//!       Filter: users.id = 7
//!         TableScan: users
//! ```
//! Safe: LIMIT without an order gives any of the rows, and so few pairs hold no more rows of the table
//! than its own limit lets through.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{JoinType, Result};
use datafusion_expr::{FetchType, Join, Limit, LogicalPlan, SkipType};

/// Looks a side up without its limit, if a limit of no more rows stands above the join.
///
/// Declines: anything but columns and aliases between, a join with conditions, a side with OFFSET.
pub(super) fn look_up_below(
    limit: &Limit,
    mut look_up: impl FnMut(&Join) -> Result<Option<LogicalPlan>>,
) -> Result<Option<LogicalPlan>> {
    let (SkipType::Literal(skip), FetchType::Literal(Some(fetch))) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    let rows = skip.saturating_add(fetch);
    let input = on_path(limit.input.as_ref().clone(), |node| match node {
        LogicalPlan::Join(join) if is_cross(&join) => {
            for table_is_left in [false, true] {
                let Some(join) = without_limit(&join, table_is_left, rows)? else { continue };
                if let Some(plan) = look_up(&join)? {
                    return Ok(Transformed::yes(plan));
                }
            }
            Ok(Transformed::no(LogicalPlan::Join(join)))
        }
        node => Ok(Transformed::no(node)),
    })?;
    let plan = input.transformed.then(|| {
        let input = Arc::new(input.data);
        LogicalPlan::Limit(Limit { input, ..limit.clone() })
    });
    Ok(plan)
}

fn is_cross(join: &Join) -> bool {
    join.join_type == JoinType::Inner && join.on.is_empty() && join.filter.is_none()
}

/// Takes the limit off one side of a join, if it lets as many rows through.
fn without_limit(join: &Join, left: bool, rows: usize) -> Result<Option<Join>> {
    let side = if left { &join.left } else { &join.right };
    let side = on_path(side.as_ref().clone(), |node| match node {
        LogicalPlan::Limit(limit) => {
            let fetch = (limit.get_skip_type()?, limit.get_fetch_type()?);
            match fetch {
                (SkipType::Literal(0), FetchType::Literal(Some(fetch))) if fetch >= rows => {
                    Ok(Transformed::yes(Arc::unwrap_or_clone(limit.input)))
                }
                _ => Ok(Transformed::no(LogicalPlan::Limit(limit))),
            }
        }
        node => Ok(Transformed::no(node)),
    })?;
    let join = side.transformed.then(|| {
        let side = Arc::new(side.data);
        match left {
            true => Join { left: side, ..join.clone() },
            false => Join { right: side, ..join.clone() },
        }
    });
    Ok(join)
}

/// Rewrites the first node below columns and aliases.
fn on_path(
    plan: LogicalPlan,
    mut rewrite: impl FnMut(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down(|node| match node {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => Ok(Transformed::no(node)),
        node => {
            let rewritten = rewrite(node)?;
            Ok(Transformed { tnr: TreeNodeRecursion::Stop, ..rewritten })
        }
    })
}
