//! [`EstimateCalls`] notes at each call what is known of its cost and of its answer.
//!
//! ```text
//! Before:                     After:
//! Filter: p(x) AND q(x)       Filter: p(x) AND q(x)      (p costs 0.5 and passes 1 row of 10)
//! ```
//! The rules that order conditions read the note, and so does EXPLAIN; they know neither the
//! session's options nor what earlier queries took.
//! What was observed is noted only where calls compete, in an expression with several: elsewhere it
//! would decide nothing, and make plans differ from run to run.
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
use farcall_udf::{AsyncUdf, Estimate, Estimated};

use crate::calls::{any_part, find_call};
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

    /// `competes` says that another call stands in the same expression.
    fn note(&self, expr: Expr, competes: bool, options: &ConfigOptions) -> Transformed<Expr> {
        let Some(udf) = find_call(&expr) else { return Transformed::no(expr) };
        let mut estimate = self.estimates.of(udf, options);
        if !competes {
            let declared = |known: Option<Estimated>| known.filter(|k| k.declared().is_some());
            estimate.cost = declared(estimate.cost);
            estimate.selectivity = declared(estimate.selectivity);
        }
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
            node.map_expressions(|expr| {
                let competes = holds_several_calls(&expr);
                expr.transform_up(|part| Ok(self.note(part, competes, options)))
            })
        })
        .data()
    }
}

fn holds_several_calls(expr: &Expr) -> bool {
    let mut calls = 0;
    any_part(expr, |part| {
        calls += usize::from(find_call(part).is_some());
        calls > 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::analyzed;

    #[derive(Debug)]
    struct Dear;

    impl Estimates for Dear {
        fn of(&self, _: &AsyncUdf, _: &ConfigOptions) -> Estimate {
            Estimate { cost: Some(Estimated::Observed(4.0)), selectivity: None }
        }
    }

    #[test]
    fn notes_what_was_observed_of_calls_that_compete_and_no_others() {
        let rule = EstimateCalls::new(Arc::new(Dear));
        let plan = analyzed("SELECT f(g(x)) FROM t WHERE x > (SELECT max(f(y)) FROM b)");
        let shown = plan.to_string();
        let plan = rule.analyze(plan, &ConfigOptions::new()).unwrap();
        let noted = costs(&plan);
        assert_eq!((noted.len(), noted.iter().flatten().count()), (3, 2));
        assert_eq!(plan.to_string(), shown);
        let plan = rule.analyze(plan, &ConfigOptions::new()).unwrap();
        assert_eq!(costs(&plan), noted);
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
