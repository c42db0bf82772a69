//! The deferral half of `place_calls`: a call waits until the rows that nobody wants are gone.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, Result};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, Filter, Limit, LogicalPlan, Projection, Sort, Unnest};

use farcall_udf::FarcallConfig;

use super::Session;
use super::chain::{Chain, Step};
use super::join::defer_join;
use super::lookup::defer_lookup;
use super::top_k::limit_looked_up;
use crate::calls::{Names, is_volatile};
use crate::fallible::may_fail;
use crate::logical::AsyncLookupJoin;
use crate::rewrite::filter;

/// Moves calls above a node that drops rows and does not read their results.
pub(super) fn defer(
    plan: LogicalPlan,
    session: Session<'_>,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Limit(limit) => defer_limit(limit),
        LogicalPlan::Sort(sort) if sort.fetch.is_some() => defer_top_k(sort),
        LogicalPlan::Filter(filter) => defer_filter(filter, session),
        LogicalPlan::Join(join) => defer_join(join, session, names),
        LogicalPlan::Unnest(unnest) => defer_unnest(unnest, session.config),
        plan => {
            let deferred = match AsyncLookupJoin::find(&plan) {
                Some(join) => defer_lookup(join, session.config, names)?,
                None => None,
            };
            Ok(deferred.map_or_else(|| Transformed::no(plan), Transformed::yes))
        }
    }
}

fn defer_limit(limit: Limit) -> Result<Transformed<LogicalPlan>> {
    let chain = Chain::below(&limit.input, false)?;
    let Some((input, above)) = chain.split(&[], Step::may_wait)? else {
        return Ok(Transformed::no(LogicalPlan::Limit(limit)));
    };
    let schema = Arc::clone(limit.input.schema());
    Ok(Transformed::yes(above.over(LogicalPlan::Limit(Limit { input, ..limit }), schema)?))
}

pub(super) fn defer_top_k(sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let chain = Chain::below(&sort.input, false)?;
    let keys: Vec<Expr> = sort.expr.iter().map(|key| key.expr.clone()).collect();
    let keys = chain.write_all(&keys, sort.input.schema())?;
    if let Some(limited) = limit_looked_up(&sort, &chain, &keys)? {
        return Ok(Transformed::yes(defer_top_k(limited)?.data));
    }
    let Some((input, above)) = chain.split(&keys, Step::may_wait)? else {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    };
    let schema = Arc::clone(sort.input.schema());
    let expr = sort.expr.into_iter().zip(keys).map(|(key, expr)| key.with_expr(expr)).collect();
    let sort = LogicalPlan::Sort(Sort { expr, input, fetch: sort.fetch });
    Ok(Transformed::yes(above.over(sort, schema)?))
}

/// Moves calls above the unnesting of lists that they do not make: a row whose list is empty vanishes.
fn defer_unnest(unnest: Unnest, config: &FarcallConfig) -> Result<Transformed<LogicalPlan>> {
    let schema = unnest.input.schema();
    let chain = Chain::below(&unnest.input, false)?;
    let lists: Vec<Expr> = unnest.exec_columns.iter().cloned().map(Expr::Column).collect();
    let lists = chain.write_all(&lists, schema)?;
    let Some((input, above)) = chain.split(&lists, |step| step.may_be_repeated(config))? else {
        return Ok(Transformed::no(LogicalPlan::Unnest(unnest)));
    };
    let outputs = unnest.schema.columns().into_iter().zip(&unnest.dependency_indices);
    let outputs = outputs.map(|(column, index)| {
        let (qualifier, field) = schema.qualified_field(*index);
        match unnest.exec_columns.contains(&Column::from((qualifier, field))) {
            true => Expr::Column(column),
            false => above.outputs()[*index].clone(),
        }
    });
    let outputs = outputs.collect();
    let above = above.with_outputs(outputs);
    let read = above.read_columns();
    let passed = input.schema().columns().into_iter().filter(|column| read.contains(column));
    let passed: Vec<Expr> = passed.map(Expr::Column).collect();
    let lists = lists
        .into_iter()
        .zip(&unnest.exec_columns)
        .map(|(list, column)| list.alias_qualified(column.relation.clone(), &column.name));
    let input = Projection::try_new(lists.chain(passed).collect(), input)?;
    let input = Arc::new(LogicalPlan::Projection(input));
    let below = Unnest::try_new(input, unnest.exec_columns, unnest.options)?;
    Ok(Transformed::yes(above.over(LogicalPlan::Unnest(below), unnest.schema)?))
}

/// Moves calls above the first condition that does not read them, and what reads them with them.
fn defer_filter(node: Filter, session: Session<'_>) -> Result<Transformed<LogicalPlan>> {
    if session.waits
        && let Some(plan) = test_last(&node, session)?
    {
        return Ok(Transformed::yes(plan));
    }
    let chain = Chain::below(&node.input, false)?;
    let schema = Arc::clone(node.input.schema());
    let conditions: Vec<Expr> = split_conjunction(&node.predicate).into_iter().cloned().collect();
    let written = chain.write_all(&conditions, &schema)?;
    let first = chain.needed(&written[..1]);
    let (now, later): (Vec<_>, Vec<_>) = conditions
        .into_iter()
        .zip(written)
        .partition(|(_, written)| chain.needed(std::slice::from_ref(written)).is_subset(&first));
    let now: Vec<Expr> = now.into_iter().map(|(_, written)| written).collect();
    let Some((input, above)) = chain.split(&now, Step::may_wait)? else {
        return Ok(Transformed::no(LogicalPlan::Filter(node)));
    };
    let deferred = above.over(filter(Arc::unwrap_or_clone(input), now)?, schema)?;
    let later = later.into_iter().map(|(condition, _)| condition);
    Ok(Transformed::yes(match filter(deferred, later.collect())? {
        // The next condition may leave calls to those after it in turn.
        LogicalPlan::Filter(node) => defer_filter(node, session)?.data,
        plan => plan,
    }))
}

/// Moves calls and the conditions on them above the cheap conditions of a filter, from below nodes that drop
/// no row as well; `None` if none may.
///
/// A condition that may fail stays behind those on calls, which keep it from rows.
fn test_last(node: &Filter, session: Session<'_>) -> Result<Option<LogicalPlan>> {
    let chain = Chain::through(&node.input, session.config)?;
    if !chain.has_filter() {
        return Ok(None);
    }
    let schema = node.input.schema();
    let conditions: Vec<Expr> = split_conjunction(&node.predicate).into_iter().cloned().collect();
    let written = chain.write_all(&conditions, schema)?;
    let base = Arc::clone(chain.base());
    let is_first = |written: &Expr| {
        chain.needed(std::slice::from_ref(written)).is_empty()
            && !is_volatile(written)
            && !may_fail(written, base.schema())
    };
    let (now, later): (Vec<_>, Vec<_>) =
        conditions.into_iter().zip(written).partition(|(_, written)| is_first(written));
    let now: Vec<Expr> = now.into_iter().map(|(_, written)| written).collect();
    if now.is_empty() {
        return Ok(None);
    }
    let Some((input, above)) = chain.split(&now, Step::may_wait)? else { return Ok(None) };
    if !above.has_filter() {
        return Ok(None);
    }
    let first = filter(Arc::unwrap_or_clone(input), now)?;
    let deferred = above.over(first, Arc::clone(schema))?;
    let later = later.into_iter().map(|(condition, _)| condition);
    Ok(Some(match filter(deferred, later.collect())? {
        LogicalPlan::Filter(node) => defer_filter(node, session)?.data,
        plan => plan,
    }))
}
