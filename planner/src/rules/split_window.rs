//! [`SplitWindow`] makes the calls in window functions and their windows first.
//!
//! ```text
//! Before:                                        After:
//! WindowAggr: sum(f(x)) OVER (ORDER BY g(k))     Projection: x, k, sum(f(x)) OVER ..
//!   TableScan: t                                   WindowAggr: sum(__async_0) OVER (ORDER BY __async_1) AS ..
//!                                                    AsyncCalc: f(x) AS __async_0, g(k) AS __async_1
//!                                                      TableScan: t
//! ```
//! Safe: arguments and keys are evaluated on the input's rows either way. A FILTER guards the
//! arguments of its function. PARTITION BY and ORDER BY merge by plain equality over all functions
//! of the node, because DataFusion has put functions with equal windows together already. Names
//! are kept by alias, the Projection restores the schema. Declines: no call.
//! Needs: nothing.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::{Expr, LogicalPlan, Window};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::has_call;
use crate::extract::{Extraction, Place, Wanted};
use crate::guard::is_true;
use crate::rewrite::{Order, restore, rewrite_nodes};

/// Takes calls out of window functions.
#[derive(Debug, Default)]
pub struct SplitWindow;

impl OptimizerRule for SplitWindow {
    fn name(&self) -> &str {
        "split_window"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Window(window) if window.window_expr.iter().any(has_call) => {
                let Window { input, window_expr, schema } = window;
                let mut extraction = Extraction::new(names, Wanted::All);
                let window_expr = window_expr
                    .into_iter()
                    .map(|expr| split_function(expr, &mut extraction))
                    .collect::<Result<_>>()?;
                let input = extraction.calculate(input)?;
                let window = LogicalPlan::Window(Window::try_new(window_expr, input)?);
                Ok(Transformed::yes(restore(window, Arc::clone(&schema))?))
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

fn split_function(expr: Expr, extraction: &mut Extraction<'_>) -> Result<Expr> {
    if !has_call(&expr) {
        return Ok(expr);
    }
    let name = NamePreserver::new_for_projection().save(&expr);
    let expr = expr.transform_down(|part| match part {
        Expr::WindowFunction(function) => {
            let WindowFunction { fun, params } = *function;
            let function = WindowFunction { fun, params: split_params(params, extraction)? };
            let function = Expr::WindowFunction(Box::new(function));
            Ok(Transformed::new(function, true, TreeNodeRecursion::Jump))
        }
        part => Ok(Transformed::no(part)),
    })?;
    Ok(name.restore(expr.data))
}

fn split_params(
    params: WindowFunctionParams,
    extraction: &mut Extraction<'_>,
) -> Result<WindowFunctionParams> {
    let WindowFunctionParams {
        args,
        partition_by,
        order_by,
        window_frame,
        filter,
        null_treatment,
        distinct,
    } = params;
    let keys = Place::value().of_keys();
    let mut read = Place::value();
    if let Some(filter) = &filter {
        read = read.guarded(is_true(filter.as_ref().clone()));
    }
    let partition_by = partition_by
        .into_iter()
        .map(|key| extraction.rewrite(key, &keys))
        .collect::<Result<_>>()?;
    let order_by = order_by
        .into_iter()
        .map(|mut sort| {
            sort.expr = extraction.rewrite(sort.expr, &keys)?;
            Ok(sort)
        })
        .collect::<Result<_>>()?;
    let filter = filter
        .map(|filter| extraction.rewrite(*filter, &Place::condition()))
        .transpose()?
        .map(Box::new);
    let args = args.into_iter().map(|arg| extraction.rewrite(arg, &read)).collect::<Result<_>>()?;
    Ok(WindowFunctionParams {
        args,
        partition_by,
        order_by,
        window_frame,
        filter,
        null_treatment,
        distinct,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_calls_of_arguments_and_keys() {
        assert_rule!(
            SplitWindow,
            fires,
            "SELECT x, sum(f(x)) OVER (PARTITION BY g(k) ORDER BY h(x)) FROM t",
            @r"
            Projection: t.x, sum(f(t.x)) PARTITION BY [g(t.k)] ORDER BY [h(t.x) ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
              Projection: t.x, t.k, sum(f(t.x)) PARTITION BY [g(t.k)] ORDER BY [h(t.x) ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                WindowAggr: windowExpr=[[sum(__async_2) PARTITION BY [__async_0] ORDER BY [__async_1 ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS sum(f(t.x)) PARTITION BY [g(t.k)] ORDER BY [h(t.x) ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW]]
                  AsyncCalc: g(t.k) AS __async_0, h(t.x) AS __async_1, f(t.x) AS __async_2
                    TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitWindow, declines, "SELECT sum(x) OVER (ORDER BY x) FROM t");
    }
}
