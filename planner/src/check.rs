//! [`check_calls`], the last word before physical planning: calls stand in nodes of their own.

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{JoinType, Result, plan_err};
use datafusion_expr::dml::WriteOp;
use datafusion_expr::{DmlStatement, Expr, LogicalPlan};
use farcall_udf::FarcallConfig;

use crate::calls::{any_part, call_name, find_call, has_call, has_nested_call, is_outer};
use crate::hint::check_hint;
use crate::logical::{AsyncCalc, AsyncLookupJoin};
use crate::lookup::{LookupSource, LookupTables};
use crate::presence::{plan_has_call, plan_has_lookup};
use crate::rules::{Planned, plan_join};

/// Checks that every async call stands in an [`AsyncCalc`].
///
/// Rules can be switched off by configuration, so a session runs this on every plan before it makes
/// operators. The error names the clause and says what to write instead.
///
/// # Errors
/// A planning error that names the clause and says what to write instead.
pub fn check_calls(plan: &LogicalPlan) -> Result<()> {
    if !plan_has_call(plan)? {
        return Ok(());
    }
    plan.apply_with_subqueries(|node| {
        if let Some(calc) = AsyncCalc::find(node) {
            for column in calc.calls() {
                if has_nested_call(&column.call) || column.guard.as_ref().is_some_and(has_call) {
                    // The rules are the session's: its settings may have left one out.
                    return plan_err!(
                        "async call {column} depends on a call of its own node; \
                         the optimizer rule nested_split is missing or was skipped"
                    );
                }
                if any_part(&column.call, is_outer) {
                    return plan_err!(
                        "async function {} cannot be called on columns of the outer query in this \
                         subquery; join the outer table to it and call it in the SELECT list",
                        column.call.schema_name()
                    );
                }
                if column.guard.as_ref().is_some_and(|guard| any_part(guard, is_outer)) {
                    return plan_err!(
                        "async function {} cannot be called under a condition on columns of the \
                         outer query in this subquery; join the outer table to it, or test the \
                         condition in WHERE",
                        column.call.schema_name()
                    );
                }
            }
            return Ok(TreeNodeRecursion::Continue);
        }
        if let Some(join) = AsyncLookupJoin::find(node)
            && join.condition().is_some_and(|condition| any_part(condition, is_outer))
        {
            return plan_err!(
                "the join with {} cannot read columns of the outer query in its condition; join the \
                 outer table in the subquery, or test the condition in WHERE",
                join.table()
            );
        }
        if let LogicalPlan::Dml(DmlStatement { op, input, table_name, .. }) = node {
            check_dml(op, input, &table_name.to_string())?;
        }
        node.apply_expressions(|expr| match call_name(expr) {
            Some(call) => refuse(node, expr, &call),
            None => Ok(TreeNodeRecursion::Continue),
        })
    })?;
    Ok(())
}

/// Checks that every call can be made as its options say.
///
/// A session runs this beside [`check_calls`], so that EXPLAIN refuses what the query would.
///
/// # Errors
/// A planning error that names function and option.
pub fn check_options(plan: &LogicalPlan, config: &FarcallConfig) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        for column in AsyncCalc::find(node).map(AsyncCalc::calls).unwrap_or_default() {
            if let Some(udf) = find_call(&column.call) {
                config.resolve(udf.function(), udf.call_options())?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn refuse(node: &LogicalPlan, expr: &Expr, call: &str) -> Result<TreeNodeRecursion> {
    if any_part(expr, |part| matches!(part, Expr::Lambda(lambda) if has_call(&lambda.body))) {
        return plan_err!(
            "async function {call} cannot be called inside a lambda; unnest the list, call \
             {call} on its elements, and collect them with array_agg"
        );
    }
    let (clause, instead) = place(node);
    plan_err!("async function {call} cannot be called in {clause}; {instead}")
}

/// Names the clause that a node stands for, and what to write instead.
fn place(node: &LogicalPlan) -> (String, &'static str) {
    const SUBQUERY: &str = "call it in the SELECT list of a subquery and use its column here";
    let (clause, instead) = match node {
        LogicalPlan::Projection(_) => ("the SELECT list", SUBQUERY),
        LogicalPlan::Filter(_) => ("WHERE or HAVING", SUBQUERY),
        LogicalPlan::Aggregate(_) => ("GROUP BY or an aggregate function", SUBQUERY),
        LogicalPlan::Window(_) => ("a window function", SUBQUERY),
        LogicalPlan::Sort(_) => ("ORDER BY", SUBQUERY),
        LogicalPlan::Distinct(_) => ("DISTINCT ON", SUBQUERY),
        LogicalPlan::Unnest(_) => ("UNNEST", SUBQUERY),
        LogicalPlan::Join(join) => {
            let kind = match join.join_type {
                JoinType::Inner => "an inner join",
                JoinType::Left => "a LEFT JOIN",
                JoinType::Right => "a RIGHT JOIN",
                JoinType::Full => "a FULL JOIN",
                JoinType::LeftSemi | JoinType::RightSemi => "EXISTS or IN",
                JoinType::LeftAnti | JoinType::RightAnti => "NOT EXISTS or NOT IN",
                JoinType::LeftMark | JoinType::RightMark => "EXISTS or IN beside other conditions",
            };
            return (
                format!("the condition of {kind}, on columns that the join must keep"),
                "join on the other conditions first, and call it on the joined rows",
            );
        }
        LogicalPlan::Limit(_) => {
            ("LIMIT or OFFSET", "write a number, which must be known before the query runs")
        }
        LogicalPlan::Values(_) => ("VALUES", "select from VALUES and call it in the SELECT list"),
        LogicalPlan::TableScan(_) => (
            "a filter that the table evaluates itself",
            "select from the table in a subquery and filter its result",
        ),
        LogicalPlan::Repartition(_) => ("a partitioning expression", SUBQUERY),
        LogicalPlan::Dml(_) => ("a statement that writes", "write from a SELECT that calls it"),
        LogicalPlan::Ddl(_) => (
            "a definition, such as a column's default",
            "call it in the query that fills the table",
        ),
        LogicalPlan::Statement(_) => ("this statement", "call it in a SELECT and use its result"),
        node => return (format!("{}", node.display()), SUBQUERY),
    };
    (clause.to_owned(), instead)
}

/// Refuses calls in the filters of DELETE and UPDATE, which are handed to the table.
fn check_dml(op: &WriteOp, input: &LogicalPlan, table: &str) -> Result<()> {
    let statement = match op {
        WriteOp::Delete => "DELETE",
        WriteOp::Update => "UPDATE",
        WriteOp::Insert(_) | WriteOp::Ctas => return Ok(()),
        _ => "this statement",
    };
    let mut call = None;
    input.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            call = call.take().or_else(|| call_name(expr));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match call {
        Some(call) => plan_err!(
            "async function {call} cannot be called in {statement} on {table}, whose conditions \
             the table evaluates itself; select the keys with the call first, and write by key"
        ),
        None => Ok(()),
    }
}

/// Checks that every lookup table of a plan is looked up, or can be scanned.
///
/// A session runs this beside [`check_calls`](check_calls), on every plan before it makes
/// operators. The error names the table and says what to write instead.
///
/// # Errors
/// A planning error that names the table and says what to write instead.
pub fn check_lookups(plan: &LogicalPlan, tables: &dyn LookupTables) -> Result<()> {
    if !plan_has_lookup(plan, tables)? {
        return Ok(());
    }
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(check_hint)?;
        match node {
            LogicalPlan::Join(join) => {
                if let Planned::Impossible(reason) = plan_join(join, tables)? {
                    return plan_err!("{reason}");
                }
            }
            LogicalPlan::TableScan(scan) => {
                if let Some(LookupSource { table, can_be_scanned: false }) =
                    LookupSource::of(scan, tables)
                {
                    let (name, key) = (table.name(), table.key_names());
                    return plan_err!(
                        "lookup table {name} cannot be scanned; join the table itself, by an equality on its key \
                         ({key})"
                    );
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion_expr::{Filter, col, lit};

    use super::*;
    use crate::logical::CallColumn;
    use crate::testing::{analyzed, call, optimized, table};

    #[test]
    fn accepts_a_plan_whose_calls_stand_in_nodes() {
        check_calls(&optimized("SELECT f(g(x)) FROM t WHERE p(x)")).unwrap();
    }

    #[test]
    fn names_the_clause_of_a_call_that_no_rule_took() {
        let error = check_calls(&analyzed("SELECT x FROM t ORDER BY f(x)")).unwrap_err();
        let message = error.strip_backtrace();
        assert!(message.contains("async function f cannot be called in ORDER BY"), "{message}");
    }

    #[test]
    fn looks_into_subqueries() {
        let plan = analyzed("SELECT y FROM b WHERE y IN (SELECT f(x) FROM t)");
        let message = check_calls(&plan).unwrap_err().strip_backtrace();
        assert!(message.contains("f cannot be called in the SELECT list"), "{message}");
    }

    #[test]
    fn names_the_call_that_depends_on_another_of_its_node() {
        let nested = call("f", vec![call("g", vec![col("t.x")])]);
        let column = CallColumn { call: nested, guard: None, name: "__async_0".into() };
        let plan = AsyncCalc::try_new(Arc::new(table("t")), vec![column]).unwrap().into_plan();
        let message = check_calls(&plan).unwrap_err().strip_backtrace();
        assert!(message.contains("f(g(t.x)) AS __async_0 depends on a call"), "{message}");
    }

    #[test]
    fn refuses_foreign_functions_that_were_not_wrapped() {
        let foreign = call("foreign_score", vec![col("t.x")]).gt(lit(1_i64));
        let filter = Filter::try_new(foreign, Arc::new(table("t"))).unwrap();
        let message = check_calls(&LogicalPlan::Filter(filter)).unwrap_err().strip_backtrace();
        assert!(message.contains("foreign_score cannot be called in WHERE"), "{message}");
    }
}
