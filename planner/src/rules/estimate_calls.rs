//! [`EstimateCalls`] notes at each call what is known of its cost and of its answer.
//!
//! ```text
//! Before:                     After:
//! Filter: p(x) AND q(x)       Filter: p(x) AND q(x)      (p costs 0.5 and passes 1 row of 10)
//! ```
//! The rules that order conditions read the note, and so does EXPLAIN; they know neither the
//! session's options nor what earlier queries took.
//! Safe: the note is no part of a function's equality. Declines: never; a plan that is analyzed again
//! is noted again, with what is known by then.
//! Needs: runs after `wrap_foreign_functions`.

use std::fmt;
use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::AnalyzerRule;
use farcall_udf::{AsyncUdf, Estimate};

use crate::calls::find_call;
use crate::presence::plan_has_call;

/// Knows what calls cost and how often their answers are TRUE.
pub trait Estimates: fmt::Debug + Send + Sync {
    /// Returns what is known of a call, in a session with these options.
    fn of(&self, call: &AsyncUdf, options: &ConfigOptions) -> Estimate;
}

/// Notes what is known of each call of a plan.
#[derive(Debug)]
pub struct EstimateCalls {
    estimates: Arc<dyn Estimates>,
}

impl EstimateCalls {
    /// Makes the rule ask `estimates`.
    pub fn new(estimates: Arc<dyn Estimates>) -> Self {
        Self { estimates }
    }

    fn note(&self, expr: Expr, options: &ConfigOptions) -> Transformed<Expr> {
        let Some(udf) = find_call(&expr) else { return Transformed::no(expr) };
        let estimate = self.estimates.of(udf, options);
        if udf.estimate() == estimate {
            return Transformed::no(expr);
        }
        let udf = Arc::new(udf.clone().with_estimate(estimate).into_scalar_udf());
        match expr {
            Expr::ScalarFunction(function) => {
                Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(udf, function.args)))
            }
            expr => Transformed::no(expr),
        }
    }
}

impl AnalyzerRule for EstimateCalls {
    fn name(&self) -> &str {
        "estimate_calls"
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        if !plan_has_call(&plan)? {
            return Ok(plan);
        }
        plan.transform_down_with_subqueries(|node| {
            node.map_expressions(|expr| expr.transform_up(|part| Ok(self.note(part, options))))
        })
        .data()
    }
}

#[cfg(test)]
mod tests {
    use farcall_udf::Estimated;

    use super::*;
    use crate::calls::any_part;
    use crate::testing::analyzed;

    #[derive(Debug)]
    struct Dear;

    impl Estimates for Dear {
        fn of(&self, _: &AsyncUdf, _: &ConfigOptions) -> Estimate {
            Estimate { cost: Some(Estimated::Observed(4.0)), selectivity: None }
        }
    }

    #[test]
    fn notes_every_call_in_subqueries_too_and_again_what_it_noted() {
        let rule = EstimateCalls::new(Arc::new(Dear));
        let plan = analyzed("SELECT f(g(x)) FROM t WHERE x > (SELECT max(f(y)) FROM b)");
        let shown = plan.to_string();
        let plan = rule.analyze(plan, &ConfigOptions::new()).unwrap();
        assert_eq!(costs(&plan), [Some(4.0); 3]);
        assert_eq!(plan.to_string(), shown);
        let plan = rule.analyze(plan, &ConfigOptions::new()).unwrap();
        assert_eq!(costs(&plan), [Some(4.0); 3]);
    }

    #[test]
    fn leaves_a_plan_without_calls_alone() {
        let plan = analyzed("SELECT x FROM t");
        let noted = EstimateCalls::new(Arc::new(Dear)).analyze(plan.clone(), &ConfigOptions::new());
        assert_eq!(noted.unwrap(), plan);
    }

    fn costs(plan: &LogicalPlan) -> Vec<Option<f64>> {
        let mut costs = Vec::new();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                any_part(expr, |part| {
                    let udf = find_call(part).into_iter();
                    costs.extend(udf.map(|udf| udf.estimate().cost.map(Estimated::value)));
                    false
                });
                Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
            })
        })
        .unwrap();
        costs
    }
}
