//! The narrowest settings there are: nothing waits for ever, and the rows are right.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use farcall::FarcallSession;

use crate::support::remote::{FAST, Remote, add_table};
use crate::support::server::{Script, ServerBuilder, TestServer};

const QUERIES: [&str; 12] = [
    "SELECT sum(v) FROM (SELECT PREDICT(m, id) AS v FROM t) q",
    "SELECT sum(PREDICT(m, PREDICT(m, PREDICT(m, id)))) FROM t",
    "SELECT sum(PREDICT(m, id)), sum(PREDICT(m, -id)), sum(PREDICT(m, id + 1)) FROM t",
    "SELECT sum(v) FROM (SELECT PREDICT(m, id) AS v FROM t ORDER BY v DESC LIMIT 5) q",
    "SELECT id FROM t ORDER BY PREDICT(m, id) DESC, id",
    "SELECT count(*) FROM (SELECT PREDICT(m, id) AS v FROM t) a \
     JOIN (SELECT PREDICT(m, id) AS v FROM t) b ON a.v = b.v",
    "SELECT count(*), sum(v) FROM (SELECT PREDICT(m, id) AS v FROM t UNION ALL \
     SELECT PREDICT(m, id + 500) FROM t) q",
    "SELECT count(*) FROM t WHERE PREDICT(m, id) > 9 AND PREDICT(m, id + 1) < 99",
    "SELECT sum(CASE WHEN PREDICT(m, id) > 100 THEN PREDICT(m, id + 1) ELSE id END) FROM t",
    "SELECT id % 3 AS k, sum(PREDICT(m, id % 7)) AS v FROM t GROUP BY k ORDER BY k",
    "SELECT count(*) FROM (SELECT id FROM t WHERE PREDICT(m, id) > 50 LIMIT 9) q",
    "SELECT count(*) FROM (SELECT id FROM t WHERE PREDICT(m, id) % 3 = 0 AND \
     PREDICT(m, id + 1) % 5 = 0 LIMIT 5 OFFSET 1) q",
];

/// Adds `twin`, which answers at once what the model answers.
fn add_twin(session: &FarcallSession) {
    let int = || DataType::Int64;
    let twin = create_udf(
        "twin",
        vec![int()],
        int(),
        Volatility::Immutable,
        Arc::new(|args| {
            let args = ColumnarValue::values_to_arrays(args)?;
            let x = args[0].as_primitive::<Int64Type>();
            let y: Int64Array = x.iter().map(|x| x.map(|x| 2 * x + 1)).collect();
            Ok(ColumnarValue::Array(Arc::new(y)))
        }),
    );
    session.context().register_udf(twin);
}

async fn all_end(server: impl Fn() -> ServerBuilder, options: &str) {
    for partitions in [1, 4] {
        for sql in QUERIES {
            let remote = Remote::with_partitions(partitions, server(), options).await;
            add_twin(&remote.session);
            let expected = remote.rows(&sql.replace("PREDICT(m, ", "twin(")).await;
            let rows = tokio::time::timeout(Duration::from_secs(20), remote.rows(sql)).await;
            let Ok(rows) = rows else {
                let requests = remote.requests();
                panic!("{sql} hangs with {options} over {partitions} after {requests} requests")
            };
            assert_eq!(rows, expected, "{options} {partitions} {sql}");
        }
    }
}

macro_rules! ends {
    ($($name:ident: $options:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            all_end(TestServer::builder, $options).await;
        }
    )+};
}

ends! {
    a_window_of_one: "'buffer_capacity' = '1', 'max_batch_size' = '3'";
    one_request_over_the_whole_runtime: "'max_concurrency' = '1', 'max_batch_size' = '4'";
    one_row_held_back: "'max_buffered_rows' = '1', 'max_batch_size' = '10', 'batch_timeout' = '1ms'";
    few_rows_and_a_window_of_one:
        "'max_buffered_rows' = '2', 'buffer_capacity' = '1', 'max_concurrency' = '1', 'batch_timeout' = '1ms'";
    one_byte_in_a_request: "'max_batch_bytes' = '1'";
    a_memo_of_one_byte: "'dedup_max_bytes' = '1'";
    no_memo: "'dedup' = 'false'";
    batches_larger_than_the_input: "'max_batch_size' = '100000', 'batch_timeout' = '1ms'";
    mode_sync: "'mode' = 'sync'";
    any_order: "'output_mode' = 'allow_unordered', 'max_batch_size' = '3'";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn narrow_settings_and_failures_together() {
    for seed in 0..2 {
        let server = move || {
            TestServer::builder()
                .seed(seed)
                .fault(0.15, Script::unavailable())
                .fault(0.1, Script::Drop)
                .fault(0.1, Script::throttled(Duration::from_millis(2)))
                .fault(0.2, Script::Delay(Duration::from_millis(5)))
        };
        let options = format!(
            "{FAST}, 'max_attempts' = '30', 'buffer_capacity' = '2', 'max_concurrency' = '2', \
             'max_buffered_rows' = '7', 'batch_timeout' = '1ms'"
        );
        all_end(server, &options).await;
    }
}

#[tokio::test]
async fn one_thread_is_enough() {
    all_end(TestServer::builder, "'buffer_capacity' = '2', 'max_concurrency' = '1'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_queries_at_once_share_one_slot() {
    let options = "'max_concurrency' = '1', 'max_batch_size' = '50'";
    let remote = Remote::with_partitions(4, TestServer::builder(), options).await;
    let sql = "SELECT sum(PREDICT(m, PREDICT(m, id))) FROM t";
    let all = futures::future::join_all((0..20).map(|_| remote.rows(sql)));
    let all = tokio::time::timeout(Duration::from_secs(30), all).await.expect("it hangs");
    assert!(all.iter().all(|rows| *rows == Ok(vec!["|20100|".to_owned()])), "{all:?}");
    assert_eq!(remote.server.counts().in_flight_max, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_query_leaves_the_slots_to_the_others() {
    let server = TestServer::builder().nth(1, Script::Hang).nth(2, Script::Hang);
    let remote = Remote::with_partitions(4, server, "'max_concurrency' = '2'").await;
    let frame = remote.session.sql("SELECT PREDICT(m, id) FROM t").await.unwrap();
    let task = tokio::spawn(frame.collect());
    remote.server.until("both hang", |server| server.in_flight() == 2).await;
    task.abort();
    let rest = tokio::time::timeout(Duration::from_secs(10), remote.all()).await;
    assert_eq!(rest.expect("the slots are free").unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_input_keeps_its_order_and_its_bounds() {
    // No partial batch leaves because the machine was slow.
    let options = "'max_batch_size' = '100', 'batch_timeout' = '1h'";
    let remote = Remote::new(TestServer::builder(), options).await;
    add_table(&remote.session, "big", 50_000, 1, 999);
    let rows = remote.rows("SELECT id, PREDICT(m, id) AS v FROM big").await.unwrap();
    assert_eq!(rows.len(), 50_000);
    for (id, row) in rows.iter().enumerate() {
        assert_eq!(*row, format!("|{id}|{}|", 2 * id + 1));
    }
    assert_eq!(remote.requests(), 500);
}
