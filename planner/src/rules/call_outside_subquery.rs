//! [`CallOutsideSubquery`] calls on the value of a correlated subquery, rather than inside of it.
//!
//! ```text
//! Before:                                            After:
//! Projection: (SELECT f(count(*)) FROM b             Projection: f((SELECT count(*) FROM b
//!               WHERE b.k = t.k)                                     WHERE b.k = t.k))
//!   TableScan: t                                       TableScan: t
//! ```
//! DataFusion makes a join of such a subquery, and a row of t without partners must get the value of
//! an empty group: it evaluates the SELECT list for one, at planning, which a call cannot be.
//!
//! Safe: an aggregation without keys gives one row, and its SELECT list is evaluated once per row of
//! the outer query either way; with several aggregates there are as many subqueries. Declines: no
//! call around the aggregates; uncorrelated subqueries, which are run on their own.
//! What LATERAL resolves inside of a subquery correlates nothing: DataFusion counts it among the columns of
//! the outer query, and it is taken off that list.
//! Errors: a call in HAVING, in LATERAL, or on columns of the outer query is a planning error here,
//! where its clause is still known.
//! Needs: runs after `wrap_foreign_functions`, before the optimizer makes joins of subqueries.

use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Result, plan_err};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Expr, LogicalPlan, Projection, Subquery};
use datafusion_optimizer::AnalyzerRule;

use crate::calls::{any_part, call_name, has_call, is_outer};
use crate::free::{find_lateral, free_references};
use crate::presence::plan_has_call;
use crate::rewrite::map_parts;

/// Moves calls around the aggregates of correlated subqueries into the outer query.
#[derive(Debug, Default)]
pub struct CallOutsideSubquery;

impl AnalyzerRule for CallOutsideSubquery {
    fn name(&self) -> &str {
        "call_outside_subquery"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !plan_has_call(&plan)? {
            return Ok(plan);
        }
        plan.transform_up_with_subqueries(|node| {
            if let LogicalPlan::Join(join) = &node
                && let Some(lateral) = find_lateral(&join.right)
            {
                refuse(&lateral.subquery, "LATERAL", "call it on its column in the outer query")?;
            }
            map_parts(node, |part| match part {
                Expr::ScalarSubquery(subquery) => move_outside(without_resolved(subquery)),
                Expr::Exists(mut exists) => {
                    exists.subquery = without_resolved(exists.subquery);
                    Ok(Transformed::yes(Expr::Exists(exists)))
                }
                Expr::InSubquery(mut list) => {
                    list.subquery = without_resolved(list.subquery);
                    Ok(Transformed::yes(Expr::InSubquery(list)))
                }
                part => Ok(Transformed::no(part)),
            })
        })
        .data()
    }
}

/// Takes off what DataFusion counts among the columns of the outer query though LATERAL resolves it inside.
fn without_resolved(subquery: Subquery) -> Subquery {
    if subquery.outer_ref_columns.is_empty() {
        return subquery;
    }
    let free = free_references(&subquery.subquery);
    let is_free = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => free.contains(column),
        _ => true,
    };
    let outer_ref_columns = subquery.outer_ref_columns.iter().filter(|expr| is_free(expr));
    let outer_ref_columns = outer_ref_columns.cloned().collect();
    Subquery { outer_ref_columns, ..subquery }
}

fn move_outside(subquery: Subquery) -> Result<Transformed<Expr>> {
    let expr = match subquery.subquery.as_ref() {
        LogicalPlan::Projection(Projection { expr, input, .. }) => match expr.as_slice() {
            [expr] if is_correlated_aggregate(input) && !any_part(expr, is_outer) => {
                Some((expr, input)).filter(|(expr, _)| has_call(expr))
            }
            _ => None,
        },
        _ => None,
    };
    let Some((expr, input)) = expr else {
        let instead = "call it on the subquery's value";
        refuse(&subquery.subquery, "a correlated subquery", instead)?;
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    };
    unalias(expr.clone()).transform_up(|part| match part {
        Expr::Column(_) => {
            let aggregate = Projection::try_new(vec![part], Arc::clone(input))?;
            let aggregate = Arc::new(LogicalPlan::Projection(aggregate));
            let subquery = Subquery { subquery: aggregate, ..subquery.clone() };
            Ok(Transformed::yes(Expr::ScalarSubquery(subquery)))
        }
        part => Ok(Transformed::no(part)),
    })
}

/// Says whether a plan aggregates all rows that belong to a row of the outer query.
fn is_correlated_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty() && !free_references(plan).is_empty()
        }
        _ => false,
    }
}

/// Refuses calls above such an aggregate.
fn refuse(plan: &LogicalPlan, subquery: &str, instead: &str) -> Result<()> {
    let mut found = None;
    let mut node = plan;
    while !is_correlated_aggregate(node) {
        let (clause, call) = match node {
            LogicalPlan::Filter(filter) => ("HAVING", call_name(&filter.predicate)),
            LogicalPlan::Projection(projection) => {
                ("the SELECT list", projection.expr.iter().find_map(call_name))
            }
            LogicalPlan::SubqueryAlias(_) => ("", None),
            _ => return Ok(()),
        };
        found = call.map(|call| (clause, call)).or(found);
        match node.inputs().as_slice() {
            [input] => node = *input,
            _ => return Ok(()),
        }
    }
    match found {
        Some((clause, call)) => plan_err!(
            "async function {call} cannot be called in {clause} of {subquery}, around an aggregate; \
             select the aggregate alone there, and {instead}"
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_plan, assert_twin_rows, calls, planned, try_analyzed};

    #[test]
    fn calls_on_the_value_of_the_subquery() {
        assert_plan!("SELECT x, (SELECT f(count(*)) FROM b WHERE b.k = t.k) AS v FROM t", @r"
        Projection: t.x, __async_0 AS v
          AsyncCalc: f(__async_1) AS __async_0
            Projection: t.x, CASE WHEN __scalar_sq_1.__always_true IS NULL THEN Int64(0) ELSE __scalar_sq_1.count(Int64(1)) END AS count(*) AS __async_1
              Left Join: t.k = __scalar_sq_1.k
                TableScan: t projection=[x, k]
                SubqueryAlias: __scalar_sq_1
                  Projection: count(Int64(1)), b.k, Boolean(true) AS __always_true
                    Aggregate: groupBy=[[b.k]], aggr=[[count(Int64(1))]]
                      TableScan: b projection=[k]
        ");
    }

    #[test]
    fn rows_without_partners_get_the_value_of_an_empty_group() {
        for sql in [
            "SELECT x, (SELECT f(count(*)) FROM b WHERE b.z = t.x) FROM t",
            "SELECT x, (SELECT f(count(*)) + g(sum(y)) FROM b WHERE b.z = t.x) AS v FROM t",
            "SELECT x FROM t WHERE 2 < (SELECT f(max(y)) FROM b WHERE b.k = t.k)",
            "SELECT x, CASE WHEN x < 9 THEN (SELECT f(count(*)) FROM b WHERE b.k = t.k) END FROM t",
        ] {
            assert_twin_rows(sql);
        }
    }

    #[test]
    fn a_subquery_that_holds_a_lateral_join_is_not_correlated_by_it() {
        let lateral = "FROM t a CROSS JOIN LATERAL (SELECT 1 FROM b r WHERE r.k = a.x) l";
        for sql in [
            format!("SELECT (SELECT f(count(*)) {lateral}) AS v"),
            format!("SELECT y, (SELECT count(*) {lateral} HAVING p(count(*))) AS v FROM b"),
        ] {
            assert_twin_rows(&sql);
        }
    }

    #[test]
    fn a_subquery_under_a_guard_is_called_for_its_rows_only() {
        let sql =
            "SELECT CASE WHEN x < 9 THEN (SELECT f(max(y)) FROM b WHERE b.k = t.k) END FROM t";
        assert_eq!(calls(sql), "f 9");
    }

    #[test]
    fn declines_without_a_call_around_an_aggregate() {
        for sql in [
            "SELECT x, (SELECT max(f(y)) FROM b WHERE b.k = t.k) FROM t",
            "SELECT f((SELECT max(y) FROM b WHERE b.k = t.k)) FROM t",
            "SELECT x, (SELECT f(max(y)) FROM b) FROM t",
        ] {
            let plan = planned(sql);
            let options = ConfigOptions::new();
            assert_eq!(CallOutsideSubquery.analyze(plan.clone(), &options).unwrap(), plan);
        }
    }

    #[test]
    fn refusals_name_the_clause_and_what_to_write() {
        let refused = [
            "SELECT x, (SELECT count(*) FROM b WHERE b.k = t.k HAVING p(count(*))) FROM t",
            "SELECT x, (SELECT f(count(*) + t.x) FROM b WHERE b.k = t.k) FROM t",
            "SELECT x, v FROM t, LATERAL (SELECT f(count(*)) AS v FROM b WHERE b.k = t.k) q",
        ];
        let messages = refused.map(|sql| try_analyzed(sql).unwrap_err().strip_backtrace());
        insta::assert_snapshot!(messages.join("\n"), @r"
        call_outside_subquery
        caused by
        Error during planning: async function p cannot be called in HAVING of a correlated subquery, around an aggregate; select the aggregate alone there, and call it on the subquery's value
        call_outside_subquery
        caused by
        Error during planning: async function f cannot be called in the SELECT list of a correlated subquery, around an aggregate; select the aggregate alone there, and call it on the subquery's value
        call_outside_subquery
        caused by
        Error during planning: async function f cannot be called in the SELECT list of LATERAL, around an aggregate; select the aggregate alone there, and call it on its column in the outer query
        ");
    }
}
