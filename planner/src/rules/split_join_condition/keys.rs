//! Which equalities with calls are keys of a join, and which are conditions on its pairs.

use datafusion_common::{NullEquality, Result};
use datafusion_expr::utils::{
    can_hash, conjunction, find_valid_equijoin_key_pair, split_conjunction_owned,
};
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Join, JoinType, Operator, binary_expr};

use farcall_udf::FarcallConfig;

use crate::calls::{has_call, may_be_repeated};

/// What a session says to the choice of keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'c> {
    /// Whether keys are chosen at all.
    pub(super) on: bool,
    /// Which equal calls are made once at run time.
    pub(super) config: &'c FarcallConfig,
}

/// Leaves a join the keys that it should have.
///
/// With a key that holds no call, those that do become conditions; without one, the first equality with a
/// call is the key, be it one already or a condition, and the others become conditions.
pub(super) fn choose_keys(join: Join, choice: Choice<'_>) -> Result<Join> {
    // A NULL in a key of NOT IN means more than in a condition.
    if !choice.on || join.null_aware {
        return Ok(join);
    }
    let (dear, mut on): (Vec<_>, Vec<_>) =
        join.on.iter().cloned().partition(|(l, r)| has_call(l) || has_call(r));
    let mut conditions = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
    let mut changed = false;
    let mut dear = dear.into_iter();
    if on.is_empty() {
        on.extend(dear.next());
    }
    for (l, r) in dear {
        if may_be_repeated(&l, choice.config) && may_be_repeated(&r, choice.config) {
            conditions.push(equal(l, r, join.null_equality));
            changed = true;
        } else {
            on.push((l, r));
        }
    }
    // Of other joins DataFusion makes keys by itself: what they join on was written in ON.
    if on.is_empty() && join.join_type == JoinType::Inner {
        let mut rest = Vec::with_capacity(conditions.len());
        for condition in conditions {
            match on.is_empty().then(|| as_key(&condition, &join)).transpose()?.flatten() {
                Some(key) => on.push(key),
                None => rest.push(condition),
            }
        }
        conditions = rest;
        changed = !on.is_empty();
    }
    if !changed {
        return Ok(join);
    }
    Ok(Join { on, filter: conjunction(conditions), ..join })
}

/// Reads a condition as a pair of keys, if it is an equality with a call of the two sides.
fn as_key(condition: &Expr, join: &Join) -> Result<Option<(Expr, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return Ok(None);
    };
    if !has_call(condition) || join.null_equality != NullEquality::NullEqualsNothing {
        return Ok(None);
    }
    let (l, r) = (join.left.schema(), join.right.schema());
    let Some((left, right)) = find_valid_equijoin_key_pair(left, right, l, r)? else {
        return Ok(None);
    };
    let types = (left.get_type(l.as_ref())?, right.get_type(r.as_ref())?);
    Ok((types.0 == types.1 && can_hash(&types.0)).then_some((left, right)))
}

fn equal(left: Expr, right: Expr, nulls: NullEquality) -> Expr {
    let op = match nulls {
        NullEquality::NullEqualsNothing => Operator::Eq,
        NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
    };
    binary_expr(left, op, right)
}
