//! The deferral of lookups behind a sort with a limit: a LEFT lookup drops no row, so the first rows
//! come of the first rows.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan, Sort};

use super::chain::Chain;
use super::defer::defer_top_k;
use crate::calls::is_volatile;
use crate::logical::{AsyncLookupJoin, LookupJoinType};

/// Sorts and limits the rows of a LEFT lookup join before they are looked up, too.
///
/// ```text
/// Before:                            After:
/// Sort: t.id, fetch=5                Sort: t.id, fetch=5
///   AsyncLookupJoin: Left u            AsyncLookupJoin: Left u
///     AsyncCalc: u(t.k)                  AsyncCalc: u(t.k)
///       TableScan: t                       Sort: t.id, fetch=5
///                                            TableScan: t
/// ```
/// A row becomes one row or several, all with its own values: the first five rows are made of the
/// first five rows of the input, whichever are taken of equal ones. The sort above stays, since a row
/// may have become several.
///
/// Returns `None` if keys read what is looked up or called, or if the rows are so few already.
pub(super) fn limit_looked_up(sort: &Sort, chain: &Chain, keys: &[Expr]) -> Result<Option<Sort>> {
    let Some(join) = AsyncLookupJoin::find(chain.base()) else { return Ok(None) };
    let rows = join.input();
    let of_rows = |key: &Expr| {
        let mut columns = key.column_refs().into_iter();
        columns.all(|column| rows.schema().has_column(column) && column != join.found())
    };
    let keys_are_there = keys.iter().all(|key| of_rows(key) && !is_volatile(key));
    let limited = Chain::below(rows, false)?;
    if join.join_type() != LookupJoinType::Left
        || !keys_are_there
        || has_at_most(limited.base(), sort.fetch)
    {
        return Ok(None);
    }
    let expr = sort.expr.iter().zip(keys);
    let expr = expr.map(|(by, key)| by.with_expr(key.clone())).collect();
    let first = Sort { expr, input: Arc::clone(rows), fetch: sort.fetch };
    let first = Arc::new(defer_top_k(first)?.data);
    let limited = AsyncLookupJoin::try_new(
        first,
        join.join_type(),
        join.table(),
        join.found().clone(),
        join.columns().to_vec(),
        join.condition().cloned(),
    )?;
    let limited = limited.into_plan();
    let base = chain.base();
    let input = sort.input.as_ref().clone().transform_down(|plan| {
        Ok(match &plan == base.as_ref() {
            true => Transformed::new(limited.clone(), true, TreeNodeRecursion::Stop),
            false => Transformed::no(plan),
        })
    });
    Ok(Some(Sort { input: Arc::new(input.data()?), ..sort.clone() }))
}

/// Says whether a plan gives so many rows at most by a limit of its own.
fn has_at_most(plan: &LogicalPlan, fetch: Option<usize>) -> bool {
    match plan {
        LogicalPlan::Sort(sort) => sort.fetch.is_some_and(|rows| Some(rows) <= fetch),
        _ => false,
    }
}
