//! Queries that end early: requests stop at the server, and functions are closed.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use async_trait::async_trait;
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, CallOptions,
    Declaration, FunctionContext, Opened,
};
use futures::StreamExt;

use crate::support::remote::{Remote, add_table, rows, session};
use crate::support::server::{Script, TestServer};

const ALL: &str = "SELECT id, PREDICT(m, id) AS v FROM t";
/// Long enough that a request which nobody aborts is still there when the test looks.
const LONG: Duration = Duration::from_secs(60);

/// Waits until nothing is in flight, and then sees that nothing more comes.
async fn ends(remote: &Remote) {
    // What was on the wire when the query ended still arrives, to be aborted.
    tokio::time::sleep(Duration::from_millis(50)).await;
    remote.server.until("nothing in flight", |server| server.in_flight() == 0).await;
    let requests = remote.requests();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(remote.requests(), requests, "a request came after the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_reads_makes_no_call() {
    let remote = Remote::new(TestServer::builder(), "").await;
    let stream = remote.session.sql(ALL).await.unwrap().execute_stream().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    assert_eq!(remote.requests(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_dropped_before_its_first_row_aborts_all_requests() {
    for partitions in [1, 4] {
        let server = TestServer::builder().always(Script::Hang);
        let remote = Remote::with_partitions(partitions, server, "").await;
        let mut stream = remote.session.sql(ALL).await.unwrap().execute_stream().await.unwrap();
        let first = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
        assert!(first.is_err());
        let sent = remote.server.in_flight();
        assert!(sent >= 10, "{sent}");
        let dropped = Instant::now();
        drop(stream);
        ends(&remote).await;
        assert_eq!(remote.server.counts().aborted, sent);
        assert!(dropped.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_dropped_in_the_middle_aborts_what_is_in_flight() {
    let server = TestServer::builder().nth(7, Script::Hang).nth(8, Script::Hang);
    let remote = Remote::new(server, "'buffer_capacity' = '2'").await;
    let mut stream = remote.session.sql(ALL).await.unwrap().execute_stream().await.unwrap();
    assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
    remote.server.until("two hang", |server| server.in_flight() == 2).await;
    drop(stream);
    ends(&remote).await;
    assert_eq!((remote.requests(), remote.server.counts().aborted), (8, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_task_aborts_its_requests() {
    let remote = Remote::with_partitions(4, TestServer::builder().always(Script::Hang), "").await;
    let frame = remote.session.sql(&format!("{ALL} ORDER BY v")).await.unwrap();
    let task = tokio::spawn(frame.collect());
    remote.server.until("requests are in flight", |server| server.in_flight() >= 10).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    ends(&remote).await;
    assert_eq!(remote.server.counts().aborted, remote.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_back_off_makes_no_further_attempt() {
    let server = TestServer::builder().always(Script::unavailable());
    let options = "'retry_strategy' = 'fixed_delay', 'retry_delay' = '300ms', 'max_attempts' = '9'";
    let remote = Remote::new(server, options).await;
    let mut stream = remote.session.sql(ALL).await.unwrap().execute_stream().await.unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
    drop(stream);
    let requests = remote.requests();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(remote.requests(), requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_error_ends_the_calls_of_all_partitions() {
    let server = TestServer::builder()
        .always(Script::Hang)
        .nth(5, Script::Status(404, vec![], "gone".into()));
    let remote = Remote::with_partitions(4, server, "'buffer_capacity' = '8'").await;
    let start = Instant::now();
    assert!(remote.all().await.unwrap_err().contains("404 Not Found at http://HOST/predict: gone"));
    assert!(start.elapsed() < LONG / 10);
    ends(&remote).await;
    let counts = remote.server.counts();
    assert!(counts.requests <= 9, "{}", counts.requests);
    assert_eq!(counts.aborted, counts.requests - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_another_operator_aborts_requests_too() {
    // One request at a time: the first to come holds the first rows.
    let server = TestServer::builder().nth(2, Script::Hang);
    let remote = Remote::new(server, "'mode' = 'sync'").await;
    // The error comes from the first rows, the answer for the others never.
    let sql = format!("SELECT 1 / (v - 1) AS w FROM ({ALL}) q");
    let message = remote.rows(&sql).await.unwrap_err();
    assert!(message.to_lowercase().contains("divide by zero"), "{message}");
    ends(&remote).await;
    assert!(remote.requests() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_above_a_condition_on_a_call_does_not_run_away() {
    let server = TestServer::builder().latency(Duration::from_millis(5), Duration::ZERO);
    let remote = Remote::new(server, "'buffer_capacity' = '4'").await;
    add_table(&remote.session, "big", 10_000, 1, 1_000);
    let sql = "SELECT id FROM big WHERE PREDICT(m, id) > 100 LIMIT 3";
    assert_eq!(remote.rows(sql).await.unwrap(), ["|50|", "|51|", "|52|"]);
    ends(&remote).await;
    let counts = remote.server.counts();
    // 6 requests answer it; the rest left before the limit was reached.
    assert!(counts.requests <= 40, "{} requests for 6", counts.requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_below_a_call_asks_for_its_rows_only() {
    let remote = Remote::new(TestServer::builder(), "").await;
    add_table(&remote.session, "big", 10_000, 1, 1_000);
    let rows = remote.rows("SELECT PREDICT(m, id) AS v FROM big LIMIT 3").await.unwrap();
    assert_eq!((rows.len(), remote.server.counts().rows), (3, 3));
}

#[test]
#[cfg(unix)]
fn ctrl_c_aborts_the_requests_of_the_program() {
    let server = TestServer::builder().always(Script::Hang).start();
    let sql = format!(
        "CREATE MODEL m INPUT (x BIGINT) OUTPUT (y BIGINT) WITH ('provider' = 'http', \
         'endpoint' = '{}'); SELECT PREDICT(m, value) FROM generate_series(1, 1000)",
        server.url()
    );
    let child = Command::new(env!("CARGO_BIN_EXE_farcall"))
        .args(["-c", &sql])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("requests are in flight", || server.in_flight() > 10);
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), message.as_str()), (Some(130), "ok\ncancelled\n"));
    wait_until("nothing in flight", || server.in_flight() == 0);
    assert_eq!(server.counts().aborted, server.counts().requests);
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What happened to a [`Watched`] function.
#[derive(Debug, Default)]
struct Seen {
    opened: AtomicUsize,
    closed: AtomicUsize,
    calls: AtomicUsize,
    calls_after_close: AtomicUsize,
}

/// A function that counts its opening and closing and fails, or waits, at a value.
#[derive(Debug)]
struct Watched {
    declaration: Declaration,
    seen: Arc<Seen>,
}

#[async_trait]
impl AsyncBatchFunction for Watched {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn open(&self, _: &FunctionContext) -> Result<Opened, CallError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.seen.opened.fetch_add(1, SeqCst);
        Ok(Opened::nothing())
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        use arrow::array::AsArray;
        self.seen.calls.fetch_add(1, SeqCst);
        if self.seen.closed.load(SeqCst) > 0 {
            self.seen.calls_after_close.fetch_add(1, SeqCst);
        }
        let ids = args.column(0).as_primitive::<arrow::datatypes::Int64Type>();
        if ids.iter().any(|id| id == Some(-1)) {
            tokio::time::sleep(LONG).await;
        }
        if ids.iter().any(|id| id == Some(-2)) {
            return Err(CallError::function("watched", "it broke"));
        }
        tokio::task::yield_now().await;
        Ok(BatchAnswer::new(Arc::clone(args.column(0))))
    }

    async fn close(&self, _: Opened) -> Result<(), CallError> {
        self.seen.closed.fetch_add(1, SeqCst);
        Ok(())
    }
}

fn watched() -> (FarcallSession, Arc<Seen>) {
    let session = session(4);
    let seen = Arc::new(Seen::default());
    let declaration = Declaration::new("watched", vec![DataType::Int64], DataType::Int64)
        .with_options(CallOptions::new().with_max_batch_size(7));
    session.register(AsyncFunction::batch(Watched { declaration, seen: Arc::clone(&seen) }));
    (session, seen)
}

async fn closed(seen: &Seen, times: usize) {
    let start = Instant::now();
    while seen.closed.load(SeqCst) < times {
        assert!(start.elapsed() < Duration::from_secs(5), "not closed: {seen:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(seen.closed.load(SeqCst), times, "{seen:?}");
    assert_eq!(seen.opened.load(SeqCst), times, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_opened_and_closed_once_per_query() {
    let (session, seen) = watched();
    // Two call sites over four partitions, and a function nobody needed.
    let sql = "SELECT watched(id) AS a, watched(id + 1) AS b FROM t";
    assert_eq!(rows(&session, sql).await.unwrap().len(), 100);
    closed(&seen, 1).await;
    assert_eq!(rows(&session, sql).await.unwrap().len(), 100);
    closed(&seen, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_no_row_needs_is_not_opened() {
    let (session, seen) = watched();
    let sql = "SELECT CASE WHEN id < 0 THEN watched(id) END AS a FROM t";
    assert_eq!(rows(&session, sql).await.unwrap().len(), 100);
    closed(&seen, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_closed_after_an_error() {
    let (session, seen) = watched();
    let sql = "SELECT watched(CASE WHEN id = 60 THEN -2 ELSE id END) FROM t";
    assert!(rows(&session, sql).await.unwrap_err().contains("it broke"));
    closed(&seen, 1).await;
    assert_eq!(seen.calls_after_close.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_closed_after_a_cancellation() {
    let (session, seen) = watched();
    let sql = "SELECT watched(CASE WHEN id = 0 THEN -1 ELSE id END) FROM t";
    let frame = session.sql(sql).await.unwrap();
    let task = tokio::spawn(frame.collect());
    while seen.calls.load(SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    let _ = task.await;
    closed(&seen, 1).await;
    assert_eq!(seen.calls_after_close.load(SeqCst), 0);
}
