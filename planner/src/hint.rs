//! The condition that carries a LOOKUP hint to the table that it names.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Result, plan_err};
use datafusion_expr::Expr;

use crate::placeholder::Placeholder;

/// The name of the condition that carries the options of a LOOKUP hint to the table it names.
///
/// Its arguments are those of a [`Placeholder`]. It is always true and never called: the rule
/// `lookup_join` takes it off.
pub const LOOKUP_HINT: &str = "__lookup_hint";

/// Returns the table that a LOOKUP hint names and its options, if the expression is one.
pub(crate) fn hint(expr: &Expr) -> Option<Placeholder<'_>> {
    match expr {
        Expr::ScalarFunction(function) if function.name() == LOOKUP_HINT => {
            Placeholder::of(&function.args)
        }
        _ => None,
    }
}

/// Refuses a hint that no lookup took off.
pub(crate) fn check_hint(expr: &Expr) -> Result<TreeNodeRecursion> {
    expr.apply(|part| match hint(part) {
        Some(hint) => plan_err!(
            "LOOKUP hint: '{}' is not looked up here; it must name a lookup table, by its alias \
             if it has one, that is joined by its key",
            hint.target
        ),
        None => Ok(TreeNodeRecursion::Continue),
    })
}
