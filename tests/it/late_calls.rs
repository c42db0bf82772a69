//! Calls that come into a plan late are found, however many plain plans a session has seen before.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, col, lit};
use datafusion::physical_plan::collect;
use datafusion::prelude::DataFrame;
use farcall::FarcallSession;
use farcall::udf::{CallError, async_fn};

use crate::support::twins::lines;

const PLAIN: &str = "SELECT id FROM t WHERE id > 1";

#[tokio::test]
async fn in_views_subqueries_prepared_statements_and_branches() {
    let session = session().await;
    for (prepare, sql, expected) in [
        ("CREATE VIEW v AS SELECT f(id) AS y FROM t", "SELECT y FROM v WHERE y > 102", "103"),
        ("PREPARE p AS SELECT id FROM t WHERE f(id) = $1", "EXECUTE p(102)", "2"),
        ("", "SELECT id FROM t WHERE id > 1 AND id + 100 IN (SELECT f(2) FROM t)", "2"),
        ("", "SELECT id FROM t WHERE id > (SELECT min(f(id)) - 99 FROM t)", "3"),
        ("", "SELECT id FROM t WHERE id > 2 UNION ALL SELECT f(id) FROM t WHERE id < 1", "3"),
        ("", "SELECT (SELECT max(f(id)) FROM t WHERE id > 1)", "103"),
    ] {
        plan(&session, PLAIN).await;
        if !prepare.is_empty() {
            session.sql(prepare).await.unwrap();
            plan(&session, PLAIN).await;
        }
        let frame = session.sql(sql).await.unwrap();
        assert_eq!(sorted(frame).await, [expected], "{sql}");
    }
}

#[tokio::test]
async fn above_a_data_frame_that_was_planned_without_them() {
    let session = session().await;
    let frame = plan(&session, PLAIN).await;
    for _ in 0..2 {
        let called = frame.clone().select([f(&session).alias("y")]).unwrap();
        assert_eq!(sorted(called).await, ["102", "103"]);
        let filtered = frame.clone().filter(f(&session).gt(lit(102_i64))).unwrap();
        assert_eq!(sorted(filtered).await, ["3"]);
        let both = frame.clone().union(frame.clone().select([f(&session)]).unwrap()).unwrap();
        assert_eq!(sorted(both).await, ["102", "103", "2", "3"]);
        // The frame itself is as plain as it was.
        assert_eq!(sorted(frame.clone()).await, ["2", "3"]);
    }
}

#[tokio::test]
async fn below_a_node_that_was_planned_over_another_input() {
    let session = session().await;
    let (state, plan) = plan(&session, PLAIN).await.into_parts();
    let input = Arc::new(plan.inputs()[0].clone());
    let call = f(&session).alias_qualified(Some("t"), "id");
    let calling = Projection::try_new(vec![call], input).unwrap();
    let calling = LogicalPlan::Projection(calling);
    let rebuilt = plan.with_new_exprs(plan.expressions(), vec![calling]).unwrap();
    assert_eq!(run(&state, &plan).await, ["2", "3"]);
    assert_eq!(run(&state, &rebuilt).await, ["102", "103"]);
    assert_eq!(run(&state, &plan).await, ["2", "3"]);
}

/// A session over `t` with the numbers 1 to 3, and `f`, which adds 100.
async fn session() -> FarcallSession {
    let session = FarcallSession::new().unwrap();
    session.register(async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 100) }));
    let table = "CREATE TABLE t (id BIGINT) AS VALUES (1), (2), (3)";
    session.sql(table).await.unwrap().collect().await.unwrap();
    session
}

/// Plans a query down to operators.
async fn plan(session: &FarcallSession, sql: &str) -> DataFrame {
    let frame = session.sql(sql).await.unwrap();
    frame.clone().create_physical_plan().await.unwrap();
    frame
}

fn f(session: &FarcallSession) -> Expr {
    session.context().state().scalar_functions()["f"].call(vec![col("t.id")])
}

async fn sorted(frame: DataFrame) -> Vec<String> {
    values(&frame.collect().await.unwrap())
}

async fn run(state: &SessionState, plan: &LogicalPlan) -> Vec<String> {
    let plan = state.create_physical_plan(plan).await.unwrap();
    values(&collect(plan, state.task_ctx()).await.unwrap())
}

/// Returns the values of the only column, sorted as texts.
fn values(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = lines(batches);
    rows.sort();
    rows.iter().map(|row| row.trim_matches('|').to_owned()).collect()
}
