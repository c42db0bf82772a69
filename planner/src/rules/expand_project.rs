//! [`ExpandProject`] computes the arguments of calls in a projection below them.
//!
//! ```text
//! Before:                                    After:
//! AsyncCalc: f(s['a']) AS __async_0          Projection: s, __async_0
//!   TableScan: t                               AsyncCalc: f(__async_1) AS __async_0
//!                                                Projection: s, s['a'] AS __async_1
//!                                                  TableScan: t
//! ```
//! Safe: an unguarded call evaluates its arguments on every row, and so does the projection.
//! Declines: guarded calls, whose arguments must be evaluated on the guarded rows only
//! (`CASE WHEN k <> 0 THEN f(x / k) END` would divide by zero); arguments that are columns or
//! literals, or hold a call. Equal arguments of several calls are computed once.
//! Needs: runs after `nested_split`, which leaves no call in arguments, and after `place_calls`,
//! which compares calls as they were written. Source: Flink's `EXPAND_PROJECT` and the projection
//! half of `SPLIT_PROJECT`, re-derived.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, LogicalPlan, Projection, ident};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, any_part, has_call, is_outer, same_value};
use crate::logical::{AsyncCalc, CallColumn};
use crate::rewrite::{Order, columns, restore, rewrite_nodes};

/// Computes arguments below calls.
#[derive(Debug, Default)]
pub struct ExpandProject;

impl OptimizerRule for ExpandProject {
    fn name(&self) -> &str {
        "expand_project"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match AsyncCalc::find(&node) {
            Some(calc) if calc.calls().iter().any(is_expanded) => {
                let schema = Arc::clone(node.schema());
                let (input, calls) = calc.clone().into_parts();
                Ok(Transformed::yes(restore(expand(input, calls, names)?, schema)?))
            }
            _ => Ok(Transformed::no(node)),
        })
    }
}

fn is_expanded(column: &CallColumn) -> bool {
    match &column.call {
        Expr::ScalarFunction(call) => column.guard.is_none() && call.args.iter().any(is_computed),
        _ => false,
    }
}

fn is_computed(arg: &Expr) -> bool {
    let plain = matches!(arg, Expr::Column(_) | Expr::Literal(..) | Expr::Placeholder(_));
    !plain && !has_call(arg) && !any_part(arg, is_outer)
}

fn expand(
    input: Arc<LogicalPlan>,
    calls: Vec<CallColumn>,
    names: &mut Names,
) -> Result<LogicalPlan> {
    let mut computed: Vec<(Expr, String)> = Vec::new();
    let calls = calls
        .into_iter()
        .map(|column| match column {
            CallColumn { call: Expr::ScalarFunction(call), guard: None, name } => {
                let ScalarFunction { func, args } = call;
                let args =
                    args.into_iter().map(|arg| take_argument(arg, &mut computed, names)).collect();
                let call = Expr::ScalarFunction(ScalarFunction { func, args });
                CallColumn { call, guard: None, name }
            }
            column => column,
        })
        .collect();
    let exprs = columns(input.schema())
        .chain(computed.into_iter().map(|(arg, name)| arg.alias(name)))
        .collect();
    let arguments = LogicalPlan::Projection(Projection::try_new(exprs, input)?);
    Ok(AsyncCalc::try_new(Arc::new(arguments), calls)?.into_plan())
}

fn take_argument(arg: Expr, computed: &mut Vec<(Expr, String)>, names: &mut Names) -> Expr {
    if !is_computed(&arg) {
        return arg;
    }
    if let Some((_, name)) = computed.iter().find(|(known, _)| same_value(known, &arg)) {
        return ident(name.as_str());
    }
    let name = names.next();
    computed.push((arg, name.clone()));
    ident(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn computes_arguments_below_the_call() {
        assert_rule!(
            ExpandProject,
            fires,
            "SELECT f(s['a']), f(x + 1), g(x + 1) FROM t",
            @r#"
            Projection: __async_0 AS f(t.s[a]), __async_1 AS f(t.x + Int64(1)), __async_2 AS g(t.x + Int64(1))
              Projection: __common_expr_1, __datafusion_extracted_2, __async_0, __async_1, __async_2
                AsyncCalc: f(__datafusion_extracted_2) AS __async_0, f(__async_3) AS __async_1, g(__async_3) AS __async_2
                  Projection: __common_expr_1, __datafusion_extracted_2, __common_expr_1 AS t.x + Int64(1) AS __async_3
                    Projection: t.x + Int64(1) AS __common_expr_1, get_field(t.s, Utf8("a")) AS __datafusion_extracted_2
                      TableScan: t projection=[x, s]
            "#
        );
    }

    #[test]
    fn declines_for_guarded_calls() {
        assert_rule!(ExpandProject, declines, "SELECT CASE WHEN k <> 0 THEN f(x / k) END FROM t");
    }

    #[test]
    fn declines_for_columns_and_literals() {
        assert_rule!(ExpandProject, declines, "SELECT f(x), f(1) FROM t");
    }
}
