//! [`SplitSort`] makes the calls of sort keys before sorting.
//!
//! ```text
//! Before:                     After:
//! Sort: f(x) ASC              Projection: x, k
//!   TableScan: t                Sort: __async_0 ASC
//!                                 AsyncCalc: f(x) AS __async_0
//!                                   TableScan: t
//! ```
//! Safe: every row is sorted by the value the key had; the Projection restores the schema and keeps
//! the order. Declines: no call in the keys (a key that is a column of a projection with the call,
//! as in `SELECT f(x) AS v .. ORDER BY v`, holds none).
//! Needs: nothing.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::{LogicalPlan, Sort};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::has_call;
use crate::extract::{Extraction, Place, Wanted};
use crate::rewrite::{Order, restore, rewrite_nodes};

/// Takes calls out of sort keys.
#[derive(Debug, Default)]
pub struct SplitSort;

impl OptimizerRule for SplitSort {
    fn name(&self) -> &str {
        "split_sort"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Sort(sort) if sort.expr.iter().any(|key| has_call(&key.expr)) => {
                let Sort { expr, input, fetch } = sort;
                let schema = Arc::clone(input.schema());
                let place = Place::value().of_keys();
                let mut extraction = Extraction::new(names, Wanted::All);
                let expr = expr
                    .into_iter()
                    .map(|mut key| {
                        key.expr = extraction.rewrite(key.expr, &place)?;
                        Ok(key)
                    })
                    .collect::<Result<_>>()?;
                let input = extraction.calculate(input)?;
                let sort = LogicalPlan::Sort(Sort { expr, input, fetch });
                Ok(Transformed::yes(restore(sort, schema)?))
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn makes_the_calls_of_the_keys_first() {
        assert_rule!(
            SplitSort,
            fires,
            "SELECT x FROM t ORDER BY f(k) DESC, x",
            @r"
            Projection: t.x
              Projection: t.x, t.k
                Sort: __async_0 DESC NULLS FIRST, t.x ASC NULLS LAST
                  AsyncCalc: f(t.k) AS __async_0
                    TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn declines_when_the_key_is_projected() {
        assert_rule!(SplitSort, declines, "SELECT f(x) AS v FROM t ORDER BY v");
    }
}
