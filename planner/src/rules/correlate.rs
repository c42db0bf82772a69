//! [`Correlate`] calls table functions for the rows that stand beside them in FROM.
//!
//! ```text
//! Before:                                  After:
//! Left Join: q.a > t.k                     Projection: t.x, t.k, __async_1 AS q.a
//!   TableScan: t                             AsyncLookupJoin: Left tf found=__async_0 columns=[__async_1] filter=__async_1 > t.k
//!   SubqueryAlias: q                           AsyncCalc: tf(t.x) AS __async_0
//!     Subquery:                                  TableScan: t
//!       TableCall: tf(outer_ref(t.x))
//! ```
//! Safe: a call answers with the list of its rows, so pairing each row with its list is what LATERAL
//! means. What stands between the function and the join is kept: columns are computed above, NULL for a
//! row without a partner; conditions are tested on the pairs, those of LEFT JOIN before a row without
//! one is extended by NULL. Conditions of LEFT JOIN on the row alone guard the call; those of an inner
//! join stand above it, from where DataFusion pushes them below. A call with constant arguments is
//! made for one row without columns. A function that stands in a join of its own, `t, f(t.x) q JOIN s`,
//! is taken out of it first: see [`associate`].
//! Declines: no table function; LATERAL around anything else is DataFusion's.
//! Errors: what cannot be applied to the rows of each call (aggregates, LIMIT, ..), and a table function
//! anywhere but in FROM, are planning errors here, where their clause is still known.
//! Needs: runs after DataFusion's type coercion and `wrap_foreign_functions`; before `number_call_sites`
//! and before the optimizer makes joins of subqueries. Source: Flink's `StreamPhysicalAsyncCorrelateRule`
//! and `AsyncCorrelateSplitRule`, re-derived; Flink takes neither columns nor conditions in LATERAL and
//! drops rows that LEFT JOIN keeps.

mod apply;
mod associate;
mod relation;

use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchemaRef, JoinType, Result, plan_err};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{
    Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, UserDefinedLogicalNodeCore, lit,
};
use datafusion_optimizer::AnalyzerRule;

use crate::calls::{Names, any_part, find_call, is_outer};
use crate::free::find_lateral;
use crate::logical::{AsyncCalc, TableCall};
use crate::presence::plan_has_call;
use crate::rewrite::{columns, filter};
use apply::Apply;
use associate::{associate, reads};

/// Turns table functions in FROM into calls whose lists are joined.
#[derive(Debug, Default)]
pub struct Correlate;

impl AnalyzerRule for Correlate {
    fn name(&self) -> &str {
        "correlate"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !plan_has_call(&plan)? {
            return Ok(plan);
        }
        let mut names = Names::after(&plan)?;
        // A lateral join before what is inside of it, whose calls are for its rows, too.
        let plan = plan
            .transform_down_with_subqueries(|node| match &node {
                LogicalPlan::Join(join) => match lateral(join, &mut names)? {
                    Some(plan) => Ok(Transformed::yes(plan)),
                    None => Ok(Transformed::no(node)),
                },
                _ => match TableCall::find(&node) {
                    Some(call) => Ok(Transformed::yes(call_once(call, &mut names)?)),
                    None => Ok(Transformed::no(node)),
                },
            })
            .data()?;
        check_places(&plan)?;
        Ok(plan)
    }
}

/// Makes the calls of a lateral join, if it is one.
fn lateral(join: &Join, names: &mut Names) -> Result<Option<LogicalPlan>> {
    if let Some(associated) = associate(join)? {
        let plan = match lateral(&associated, names)? {
            Some(plan) => plan,
            None => LogicalPlan::Join(associated),
        };
        return filter(plan, conditions(join)).map(Some);
    }
    if is_correlated(join) { correlate(join, names).map(Some) } else { Ok(None) }
}

/// Says whether the right side of a join calls a table function for the rows of its left side, or of
/// an outer query.
fn is_correlated(join: &Join) -> bool {
    let calls = |node: &LogicalPlan| {
        Ok(TableCall::find(node).is_some_and(|node| any_part(node.call(), is_outer)))
    };
    // The closure never fails, so neither does the walk.
    find_lateral(&join.right)
        .is_some_and(|lateral| lateral.subquery.exists(calls).unwrap_or_default())
        || reads(&join.right, join.left.schema())
}

/// Makes the calls of a lateral join for the rows of its left side.
fn correlate(join: &Join, names: &mut Names) -> Result<LogicalPlan> {
    let rows: Vec<Expr> = columns(join.left.schema()).collect();
    let mut apply = Apply::new(Arc::clone(&join.left), names);
    if join.join_type != JoinType::Inner {
        let outputs = apply.join(join, rows)?;
        return named(apply.into_plan(), &join.schema, outputs);
    }
    let found = apply.inner(&join.right)?;
    let plan = named(apply.into_plan(), &join.schema, rows.into_iter().chain(found).collect())?;
    // Above the projection a call in the SELECT list of LATERAL is a column, and is made once.
    filter(plan, conditions(join))
}

/// Makes a call that reads no row.
fn call_once(node: &TableCall, names: &mut Names) -> Result<LogicalPlan> {
    if any_part(node.call(), is_outer) {
        let name = node.call().schema_name();
        return plan_err!(
            "table function {name} cannot be called on columns of the outer query in this \
             subquery; call it in FROM beside the table it reads: FROM t, LATERAL f(t.x) AS q"
        );
    }
    let row = LogicalPlanBuilder::empty(true).build()?;
    let mut apply = Apply::new(Arc::new(row), names);
    let outputs = apply.call(node)?;
    named(apply.into_plan(), node.schema(), outputs)
}

/// Returns what a join says of its pairs, each condition for itself.
fn conditions(join: &Join) -> Vec<Expr> {
    let equalities = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let others = join.filter.iter().cloned().flat_map(split_conjunction_owned);
    // ON TRUE says nothing.
    equalities.chain(others.filter(|condition| *condition != lit(true))).collect()
}

/// Gives columns their names.
fn named(plan: Arc<LogicalPlan>, schema: &DFSchemaRef, outputs: Vec<Expr>) -> Result<LogicalPlan> {
    let named = outputs.into_iter().zip(columns(schema)).map(|(output, column)| match &column {
        Expr::Column(name) if output != column => {
            output.alias_qualified(name.relation.clone(), &name.name)
        }
        _ => output,
    });
    let projection = Projection::try_new_with_schema(named.collect(), plan, Arc::clone(schema))?;
    Ok(LogicalPlan::Projection(projection))
}

/// Checks that table functions are called in FROM alone.
fn check_places(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let is_ours = AsyncCalc::find(node).is_some();
        node.apply_expressions(|expr| {
            expr.apply(|part| match find_call(part) {
                Some(udf)
                    if udf.function().declaration().returns_rows()
                        && !(is_ours && std::ptr::eq(part, expr)) =>
                {
                    let name = udf.function().name();
                    plan_err!(
                        "table function {name} cannot be called in an expression, since it gives \
                         rows; call it in FROM: FROM t, LATERAL {name}(..) AS q"
                    )
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
