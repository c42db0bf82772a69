//! How many requests are in flight at once over HTTP, what is in them, and in which order rows come.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::remote::{Remote, add_table, create, rows, session};
use crate::support::server::{ServerBuilder, TestServer};

fn slow(millis: u64) -> ServerBuilder {
    TestServer::builder().latency(Duration::from_millis(millis), Duration::ZERO)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_window_is_filled_and_never_exceeded_over_all_partitions() {
    for partitions in [1, 4] {
        let options = "'max_batch_size' = '1', 'buffer_capacity' = '7'";
        let remote = Remote::with_partitions(partitions, slow(20), options).await;
        assert_eq!(remote.all().await.unwrap().len(), 100);
        let counts = remote.server.counts();
        assert_eq!((counts.requests, counts.in_flight_max), (100, 7), "{partitions}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_call_sites_have_a_window_each() {
    let options = "'max_batch_size' = '1', 'buffer_capacity' = '5'";
    let remote = Remote::with_partitions(4, slow(20), options).await;
    let sql = "SELECT PREDICT(m, id) AS a, PREDICT(m, -id - 1) AS b FROM t";
    assert_eq!(remote.rows(sql).await.unwrap().len(), 100);
    let counts = remote.server.counts();
    assert_eq!((counts.requests, counts.in_flight_max), (200, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mode_sync_has_one_request_at_a_time_and_still_batches() {
    let remote = Remote::with_partitions(4, slow(5), "'mode' = 'sync'").await;
    assert_eq!(remote.all().await.unwrap().len(), 100);
    let counts = remote.server.counts();
    assert_eq!(counts.in_flight_max, 1);
    assert!(counts.requests <= 12, "{:?}", counts.batches);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_concurrency_holds_over_queries_and_sessions_of_a_runtime() {
    let options = "'max_batch_size' = '1', 'max_concurrency' = '3'";
    let remote = Remote::with_partitions(2, slow(10), options).await;
    let other = farcall::FarcallSession::builder()
        .with_runtime(std::sync::Arc::clone(remote.session.runtime()))
        .build()
        .unwrap();
    add_table(&other, "t", 50, 1, 10);
    create(&other, &remote.server.url(), options).await;
    let sql = "SELECT id, PREDICT(m, id) AS v FROM t";
    let (a, b, c) = tokio::join!(remote.rows(sql), remote.rows(sql), rows(&other, sql));
    assert_eq!((a.unwrap().len(), b.unwrap().len(), c.unwrap().len()), (100, 100, 50));
    assert_eq!((remote.requests(), remote.server.counts().in_flight_max), (250, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_input_order_whatever_comes_first() {
    for partitions in [1, 4] {
        let slow = crate::support::server::Script::Delay(Duration::from_millis(40));
        let server = slow_share(slow);
        let options = "'max_batch_size' = '3', 'buffer_capacity' = '6'";
        let remote = Remote::with_partitions(partitions, server, options).await;
        let sql = match partitions {
            1 => "SELECT id, PREDICT(m, id) AS v FROM t",
            _ => "SELECT id, PREDICT(m, id) AS v FROM t ORDER BY id",
        };
        let rows = remote.rows(sql).await;
        assert_eq!(rows, Ok(crate::support::remote::expected(&[])));
    }
}

fn slow_share(script: crate::support::server::Script) -> ServerBuilder {
    TestServer::builder().seed(7).fault(0.4, script)
}

#[tokio::test]
async fn a_request_is_filled_from_several_input_batches() {
    let remote = Remote::new(TestServer::builder(), "'max_batch_size' = '64'").await;
    assert_eq!(remote.all().await.unwrap().len(), 100);
    assert_eq!(remote.server.counts().batches, [64, 36]);
}

#[tokio::test]
async fn equal_rows_are_sent_once() {
    let remote = Remote::new(TestServer::builder(), "").await;
    let rows = remote.rows("SELECT PREDICT(m, id % 5) AS v FROM t").await.unwrap();
    assert_eq!((rows.len(), remote.server.counts().rows), (100, 5));
    remote.server.reset();
    let sql = "SELECT PREDICT(m, id % 5, dedup => false) AS v FROM t";
    assert_eq!(remote.rows(sql).await.unwrap().len(), 100);
    assert_eq!(remote.server.counts().rows, 100);
}

#[tokio::test]
async fn requests_are_bounded_in_bytes() {
    let server = TestServer::builder().answer(|input: &Value| json!(input.as_str().unwrap().len()));
    let server = server.start();
    let session = session(1);
    let sql = format!(
        "CREATE MODEL n INPUT (x VARCHAR) OUTPUT (y BIGINT) WITH ('provider' = 'http', \
         'endpoint' = '{}', 'max_batch_size' = '100', 'max_batch_bytes' = '1000')",
        server.url()
    );
    session.sql(&sql).await.unwrap();
    let sql = "SELECT PREDICT(n, repeat('x', 300) || id) AS v FROM t";
    assert_eq!(rows(&session, sql).await.unwrap().len(), 100);
    let batches = server.counts().batches;
    assert!(batches.iter().all(|rows| *rows <= 3), "{batches:?}");
    // A row that is larger alone is sent all the same.
    let sql = "SELECT PREDICT(n, repeat('y', 5000)) AS v";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|5000|"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn independent_calls_cost_one_latency() {
    let remote = Remote::new(slow(150), "'max_batch_size' = '100'").await;
    let sql = "SELECT PREDICT(m, id) AS a, PREDICT(m, id + 1000) AS b, \
               PREDICT(m, id + 2000) AS c FROM t";
    let start = Instant::now();
    assert_eq!(remote.rows(sql).await.unwrap().len(), 100);
    assert!(start.elapsed() < Duration::from_millis(420), "{:?}", start.elapsed());
}

#[tokio::test]
async fn nulls_are_not_sent_unless_the_user_says_so() {
    let remote = Remote::new(TestServer::builder(), "").await;
    let sql = "SELECT PREDICT(m, nullif(id, 3)) AS v FROM t WHERE id < 5";
    assert_eq!(remote.rows(sql).await.unwrap(), ["|1|", "|3|", "|5|", "||", "|9|"]);
    assert_eq!(remote.server.counts().rows, 4);
    let sql = "SELECT PREDICT(m, nullif(id, 3), null_input => 'send') AS v FROM t WHERE id < 5";
    assert_eq!(remote.rows(sql).await.unwrap(), ["|1|", "|3|", "|5|", "||", "|9|"]);
    assert_eq!(remote.server.counts().rows, 9);
}

#[tokio::test]
async fn connections_are_reused() {
    let remote = Remote::new(TestServer::builder(), "'mode' = 'sync'").await;
    for _ in 0..3 {
        assert_eq!(remote.all().await.unwrap().len(), 100);
    }
    assert!(remote.server.connections_accepted() <= 2, "{}", remote.server.connections_accepted());
}
