//! The condition that carries a LOOKUP hint to the table that it names.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Result, plan_err};
use datafusion_expr::Expr;
use farcall_udf::CallOptions;

/// The name of the condition that carries the options of a LOOKUP hint to the table it names.
///
/// It is a function of two texts, the name that the hint uses and the options, one `name=value` a
/// line. It is always true and never called: the rule `lookup_join` takes it off.
pub const LOOKUP_HINT: &str = "__lookup_hint";

/// Reads the options of a LOOKUP hint, if the condition is one.
pub(crate) fn hint_options(condition: &Expr) -> Result<Option<CallOptions>> {
    let Some((_, options)) = hint(condition) else { return Ok(None) };
    let mut read = CallOptions::new();
    for line in options.lines() {
        let Some((name, value)) = line.split_once('=') else {
            return plan_err!("LOOKUP hint: '{line}' is no option");
        };
        read.set(name, value)?;
    }
    Ok(Some(read))
}

/// Returns the table that a LOOKUP hint names and its options, if the expression is one.
pub(crate) fn hint(expr: &Expr) -> Option<(&str, &str)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let [Expr::Literal(table, _), Expr::Literal(options, _)] = function.args.as_slice() else {
        return None;
    };
    if function.name() != LOOKUP_HINT {
        return None;
    }
    table.try_as_str().flatten().zip(options.try_as_str().flatten())
}

/// Refuses a hint that no lookup took off.
pub(crate) fn check_hint(expr: &Expr) -> Result<TreeNodeRecursion> {
    expr.apply(|part| match hint(part) {
        Some((table, _)) => plan_err!(
            "LOOKUP hint: '{table}' is not looked up here; it must name a lookup table, by its \
             alias if it has one, that is joined by its key"
        ),
        None => Ok(TreeNodeRecursion::Continue),
    })
}
