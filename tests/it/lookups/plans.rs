//! What EXPLAIN shows of lookups, and plans that travel.

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::physical_plan::{collect, displayable};
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use farcall::catalog::LookupTableProvider;
use farcall::udf::LookupTable;

use crate::support::lookups::{Store, Stores};
use crate::support::plans::plan_text;
use crate::support::twins::lines;

#[tokio::test]
async fn explain_shows_table_key_type_columns_conditions_and_options() {
    let stores = Stores::new(1);
    let sql =
        "SELECT t.id, u.name FROM t LEFT JOIN users u ON t.k = u.id AND u.z > t.a AND t.a > 1";
    insta::assert_snapshot!(plan_text(&stores.farcall, sql).await, @r"
    Projection: t.id, u.name
      AsyncLookupJoin: Left users found=__async_0 columns=[u.id, u.name, u.z] filter=u.z > t.a
        AsyncCalc: users[id, name, z](id = t.k) AS __async_0 WHEN t.a > Int64(1)
          TableScan: t projection=[id, k, a]
    ProjectionExec: expr=[id@0 as id, name@4 as name]
      AsyncLookupJoinExec: Left users found=__async_0@3 columns=[id, name, z] filter=z@5 > a@2
        AsyncCalcExec: users[id, name, z](id = k@1) AS __async_0 WHEN a@2 > 1 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=120, requests~4]
          DataSourceExec: partitions=2, partition_sizes=[1, 1]
    ");
}

#[tokio::test]
async fn conditions_go_to_a_provider_that_takes_them() {
    let stores = Stores::new(1);
    let sql =
        "SELECT t.id FROM t WHERE EXISTS (SELECT 1 FROM names n WHERE n.code = t.s AND n.n > 2)";
    stores.check(sql).await;
    insta::assert_snapshot!(plan_text(&stores.farcall, sql).await, @r"
    Projection: t.id
      AsyncLookupJoin: Semi names found=__async_0
        AsyncCalc: names[code WHERE n > Int64(2)](code = t.s) AS __async_0
          TableScan: t projection=[id, s]
    ProjectionExec: expr=[id@0 as id]
      AsyncLookupJoinExec: Semi names found=__async_0@2
        AsyncCalcExec: names[code WHERE n > Int64(2)](code = s@1) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=120, requests~4]
          DataSourceExec: partitions=2, partition_sizes=[1, 1]
    ");
}

#[tokio::test]
async fn a_plan_with_lookups_travels() {
    let (here, there) = (Stores::new(1), Stores::new(1));
    let values = "(VALUES (1, 2), (7, 0), (NULL, 1)) AS t (k, a)";
    for (select, join) in [
        ("t.k, u.name", "LEFT JOIN users u ON t.k = u.id AND u.z > t.a"),
        ("t.k, c.v", "JOIN cells c ON t.k = c.a AND c.b = 2"),
        ("t.k", "LEFT SEMI JOIN users u ON t.k = u.id AND u.z < 3"),
        ("t.k", "LEFT ANTI JOIN names n ON concat('c', t.k) = n.code AND n.n > 2"),
    ] {
        let sql = format!("SELECT {select} FROM {values} {join}");
        let plan = here.farcall.sql(&sql).await.unwrap().into_optimized_plan().unwrap();
        let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.farcall.codec());
        let context = there.farcall.context();
        let (task, codec) = (context.task_ctx(), there.farcall.codec());
        let back =
            logical_plan_from_bytes_with_extension_codec(&bytes.unwrap(), &task, &codec).unwrap();
        assert_eq!(plan.display_indent().to_string(), back.display_indent().to_string());
        assert!(back.display_indent().to_string().contains("AsyncLookupJoin"), "{sql}");
        let physical = context.state().create_physical_plan(&back).await.unwrap();
        let bytes = physical_plan_to_bytes_with_extension_codec(physical.clone(), &codec).unwrap();
        let again = physical_plan_from_bytes_with_extension_codec(&bytes, &task, &codec).unwrap();
        let text = |plan: &_| displayable(plan).indent(true).to_string();
        assert_eq!(text(physical.as_ref()), text(again.as_ref()));
        let rows = lines(&collect(again, task).await.unwrap());
        assert_eq!(rows, here.rows(&sql).await);
    }
}

#[tokio::test]
async fn a_table_that_sql_made_travels_with_its_definition_but_no_secret() {
    let here = Stores::new(1);
    let create = |name: &str, headers: &str| {
        format!(
            "CREATE TABLE {name} (id BIGINT PRIMARY KEY, v BIGINT) WITH ('connector' = 'http', \
             'endpoint' = 'http://h', 'headers' = 'X-Key: {headers}')"
        )
    };
    here.farcall.sql(&create("named", "${env:KEY}")).await.unwrap();
    here.farcall.sql(&create("literal", "hush-42")).await.unwrap();
    let frame = async |table: &str| {
        let sql = format!("SELECT x.v FROM (VALUES (1)) AS t (k) JOIN {table} x ON t.k = x.id");
        here.farcall.sql(&sql).await.unwrap()
    };
    let there = Stores::new(1);
    let (task, codec) = (there.farcall.context().task_ctx(), there.farcall.codec());
    let named = frame("named").await.into_optimized_plan().unwrap();
    let sent = logical_plan_to_bytes_with_extension_codec(&named, &here.farcall.codec()).unwrap();
    let back = logical_plan_from_bytes_with_extension_codec(&sent, &task, &codec).unwrap();
    assert!(back.display_indent().to_string().contains("named[id, v](id = "));
    let literal = frame("literal").await.create_physical_plan().await.unwrap();
    let sent = physical_plan_to_bytes_with_extension_codec(literal, &here.farcall.codec());
    let error = sent.unwrap_err().to_string();
    assert!(error.contains("lookup table literal cannot travel in a plan"), "{error}");
    // DataFusion drops the error of a function in a logical plan; the bytes hold no secret at least.
    let literal = frame("literal").await.into_optimized_plan().unwrap();
    let sent = logical_plan_to_bytes_with_extension_codec(&literal, &here.farcall.codec());
    let sent = sent.unwrap();
    assert!(!sent.windows(4).any(|part| part == b"hush"));
}

#[tokio::test]
async fn a_table_that_can_be_scanned_is_where_there_is_no_key() {
    let stores = Stores::new(1);
    let rows = stores.plain.table("users").await.unwrap().collect().await.unwrap();
    let store = Store::new(rows[0].clone(), &["id"]);
    let requests = store.requests();
    let table = LookupTable::try_new("both", Arc::new(store)).unwrap();
    let scanned = MemTable::try_new(rows[0].schema(), vec![rows]).unwrap();
    let table = LookupTableProvider::new(Arc::new(table)).with_scan(Arc::new(scanned)).unwrap();
    stores.farcall.context().register_table("both", Arc::new(table)).unwrap();
    assert_eq!(stores.rows("SELECT count(*) FROM both").await, ["|43|"]);
    stores.rows("SELECT t.id FROM t JOIN both b ON t.a = b.z AND b.z < 3").await;
    assert!(requests.take().is_empty());
    stores.rows("SELECT t.id FROM t JOIN both b ON t.k = b.id").await;
    assert!(!requests.take().is_empty());
}
