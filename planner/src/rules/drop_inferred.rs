//! [`DropInferred`] drops conditions with calls that DataFusion inferred from an equality.
//!
//! ```text
//! Before:                            After:
//! Inner Join: t.x = b.y              Inner Join: t.x = b.y
//!   Filter: fv(t.x) < 9                Filter: fv(t.x) < 9
//!     TableScan: t                       TableScan: t
//!   Filter: fv(b.y) < 9                TableScan: b
//!     TableScan: b
//! ```
//! DataFusion's `push_down_filter` tests the condition on the other side of an equality as well, without
//! asking whether the function is volatile: the two answers may differ, and the row is lost.
//!
//! Safe: the copy has the call sites of the condition, and reads the same but for columns that the join
//! makes equal; whoever passes the join has passed the condition that is kept. Of several the one of the
//! left side is kept, then that of the right side, then that of the join, which reads both. Copies are
//! looked for where upstream puts them: in the join's condition, and on either side down through filters,
//! projections, aliases and inner joins.
//! Declines: other joins than inner ones, from which upstream infers nothing that may hold a call; keys
//! of types whose equal values differ (0.0 and -0.0), where the condition may be told from its copy.
//! Needs: runs before calls leave filters and joins, since the copies are known by their call sites.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, ExprSchema, JoinType, NullEquality, Result};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, Filter, Join, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{has_call, has_one_form, is_volatile, sites};
use crate::rewrite::{Order, rewrite_nodes, written_in};
use crate::switches::{DROP_INFERRED, is_on};

/// Drops what was inferred.
#[derive(Debug, Default)]
pub struct DropInferred;

impl OptimizerRule for DropInferred {
    fn name(&self) -> &str {
        "drop_inferred"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !is_on(&config.options(), DROP_INFERRED) {
            return Ok(Transformed::no(plan));
        }
        // From the top down: a join further down drops the copy that one further up compares with.
        rewrite_nodes(plan, Order::TopDown, |node, _| match node {
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => drop_copies(join),
            node => Ok(Transformed::no(node)),
        })
    }
}

/// What the columns of a node are called at the top of the side that it stands in.
type Shown = HashMap<Column, Column>;

fn drop_copies(join: Join) -> Result<Transformed<LogicalPlan>> {
    let keys = keys(&join);
    if keys.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let mut conditions = Vec::new();
    for side in [&join.left, &join.right] {
        collect(side, &shown(side), &mut conditions);
    }
    let of_join = join.filter.as_ref().map(split_conjunction).unwrap_or_default();
    conditions.extend(of_join.into_iter().filter(|part| has_call(part)).cloned());
    let copies = find_copies(&conditions, &keys)?;
    if copies.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let left = drop_below(&join.left, &shown(&join.left), &copies)?.unwrap_or(join.left);
    let right = drop_below(&join.right, &shown(&join.right), &copies)?.unwrap_or(join.right);
    let filter = join.filter.map(split_conjunction_owned).unwrap_or_default();
    let filter = conjunction(filter.into_iter().filter(|part| !is_among(part, &copies)));
    Ok(Transformed::yes(LogicalPlan::Join(Join { left, right, filter, ..join })))
}

/// Returns for each column of the right side the one of the left side that it is equal to.
fn keys(join: &Join) -> HashMap<Column, Column> {
    if join.null_equality != NullEquality::NullEqualsNothing {
        return HashMap::new();
    }
    let mut keys = HashMap::new();
    for pair in &join.on {
        let (Expr::Column(l), Expr::Column(r)) = pair else { continue };
        let alike = join.left.schema().data_type(l).is_ok_and(has_one_form);
        if alike {
            keys.insert(r.clone(), l.clone());
        }
    }
    keys
}

fn shown(plan: &LogicalPlan) -> Shown {
    plan.schema().columns().into_iter().map(|column| (column.clone(), column)).collect()
}

/// Returns the conditions that are equal to one before them, written in the columns of the left side.
fn find_copies(conditions: &[Expr], keys: &HashMap<Column, Column>) -> Result<Vec<Expr>> {
    let mut known: Vec<(Expr, &Expr)> = Vec::new();
    let mut copies = Vec::new();
    for condition in conditions {
        let written = condition
            .clone()
            .transform_up(|part| match &part {
                Expr::Column(column) if let Some(left) = keys.get(column) => {
                    Ok(Transformed::yes(Expr::Column(left.clone())))
                }
                _ => Ok(Transformed::no(part)),
            })
            .data()?;
        let original = known.iter().find(|(other, _)| is_copy(&written, other));
        match original {
            Some((_, original)) if *original != condition => copies.push(condition.clone()),
            Some(_) => {}
            None => known.push((written, condition)),
        }
    }
    Ok(copies)
}

/// Says whether two conditions are one, evaluated twice.
fn is_copy(a: &Expr, b: &Expr) -> bool {
    a == b && !is_volatile(a) && sites(a).is_some_and(|sites_of_a| Some(sites_of_a) == sites(b))
}

fn is_among(condition: &Expr, copies: &[Expr]) -> bool {
    copies.iter().any(|copy| copy == condition && sites(copy) == sites(condition))
}

/// Collects the conditions with calls of one side, in the columns at its top.
fn collect(plan: &LogicalPlan, shown: &Shown, conditions: &mut Vec<Expr>) {
    if let Some(predicate) = predicate(plan) {
        let parts = split_conjunction(predicate).into_iter();
        let parts = parts.filter(|part| has_call(part)).filter_map(|part| at_top(part, shown));
        conditions.extend(parts);
    }
    for (input, shown) in inputs(plan, shown) {
        collect(input, &shown, conditions);
    }
}

/// Returns a side without the copies, `None` if it holds none.
fn drop_below(
    plan: &Arc<LogicalPlan>,
    shown: &Shown,
    copies: &[Expr],
) -> Result<Option<Arc<LogicalPlan>>> {
    let is_copy = |part: &Expr| {
        has_call(part) && at_top(part, shown).is_some_and(|part| is_among(&part, copies))
    };
    let here = predicate(plan).is_some_and(|all| split_conjunction(all).into_iter().any(is_copy));
    let mut below = Vec::new();
    for (input, shown) in inputs(plan, shown) {
        below.push(drop_below(input, &shown, copies)?);
    }
    if !here && below.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut below = below.into_iter();
    let mut input = |old: &Arc<LogicalPlan>| match below.next().flatten() {
        Some(new) => new,
        None => Arc::clone(old),
    };
    let kept = |predicate: &Expr| {
        let parts = split_conjunction(predicate).into_iter();
        conjunction(parts.filter(|part| !is_copy(part)).cloned())
    };
    Ok(Some(match plan.as_ref() {
        LogicalPlan::Filter(node) => {
            let input = input(&node.input);
            match kept(&node.predicate) {
                Some(predicate) => {
                    Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, input)?))
                }
                None => input,
            }
        }
        LogicalPlan::Join(node) => {
            let (left, right) = (input(&node.left), input(&node.right));
            let filter = node.filter.as_ref().and_then(kept);
            Arc::new(LogicalPlan::Join(Join { left, right, filter, ..node.clone() }))
        }
        node => {
            let inputs = node.inputs().into_iter();
            let inputs = inputs.map(|old| input(&Arc::new(old.clone())).as_ref().clone()).collect();
            Arc::new(node.with_new_exprs(node.expressions(), inputs)?)
        }
    }))
}

/// Returns the condition of a node that drops rows.
fn predicate(plan: &LogicalPlan) -> Option<&Expr> {
    match plan {
        LogicalPlan::Filter(filter) => Some(&filter.predicate),
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => join.filter.as_ref(),
        _ => None,
    }
}

/// Writes a condition in the columns at the top of its side; `None` if one of them is not shown there.
fn at_top(condition: &Expr, shown: &Shown) -> Option<Expr> {
    written_in(condition, |column| shown.get(column).cloned().map(Expr::Column))
}

/// Returns the inputs down to which a condition may have been pushed, and how their columns are shown.
fn inputs<'a>(plan: &'a LogicalPlan, shown: &Shown) -> Vec<(&'a Arc<LogicalPlan>, Shown)> {
    match plan {
        LogicalPlan::Filter(node) => vec![(&node.input, shown.clone())],
        LogicalPlan::Join(node) if node.join_type == JoinType::Inner => {
            vec![(&node.left, shown.clone()), (&node.right, shown.clone())]
        }
        LogicalPlan::SubqueryAlias(node) => {
            let inner = node.input.schema().columns().into_iter();
            let named = inner.zip(node.schema.columns());
            let passed =
                named.filter_map(|(inner, outer)| Some((inner, shown.get(&outer)?.clone())));
            vec![(&node.input, passed.collect())]
        }
        LogicalPlan::Projection(node) => {
            let named = node.expr.iter().zip(node.schema.columns());
            let passed = named.filter_map(|(expr, outer)| match unalias(expr.clone()) {
                Expr::Column(inner) => Some((inner, shown.get(&outer)?.clone())),
                _ => None,
            });
            vec![(&node.input, passed.collect())]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_rule, calls};

    #[test]
    fn drops_the_copy_on_the_other_side() {
        assert_rule!(
            DropInferred,
            fires,
            "SELECT x FROM t JOIN b ON t.x = b.y WHERE fv(t.x) < 50",
            @r"
            Projection: t.x
              Inner Join: t.x = b.y
                Filter: fv(t.x) < Int64(50)
                  TableScan: t projection=[x]
                TableScan: b projection=[y]
            "
        );
    }

    #[test]
    fn drops_copies_below_aliases_and_further_joins() {
        assert_rule!(
            DropInferred,
            fires,
            "SELECT q.w FROM t, (SELECT y AS w, z FROM b) q, b o WHERE t.x = q.w AND q.w = o.y AND fv(q.w) < 50",
            @r"
            Projection: q.w
              Inner Join: q.w = o.y
                Projection: q.w
                  Inner Join: t.x = q.w
                    Filter: fv(t.x) < Int64(50)
                      TableScan: t projection=[x]
                    SubqueryAlias: q
                      Projection: b.y AS w
                        TableScan: b projection=[y]
                SubqueryAlias: o
                  TableScan: b projection=[y]
            "
        );
    }

    #[test]
    fn a_volatile_function_is_asked_once() {
        assert_eq!(calls("SELECT x FROM t JOIN b ON t.x = b.y WHERE fv(t.x) < 50"), "fv 60");
    }

    #[test]
    fn declines_for_conditions_that_were_written_twice() {
        for sql in [
            "SELECT x FROM t JOIN b ON t.x = b.y + 0 WHERE fv(t.x) < 50",
            "SELECT x FROM t JOIN b ON t.x = b.y + 0 WHERE fv(t.x) < 50 AND fv(b.y) < 50",
            "SELECT x FROM t LEFT JOIN b ON t.x = b.y WHERE fv(t.x) < 50",
            "SELECT x FROM t WHERE fv(x) BETWEEN 3 AND 50",
        ] {
            assert_eq!(crate::testing::after_rule(&DropInferred, sql), None, "{sql}");
        }
    }
}
