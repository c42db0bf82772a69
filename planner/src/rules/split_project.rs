//! [`SplitProject`] makes the calls of a projection before the rest of it.
//!
//! ```text
//! Before:                                After:
//! Projection: concat(ask(txt), txt)      Projection: concat(__async_0, txt)
//!   TableScan: t                           AsyncCalc: ask(txt) AS __async_0
//!                                            TableScan: t
//! ```
//! Safe: a projection evaluates each expression on each row, and so does the node below it; calls
//! that stand in a branch keep the condition of the branch as their guard; names are kept by alias.
//! Declines: no call; calls of which a field is read, which are left to
//! `split_projection_rex_field`. Equal calls of one projection become one.
//! Needs: nothing. Source: Flink's `SPLIT_PROJECT`, re-derived.

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::{LogicalPlan, Projection};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::Names;
use crate::extract::{Extraction, Place, Wanted};
use crate::rewrite::{Order, rewrite_nodes};

/// Takes calls out of projections.
#[derive(Debug, Default)]
pub struct SplitProject;

impl OptimizerRule for SplitProject {
    fn name(&self) -> &str {
        "split_project"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| {
            split_projection(node, Wanted::Plain, names)
        })
    }
}

/// Takes the wanted calls out of a projection.
pub(super) fn split_projection(
    plan: LogicalPlan,
    wanted: Wanted<'_>,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection)
            if projection.expr.iter().any(|expr| wanted.is_in(expr)) =>
        {
            let Projection { expr, input, schema, .. } = projection;
            let mut extraction = Extraction::new(names, wanted);
            let expr = extraction.rewrite_all_named(expr, &Place::value())?;
            let input = extraction.calculate(input)?;
            let projection = Projection::try_new_with_schema(expr, input, schema)?;
            Ok(Transformed::yes(LogicalPlan::Projection(projection)))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_call_before_the_rest_of_the_projection() {
        assert_rule!(
            SplitProject,
            fires,
            "SELECT x, concat(ask(txt), txt) FROM t",
            @r"
            Projection: t.x, concat(__async_0, t.txt) AS concat(ask(t.txt),t.txt)
              AsyncCalc: ask(t.txt) AS __async_0
                TableScan: t projection=[x, txt]
            "
        );
    }

    #[test]
    fn makes_equal_calls_once() {
        assert_rule!(
            SplitProject,
            fires,
            "SELECT f(x), f(x) + 1, g(x) FROM t",
            @r"
            Projection: __async_0 AS f(t.x), __async_0 + Int64(1) AS f(t.x) + Int64(1), __async_1 AS g(t.x)
              AsyncCalc: f(t.x) AS __async_0, g(t.x) AS __async_1
                TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn keeps_volatile_calls_apart() {
        assert_rule!(
            SplitProject,
            fires,
            "SELECT fv(x) AS a, fv(x) AS b FROM t",
            @r"
            Projection: __async_0 AS a, __async_1 AS b
              AsyncCalc: fv(t.x) AS __async_0, fv(t.x) AS __async_1
                TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn guards_the_branches_of_a_case() {
        assert_rule!(
            SplitProject,
            fires,
            "SELECT CASE WHEN k <> 0 THEN f(x / k) WHEN n > 3 THEN g(x) ELSE h(x) END FROM t",
            @r"
            Projection: CASE WHEN t.k != Int64(0) THEN __async_0 WHEN t.n > Int64(3) THEN __async_1 ELSE __async_2 END AS CASE WHEN t.k != Int64(0) THEN f(t.x / t.k) WHEN t.n > Int64(3) THEN g(t.x) ELSE h(t.x) END
              AsyncCalc: f(t.x / t.k) AS __async_0 WHEN t.k != Int64(0) IS TRUE, g(t.x) AS __async_1 WHEN t.k != Int64(0) IS NOT TRUE AND t.n > Int64(3) IS TRUE, h(t.x) AS __async_2 WHEN t.k != Int64(0) IS NOT TRUE AND t.n > Int64(3) IS NOT TRUE
                TableScan: t projection=[x, k, n]
            "
        );
    }

    #[test]
    fn guards_by_what_stands_before_in_and_and_or() {
        assert_rule!(
            SplitProject,
            fires,
            "SELECT p(x) AND k < 5, q(x) OR n < 5 FROM t",
            @r"
            Projection: __async_0 AND t.k < Int64(5) AS p(t.x) AND t.k < Int64(5), __async_1 OR t.n < Int64(5) AS q(t.x) OR t.n < Int64(5)
              AsyncCalc: p(t.x) AS __async_0 WHEN t.k < Int64(5) IS NOT FALSE, q(t.x) AS __async_1 WHEN t.n < Int64(5) IS NOT TRUE
                TableScan: t projection=[x, k, n]
            "
        );
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitProject, declines, "SELECT x + 1 FROM t");
    }
}
