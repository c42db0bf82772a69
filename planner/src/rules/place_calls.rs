//! [`PlaceCalls`] makes a call once along a chain of nodes.
//!
//! ```text
//! Before:                                   After:
//! AsyncCalc: f(x) AS __async_1              Projection: x, __async_0 AS __async_1
//!   Projection: x                             Projection: x, __async_0
//!     Filter: __async_0 > 5                     Filter: __async_0 > 5
//!       AsyncCalc: f(x) AS __async_0              AsyncCalc: f(x) AS __async_0
//!         TableScan: t                              TableScan: t
//! ```
//! # When a call may be merged into one below it, and why
//!
//! 1. *The nodes between neither multiply nor null-extend nor change a row.* A chain consists of
//!    Projection, Filter, Sort, Limit, SubqueryAlias, Window and AsyncCalc: each row above it is
//!    one row below it, so the value computed below is the value of that row. Joins, aggregations
//!    and unions end the chain: rows come from several places there, and carrying a column through
//!    them costs more than the memo at run time, which merges what the plan keeps apart.
//! 2. *Both calls have the same value on that row.* The arguments are followed down through
//!    projections, and through results of reusable unguarded calls, until they are written in the
//!    same columns; then the expressions must be equal, and either the function is deterministic
//!    and free of side effects, or both are copies of one call site. Arguments that hold a volatile
//!    synchronous function (`f(random())`) are never equal, nor is a column followed through one.
//! 3. *Wherever the upper call is needed, the lower one was made.* The upper guard must imply the
//!    lower one, which is seen from their conditions alone: every conjunction of the upper guard
//!    holds all conditions of some conjunction of the lower. An unguarded call below serves every
//!    guard above: its further values are read by nobody. An unguarded call above a guarded one is
//!    left alone, because widening the lower guard would make calls for rows that a filter in
//!    between drops.
//! 4. *The lower call stays where it is.* Something in between reads it (else the upper one would
//!    be the only one), so it cannot wait.
//!
//! The columns in between are widened by the lower result, and a Projection in place of the upper
//! node restores the schema; DataFusion folds it away.
//!
//! Declines: no equal call in the chain below.
//! Needs: runs after `nested_split`, when no call holds another, and before `one_async_per_calc`,
//! so that a Projection never comes between calls that could be made at the same time.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, Result, internal_err};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{
    Expr, Filter, Limit, LogicalPlan, Projection, Sort, SubqueryAlias, UserDefinedLogicalNodeCore,
    Window,
};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{find_call, has_call, is_volatile, same_value};
use crate::guard::Guard;
use crate::logical::{AsyncCalc, CallColumn};
use crate::rewrite::{Order, calculate, rewrite_nodes};

/// Merges calls along chains.
#[derive(Debug, Default)]
pub struct PlaceCalls;

impl OptimizerRule for PlaceCalls {
    fn name(&self) -> &str {
        "place_calls"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::BottomUp, |node, _| match AsyncCalc::find(&node) {
            Some(calc) => match reuse_below(calc)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => Ok(Transformed::no(node)),
            },
            None => Ok(Transformed::no(node)),
        })
    }
}

/// Replaces the calls of a node that were made below it; `None` if there is none.
fn reuse_below(calc: &AsyncCalc) -> Result<Option<LogicalPlan>> {
    let mut input = Arc::clone(calc.input());
    let mut kept = Vec::new();
    let mut known = Vec::new();
    for column in calc.calls() {
        match find_below(&input, &Sought::from(column))? {
            Some((widened, result)) => {
                input = Arc::new(widened);
                known.push((column.name.clone(), result));
            }
            None => kept.push(column.clone()),
        }
    }
    if known.is_empty() {
        return Ok(None);
    }
    let schema = UserDefinedLogicalNodeCore::schema(calc);
    let plan = calculate(input, kept)?;
    let exprs = schema
        .iter()
        .map(|field| {
            let column = Column::from(field);
            match known.iter().find(|(name, _)| *name == column.name) {
                Some((name, result)) => Expr::Column(result.clone()).alias(name),
                None => Expr::Column(column),
            }
        })
        .collect();
    let projection = Projection::try_new_with_schema(exprs, plan, Arc::clone(schema))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// A call that is looked for, in the columns of the node it is looked for in.
#[derive(Debug, Clone)]
struct Sought {
    call: Expr,
    guard: Option<Expr>,
}

impl From<&CallColumn> for Sought {
    fn from(column: &CallColumn) -> Self {
        Self { call: column.call.clone(), guard: column.guard.clone() }
    }
}

impl Sought {
    /// Writes the call in the columns of the node's input.
    fn below(&self, plan: &LogicalPlan) -> Result<Option<Self>> {
        let Some(call) = write_below(&self.call, plan)? else { return Ok(None) };
        let guard = match &self.guard {
            Some(guard) => match write_below(guard, plan)? {
                Some(guard) => Some(guard),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Self { call, guard }))
    }
}

/// Looks for a call in a chain; returns the chain with the result among its columns.
fn find_below(plan: &LogicalPlan, sought: &Sought) -> Result<Option<(LogicalPlan, Column)>> {
    let (Some(sought), Some(input)) = (sought.below(plan)?, only_input(plan)) else {
        return Ok(None);
    };
    if let Some(calc) = AsyncCalc::find(plan) {
        for column in calc.calls() {
            if serves(column, &sought, input)? {
                return Ok(Some((plan.clone(), Column::from_name(&column.name))));
            }
        }
    }
    match find_below(input, &sought)? {
        Some((input, result)) => expose(plan, Arc::new(input), result).map(Some),
        None => Ok(None),
    }
}

fn only_input(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan.inputs().as_slice() {
        [input] => Some(*input),
        _ => None,
    }
}

/// Says whether a call has the value of the one sought, wherever that is needed.
///
/// Both are written in the columns of `input`.
fn serves(column: &CallColumn, sought: &Sought, input: &LogicalPlan) -> Result<bool> {
    let needed = Guard::from_expr(sought.guard.clone());
    if !needed.implies(&Guard::from_expr(column.guard.clone())) {
        return Ok(false);
    }
    let (mut sought, mut made) = (sought.call.clone(), column.call.clone());
    let mut plan = input;
    loop {
        if same_value(&sought, &made) {
            return Ok(true);
        }
        // Written in columns further below, they may agree.
        let (Some(sought_below), Some(made_below), Some(input)) =
            (write_below(&sought, plan)?, write_below(&made, plan)?, only_input(plan))
        else {
            return Ok(false);
        };
        (sought, made, plan) = (sought_below, made_below, input);
    }
}

/// Writes an expression over a node's columns in the columns of its input.
///
/// Returns `None` where the chain ends, or where a column cannot be written so: it is volatile, or
/// the result of a call that is guarded or may not be reused.
fn write_below(expr: &Expr, plan: &LogicalPlan) -> Result<Option<Expr>> {
    let definition = |column: &Column| -> Option<Expr> {
        match plan {
            LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
                Some(Expr::Column(column.clone()))
            }
            LogicalPlan::Window(window) => window
                .input
                .schema()
                .is_column_from_schema(column)
                .then(|| Expr::Column(column.clone())),
            LogicalPlan::SubqueryAlias(alias) => {
                let index = alias.schema.maybe_index_of_column(column)?;
                Some(Expr::Column(Column::from(alias.input.schema().qualified_field(index))))
            }
            LogicalPlan::Projection(projection) => {
                let index = projection.schema.maybe_index_of_column(column)?;
                let expr = unalias(projection.expr.get(index)?.clone());
                (!is_volatile(&expr) && !has_call(&expr)).then_some(expr)
            }
            plan => {
                let made = AsyncCalc::find(plan)?.calls();
                match made.iter().find(|made| made.name == column.name) {
                    Some(made) => {
                        let udf = find_call(&made.call)?;
                        let reusable = udf.function().declaration().is_reusable();
                        (made.guard.is_none() && reusable).then(|| made.call.clone())
                    }
                    None => Some(Expr::Column(column.clone())),
                }
            }
        }
    };
    let mut known = true;
    let written = expr
        .clone()
        .transform_down(|part| match &part {
            Expr::Column(column) => Ok(match definition(column) {
                // The definition is in the input's columns: do not follow it again.
                Some(expr) => Transformed::new(expr, true, TreeNodeRecursion::Jump),
                None => {
                    known = false;
                    Transformed::new(part, false, TreeNodeRecursion::Stop)
                }
            }),
            _ => Ok(Transformed::no(part)),
        })
        .data()?;
    Ok(known.then_some(written))
}

/// Rebuilds a node of a chain over its widened input, so that it passes one column more.
fn expose(
    plan: &LogicalPlan,
    input: Arc<LogicalPlan>,
    result: Column,
) -> Result<(LogicalPlan, Column)> {
    Ok(match plan {
        LogicalPlan::Filter(filter) => {
            let filter = Filter::try_new(filter.predicate.clone(), input)?;
            (LogicalPlan::Filter(filter), result)
        }
        LogicalPlan::Sort(sort) => (LogicalPlan::Sort(Sort { input, ..sort.clone() }), result),
        LogicalPlan::Limit(limit) => (LogicalPlan::Limit(Limit { input, ..limit.clone() }), result),
        LogicalPlan::Window(window) => {
            let window = Window::try_new(window.window_expr.clone(), input)?;
            (LogicalPlan::Window(window), result)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let name = alias.alias.clone();
            let alias = SubqueryAlias::try_new(input, name.clone())?;
            (LogicalPlan::SubqueryAlias(alias), Column::new(Some(name), result.name))
        }
        LogicalPlan::Projection(projection) => {
            let column = Expr::Column(result.clone());
            let passed = projection.expr.iter().position(|expr| unalias(expr.clone()) == column);
            match passed {
                Some(index) => {
                    let passed = Column::from(projection.schema.qualified_field(index));
                    let projection = Projection::try_new(projection.expr.clone(), input)?;
                    (LogicalPlan::Projection(projection), passed)
                }
                None => {
                    let exprs = projection.expr.iter().cloned().chain([column]).collect();
                    (LogicalPlan::Projection(Projection::try_new(exprs, input)?), result)
                }
            }
        }
        plan => match AsyncCalc::find(plan) {
            Some(calc) => (AsyncCalc::try_new(input, calc.calls().to_vec())?.into_plan(), result),
            None => return internal_err!("{} is no part of a chain", plan.display()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_call_of_select_and_where_once() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x, f(x) FROM t WHERE f(x) > 5",
            @r"
            Projection: t.x, __async_1 AS f(t.x)
              Projection: t.x, __async_0 AS __async_1
                Projection: t.x, __async_0
                  Filter: __async_0 > Int64(5)
                    AsyncCalc: f(t.x) AS __async_0
                      TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn follows_a_chain_with_a_limit_and_an_alias() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT f(y) FROM (SELECT x AS y, f(x) AS v FROM t ORDER BY f(x) LIMIT 5) q WHERE v > 2",
            @r"
            Projection: __async_0 AS f(q.y)
              Projection: q.y, q.v AS __async_0
                SubqueryAlias: q
                  Projection: y, v
                    Filter: v > Int64(2)
                      Limit: skip=0, fetch=5
                        Projection: y, v
                          Sort: __async_2 ASC NULLS LAST, fetch=5
                            Projection: y, v, v AS __async_2
                              Projection: t.x AS y, __async_1 AS v
                                AsyncCalc: f(t.x) AS __async_1
                                  TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn declines_for_volatile_functions() {
        assert_rule!(PlaceCalls, declines, "SELECT fv(x) FROM t WHERE fv(x) > 5");
    }

    #[test]
    fn declines_for_side_effects() {
        assert_rule!(PlaceCalls, declines, "SELECT send(x) FROM t WHERE send(x) > 5");
    }

    #[test]
    fn declines_when_the_lower_call_was_not_made_for_every_row() {
        assert_rule!(PlaceCalls, declines, "SELECT f(x) FROM t WHERE k < 5 OR f(x) > 20");
    }
}
