//! [`NestedSplit`] makes the calls that other calls depend on first.
//!
//! ```text
//! Before:                                           After:
//! AsyncCalc: f(g(x)) AS __async_0                   Projection: x, k, __async_0
//!   TableScan: t                                      AsyncCalc: f(__async_1) AS __async_0
//!                                                       AsyncCalc: g(x) AS __async_1
//!                                                         TableScan: t
//! ```
//! Safe: an inner call is made for the rows on which the outer call needs it: inside the arguments
//! these are the rows of the outer guard, inside a guard (`CASE WHEN p(x) THEN f(x) END`) those on
//! which the conditions before it hold. The Projection restores the schema. Declines: no call
//! depends on another.
//! Needs: runs after the rules that take calls out of clauses. Source: Flink's `NESTED_SPLIT`,
//! re-derived; there an inner call that is also projected is made twice.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, has_call, has_nested_call};
use crate::extract::{Extraction, Place, Wanted};
use crate::guard::Guard;
use crate::logical::{AsyncCalc, CallColumn};
use crate::rewrite::{Order, calculate, restore, rewrite_nodes};

/// Puts calls below the calls that need them.
#[derive(Debug, Default)]
pub struct NestedSplit;

impl OptimizerRule for NestedSplit {
    fn name(&self) -> &str {
        "nested_split"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match AsyncCalc::find(&node) {
            Some(calc) if calc.calls().iter().any(is_dependent) => {
                let schema = Arc::clone(node.schema());
                let (input, calls) = calc.clone().into_parts();
                let layered = layer(input, calls, names)?;
                Ok(Transformed::yes(restore(Arc::unwrap_or_clone(layered), schema)?))
            }
            _ => Ok(Transformed::no(node)),
        })
    }
}

/// Says whether another call must be made before this one.
fn is_dependent(column: &CallColumn) -> bool {
    has_nested_call(&column.call) || column.guard.as_ref().is_some_and(has_call)
}

fn layer(
    input: Arc<LogicalPlan>,
    calls: Vec<CallColumn>,
    names: &mut Names,
) -> Result<Arc<LogicalPlan>> {
    let (dependent, ready): (Vec<_>, Vec<_>) = calls.into_iter().partition(is_dependent);
    if dependent.is_empty() {
        return calculate(input, ready);
    }
    let mut extraction = Extraction::new(names, Wanted::All).with_known(ready);
    let top = dependent
        .into_iter()
        .map(|column| take_inner(column, &mut extraction))
        .collect::<Result<_>>()?;
    let inner = extraction.into_calls();
    calculate(layer(input, inner, names)?, top)
}

/// Takes the calls that one call depends on out of its arguments and its guard.
fn take_inner(column: CallColumn, extraction: &mut Extraction<'_>) -> Result<CallColumn> {
    let CallColumn { call, guard, name } = column;
    let place = Place::value_on(Guard::from_expr(guard.clone()));
    // The guard comes first: what it needs is needed on more rows.
    let guard = guard.map(|guard| extraction.rewrite(guard, &Place::condition())).transpose()?;
    let call = match call {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let args = args
                .into_iter()
                .map(|arg| extraction.rewrite(arg, &place))
                .collect::<Result<_>>()?;
            Expr::ScalarFunction(ScalarFunction { func, args })
        }
        call => call,
    };
    Ok(CallColumn { call, guard, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_inner_call_first() {
        assert_rule!(
            NestedSplit,
            fires,
            "SELECT f(g(x)) FROM t",
            @r"
            Projection: __async_0 AS f(g(t.x))
              Projection: t.x, __async_0
                AsyncCalc: f(__async_1) AS __async_0
                  AsyncCalc: g(t.x) AS __async_1
                    TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn makes_a_call_in_a_guard_first() {
        assert_rule!(
            NestedSplit,
            fires,
            "SELECT CASE WHEN k < 5 AND p(x) THEN f(g(x)) END FROM t",
            @r"
            Projection: CASE WHEN t.k < Int64(5) AND __async_0 THEN __async_1 END AS CASE WHEN t.k < Int64(5) AND p(t.x) THEN f(g(t.x)) END
              Projection: t.x, t.k, __async_0, __async_1
                AsyncCalc: f(__async_2) AS __async_1 WHEN t.k < Int64(5) IS TRUE AND __async_0 IS TRUE
                  AsyncCalc: g(t.x) AS __async_2 WHEN t.k < Int64(5) IS TRUE AND __async_0 IS TRUE
                    AsyncCalc: p(t.x) AS __async_0 WHEN t.k < Int64(5) IS TRUE
                      TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn makes_an_inner_call_that_is_projected_once() {
        assert_rule!(
            NestedSplit,
            fires,
            "SELECT f(f(x)), f(f(f(x))), f(x) FROM t",
            @r"
            Projection: __async_0 AS f(f(t.x)), __async_1 AS f(f(f(t.x))), __async_2 AS f(t.x)
              Projection: t.x, __async_0, __async_1, __async_2
                AsyncCalc: f(__async_2) AS __async_0, f(__async_3) AS __async_1
                  AsyncCalc: f(__async_2) AS __async_3
                    AsyncCalc: f(t.x) AS __async_2
                      TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn declines_when_no_call_needs_another() {
        assert_rule!(NestedSplit, declines, "SELECT f(x), g(x) FROM t WHERE p(x)");
    }
}
