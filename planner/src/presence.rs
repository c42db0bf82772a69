//! [`plan_has_call`] and [`plan_has_lookup`], which every rule asks first.

use datafusion_common::Result;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan};

use crate::calls::is_async;
use crate::hint::hint;
use crate::lookup::{LookupSource, LookupTables};

/// Says whether an async call stands anywhere in the plan, in its subqueries too; also one of a
/// function that nobody has wrapped yet.
pub(crate) fn plan_has_call(plan: &LogicalPlan) -> Result<bool> {
    holds(plan, |_| false, is_async)
}

/// Says whether the plan reads a lookup table or holds a hint for one, in its subqueries too.
pub(crate) fn plan_has_lookup(plan: &LogicalPlan, tables: &dyn LookupTables) -> Result<bool> {
    holds(plan, |node| reads_lookup(node, tables), |part| hint(part).is_some())
}

/// Says whether a node reads a lookup table.
pub(crate) fn reads_lookup(node: &LogicalPlan, tables: &dyn LookupTables) -> bool {
    match node {
        LogicalPlan::TableScan(scan) => LookupSource::of(scan, tables).is_some(),
        _ => false,
    }
}

/// Says whether one of the tests holds for a node of the plan or for a part of its expressions.
pub(crate) fn holds(
    plan: &LogicalPlan,
    node_test: impl Fn(&LogicalPlan) -> bool,
    part_test: impl Fn(&Expr) -> bool,
) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = node_test(node) || look(node, &part_test)?.found;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// What the expressions of a node hold.
#[derive(Default)]
pub(crate) struct Look {
    /// What the test looks for.
    pub(crate) found: bool,
    /// A plan of its own, which was not looked into.
    pub(crate) subquery: bool,
}

/// Looks at the expressions of one node.
pub(crate) fn look(node: &LogicalPlan, test: &impl Fn(&Expr) -> bool) -> Result<Look> {
    let mut look = Look::default();
    node.apply_expressions(|expr| {
        look_at(expr, test, &mut look)?;
        Ok(if look.found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(look)
}

/// Looks at all parts of an expression, without recursion and most of them without a test: each rule
/// does this again.
fn look_at(expr: &Expr, test: &impl Fn(&Expr) -> bool, look: &mut Look) -> Result<()> {
    let mut next = Some(expr);
    let mut rest = Vec::new();
    while let Some(part) = next.take().or_else(|| rest.pop()) {
        match part {
            Expr::Column(_) | Expr::Literal(..) => {}
            Expr::Alias(alias) => next = Some(&*alias.expr),
            Expr::Cast(cast) => next = Some(&*cast.expr),
            Expr::BinaryExpr(binary) => {
                rest.push(&*binary.right);
                next = Some(&*binary.left);
            }
            part => {
                look.found |= test(part);
                look.subquery |= is_subquery(part);
                part.apply_children(|child| {
                    rest.push(child);
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
        }
    }
    Ok(())
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
    )
}
