//! [`NumberCallSites`] numbers the places in a query where async functions stand.
//!
//! ```text
//! Before:                              After:
//! Filter: f(x) >= 1 AND fv(x) < 2      Filter: f(x) >= 1 AND fv(x) < 2      (sites 0 and 1)
//! ```
//! Safe: the number is no part of a function's equality. Declines: calls that have a number, which
//! come from a view or a plan that was analyzed before.
//! Needs: runs after `wrap_foreign_functions` and after all of DataFusion's analyzer rules; what
//! copies a call later copies the number with it, so that copies are known to be one call.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::AnalyzerRule;

use crate::calls::find_call;
use crate::presence::plan_has_call;
use crate::sites::SiteCounter;

/// Numbers the call sites of a plan.
#[derive(Debug)]
pub struct NumberCallSites {
    sites: Arc<SiteCounter>,
}

impl NumberCallSites {
    /// Takes the numbers from a session's counter.
    pub fn new(sites: Arc<SiteCounter>) -> Self {
        Self { sites }
    }

    fn number(&self, expr: Expr) -> Transformed<Expr> {
        let Some(udf) = find_call(&expr).filter(|udf| udf.site().is_none()) else {
            return Transformed::no(expr);
        };
        let udf = Arc::new(udf.clone().with_site(self.sites.next()).into_scalar_udf());
        match expr {
            Expr::ScalarFunction(function) => {
                Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(udf, function.args)))
            }
            expr => Transformed::no(expr),
        }
    }
}

impl AnalyzerRule for NumberCallSites {
    fn name(&self) -> &str {
        "number_call_sites"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        // Looking is cheaper than rewriting, and most plans hold no call.
        if !plan_has_call(&plan)? {
            return Ok(plan);
        }
        plan.transform_down_with_subqueries(|node| {
            node.map_expressions(|expr| expr.transform_up(|part| Ok(self.number(part))))
        })
        .data()
    }
}

#[cfg(test)]
mod tests {
    use datafusion_common::tree_node::TreeNodeRecursion;

    use crate::calls::find_call;
    use crate::testing::{analyze, analyzed, optimized, session};
    use datafusion_common::tree_node::TreeNode;
    use datafusion_expr::LogicalPlan;

    #[test]
    fn numbers_every_place_where_a_function_stands() {
        let plan = analyzed("SELECT f(g(x)), f(x) FROM t WHERE f(x) > (SELECT max(f(y)) FROM b)");
        let mut sites = sites(&plan);
        sites.sort();
        assert_eq!(sites, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn leaves_numbers_that_are_there_already() {
        let session = session();
        let plan = analyzed("SELECT f(x), g(x) FROM t");
        let before = sites(&plan);
        assert_eq!(sites(&analyze(&session, plan)), before);
    }

    #[test]
    fn copies_made_later_keep_the_number() {
        // BETWEEN becomes two comparisons; the volatile call is made once all the same.
        let plan = optimized("SELECT x FROM t WHERE fv(x) BETWEEN 1 AND 5");
        assert_eq!(sites(&plan).len(), 1);
    }

    fn sites(plan: &LogicalPlan) -> Vec<Option<u64>> {
        let mut sites = Vec::new();
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    sites.extend(find_call(part).map(|udf| udf.site()));
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })
        .unwrap();
        sites
    }
}
