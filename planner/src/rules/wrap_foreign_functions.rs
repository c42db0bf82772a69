//! [`WrapForeignFunctions`] makes async functions that were written for DataFusion's own interface ours.
//!
//! ```text
//! Before:                                  After:
//! Projection: ask(txt)  (AsyncScalarUDF)   Projection: ask(txt)  (AsyncUdf around it)
//! ```
//! Safe: the function, its name and its type stay the same; only NULL becomes a possible result,
//! because `on_error` and time-outs produce it. Declines: no such function.
//! Needs: runs before `number_call_sites`. DataFusion's own operator for such functions is
//! sequential and wrong in several clauses; a wrapped function never meets it.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::AnalyzerRule;
use farcall_udf::AsyncUdf;

use crate::presence::plan_has_call;
use crate::rewrite::map_parts;

/// Wraps foreign async functions.
#[derive(Debug, Default)]
pub struct WrapForeignFunctions;

impl AnalyzerRule for WrapForeignFunctions {
    fn name(&self) -> &str {
        "wrap_foreign_functions"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        // Looking is cheaper than rewriting, and most plans hold no such function.
        if !plan_has_call(&plan)? {
            return Ok(plan);
        }
        let mut wrapped = false;
        plan.transform_up_with_subqueries(|node| {
            let node = map_parts(node, |part| Ok(wrap(part)))?;
            wrapped |= node.transformed;
            // The result may be NULL now, which the nodes above must know.
            if wrapped { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
        })
        .data()
    }
}

fn wrap(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            match AsyncUdf::from_foreign(&func) {
                Some(udf) => Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
                    Arc::new(udf.into_scalar_udf()),
                    args,
                ))),
                None => Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })),
            }
        }
        expr => Transformed::no(expr),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{analyzed, assert_snapshot_of, optimized};

    #[test]
    fn foreign_functions_are_called_in_our_node() {
        assert_snapshot_of!(
            optimized("SELECT x FROM t WHERE foreign_score(x) > 5"),
            @r"
            Projection: t.x
              Filter: __async_0 > Int64(5)
                AsyncCalc: foreign_score(t.x) AS __async_0
                  TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn their_results_may_be_null_from_then_on() {
        let plan = analyzed("SELECT v + 1 AS w FROM (SELECT foreign_score(x) AS v FROM t) q");
        assert!(plan.schema().field(0).is_nullable());
    }

    #[test]
    fn keeps_the_names_of_columns() {
        let plan = analyzed("SELECT foreign_score(x) FROM t");
        assert_eq!(plan.schema().field(0).name(), "foreign_score(t.x)");
    }
}
