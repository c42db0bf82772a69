//! The reuse half of `place_calls`: a call that was made further down a chain is not made again.

use std::sync::Arc;

use datafusion_common::{Column, Result, internal_err};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{
    Expr, Filter, Limit, LogicalPlan, Projection, Sort, SubqueryAlias, UserDefinedLogicalNodeCore,
    Window,
};

use crate::calls::{find_call, has_call, is_volatile, same_value};
use crate::guard::Guard;
use crate::logical::{AsyncCalc, CallColumn};
use crate::rewrite::{calculate, written_in};

/// Replaces the calls of a node that were made below it; `None` if there is none.
pub(super) fn reuse_below(calc: &AsyncCalc) -> Result<Option<LogicalPlan>> {
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
    fn below(&self, plan: &LogicalPlan) -> Option<Self> {
        let call = write_below(&self.call, plan)?;
        let guard = match &self.guard {
            Some(guard) => Some(write_below(guard, plan)?),
            None => None,
        };
        Some(Self { call, guard })
    }
}

/// Looks for a call in a chain; returns the chain with the result among its columns.
fn find_below(plan: &LogicalPlan, sought: &Sought) -> Result<Option<(LogicalPlan, Column)>> {
    let (Some(sought), Some(input)) = (sought.below(plan), only_input(plan)) else {
        return Ok(None);
    };
    if let Some(calc) = AsyncCalc::find(plan) {
        for column in calc.calls() {
            if serves(column, &sought, input) {
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
fn serves(column: &CallColumn, sought: &Sought, input: &LogicalPlan) -> bool {
    let needed = Guard::from_expr(sought.guard.clone());
    if !needed.implies(&Guard::from_expr(column.guard.clone())) {
        return false;
    }
    let (mut sought, mut made) = (sought.call.clone(), column.call.clone());
    let mut plan = input;
    loop {
        if same_value(&sought, &made) {
            return true;
        }
        // Written in columns further below, they may agree.
        let (Some(sought_below), Some(made_below), Some(input)) =
            (write_below(&sought, plan), write_below(&made, plan), only_input(plan))
        else {
            return false;
        };
        (sought, made, plan) = (sought_below, made_below, input);
    }
}

/// Writes an expression over a node's columns in the columns of its input.
///
/// Returns `None` where the chain ends, or where a column cannot be written so: it is volatile, or
/// the result of a call that is guarded or may not be reused.
fn write_below(expr: &Expr, plan: &LogicalPlan) -> Option<Expr> {
    // An expression without columns could be written anywhere, but the chain ends all the same.
    if !is_link(plan) {
        return None;
    }
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
    written_in(expr, definition)
}

/// Says whether a node may be part of a chain: each of its rows is one row of its input.
fn is_link(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Projection(_) => true,
        plan => AsyncCalc::find(plan).is_some(),
    }
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
