//! How plans with table functions look, travel, and what is counted of them.

use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};

use crate::support::plans::plan_text;
use crate::support::tables::Tables;
use crate::support::twins::lines;

const SQL: &str = "SELECT v.x, q.b, q.c FROM (VALUES (1), (2), (6), (NULL)) AS v (x) LEFT JOIN LATERAL \
     (SELECT b, a + 1 AS c FROM series(v.x) WHERE a > 1) q ON v.x < 9";

#[tokio::test]
async fn explain_shows_the_call_and_the_pairing() {
    let tables = Tables::new(1);
    let plan =
        plan_text(&tables.farcall, "SELECT t.id, q.b FROM t LEFT JOIN series(t.x) q ON q.a > t.k")
            .await;
    insta::assert_snapshot!(plan, @r"
    Projection: t.id, __async_2 AS b
      AsyncLookupJoin: Left series found=__async_0 columns=[__async_1, __async_2] filter=__async_1 > t.k
        AsyncCalc: series(t.x) AS __async_0
          TableScan: t projection=[id, x, k]
    ProjectionExec: expr=[id@0 as id, __async_2@4 as b]
      AsyncLookupJoinExec: Left series found=__async_0@3 columns=[__async_1, __async_2] filter=__async_1@3 > k@2
        AsyncCalcExec: series(x@1) AS __async_0 [async, ordered, batch=1, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=60]
          DataSourceExec: partitions=2, partition_sizes=[1, 1]
    ");
}

#[tokio::test]
async fn plans_travel() {
    let (here, there) = (Tables::new(1), Tables::new(1));
    let expected = here.rows(SQL).await;
    assert_eq!(expected.len(), 6);
    let plan = here.farcall.sql(SQL).await.unwrap().into_optimized_plan().unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.farcall.codec()).unwrap();
    let context = there.farcall.context();
    let task = context.task_ctx();
    let codec = there.farcall.codec();
    let back = logical_plan_from_bytes_with_extension_codec(&bytes, &task, &codec).unwrap();
    assert_eq!(plan.display_indent().to_string(), back.display_indent().to_string());
    let rows = context.execute_logical_plan(back).await.unwrap().collect().await.unwrap();
    assert_eq!(lines(&rows), expected);
    assert_eq!(there.take_calls(), here.take_calls());

    let plan = here.farcall.sql(SQL).await.unwrap().create_physical_plan().await.unwrap();
    let bytes = physical_plan_to_bytes_with_extension_codec(plan, &here.farcall.codec()).unwrap();
    let back = physical_plan_from_bytes_with_extension_codec(&bytes, &task, &codec).unwrap();
    let rows = datafusion::physical_plan::collect(back, context.task_ctx()).await.unwrap();
    assert_eq!(lines(&rows), expected);
}

#[tokio::test]
async fn calls_are_counted_under_the_name_of_the_function() {
    let tables = Tables::new(1);
    tables.rows("SELECT q.a FROM s, series(s.k) q").await;
    let sql = "SELECT * FROM farcall.metrics WHERE function = 'series'";
    assert!(!tables.rows(sql).await.is_empty());
}
