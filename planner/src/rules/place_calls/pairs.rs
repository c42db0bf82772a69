//! Filters with calls on the side in which a join only looks for partners: they wait for the pairs.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, JoinType, Result};
use datafusion_expr::{ExprSchemable, Join, LogicalPlan};

use farcall_udf::FarcallConfig;

use super::chain::{Above, Chain};
use super::join::{Filters, Side, conditions};
use crate::calls::Names;
use crate::logical::ResolveOutput;
use crate::rewrite::restore;
use crate::rules::split_join_condition::candidates::{
    find_candidates, kind, preserves_left, resolve,
};

/// Tests the rows of the other side of a semi, anti, mark or outer join where they have a partner.
///
/// The filter becomes a condition of the join, and is evaluated as conditions with calls are: the
/// rows that the join keeps are numbered, and resolved by what their candidates answer. `config` says
/// which equal calls are made once at run time, since a row may be a candidate of several.
pub(super) fn test_pairs(
    join: Join,
    config: &FarcallConfig,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    let Some(preserves_left) = preserves_left(join.join_type) else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let side = if preserves_left { &join.right } else { &join.left };
    if counts_nulls(&join)? || !Chain::below(side, true)?.has_filter() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let (row_id, present, matched) = (names.next(), names.next(), names.next());
    let side = Side::of(&join, !preserves_left, Filters::Taken, Some(&present), names)?;
    let read = side.read();
    let Side { chain, keys, condition } = side;
    let (other, above) = match chain.split(&read, |step| step.may_be_repeated(config))? {
        Some((other, above)) if above.has_filter() => (other, above),
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    let (on, condition) = conditions(&join, !preserves_left, keys, condition);
    let kept = if preserves_left { &join.left } else { &join.right };
    let pairs = find_candidates(&join, Arc::clone(kept), &row_id, other, on, condition)?;
    let pairs = LogicalPlan::Join(pairs);
    let (pairs, matches, of_other) = above.on_pairs(pairs, &present)?;

    let of_kept = Above::nothing(kept.schema());
    let kept = kept.schema().columns();
    let mut outputs: Vec<ResolveOutput> = Vec::with_capacity(kept.len());
    outputs.extend(kept.into_iter().map(|column| ResolveOutput { column, nulled: false }));
    let outer = matches!(join.join_type, JoinType::Left | JoinType::Right);
    if outer {
        let read = of_other.read_columns();
        let shown: Vec<Column> =
            pairs.schema().columns().into_iter().filter(|column| read.contains(column)).collect();
        outputs.extend(shown.into_iter().map(|column| ResolveOutput { column, nulled: true }));
    }
    let schema = Arc::clone(&join.schema);
    let kind = kind(join.join_type, &schema);
    let resolved = resolve(pairs, kind, &row_id, (&matched, matches), outputs)?;
    Ok(Transformed::yes(match (outer, preserves_left) {
        (true, true) => of_kept.with(of_other).over(resolved, schema)?,
        (true, false) => of_other.with(of_kept).over(resolved, schema)?,
        (false, _) => restore(resolved, schema)?,
    }))
}

/// Says whether a row with a NULL key is a candidate of all rows, as in NOT IN.
fn counts_nulls(join: &Join) -> Result<bool> {
    if !join.null_aware {
        return Ok(false);
    }
    let (left, right) = (join.left.schema(), join.right.schema());
    for (l, r) in &join.on {
        if l.nullable(left.as_ref())? || r.nullable(right.as_ref())? {
            return Ok(true);
        }
    }
    Ok(false)
}
