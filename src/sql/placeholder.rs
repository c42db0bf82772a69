//! Writes a placeholder's arguments as SQL: what is meant, then its options.

use datafusion::sql::sqlparser::ast::{Expr, Value};
use farcall_udf::CallOptions;

/// Writes target and options as [`farcall_planner::Placeholder`] reads them.
pub(crate) fn placeholder(target: &str, options: &CallOptions) -> Vec<Expr> {
    let options = options.entries();
    let mut args = vec![text(target), Expr::value(Value::Number(options.len().to_string(), false))];
    args.extend(options.iter().flat_map(|(name, value)| [text(name), text(value)]));
    args
}

/// Writes a text literal.
pub(crate) fn text(value: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(value.to_owned()))
}
