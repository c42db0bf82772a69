//! [`Ranking`], which of several conditions on calls is tested first.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, Operator};
use farcall_udf::{AsyncUdf, Estimated};

use crate::calls::find_call;

/// What a call costs where nobody knows: as much as one that takes a second.
const USUAL_COST: f64 = 1.0;

/// The share of rows for which a condition is TRUE, where nobody knows.
const USUAL_SELECTIVITY: f64 = 0.5;

/// Ranks the operands of an AND or OR: those of lower rank come first.
///
/// The rank is what a row costs by what it settles: an AND is settled by rows that fail, an OR by
/// those that pass. Testing in this order costs least if the operands do not depend on each other.
/// Operands without a call cost nothing.
#[derive(Debug)]
pub(crate) struct Ranking {
    op: Operator,
    /// Whether what was observed counts. Measured seconds say nothing beside a call of which nobody
    /// knows anything: then the order is that of the declarations, and that in which it is written.
    observed: bool,
}

impl Ranking {
    /// Looks at what is known of the calls in all operands.
    pub(crate) fn among(operands: &[Expr], op: Operator) -> Self {
        let known = |udf: &AsyncUdf| udf.estimate().cost.is_some();
        Self { op, observed: operands.iter().flat_map(calls).all(known) }
    }

    /// Ranks one of the operands.
    pub(crate) fn rank(&self, condition: &Expr) -> f64 {
        let calls = calls(condition);
        if calls.is_empty() {
            return 0.0;
        }
        let cost = |udf: &AsyncUdf| self.read(udf.estimate().cost).unwrap_or(USUAL_COST);
        let settled = match self.op {
            Operator::Or => self.selectivity(condition),
            _ => 1.0 - self.selectivity(condition),
        };
        calls.into_iter().map(cost).sum::<f64>() / settled.max(f64::MIN_POSITIVE)
    }

    fn selectivity(&self, condition: &Expr) -> f64 {
        match condition {
            Expr::Not(inner) | Expr::IsFalse(inner) => 1.0 - self.selectivity(inner),
            Expr::IsTrue(inner) => self.selectivity(inner),
            expr => find_call(expr)
                .and_then(|udf| self.read(udf.estimate().selectivity))
                .unwrap_or(USUAL_SELECTIVITY),
        }
    }

    fn read(&self, known: Option<Estimated>) -> Option<f64> {
        if self.observed { known.map(Estimated::value) } else { known?.declared() }
    }
}

/// Returns the calls that an expression holds, of equal ones the first.
fn calls(expr: &Expr) -> Vec<&AsyncUdf> {
    let mut calls: Vec<&Expr> = Vec::new();
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|part| {
        if find_call(part).is_some() && !calls.contains(&part) {
            calls.push(part);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    calls.into_iter().filter_map(find_call).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion_expr::col;
    use datafusion_expr::expr::ScalarFunction;
    use farcall_udf::Estimate;

    use super::*;
    use crate::testing::call;

    #[test]
    fn what_was_observed_counts_where_all_calls_are_known() {
        let slow = estimated("p", observed(0.5), observed(0.1));
        let quick = estimated("q", observed(0.001), None);
        assert_eq!(order([&slow, &quick], Operator::And), ["q", "p"]);
        let declared = estimated("q", Some(Estimated::Declared(2.0)), None);
        assert_eq!(order([&declared, &slow], Operator::And), ["p", "q"]);
    }

    #[test]
    fn what_was_observed_of_some_calls_changes_no_order() {
        let slow = estimated("p", observed(0.5), observed(0.1));
        let unknown = estimated("q", None, None);
        assert_eq!(order([&unknown, &slow], Operator::And), ["q", "p"]);
        assert_eq!(order([&slow, &unknown], Operator::And), ["p", "q"]);
    }

    #[test]
    fn an_and_is_settled_by_rows_that_fail_and_an_or_by_rows_that_pass() {
        let rare = estimated("p", observed(1.0), observed(0.1));
        let often = estimated("q", observed(1.0), observed(0.9));
        assert_eq!(order([&often, &rare], Operator::And), ["p", "q"]);
        assert_eq!(order([&rare, &often], Operator::Or), ["q", "p"]);
    }

    fn observed(value: f64) -> Option<Estimated> {
        Some(Estimated::Observed(value))
    }

    fn estimated(name: &str, cost: Option<Estimated>, selectivity: Option<Estimated>) -> Expr {
        let call = call(name, vec![col("t.x")]);
        let udf = find_call(&call).unwrap().clone();
        let udf = udf.with_estimate(Estimate { cost, selectivity }).into_scalar_udf();
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), vec![col("t.x")]))
    }

    /// Returns the names of the functions in the order in which they are tested.
    fn order(operands: [&Expr; 2], op: Operator) -> Vec<String> {
        let mut operands = operands.map(Clone::clone);
        let ranking = Ranking::among(&operands, op);
        operands.sort_by(|a, b| ranking.rank(a).total_cmp(&ranking.rank(b)));
        operands.iter().map(|call| find_call(call).unwrap().function().name().to_owned()).collect()
    }
}
