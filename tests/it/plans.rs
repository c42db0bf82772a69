//! Plan snapshots as users make them: stable text, call sites and calls.

use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use farcall::plans::{self, SnapshotOptions};
use farcall::udf::{CallError, async_fn};

use crate::support::twins::{Twins, lines};

const SQL: &str = "SELECT f(k) AS v, count(*) AS n FROM t WHERE x < 100 AND p(x) GROUP BY f(k)";

#[tokio::test]
async fn a_run_shows_plans_call_sites_and_calls() {
    let twins = Twins::small(1);
    let run = plans::run_with_plan(&twins.farcall, "SELECT id, f(k) AS v FROM t WHERE k < 2").await;
    let run = run.unwrap();
    insta::assert_snapshot!(run, @"
    logical_plan:
      Projection: t.id, __async_0 AS v
        AsyncCalc: f(t.k) AS __async_0
          Filter: t.k < Int64(2)
            TableScan: t projection=[id, k]
    physical_plan:
      ProjectionExec: expr=[id@0 as id, __async_0@2 as v]
        AsyncCalcExec: f(k@1) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
          FilterExec: k@1 < 2
            DataSourceExec: partitions=.., partition_sizes=[..]
    call_sites: f 1
    calls: f 2
    ");
    assert_eq!(lines(run.batches())[..2], ["|0|1000000|", "|1|1000001|"]);
    assert_eq!(twins.calls.take(), [("f".to_owned(), run.calls().of("f"))].into());
}

#[tokio::test]
async fn the_text_depends_on_neither_cores_nor_sizes() {
    let (small, large) = (Twins::small(8), Twins::new(1));
    let text = plans::snapshot(&small.farcall, SQL).await.unwrap();
    assert_eq!(text, plans::snapshot(&large.farcall, SQL).await.unwrap());
    let four = SnapshotOptions::new().with_target_partitions(4);
    let four = four.snapshot(&large.farcall, SQL).await.unwrap();
    assert!(four.physical().unwrap().contains("input_partitions=4"), "{four}");
    assert_eq!(four.logical(), text.logical());
}

#[tokio::test]
async fn either_plan_may_be_left_out_and_keeps_its_names() {
    let twins = Twins::small(1);
    let both = plans::snapshot(&twins.farcall, SQL).await.unwrap();
    let logical = SnapshotOptions::new().with_physical(false);
    let logical = logical.snapshot(&twins.farcall, SQL).await.unwrap();
    assert_eq!((logical.logical(), logical.physical()), (both.logical(), None));
    let physical = SnapshotOptions::new().with_logical(false);
    let physical = physical.snapshot(&twins.farcall, SQL).await.unwrap();
    assert_eq!((physical.logical(), physical.physical()), (None, both.physical()));
    assert!(physical.to_string().starts_with("physical_plan:\n  "), "{physical}");
    assert!(physical.to_string().ends_with("\ncall_sites: f 1, p 1"), "{physical}");
}

#[tokio::test]
async fn calls_are_counted_wherever_they_are_made() {
    let twins = Twins::small(4);
    for (sql, sites, calls) in [
        ("SELECT id FROM t WHERE id < 0", "none", "none"),
        ("SELECT f(x) FROM t WHERE id < 0", "f 1", "f 0"),
        ("SELECT f(id), fv(id), fv(id) AS v FROM t", "f 1, fv 2", "f 60, fv 120"),
        ("SELECT CASE WHEN id < 5 THEN try_f(id)['value'] ELSE f(id) END FROM t", "f 2", "f 60"),
        ("SELECT id FROM t WHERE id < (SELECT max(g(y)) FROM b)", "g 1", "g 20"),
        ("SELECT f(y) FROM b UNION ALL SELECT f(y) FROM b", "f 2", "f 20"),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT f(i) - 999999 FROM r WHERE i < 6) \
             SELECT i FROM r",
            "f 1",
            "f 5",
        ),
    ] {
        let run = plans::run_with_plan(&twins.farcall, sql).await.unwrap();
        assert_eq!(run.snapshot().call_sites().to_string(), sites, "{sql}");
        assert_eq!(run.calls().to_string(), calls, "{sql}");
    }
}

#[tokio::test]
async fn each_run_counts_its_own_calls() {
    let twins = Twins::small(1);
    let frame = twins.farcall.sql("SELECT f(y) FROM b").await.unwrap();
    for _ in 0..2 {
        let run = SnapshotOptions::new().run_frame(frame.clone()).await.unwrap();
        assert_eq!((run.calls().of("f"), run.into_batches().len()), (20, 2));
    }
}

#[tokio::test]
async fn a_query_that_only_reads_is_not_run_by_its_snapshot() {
    let twins = Twins::small(1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.csv").display().to_string();
    let options = SnapshotOptions::new().with_replacement(dir.path().display().to_string(), "DIR");
    let sql = format!("COPY (SELECT f(y) AS v FROM b) TO '{file}'");
    let snapshot = options.snapshot(&twins.farcall, &sql).await.unwrap();
    let logical = snapshot.logical().unwrap();
    assert!(logical.contains("output_url=DIR/out.csv"), "{logical}");
    assert!(twins.calls.take().is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_no_query_is_refused() {
    let session = FarcallSession::new().unwrap();
    for (sql, message) in [
        ("EXPLAIN SELECT 1", "of the query itself, without EXPLAIN"),
        ("EXPLAIN ANALYZE SELECT 1", "of the query itself, without EXPLAIN"),
        ("CREATE VIEW v AS SELECT 1", "of a query, the statement is none"),
        ("SET farcall.async_scalar.timeout = '5s'", "of a query, the statement is none"),
    ] {
        let error = plans::snapshot(&session, sql).await.unwrap_err().to_string();
        assert!(error.contains(message), "{sql}: {error}");
    }
    let none = SnapshotOptions::new().with_target_partitions(0);
    let error = none.snapshot(&session, "SELECT 1").await.unwrap_err().to_string();
    assert!(error.contains("0 target partitions, at least 1"), "{error}");
}

#[tokio::test]
async fn an_error_of_a_call_is_the_errors_of_the_run() {
    let config = SessionConfig::new().with_target_partitions(2);
    let session = FarcallSession::builder().with_config(config).build().unwrap();
    session.register(async_fn("fails", |_: i64| async move {
        Err::<i64, _>(CallError::rejected("fails", "an odd number"))
    }));
    let error = plans::run_with_plan(&session, "SELECT fails(1)").await.unwrap_err();
    assert!(CallError::find(&error).is_some(), "{error}");
}

/// The example of the README.
#[tokio::test]
async fn only_cheap_orders_are_priced() {
    let session = FarcallSession::new().unwrap();
    session.register(async_fn("price", |product: i64| async move {
        // Anything asynchronous may stand here: a model server, a database, a web service.
        Ok::<i64, CallError>(100 * product)
    }));
    let orders =
        "CREATE TABLE orders (id BIGINT, product BIGINT) AS VALUES (1, 7), (2, 1), (3, 2), (4, 1)";
    session.sql(orders).await.unwrap();
    let sql = "SELECT id, price(product) AS p FROM orders WHERE product < 3";
    let run = plans::run_with_plan(&session, sql).await.unwrap();
    // Three orders are of such a product, and two of them ask the same.
    assert_eq!(run.calls().of("price"), 2);
    insta::assert_snapshot!(run, @"
    logical_plan:
      Projection: orders.id, __async_0 AS p
        AsyncCalc: price(orders.product) AS __async_0
          Filter: orders.product < Int64(3)
            TableScan: orders projection=[id, product]
    physical_plan:
      ProjectionExec: expr=[id@0 as id, __async_0@2 as p]
        AsyncCalcExec: price(product@1) AS __async_0 [async, ordered, batch=1, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
          FilterExec: product@1 < 3
            DataSourceExec: partitions=.., partition_sizes=[..]
    call_sites: price 1
    calls: price 2
    ");
}
