//! [`OneAsyncPerCalc`] gives each call a node of its own.
//!
//! ```text
//! Before:                                            After:
//! AsyncCalc: f(x) AS __async_0, g(x) AS __async_1    AsyncCalc: g(x) AS __async_1
//!   TableScan: t                                       AsyncCalc: f(x) AS __async_0
//!                                                        TableScan: t
//! ```
//! Safe: calls of one node read its input only, and the columns come in the same order. Declines:
//! one call. Operators put independent neighbours together again, so that k calls cost one
//! latency; the logical plan shows one call per line.
//! Needs: runs after `nested_split`. Source: Flink's `ONE_PER_CALC_SPLIT`, re-derived.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::logical::AsyncCalc;
use crate::rewrite::{Order, calculate, rewrite_nodes};

/// Splits nodes with several calls.
#[derive(Debug, Default)]
pub struct OneAsyncPerCalc;

impl OptimizerRule for OneAsyncPerCalc {
    fn name(&self) -> &str {
        "one_async_per_calc"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::BottomUp, |node, _| match AsyncCalc::find(&node) {
            Some(calc) if calc.calls().len() > 1 => {
                let (input, calls) = calc.clone().into_parts();
                let chain =
                    calls.into_iter().try_fold(input, |plan, call| calculate(plan, vec![call]))?;
                Ok(Transformed::yes(Arc::unwrap_or_clone(chain)))
            }
            _ => Ok(Transformed::no(node)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn gives_each_call_its_own_node() {
        assert_rule!(
            OneAsyncPerCalc,
            fires,
            "SELECT f(x), g(x), h(x) FROM t",
            @r"
            Projection: __async_0 AS f(t.x), __async_1 AS g(t.x), __async_2 AS h(t.x)
              AsyncCalc: h(t.x) AS __async_2
                AsyncCalc: g(t.x) AS __async_1
                  AsyncCalc: f(t.x) AS __async_0
                    TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn declines_for_one_call() {
        assert_rule!(OneAsyncPerCalc, declines, "SELECT f(x) + f(x) FROM t");
    }
}
