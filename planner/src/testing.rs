//! Tests of rules from SQL: a small catalogue, `assert_rule!`, `assert_plan!` and a synchronous twin.
//!
//! Tables: `t` (60 rows: x 0.., k = x % 10, n = x or NULL, a, b, txt, s = {a, b}) and `b` (10 rows: y,
//! k, z). Functions: f, g, h (number to number), p, q, dear, rare (number to boolean), p2 (two numbers to
//! boolean), ask (text to text), fs (number to struct), fv (volatile), send (has side effects).

mod catalogue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;
use datafusion::functions_window::row_number::row_number;
use datafusion::physical_plan::collect;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion_common::config::ExtensionOptions;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion_common::{Column, Result};
use datafusion_expr::expr::{Case, ScalarFunction, WindowFunction};
use datafusion_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Projection, col, lit, not,
};
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use farcall_udf::FarcallConfig;

use crate::calls::{has_call, has_nested_call};
use crate::logical::{AsyncCalc, Resolve, ResolveKind, RowId};
use crate::rewrite::columns as columns_of;
use crate::{check_calls, optimizer_rules};
use catalogue::{Counts, synchronous, twin};

pub(crate) use catalogue::session;

/// Asserts that a rule changes the plan of a query, and how, or that it does not.
///
/// ```text
/// assert_rule!(SplitSort, fires, "SELECT x FROM t ORDER BY f(x)", @"the plan right after the rule");
/// assert_rule!(SplitSort, declines, "SELECT x FROM t ORDER BY x");
/// ```
/// In both cases the rule must change nothing when it runs again on its own result, and a second
/// optimization must change nothing in the final plan.
macro_rules! assert_rule {
    ($rule:expr, fires, $sql:expr, @$plan:literal) => {{
        let after = $crate::testing::after_rule(&$rule, $sql);
        let after = after.expect("the rule should have changed the plan, but did not");
        insta::assert_snapshot!(after, @$plan);
    }};
    ($rule:expr, declines, $sql:expr) => {{
        let after = $crate::testing::after_rule(&$rule, $sql);
        assert_eq!(after, None, "the rule should have left the plan alone");
    }};
}
pub(crate) use assert_rule;

/// Asserts the optimized plan of a query, in which every call stands in its own node.
///
/// The rows must be those of the synchronous twin as well.
macro_rules! assert_plan {
    ($sql:expr, @$plan:literal) => {{
        $crate::testing::assert_twin_rows($sql);
        insta::assert_snapshot!($crate::testing::optimized($sql).display_indent(), @$plan);
    }};
}
pub(crate) use assert_plan;

/// Asserts how a plan looks.
macro_rules! assert_snapshot_of {
    ($plan:expr, @$shown:literal) => {
        insta::assert_snapshot!($plan.display_indent(), @$shown)
    };
}
pub(crate) use assert_snapshot_of;

/// Plans and optimizes a query with all rules.
pub(crate) fn optimized(sql: &str) -> LogicalPlan {
    let plan = try_optimized(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    check_calls(&plan).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let again = reoptimize(&plan).unwrap();
    assert_eq!(
        again.display_indent().to_string(),
        plan.display_indent().to_string(),
        "a second optimization of {sql} changed the plan"
    );
    plan
}

/// Plans and optimizes a query with all rules, if it can be.
pub(crate) fn try_optimized(sql: &str) -> Result<LogicalPlan> {
    optimize(&session(), sql, optimizer_rules(), |_, _| {})
}

/// Returns the plan of a table of the catalogue.
pub(crate) fn table(name: &str) -> LogicalPlan {
    planned(&format!("SELECT * FROM {name}")).inputs()[0].clone()
}

/// Returns a call of a function of the catalogue, without a site.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let session = session();
    let udf = session.scalar_functions().get(name).unwrap();
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args))
}

/// Plans and analyzes a query.
pub(crate) fn analyzed(sql: &str) -> LogicalPlan {
    try_analyzed(sql).unwrap()
}

/// Plans and analyzes a query, if it can be.
pub(crate) fn try_analyzed(sql: &str) -> Result<LogicalPlan> {
    let session = session();
    let plan = block_on(session.create_logical_plan(sql))?;
    session.analyzer().execute_and_check(plan, session.config_options(), |_, _| {})
}

/// Analyzes a plan.
pub(crate) fn analyze(session: &SessionState, plan: LogicalPlan) -> LogicalPlan {
    session.analyzer().execute_and_check(plan, session.config_options(), |_, _| {}).unwrap()
}

/// Plans a query, without analyzing it.
pub(crate) fn planned(sql: &str) -> LogicalPlan {
    block_on(session().create_logical_plan(sql)).unwrap()
}

/// Returns the number of columns of a query's result.
pub(crate) fn columns(sql: &str) -> usize {
    planned(sql).schema().fields().len()
}

/// Says whether every call of a plan stands at the top of a call column.
pub(crate) fn calls_stand_alone(plan: &LogicalPlan) -> bool {
    let mut alone = true;
    plan.apply_with_subqueries(|node| {
        match AsyncCalc::find(node) {
            Some(calc) => {
                alone &= !calc.calls().iter().any(|column| {
                    has_nested_call(&column.call) || column.guard.as_ref().is_some_and(has_call)
                })
            }
            None => alone &= !node.expressions().iter().any(has_call),
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    alone
}

/// Plans and optimizes a query in a single pass.
pub(crate) fn optimized_in_one_pass(sql: &str) -> Result<LogicalPlan> {
    let context = datafusion::prelude::SessionContext::new_with_state(session());
    block_on(context.sql("SET datafusion.optimizer.max_passes = 1")).unwrap();
    optimize(&context.state(), sql, optimizer_rules(), |_, _| {})
}

/// Plans and optimizes a query under settings of the session, keys below `farcall.`.
pub(crate) fn optimized_under(settings: &[(&str, &str)], sql: &str) -> LogicalPlan {
    let mut config = FarcallConfig::default();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    let mut state = session();
    state.config_mut().options_mut().extensions.insert(config);
    optimize(&state, sql, optimizer_rules(), |_, _| {}).unwrap()
}

/// Plans and optimizes a query without one rule.
pub(crate) fn optimized_without(rule: &str, sql: &str) -> Result<LogicalPlan> {
    let rules = optimizer_rules().into_iter().filter(|other| other.name() != rule).collect();
    optimize(&session(), sql, rules, |_, _| {})
}

/// Optimizes an optimized plan again.
pub(crate) fn reoptimize(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut rules = Optimizer::new().rules;
    rules.extend(optimizer_rules());
    Optimizer::with_rules(rules).optimize(plan.clone(), &session(), |_, _| {})
}

/// Returns the plan right after a rule changed it first, `None` if it never did.
pub(crate) fn after_rule(rule: &dyn OptimizerRule, sql: &str) -> Option<String> {
    optimized(sql);
    let last = Mutex::new(String::new());
    let after = Mutex::new(None);
    optimize(&session(), sql, optimizer_rules(), |plan, observed| {
        let shown = plan.display_indent().to_string();
        let before = std::mem::replace(&mut *last.lock().unwrap(), shown.clone());
        if observed.name() == rule.name() && before != shown {
            let again = rule.rewrite(plan.clone(), &OptimizerContext::new()).unwrap().data;
            assert_eq!(again.display_indent().to_string(), shown, "the rule is not idempotent");
            after.lock().unwrap().get_or_insert(shown);
        }
    })
    .unwrap();
    after.into_inner().unwrap()
}

fn optimize(
    session: &SessionState,
    sql: &str,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    observer: impl FnMut(&LogicalPlan, &dyn OptimizerRule),
) -> Result<LogicalPlan> {
    let plan = block_on(session.create_logical_plan(sql))?;
    let plan = session.analyzer().execute_and_check(plan, session.config_options(), |_, _| {})?;
    let mut all = Optimizer::new().rules;
    all.extend(rules);
    Optimizer::with_rules(all).optimize(plan, session, observer)
}

/// Asserts that a query gives the rows that it gives with synchronous functions.
pub(crate) fn assert_twin_rows(sql: &str) {
    let expected = run(&twin(), sql);
    let (got, _) = run_calls(sql);
    assert_eq!(got, expected, "rows of {sql}");
}

/// Returns the rows of a query, sorted.
pub(crate) fn rows(sql: &str) -> Vec<String> {
    run_calls(sql).0
}

/// Returns the rows that a query gives with synchronous functions, sorted.
pub(crate) fn twin_rows(sql: &str) -> Vec<String> {
    run(&twin(), sql)
}

/// Returns how many rows each function was called on, as `f 60, g 6`.
pub(crate) fn calls(sql: &str) -> String {
    let (got, calls) = run_calls(sql);
    assert_eq!(got, run(&twin(), sql), "rows of {sql}");
    let calls: Vec<String> =
        calls.into_iter().map(|(name, rows)| format!("{name} {rows}")).collect();
    calls.join(", ")
}

/// Runs an optimized plan, an `AsyncCalc` being a projection of synchronous calls.
fn run_calls(sql: &str) -> (Vec<String>, BTreeMap<String, u64>) {
    let plan = optimized(sql);
    let counts = Counts::default();
    let plan = plan
        .transform_up_with_subqueries(|node| match AsyncCalc::find(&node) {
            Some(calc) => {
                let mut exprs: Vec<Expr> = columns_of(calc.input().schema()).collect();
                for column in calc.calls() {
                    let call = synchronous(&column.call, &counts);
                    let call = match column.guard.clone() {
                        Some(guard) => {
                            let branch = (Box::new(guard), Box::new(call));
                            Expr::Case(Case::new(None, vec![branch], None))
                        }
                        None => call,
                    };
                    exprs.push(call.alias(&column.name));
                }
                let projection = Projection::try_new(exprs, Arc::clone(calc.input()))?;
                Ok(Transformed::yes(LogicalPlan::Projection(projection)))
            }
            None => match (RowId::find(&node), Resolve::find(&node)) {
                (Some(row_id), _) => Ok(Transformed::yes(numbered(row_id)?)),
                (_, Some(resolve)) => Ok(Transformed::yes(resolved(resolve)?)),
                _ => Ok(Transformed::no(node)),
            },
        })
        .data()
        .unwrap();
    let session = twin();
    let rows = block_on(async {
        let plan =
            DefaultPhysicalPlanner::default().create_physical_plan(&plan, &session).await.unwrap();
        collect(plan, session.task_ctx()).await.unwrap()
    });
    let counts = counts.0.lock().unwrap().clone();
    (sorted(&rows), counts)
}

/// A `RowId` as a window function.
fn numbered(node: &RowId) -> Result<LogicalPlan> {
    let number = row_number().alias(node.column());
    LogicalPlanBuilder::from(node.input().as_ref().clone()).window([number])?.build()
}

/// A `Resolve` as window functions, a filter and a projection.
fn resolved(node: &Resolve) -> Result<LogicalPlan> {
    let id = Expr::Column(node.row_id().clone());
    let matched = Expr::Column(node.matched().clone());
    let any = WindowFunction::new(bool_or_udaf(), vec![matched.clone()]);
    let any = Expr::from(any).partition_by(vec![id.clone()]).build()?.alias("any_match");
    let any_match = || col("any_match").is_true();
    let first = row_number().partition_by(vec![id.clone()]).build()?.alias("candidate");
    let first_one = col("candidate").eq(lit(1_u64)).and(id.clone().is_not_null());
    let alone = not(any_match()).and(first_one.clone());
    let pair = matched.clone().is_true().or(id.is_null());
    let witness = || col("witness");
    // Every candidate comes twice for a full join: as itself, and as a witness of its partner.
    let (kept, has_row, has_partner) = match node.kind() {
        ResolveKind::Outer => (pair.clone().or(alone), lit(true), pair),
        ResolveKind::Semi => (any_match().and(first_one), lit(true), lit(true)),
        ResolveKind::Anti => (alone, lit(true), lit(true)),
        ResolveKind::Mark(..) => (first_one, lit(true), lit(true)),
        ResolveKind::Full => (
            witness()
                .and(not(matched.clone()))
                .or(not(witness()).and(matched.clone().is_true().or(alone))),
            not(witness()),
            witness().or(matched.is_true()),
        ),
    };
    let mut rows = LogicalPlanBuilder::from(node.input().as_ref().clone()).window([any, first])?;
    if *node.kind() == ResolveKind::Full {
        let twice = LogicalPlanBuilder::values(vec![vec![lit(true)], vec![lit(false)]])?;
        rows = rows.cross_join(twice.project([col("column1").alias("witness")])?.build()?)?;
    }
    let outputs = node.outputs().iter().map(|output| {
        let Column { relation, name, .. } = output.column.clone();
        let shown = if output.nulled { &has_partner } else { &has_row };
        let branch = (Box::new(shown.clone()), Box::new(Expr::Column(output.column.clone())));
        Expr::Case(Case::new(None, vec![branch], None)).alias_qualified(relation, name)
    });
    let mark = match node.kind() {
        ResolveKind::Mark(qualifier, name) => {
            Some(any_match().alias_qualified(qualifier.clone(), name))
        }
        _ => None,
    };
    rows.filter(kept)?.project(outputs.chain(mark))?.build()
}

fn run(session: &SessionState, sql: &str) -> Vec<String> {
    let rows = block_on(async {
        let plan = session.create_logical_plan(sql).await.unwrap();
        let plan = session.create_physical_plan(&plan).await.unwrap();
        collect(plan, session.task_ctx()).await.unwrap()
    });
    sorted(&rows)
}

fn sorted(rows: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(rows).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('+'))
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
