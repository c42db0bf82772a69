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
        plan.transform_down_with_subqueries(|node| {
            node.map_expressions(|expr| expr.transform_up(|part| Ok(self.number(part))))
        })
        .data()
    }
}
