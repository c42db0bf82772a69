use std::sync::Arc;

use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, TableFactor};
use datafusion_common::DFSchema;
use datafusion_expr::expr::ScalarFunction;
use farcall_udf::{AsyncUdf, CallError, async_table_fn};

use super::*;
use crate::testing::session;

#[test]
fn a_call_is_made_below_the_join_of_its_rows() {
    insta::assert_snapshot!(analyzed("SELECT t.x, q.a FROM t, LATERAL tf(t.k) AS q"), @r"
    Projection: t.x, q.a
      Projection: t.x, t.k, t.n, t.a, t.b, t.txt, t.s, __async_1 AS a, __async_2 AS w
        AsyncLookupJoin: Inner tf found=__async_0 columns=[__async_1, __async_2]
          AsyncCalc: tf(t.k) AS __async_0
            TableScan: t
    ");
}

#[test]
fn a_left_join_tests_its_conditions_before_a_row_is_extended() {
    insta::assert_snapshot!(analyzed(
        "SELECT t.x, q.a FROM t LEFT JOIN LATERAL tf(t.k) AS q ON q.a > t.x AND t.a = 1"
    ), @r"
    Projection: t.x, q.a
      Projection: t.x, t.k, t.n, t.a, t.b, t.txt, t.s, __async_1 AS a, __async_2 AS w
        AsyncLookupJoin: Left tf found=__async_0 columns=[__async_1, __async_2] filter=__async_1 > t.x
          AsyncCalc: tf(t.k) AS __async_0 WHEN t.a = Int64(1)
            TableScan: t
    ");
}

#[test]
fn what_a_left_join_computes_is_null_where_there_is_no_row() {
    insta::assert_snapshot!(analyzed(
        "SELECT q.* FROM b LEFT JOIN LATERAL \
         (SELECT a, 1 AS one, b.z AS z FROM tf(b.y) WHERE w = 'u') AS q ON TRUE"
    ), @r#"
    Projection: q.a, q.one, q.z
      Projection: b.y, b.k, b.z, __async_1 AS a, CASE WHEN __async_3 THEN Int64(1) END AS one, CASE WHEN __async_3 THEN b.z END AS z
        AsyncLookupJoin: Left tf found=__async_0 columns=[__async_1, __async_2, __async_3] filter=__async_2 = Utf8("u")
          AsyncCalc: tf(b.y) AS __async_0
            TableScan: b
    "#);
}

#[test]
fn calls_in_lateral_are_nested() {
    insta::assert_snapshot!(analyzed(
        "SELECT w.v FROM b, LATERAL \
         (SELECT r.a + q.a AS v FROM tf(b.y) AS q, LATERAL tf(q.a) AS r WHERE r.a > b.z) AS w"
    ), @r"
    Projection: w.v
      Projection: b.y, b.k, b.z, __async_4 + __async_1 AS v
        Filter: __async_4 > b.z
          AsyncLookupJoin: Inner tf found=__async_3 columns=[__async_4, __async_5]
            AsyncCalc: tf(__async_1) AS __async_3
              AsyncLookupJoin: Inner tf found=__async_0 columns=[__async_1, __async_2]
                AsyncCalc: tf(b.y) AS __async_0
                  TableScan: b
    ");
}

#[test]
fn what_a_relation_calls_is_called_before_its_rows_are_joined() {
    insta::assert_snapshot!(analyzed(
        "SELECT w.u, w.a FROM b, LATERAL \
         (SELECT q.v AS u, r.a FROM (SELECT f(a) AS v FROM tf(b.y)) AS q, LATERAL tf(q.v) AS r) AS w"
    ), @r"
    Projection: w.u, w.a
      Projection: b.y, b.k, b.z, __async_3 AS u, __async_5 AS a
        AsyncLookupJoin: Inner tf found=__async_4 columns=[__async_5, __async_6]
          AsyncCalc: tf(__async_3) AS __async_4
            Projection: b.y, b.k, b.z, __async_1, __async_2, f(__async_1) AS __async_3
              AsyncLookupJoin: Inner tf found=__async_0 columns=[__async_1, __async_2]
                AsyncCalc: tf(b.y) AS __async_0
                  TableScan: b
    ");
}

#[test]
fn a_function_is_taken_out_of_the_join_that_it_stands_in() {
    insta::assert_snapshot!(analyzed(
        "SELECT t.x, q.a, b.z FROM t, LATERAL tf(t.k) AS q LEFT JOIN b ON b.y > q.a"
    ), @r"
    Projection: t.x, q.a, b.z
      Left Join:  Filter: b.y > q.a
        Projection: t.x, t.k, t.n, t.a, t.b, t.txt, t.s, __async_1 AS a, __async_2 AS w
          AsyncLookupJoin: Inner tf found=__async_0 columns=[__async_1, __async_2]
            AsyncCalc: tf(t.k) AS __async_0
              TableScan: t
        TableScan: b
    ");
}

#[test]
fn a_call_with_constants_is_made_for_one_row() {
    insta::assert_snapshot!(analyzed("SELECT q.a FROM tf(7) AS q"), @r"
    Projection: q.a
      SubqueryAlias: q
        Projection: __async_1 AS a, __async_2 AS w
          AsyncLookupJoin: Inner tf found=__async_0 columns=[__async_1, __async_2]
            AsyncCalc: tf(Int64(7)) AS __async_0
              EmptyRelation: rows=1
    ");
}

#[test]
fn analyzed_again_a_plan_stays() {
    for sql in [
        "SELECT t.x, q.a FROM t, LATERAL tf(t.k) AS q",
        "SELECT q.a FROM tf(7) AS q",
        "SELECT t.x, q.a FROM t, LATERAL tf(t.k) AS q JOIN b ON b.y = q.a",
        "SELECT f(x), (SELECT max(y) FROM b) FROM t",
    ] {
        let plan = plan(sql).unwrap();
        let again = Correlate.analyze(plan.clone(), &ConfigOptions::new()).unwrap();
        assert_eq!(again, plan, "{sql}");
    }
}

#[test]
fn lateral_around_anything_else_is_left_to_datafusion() {
    let sql = "SELECT t.x, q.y FROM t, LATERAL (SELECT y FROM b WHERE b.k = t.k AND f(y) > 3) q";
    let plan = plan(sql).unwrap();
    assert!(plan.exists(|node| Ok(matches!(node, LogicalPlan::Subquery(_)))).unwrap());
}

#[test]
fn what_a_plan_is_refused_for_is_named() {
    let refused = [
        "SELECT tf(x) FROM t",
        "SELECT q.v FROM t, LATERAL (SELECT v FROM (SELECT p(a) AS v FROM tf(t.x)) i WHERE v) q",
        "SELECT x FROM t WHERE EXISTS (SELECT 1 FROM b, LATERAL (SELECT max(a) FROM tf(b.y)) q)",
        "SELECT (SELECT max(a) FROM tf(t.x)) FROM t",
        "SELECT q.v FROM t, LATERAL (SELECT a AS v FROM tf(t.x) FULL JOIN b ON tf.a = b.y) q",
        "SELECT t.x FROM t, LATERAL tf(t.x) q RIGHT JOIN b ON q.a = b.y",
        "SELECT t.x FROM t LEFT JOIN (b JOIN LATERAL tf(t.x) q ON q.a = b.y) ON TRUE",
    ];
    let messages = refused.map(|sql| {
        let error = plan(sql).unwrap_err().strip_backtrace();
        error.rsplit("caused by\n").next().unwrap_or_default().to_owned()
    });
    insta::assert_snapshot!(messages.join("\n"), @r"
    Error during planning: table function tf cannot be called in an expression, since it gives rows; call it in FROM: FROM t, LATERAL tf(..) AS q
    Error during planning: i.v reads what a call or volatile expression inside of LATERAL around a table function gives; select the function's columns alone there, and compute it in the outer query
    Error during planning: LATERAL around a table function holds an aggregate, which cannot be applied to the rows of each call; join the function's rows alone, FROM t, LATERAL f(t.x) AS q, and do it on the joined rows
    Error during planning: table function tf(outer_ref(t.x)) cannot be called on columns of the outer query in this subquery; call it in FROM beside the table it reads: FROM t, LATERAL f(t.x) AS q
    Error during planning: LATERAL around a table function holds a Full JOIN, which keeps rows that no call has given; write an inner or LEFT JOIN
    Error during planning: LATERAL around a table function holds a Right JOIN, which keeps rows that no call has given; write an inner or LEFT JOIN
    Error during planning: LEFT JOIN LATERAL holds a join beside a table function; join one function a time, with columns and conditions alone around it
    ");
}

fn analyzed(sql: &str) -> String {
    plan(sql).unwrap().display_indent().to_string()
}

fn plan(sql: &str) -> Result<LogicalPlan> {
    let context = SessionContext::new_with_state(session());
    let function = async_table_fn("tf", ["a", "w"], |x: i64| async move {
        Ok::<Vec<(i64, String)>, CallError>(vec![(x, "u".to_owned())])
    });
    context.register_udf(AsyncUdf::new(function).into_scalar_udf());
    context.register_relation_planner(Arc::new(Calls)).unwrap();
    let state = context.state();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let plan = runtime.block_on(state.create_logical_plan(sql))?;
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

/// The least of SQL: calls of one argument.
#[derive(Debug)]
struct Calls;

impl RelationPlanner for Calls {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (args, alias) = match &relation {
            TableFactor::Function { args, alias, .. } => (args, alias),
            TableFactor::Table { args: Some(args), alias, .. } => (&args.args, alias),
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))] = args.as_slice() else {
            panic!("{relation}")
        };
        let arg = context.sql_to_expr(arg.clone(), &DFSchema::empty())?;
        let udf = context.context_provider().get_function_meta("tf").unwrap();
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(udf, vec![arg]));
        let plan = TableCall::try_new(call)?.into_plan();
        let planned = PlannedRelation::new(plan, alias.clone());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}
