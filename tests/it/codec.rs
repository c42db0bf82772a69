//! Plans survive a round trip through bytes: every node, every option, models and their secrets.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::physical_plan::displayable;
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use farcall::FarcallSession;
use farcall::connect::MemoryLookup;

use crate::support::twins::{Twins, lines};

const QUERIES: [&str; 6] = [
    "SELECT x, f(g(x)) AS v FROM t WHERE k < 10",
    "SELECT CASE WHEN k <> 0 THEN f(x / k) END AS v FROM t",
    "SELECT sum(f(x)) AS a, sum(g(x)) AS b FROM t GROUP BY p(k)",
    "SELECT pair(x)['foo'] AS a FROM t WHERE p(x) OR k > 50",
    "SELECT shout(txt) AS v FROM t ORDER BY h(x) LIMIT 3",
    "SELECT fv(x) AS a, fv(x) AS b FROM t",
];

#[tokio::test]
async fn logical_plans_come_back_as_they_were() {
    let (here, there) = (Twins::new(2), Twins::new(2));
    for sql in QUERIES {
        let plan = here.farcall.sql(sql).await.unwrap().into_optimized_plan().unwrap();
        // Tables of memory do not travel: the plan above the scan does.
        for node in nodes(&plan) {
            let codec = here.farcall.codec();
            let exprs = node.expressions();
            for expr in &exprs {
                let bytes = datafusion_proto::logical_plan::to_proto::serialize_expr(expr, &codec);
                let context = there.farcall.context().task_ctx();
                let codec = there.farcall.codec();
                let back = datafusion_proto::logical_plan::from_proto::parse_expr(
                    &bytes.unwrap(),
                    &context,
                    &codec,
                );
                assert_eq!(&back.unwrap(), expr, "{sql}");
            }
        }
    }
}

fn nodes(
    plan: &datafusion::logical_expr::LogicalPlan,
) -> Vec<&datafusion::logical_expr::LogicalPlan> {
    let mut found = vec![plan];
    for input in plan.inputs() {
        found.extend(nodes(input));
    }
    found
}

#[tokio::test]
async fn a_logical_plan_with_calls_runs_on_the_other_side() {
    let (here, there) = (Twins::new(1), Twins::new(1));
    let sql = "SELECT column1 AS v, f(g(column1)) AS w FROM (VALUES (1), (2), (NULL)) \
               WHERE CASE WHEN column1 > 0 THEN p(column1) ELSE true END";
    let plan = here.farcall.sql(sql).await.unwrap().into_optimized_plan().unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.farcall.codec()).unwrap();
    let context = there.farcall.context();
    let back = logical_plan_from_bytes_with_extension_codec(
        &bytes,
        &context.task_ctx(),
        &there.farcall.codec(),
    )
    .unwrap();
    assert_eq!(plan.display_indent().to_string(), back.display_indent().to_string());
    let rows = context.execute_logical_plan(back).await.unwrap().collect().await.unwrap();
    let expected = here.farcall.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(lines(&rows), lines(&expected));
    assert_eq!(there.calls.take(), here.calls.take());
}

#[tokio::test]
async fn joins_on_calls_travel() {
    let (here, there) = (Twins::new(1), Twins::new(1));
    let tables = "(VALUES (1, 2), (2, 3), (3, NULL)) AS l (a, z) {join} \
                  (VALUES (1, 4), (2, 2)) AS r (a, z)";
    for (select, join, end) in [
        ("l.a, r.z", "LEFT JOIN", "ON l.a = r.a AND p2(l.z, r.z)"),
        ("l.a", "LEFT SEMI JOIN", "ON l.a = r.a AND p2(l.z, r.z)"),
        ("l.a", "LEFT ANTI JOIN", "ON l.a = r.a AND p2(l.z, r.z)"),
        ("l.a, r.z", "FULL JOIN", "ON l.a = r.a AND p2(l.z, r.z)"),
    ] {
        let sql = format!("SELECT {select} FROM {} {end}", tables.replace("{join}", join));
        let plan = here.farcall.sql(&sql).await.unwrap().into_optimized_plan().unwrap();
        let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.farcall.codec());
        let context = there.farcall.context();
        let (task, codec) = (context.task_ctx(), there.farcall.codec());
        let back =
            logical_plan_from_bytes_with_extension_codec(&bytes.unwrap(), &task, &codec).unwrap();
        assert_eq!(plan.display_indent().to_string(), back.display_indent().to_string());
        assert!(back.display_indent().to_string().contains("Resolve"), "{sql}");
        // The physical plan over memory tables of VALUES travels as a whole.
        let physical = there.farcall.context().state().create_physical_plan(&back).await.unwrap();
        let bytes = physical_plan_to_bytes_with_extension_codec(physical.clone(), &codec).unwrap();
        let again = physical_plan_from_bytes_with_extension_codec(&bytes, &task, &codec).unwrap();
        let text = |plan: &_| displayable(plan).indent(true).to_string();
        assert_eq!(text(physical.as_ref()), text(again.as_ref()));
        let rows = datafusion::physical_plan::collect(again, task).await.unwrap();
        let expected = here.plain.sql(&sql).await.unwrap().collect().await.unwrap();
        let (mut got, mut expected) = (lines(&rows), lines(&expected));
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_physical_plan_with_calls_runs_on_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.parquet");
    let (here, there) = (Twins::new(2), Twins::new(2));
    let copy = format!("COPY (SELECT x, k, txt FROM t) TO '{}'", file.display());
    here.farcall.sql(&copy).await.unwrap().collect().await.unwrap();
    for session in [&here.farcall, &there.farcall] {
        let path = file.to_str().unwrap();
        session.context().register_parquet("p", path, Default::default()).await.unwrap();
        session.sql("SET farcall.function.f.max_batch_size = 7").await.unwrap();
    }
    for sql in [
        "SELECT x, f(g(x)) AS v FROM p WHERE k < 10",
        "SELECT CASE WHEN k <> 0 THEN f(x / k) END AS v FROM p",
        "SELECT shout(txt) AS v, f(x) AS w FROM p WHERE p2(x, k)",
        "SELECT x FROM p WHERE p2(x, k) AND q(x) LIMIT 20",
        "SELECT max(f(x)), count(*) FROM p WHERE q(x)",
    ] {
        let plan = here.farcall.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let bytes =
            physical_plan_to_bytes_with_extension_codec(plan.clone(), &here.farcall.codec())
                .unwrap();
        let context = there.farcall.context().task_ctx();
        let back =
            physical_plan_from_bytes_with_extension_codec(&bytes, &context, &there.farcall.codec())
                .unwrap();
        let text = |plan: &_| displayable(plan).indent(true).to_string();
        assert_eq!(text(plan.as_ref()), text(back.as_ref()), "{sql}");
        let rows = |plan, session: &FarcallSession| {
            datafusion::physical_plan::collect(plan, session.context().task_ctx())
        };
        let mut expected = lines(&rows(plan, &here.farcall).await.unwrap());
        let mut got = lines(&rows(back, &there.farcall).await.unwrap());
        expected.sort();
        got.sort();
        assert!(expected == got && !got.is_empty(), "{sql}");
        assert_eq!(there.calls.take(), here.calls.take(), "{sql}");
    }
}

#[tokio::test]
async fn a_lookup_table_that_was_refused_leaves_the_name_to_the_one_that_is_there() {
    let session = FarcallSession::new().unwrap();
    let rows =
        RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![7])) as ArrayRef)]);
    let store = Arc::new(MemoryLookup::try_new(rows.unwrap(), &["id"]).unwrap());
    session.register_lookup_table("u", store.clone()).unwrap();
    let refused = session.register_lookup_table("u", store).unwrap_err();
    assert!(refused.to_string().contains("already exists"), "{refused}");
    let sql = "SELECT u.id FROM (VALUES (CAST(7 AS BIGINT))) AS t (k) JOIN u ON t.k = u.id";
    let plan = session.sql(sql).await.unwrap().into_optimized_plan().unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &session.codec()).unwrap();
    let context = session.context().task_ctx();
    logical_plan_from_bytes_with_extension_codec(&bytes, &context, &session.codec()).unwrap();
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named() {
    let here = Twins::new(1);
    let plan = here.farcall.sql("SELECT f(1) AS v").await.unwrap().into_optimized_plan().unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.farcall.codec()).unwrap();
    let there = FarcallSession::new().unwrap();
    let context = there.context().task_ctx();
    let error =
        logical_plan_from_bytes_with_extension_codec(&bytes, &context, &there.codec()).unwrap_err();
    assert!(error.to_string().contains("async function f is not registered here"), "{error}");
}

#[tokio::test]
async fn a_model_travels_with_its_definition_and_without_its_secret() {
    let create = |header: &str| {
        format!(
            "CREATE MODEL m INPUT (x BIGINT) OUTPUT (y BIGINT) WITH ('provider' = 'http', \
             'endpoint' = 'http://127.0.0.1:9/m', 'headers' = 'Authorization: {header}')"
        )
    };
    let (here, there) = (FarcallSession::new().unwrap(), FarcallSession::new().unwrap());
    let encode = || async {
        let plan = here.sql("SELECT PREDICT(m, 1) AS v").await.unwrap();
        let plan = plan.into_optimized_plan().unwrap();
        logical_plan_to_bytes_with_extension_codec(&plan, &here.codec())
    };
    here.sql(&create("Bearer ${env:FARCALL_TEST_TOKEN}")).await.unwrap();
    let bytes = encode().await.unwrap();
    let context = there.context().task_ctx();
    let plan =
        logical_plan_from_bytes_with_extension_codec(&bytes, &context, &there.codec()).unwrap();
    assert!(plan.display_indent().to_string().contains("AsyncCalc"));
    here.sql("DROP MODEL m").await.unwrap();
    here.sql(&create("Bearer sk-secret")).await.unwrap();
    match encode().await {
        // Without a recipe, the other side finds the model by its name or not at all.
        Ok(bytes) => assert!(!String::from_utf8_lossy(&bytes).contains("sk-secret")),
        Err(error) => assert!(!error.to_string().contains("sk-secret"), "{error}"),
    }
}
