//! Deferral through joins: calls, and the filters on them, wait for the rows that find a partner.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Dependency, JoinType, NullEquality, Result};
use datafusion_expr::{Expr, Join, LogicalPlan};

use super::chain::{Above, Chain, Step};
use crate::calls::Names;

/// Moves the calls of the sides whose rows a join keeps or drops above it.
///
/// `dedup` says whether equal calls are made once at run time.
pub(super) fn defer_join(
    join: Join,
    dedup: bool,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(&join.schema);
    let (join, of_left) = defer_side(join, true, dedup, names)?;
    let (join, of_right) = defer_side(join, false, dedup, names)?;
    let above = match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti => of_right,
        JoinType::LeftSemi | JoinType::LeftAnti => of_left,
        _ => of_left.with(of_right),
    };
    let join = LogicalPlan::Join(join);
    if above.is_nothing() {
        return Ok(Transformed::no(join));
    }
    Ok(Transformed::yes(above.over(join, schema)?))
}

/// Takes from one side of a join what may wait.
fn defer_side(join: Join, left: bool, dedup: bool, names: &mut Names) -> Result<(Join, Above)> {
    let (side, other) = if left { (&join.left, &join.right) } else { (&join.right, &join.left) };
    let nothing = Above::nothing(side.schema());
    let Some(may_wait) = what_may_wait(&join, left, dedup) else { return Ok((join, nothing)) };
    let chain = Chain::below(side, true)?.apart_from(other.schema(), names)?;
    let keys: Vec<Expr> =
        join.on.iter().map(|(l, r)| if left { l.clone() } else { r.clone() }).collect();
    let keys = chain.write_all(&keys, side.schema())?;
    let condition =
        join.filter.as_ref().map(|filter| chain.write(filter, side.schema())).transpose()?;
    let read: Vec<Expr> = keys.iter().chain(&condition).cloned().collect();
    let Some((input, above)) = chain.split(&read, may_wait)? else { return Ok((join, nothing)) };
    let on = join.on.into_iter().zip(keys);
    let on = on.map(|((l, r), key)| if left { (key, r) } else { (l, key) }).collect();
    let (l, r) = if left { (input, join.right) } else { (join.left, input) };
    let join = Join::try_new(
        l,
        r,
        on,
        condition,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok((join, above))
}

/// Says which steps of a side may wait for the join; `None` if none may, since its rows may survive
/// the join without a partner.
fn what_may_wait(join: &Join, left: bool, dedup: bool) -> Option<fn(&Step) -> bool> {
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.then_some(Step::may_wait),
        JoinType::RightSemi | JoinType::RightAnti => (!left).then_some(Step::may_wait),
        JoinType::Inner => {
            let other = if left { &join.right } else { &join.left };
            let keys = join.on.iter().map(|(l, r)| if left { r } else { l });
            match is_unique(other.schema(), keys, join.null_equality) {
                true => Some(Step::may_wait),
                false => dedup.then_some(Step::may_be_repeated),
            }
        }
        _ => None,
    }
}

/// Says whether no two rows have the same keys.
fn is_unique<'a>(
    schema: &DFSchema,
    keys: impl Iterator<Item = &'a Expr>,
    nulls: NullEquality,
) -> bool {
    let keys: HashSet<usize> = keys
        .filter_map(|key| match key {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        })
        .collect();
    schema.functional_dependencies().iter().any(|dependence| {
        // A unique key that may be NULL may be NULL in several rows.
        let unique = !dependence.nullable || nulls == NullEquality::NullEqualsNothing;
        unique
            && dependence.mode == Dependency::Single
            && !dependence.source_indices.is_empty()
            && dependence.source_indices.iter().all(|index| keys.contains(index))
    })
}
