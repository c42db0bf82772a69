//! [`rank`], which of several conditions on calls is tested first.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, Operator};

use crate::calls::find_call;

/// The share of rows for which a condition is TRUE, where nobody declares one.
const USUAL_SELECTIVITY: f64 = 0.5;

/// Ranks an operand of an AND or OR: those of lower rank come first.
///
/// The rank is what a row costs by what it settles: an AND is settled by rows that fail, an OR by
/// those that pass. Testing in this order costs least if the operands do not depend on each other.
/// Operands without a call cost nothing.
pub(crate) fn rank(condition: &Expr, op: Operator) -> f64 {
    let cost = cost(condition);
    if cost == 0.0 {
        return 0.0;
    }
    let settled = match op {
        Operator::Or => selectivity(condition),
        _ => 1.0 - selectivity(condition),
    };
    cost / settled.max(f64::MIN_POSITIVE)
}

/// Adds up the declared costs of the calls that an expression holds; equal calls count once.
fn cost(expr: &Expr) -> f64 {
    let mut calls: Vec<&Expr> = Vec::new();
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|part| {
        if find_call(part).is_some() && !calls.contains(&part) {
            calls.push(part);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    calls.into_iter().filter_map(find_call).map(|udf| udf.function().declaration().cost()).sum()
}

fn selectivity(condition: &Expr) -> f64 {
    match condition {
        Expr::Not(inner) | Expr::IsFalse(inner) => 1.0 - selectivity(inner),
        Expr::IsTrue(inner) => selectivity(inner),
        expr => find_call(expr)
            .and_then(|udf| udf.function().declaration().selectivity())
            .unwrap_or(USUAL_SELECTIVITY),
    }
}
