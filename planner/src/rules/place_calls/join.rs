//! Deferral through joins: calls, and the filters on them, wait for the rows that find a partner.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Dependency, JoinType, NullEquality, Result};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, Operator, binary_expr};

use farcall_udf::FarcallConfig;

use super::Session;
use super::chain::{Above, Chain, Copies};
use super::pairs::test_pairs;
use crate::calls::Names;
use crate::fallible::may_fail;

/// Moves the calls of the sides whose rows a join keeps or drops above it.
pub(super) fn defer_join(
    join: Join,
    session: Session<'_>,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(&join.schema);
    let (join, of_left) = defer_side(join, true, session, names)?;
    let (join, of_right) = defer_side(join, false, session, names)?;
    let above = match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti => of_right,
        JoinType::LeftSemi | JoinType::LeftAnti => of_left,
        _ => of_left.with(of_right),
    };
    let joined = test_pairs(join, session.config, names)?;
    if above.is_nothing() {
        return Ok(joined);
    }
    Ok(Transformed::yes(above.over(joined.data, schema)?))
}

/// Takes from one side of a join what may wait.
fn defer_side(
    join: Join,
    left: bool,
    session: Session<'_>,
    names: &mut Names,
) -> Result<(Join, Above)> {
    let nothing = Above::nothing(if left { &join.left } else { &join.right }.schema());
    let Some(copies) = what_may_wait(&join, left, session.config) else {
        return Ok((join, nothing));
    };
    let flag = may_miss(join.join_type, left).then(|| names.next());
    // A row that a filter drops must not be missing above an outer join, but unmatched.
    let filters = match flag {
        Some(_) => Filters::Stay,
        None if session.waits => Filters::Through(session.config),
        None => Filters::Taken,
    };
    let mut side = Side::of(&join, left, filters, flag.as_deref(), names)?;
    if session.waits && side.chain.has_filter() && side.may_fail(&join, left)? {
        // What the join reads would fail on rows that a filter has kept from it.
        side = Side::of(&join, left, Filters::Stay, None, names)?;
    }
    let read = side.read();
    let Side { chain, keys, condition } = side;
    let Some((input, above)) = chain.split(&read, |step| copies.let_wait(step))? else {
        return Ok((join, nothing));
    };
    let above = match &flag {
        Some(flag) => above.where_present(flag),
        None => above,
    };
    let (on, condition) = conditions(&join, left, keys, condition);
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

/// What becomes of the filters on calls of a side.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filters<'c> {
    /// They stay, and what is below them.
    Stay,
    /// They are taken.
    Taken,
    /// They are taken, those below nodes that drop no row as well.
    Through(&'c FarcallConfig),
}

/// One side of a join, taken apart, and what the join reads, written in the columns of its base.
pub(super) struct Side {
    pub(super) chain: Chain,
    pub(super) keys: Vec<Expr>,
    pub(super) condition: Option<Expr>,
}

impl Side {
    /// Takes a side apart, and its filters too if they may become conditions of the pairs.
    ///
    /// `flag` names a column to be added that is TRUE in the side's rows.
    pub(super) fn of(
        join: &Join,
        left: bool,
        filters: Filters<'_>,
        flag: Option<&str>,
        names: &mut Names,
    ) -> Result<Self> {
        let (side, other) =
            if left { (&join.left, &join.right) } else { (&join.right, &join.left) };
        let chain = match filters {
            Filters::Stay => Chain::below(side, false)?,
            Filters::Taken => Chain::below(side, true)?,
            Filters::Through(config) => Chain::through(side, config)?,
        };
        let chain = chain.apart_from(other.schema(), names)?;
        let chain = match flag {
            Some(flag) => chain.flagged(flag)?,
            None => chain,
        };
        let keys: Vec<Expr> =
            join.on.iter().map(|(l, r)| if left { l.clone() } else { r.clone() }).collect();
        let keys = chain.write_all(&keys, side.schema())?;
        let condition = join.filter.as_ref();
        let condition = condition.map(|filter| chain.write(filter, side.schema())).transpose()?;
        Ok(Self { chain, keys, condition })
    }

    /// Says whether what the join reads may fail on rows that a filter has dropped.
    fn may_fail(&self, join: &Join, left: bool) -> Result<bool> {
        let other = if left { &join.right } else { &join.left };
        let schema = self.chain.base().schema().join(other.schema())?;
        Ok(self.read().iter().any(|expr| may_fail(expr, &schema)))
    }

    /// Returns what the join reads.
    pub(super) fn read(&self) -> Vec<Expr> {
        self.keys.iter().chain(&self.condition).cloned().collect()
    }
}

/// Returns a join's pairs of keys and its condition, given those of one side anew.
pub(super) fn conditions(
    join: &Join,
    left: bool,
    keys: Vec<Expr>,
    condition: Option<Expr>,
) -> (Vec<(Expr, Expr)>, Option<Expr>) {
    let (mut on, mut conditions) = (Vec::new(), Vec::from_iter(condition));
    for ((l, r), key) in join.on.iter().cloned().zip(keys) {
        let constant = !key.any_column_refs();
        let (l, r) = if left { (key, r) } else { (l, key) };
        match constant {
            // DataFusion loses such a key when it takes joins apart in a further pass.
            true => conditions.push(equal(l, r, join.null_equality)),
            false => on.push((l, r)),
        }
    }
    (on, conjunction(conditions))
}

/// Writes a pair of keys as a condition.
fn equal(left: Expr, right: Expr, nulls: NullEquality) -> Expr {
    let op = match nulls {
        NullEquality::NullEqualsNothing => Operator::Eq,
        NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
    };
    binary_expr(left, op, right)
}

/// Says whether rows may come out of the join in which this side is missing.
fn may_miss(join_type: JoinType, left: bool) -> bool {
    match join_type {
        JoinType::Left => !left,
        JoinType::Right => left,
        JoinType::Full => true,
        _ => false,
    }
}

/// Says what becomes of the rows of a side above the join; `None` if no row of it is dropped.
fn what_may_wait<'c>(join: &Join, left: bool, config: &'c FarcallConfig) -> Option<Copies<'c>> {
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.then_some(Copies::One),
        JoinType::RightSemi | JoinType::RightAnti => (!left).then_some(Copies::One),
        JoinType::LeftMark | JoinType::RightMark => None,
        JoinType::Left if left => None,
        JoinType::Right if !left => None,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            let other = if left { &join.right } else { &join.left };
            let keys = join.on.iter().map(|(l, r)| if left { r } else { l });
            match is_unique(other.schema(), keys, join.null_equality) {
                true => Some(Copies::One),
                false => Some(Copies::Several(config)),
            }
        }
    }
}

/// Says whether no two rows have the same keys.
pub(super) fn is_unique<'a>(
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
