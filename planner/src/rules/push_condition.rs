//! [`PushCondition`] tests cheap conditions before the calls of the projection below them.
//!
//! ```text
//! Before:                                        After:
//! Filter: r < 0.5 AND v > 1                      Filter: v > 1
//!   Projection: x, random() AS r, f(x) AS v        Projection: x, r, f(x) AS v
//!     TableScan: t                                   Filter: r < 0.5
//!                                                      Projection: x, random() AS r
//!                                                        TableScan: t
//! ```
//! Safe: a condition that reads no call gives the same answer before the calls are made, and each
//! column is still computed once per row. Declines: every condition reads a call or makes one; no
//! call in the projection.
//! Needs: runs after DataFusion's own push-down, which moves most conditions below the projection
//! and leaves those that read volatile columns or fields of structs. Source: Flink's
//! `PUSH_CONDITION`, re-derived.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, Result, internal_err};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, Filter, LogicalPlan, Projection, ident};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, has_call};
use crate::rewrite::{Order, filter, rewrite_nodes};

/// Moves cheap conditions below projected calls.
#[derive(Debug, Default)]
pub struct PushCondition;

impl OptimizerRule for PushCondition {
    fn name(&self) -> &str {
        "push_condition"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| {
            let LogicalPlan::Filter(node) = node else { return Ok(Transformed::no(node)) };
            let LogicalPlan::Projection(projection) = node.input.as_ref() else {
                return Ok(Transformed::no(LogicalPlan::Filter(node)));
            };
            let calls: Vec<Column> = projection
                .schema
                .columns()
                .into_iter()
                .zip(&projection.expr)
                .filter_map(|(column, expr)| has_call(expr).then_some(column))
                .collect();
            let (cheap, rest): (Vec<_>, Vec<_>) =
                split_conjunction_owned(node.predicate.clone()).into_iter().partition(|part| {
                    !has_call(part) && !part.column_refs().iter().any(|c| calls.contains(c))
                });
            if calls.is_empty() || cheap.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Filter(node)));
            }
            push(node, cheap, rest, names)
        })
    }
}

fn push(
    node: Filter,
    cheap: Vec<Expr>,
    rest: Vec<Expr>,
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = Arc::unwrap_or_clone(node.input) else {
        return internal_err!("push_condition was given no projection");
    };
    let Projection { expr, input, schema, .. } = projection;
    let (mut below, mut above) = (Vec::new(), Vec::new());
    // What the calls read goes along under generated names, which clash with nothing.
    let mut carried: HashMap<Column, String> = HashMap::new();
    for (column, expr) in schema.columns().into_iter().zip(expr) {
        if !has_call(&expr) {
            below.push(expr);
            above.push(Expr::Column(column));
            continue;
        }
        let name = NamePreserver::new_for_projection().save(&expr);
        let expr = expr
            .transform_up(|part| match part {
                Expr::Column(column) => {
                    let name = carried.entry(column.clone()).or_insert_with(|| {
                        let name = names.next();
                        below.push(Expr::Column(column).alias(&name));
                        name
                    });
                    Ok(Transformed::yes(ident(name.as_str())))
                }
                part => Ok(Transformed::no(part)),
            })
            .data()?;
        above.push(name.restore(expr));
    }
    let below = LogicalPlan::Projection(Projection::try_new(below, input)?);
    let tested = filter(below, cheap)?;
    let above = Projection::try_new_with_schema(above, Arc::new(tested), schema)?;
    Ok(Transformed::yes(filter(LogicalPlan::Projection(above), rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn tests_a_volatile_column_before_the_call() {
        assert_rule!(
            PushCondition,
            fires,
            "SELECT v FROM (SELECT x, random() AS r, f(x) AS v FROM t) WHERE r < 2.0 AND v > 1",
            @r"
            Projection: v
              Filter: v > Int64(1)
                Projection: r, f(__async_0) AS v
                  Filter: r < Float64(2)
                    Projection: random() AS r, t.x AS __async_0
                      TableScan: t projection=[x]
            "
        );
    }

    #[test]
    fn declines_when_every_condition_reads_the_call() {
        assert_rule!(
            PushCondition,
            declines,
            "SELECT v FROM (SELECT x, random() AS r, f(x) AS v FROM t) WHERE r < v"
        );
    }
}
