//! What is known of async calls in expressions: finding them, comparing them, naming their results.

use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan};
use farcall_udf::{AsyncUdf, FarcallConfig};

/// The prefix of all columns that the planner makes up; user columns must not start with it.
pub const GENERATED_PREFIX: &str = "__async_";

/// Finds the async function that an expression calls at its top.
pub(crate) fn find_call(expr: &Expr) -> Option<&AsyncUdf> {
    match expr {
        Expr::ScalarFunction(function) => AsyncUdf::find(&function.func),
        _ => None,
    }
}

/// Says whether `test` holds for an expression or for a part of it.
pub(crate) fn any_part(expr: &Expr, mut test: impl FnMut(&Expr) -> bool) -> bool {
    let mut found = false;
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|part| {
        found = test(part);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Says whether an expression itself is a column of an outer query.
pub(crate) fn is_outer(expr: &Expr) -> bool {
    matches!(expr, Expr::OuterReferenceColumn(..))
}

/// Says whether an async call stands anywhere in the expression.
pub(crate) fn has_call(expr: &Expr) -> bool {
    any_part(expr, |part| find_call(part).is_some())
}

/// Returns the name of an async function that is called in the expression.
pub(crate) fn call_name(expr: &Expr) -> Option<String> {
    let mut name = None;
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|part| {
        if let Expr::ScalarFunction(function) = part
            && is_async(part)
        {
            name = Some(function.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    name
}

/// Says whether the expression itself calls an async function, ours or one that nobody has wrapped.
pub(crate) fn is_async(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(function) => {
            find_call(expr).is_some() || function.func.as_async().is_some()
        }
        _ => false,
    }
}

/// Says whether an async call stands among the arguments of a call.
pub(crate) fn has_nested_call(call: &Expr) -> bool {
    match call {
        Expr::ScalarFunction(function) => function.args.iter().any(has_call),
        _ => false,
    }
}

/// Says whether evaluating the expression twice may give two values, async calls left aside.
///
/// Async functions are all reported as volatile to DataFusion, so `Expr::is_volatile` says nothing
/// about them.
pub(crate) fn is_volatile(expr: &Expr) -> bool {
    any_part(expr, |part| part.is_volatile_node() && find_call(part).is_none())
}

/// Says whether two expressions have the same value on the same row.
///
/// Equal calls have if the function is deterministic and free of side effects, or if both are
/// copies of one call site (upstream copies the operand of BETWEEN, for instance).
pub(crate) fn same_value(a: &Expr, b: &Expr) -> bool {
    if a != b {
        return false;
    }
    let one_site = |(a, b): (&AsyncUdf, &AsyncUdf)| a.site().is_some() && a.site() == b.site();
    if let Some(pair) = find_call(a).zip(find_call(b))
        && one_site(pair)
    {
        return true;
    }
    let (mut calls_of_a, mut calls_of_b) = (Vec::new(), Vec::new());
    collect_calls(a, &mut calls_of_a);
    collect_calls(b, &mut calls_of_b);
    // The expressions are equal, so their calls come in the same order.
    calls_of_a.len() == calls_of_b.len()
        && calls_of_a
            .into_iter()
            .zip(calls_of_b)
            .all(|(a, b)| a.function().declaration().is_reusable() || one_site((a, b)))
        && !is_volatile(a)
}

/// Says whether equal values of a type are the same value, for every function.
pub(crate) fn has_one_form(data_type: &DataType) -> bool {
    !data_type.is_floating() && !data_type.is_nested()
}

/// Says whether evaluating an expression for several copies of a row costs no more calls than for one, and
/// gives one value: the memo of the query sees to it, if the options of each call say so.
pub(crate) fn may_be_repeated(expr: &Expr, config: &FarcallConfig) -> bool {
    let mut calls = Vec::new();
    collect_calls(expr, &mut calls);
    let merged = |udf: &AsyncUdf| {
        // What cannot be resolved is an error by and by, when operators are made.
        let options = config.resolve(udf.function(), udf.call_options());
        udf.function().declaration().is_reusable() && options.is_ok_and(|options| options.dedup())
    };
    calls.into_iter().all(merged) && !is_volatile(expr)
}

/// Returns the call sites of an expression, in order; `None` without a call, or if one has no number.
pub(crate) fn sites(expr: &Expr) -> Option<Vec<u64>> {
    let mut calls = Vec::new();
    collect_calls(expr, &mut calls);
    calls.iter().map(|call| call.site()).collect::<Option<Vec<u64>>>().filter(|all| !all.is_empty())
}

fn collect_calls<'a>(expr: &'a Expr, calls: &mut Vec<&'a AsyncUdf>) {
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|part| {
        calls.extend(find_call(part));
        Ok(TreeNodeRecursion::Continue)
    });
}

/// The names of generated columns, numbered plan-wide.
#[derive(Debug)]
pub(crate) struct Names {
    next: u64,
}

impl Names {
    /// Starts behind the largest number anywhere in the plan.
    pub(crate) fn after(plan: &LogicalPlan) -> Result<Self> {
        let mut next = 0;
        plan.apply_with_subqueries(|node| {
            for field in node.schema().fields() {
                next = next.max(generated_number(field.name()).map_or(0, |number| number + 1));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self { next })
    }

    /// Returns a name that the plan does not hold yet.
    pub(crate) fn next(&mut self) -> String {
        let name = format!("{GENERATED_PREFIX}{}", self.next);
        self.next += 1;
        name
    }
}

fn generated_number(name: &str) -> Option<u64> {
    name.strip_prefix(GENERATED_PREFIX)?.parse().ok()
}
