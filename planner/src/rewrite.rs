//! What all rules share: walking a plan that holds calls, and putting nodes on top of each other.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchemaRef, Result};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Filter, LogicalPlan, Projection};

use crate::calls::Names;
use crate::logical::{AsyncCalc, CallColumn};
use crate::presence::plan_has_call;

/// The order in which [`rewrite_nodes`] visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// A node before its inputs, and before what the rule puts below it.
    TopDown,
    /// A node after its inputs.
    BottomUp,
}

/// Visits every node of a plan that holds async calls, subqueries included.
///
/// The rules walk by themselves, rather than being walked by the optimizer, because the names of
/// generated columns are numbered plan-wide. Plans without calls are returned at once.
pub(crate) fn rewrite_nodes(
    plan: LogicalPlan,
    order: Order,
    mut rewrite: impl FnMut(LogicalPlan, &mut Names) -> Result<Transformed<LogicalPlan>>,
) -> Result<Transformed<LogicalPlan>> {
    if !plan_has_call(&plan)? {
        return Ok(Transformed::no(plan));
    }
    let mut names = Names::after(&plan)?;
    match order {
        Order::TopDown => plan.transform_down_with_subqueries(|node| rewrite(node, &mut names)),
        Order::BottomUp => plan.transform_up_with_subqueries(|node| rewrite(node, &mut names)),
    }
}

/// Rewrites the parts of a node's expressions, from the inside out; the expressions keep their names.
pub(crate) fn map_parts(
    node: LogicalPlan,
    mut rewrite: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(&mut rewrite)?;
        Ok(if expr.transformed { expr.update_data(|expr| name.restore(expr)) } else { expr })
    })
}

/// Writes an expression with what its columns stand for; `None` if that is not known of one of them.
pub(crate) fn written_in(expr: &Expr, define: impl Fn(&Column) -> Option<Expr>) -> Option<Expr> {
    let mut known = true;
    let written = expr.clone().transform_down(|part| match &part {
        Expr::Column(column) => Ok(match define(column) {
            // The definition is in other columns: do not follow it again.
            Some(expr) => Transformed::new(expr, true, TreeNodeRecursion::Jump),
            None => {
                known = false;
                Transformed::new(part, false, TreeNodeRecursion::Stop)
            }
        }),
        _ => Ok(Transformed::no(part)),
    });
    // The closure never fails, so neither does the walk.
    written.ok().filter(|_| known).map(|written| written.data)
}

/// Puts the calls above a plan; without calls the plan stays as it is.
pub(crate) fn calculate(
    input: Arc<LogicalPlan>,
    calls: Vec<CallColumn>,
) -> Result<Arc<LogicalPlan>> {
    if calls.is_empty() {
        return Ok(input);
    }
    Ok(Arc::new(AsyncCalc::try_new(input, calls)?.into_plan()))
}

/// Puts a filter above a plan; without conditions the plan stays as it is.
pub(crate) fn filter(input: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(conditions) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?)),
        None => Ok(input),
    }
}

/// Drops the columns that a rule added, and puts the rest in the order they had.
pub(crate) fn restore(plan: LogicalPlan, schema: DFSchemaRef) -> Result<LogicalPlan> {
    let columns = columns(&schema).collect();
    let projection = Projection::try_new_with_schema(columns, Arc::new(plan), schema)?;
    Ok(LogicalPlan::Projection(projection))
}

/// Returns the columns of a schema as expressions.
pub(crate) fn columns(schema: &DFSchemaRef) -> impl Iterator<Item = Expr> + '_ {
    schema.iter().map(|field| Expr::Column(Column::from(field)))
}
