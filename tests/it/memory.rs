//! Memory in DataFusion's pool: a small pool slows a query down, and one that is too small ends it.

use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use farcall::udf::testing::{ScriptedFunction, Seen, Step};
use farcall::udf::{CallOptions, OutputMode};
use futures::StreamExt;

use crate::support::remote::{add_table, message, rows};

/// Rows of table `t`, in batches of 100: each batch has a buffer of 800 bytes.
const ROWS: i64 = 4_000;

fn expected() -> Vec<String> {
    (0..ROWS).map(|id| format!("|{id}|{}|", id + 1)).collect()
}

/// A session over a pool, with `f(x) = x + 1` in requests of 30 rows that take 1 ms, or as told.
fn session(
    pool_bytes: usize,
    partitions: usize,
    options: CallOptions,
) -> (FarcallSession, Arc<dyn MemoryPool>, Arc<Seen>) {
    session_with(Duration::from_millis(1), pool_bytes, partitions, options)
}

fn session_with(
    latency: Duration,
    pool_bytes: usize,
    partitions: usize,
    options: CallOptions,
) -> (FarcallSession, Arc<dyn MemoryPool>, Arc<Seen>) {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(pool_bytes));
    let env = RuntimeEnvBuilder::new().with_memory_pool(Arc::clone(&pool)).build_arc().unwrap();
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(partitions))
        .with_runtime_env(env)
        .with_default_features()
        .build();
    let session = FarcallSession::builder().with_state(state).build().unwrap();
    add_table(&session, "t", ROWS, partitions, 100);
    let options = CallOptions::new().with_max_batch_size(30).with_dedup(false).overlay(&options);
    let (function, seen) = ScriptedFunction::new("f")
        .with_usual(Step::Answer(latency))
        .with_declaration(|declaration| declaration.with_options(options))
        .build();
    session.register(function);
    (session, pool, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_pool_gives_the_right_rows_and_is_empty_afterwards() {
    for partitions in [1, 4] {
        for mode in [OutputMode::Ordered, OutputMode::AllowUnordered] {
            // Room for two batches and their answers, over all partitions.
            let options = CallOptions::new().with_output_mode(mode);
            let (session, pool, seen) = session(4_000, partitions, options);
            let mut got = rows(&session, "SELECT id, f(id) AS v FROM t").await.unwrap();
            got.sort_by_key(|line| {
                line.trim_matches('|').split('|').next().unwrap().parse::<i64>().unwrap()
            });
            assert_eq!(got, expected(), "{partitions} {mode}");
            assert_eq!(seen.sizes().iter().sum::<usize>(), ROWS as usize);
            assert_eq!(pool.reserved(), 0, "{partitions} {mode}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_pool_bounds_the_rows_that_are_read_ahead() {
    let (session, pool, seen) = session(4_000, 1, CallOptions::new());
    let frame = session.sql("SELECT id, f(id) AS v FROM t").await.unwrap();
    let mut stream = frame.execute_stream().await.unwrap();
    stream.next().await.unwrap().unwrap();
    // Nobody reads on: what is held back fits into the pool, but for the answers that came last.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let read = seen.sizes().iter().sum::<usize>();
    assert!(read <= 600 && pool.reserved() <= 8_000, "{read} rows, {} bytes", pool.reserved());
    drop(stream);
    wait_for_nothing(&pool, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_does_not_wait_for_the_memory_of_one_that_nobody_reads() {
    let (session, pool, seen) = session(2_000, 2, CallOptions::new());
    let frame = session.sql("SELECT id, f(id) AS v FROM t").await.unwrap();
    let (plan, context) =
        (frame.create_physical_plan().await.unwrap(), session.context().task_ctx());
    let mut unread = plan.execute(0, Arc::clone(&context)).unwrap();
    let first = unread.next().await.unwrap().unwrap().num_rows();
    // A merge may want all of one partition before it goes on with the other.
    let other = plan.execute(1, context).unwrap();
    let rest = async { first + count(other).await + count(unread).await };
    let rows = tokio::time::timeout(Duration::from_secs(20), rest).await;
    assert_eq!(rows, Ok(ROWS as usize));
    drop(plan);
    wait_for_nothing(&pool, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_would_wait_for_ever_for_company_leave_when_the_pool_is_full() {
    let options = CallOptions::new().with_batch_timeout(Duration::MAX).with_max_batch_size(1_000);
    let (session, pool, _) = session(4_000, 1, options);
    let got = rows(&session, "SELECT id, f(id) AS v FROM t");
    let got = tokio::time::timeout(Duration::from_secs(20), got).await.expect("it hangs");
    assert_eq!((got.unwrap(), pool.reserved()), (expected(), 0));
}

#[tokio::test]
async fn a_pool_too_small_for_one_batch_is_an_error_that_names_function_and_bytes() {
    for partitions in [1, 4] {
        let (session, pool, seen) = session(700, partitions, CallOptions::new());
        let other = MemoryConsumer::new("other").register(&pool);
        other.try_grow(200).unwrap();
        let frame = session.sql("SELECT id, f(id) AS v FROM t").await.unwrap();
        let error = frame.collect().await.unwrap_err();
        let text = message(&error);
        let said = "the calls of f need 800 bytes for 100 rows that wait for their answers, the \
                    memory pool has 500 of 700 bytes left";
        assert!(text.contains(said), "{partitions}: {text}");
        assert!(seen.attempts().is_empty());
        drop(other);
        wait_for_nothing(&pool, &seen).await;
    }
}

#[tokio::test]
async fn slices_of_one_batch_are_accounted_once() {
    // One buffer of 32,000 bytes, read in batches of 100 rows, fits into a pool of 40,000; so do the
    // answers. All of them are held while the first request is on its way.
    let options = CallOptions::new().with_max_batch_size(100);
    let (session, pool, seen) = session_with(Duration::from_millis(300), 40_000, 1, options);
    let config = "SET datafusion.execution.batch_size = 100";
    session.sql(config).await.unwrap().collect().await.unwrap();
    add_table(&session, "whole", ROWS, 1, ROWS);
    assert_eq!(rows(&session, "SELECT id, f(id) AS v FROM whole").await.unwrap(), expected());
    assert_eq!((seen.in_flight_max(), pool.reserved()), (40, 0));
}

#[tokio::test(start_paused = true)]
async fn arguments_that_are_computed_on_guarded_rows_are_accounted_beside_their_batch() {
    let options = CallOptions::new().with_max_buffered_rows(200);
    // Two batches of 800 bytes; what is computed from all or half of their rows may be rounded up.
    for (call, bytes) in [
        ("f(id)", 1_600..=1_600),
        ("CASE WHEN id >= 0 THEN f(id + 1) END", 3_200..=3_400),
        ("CASE WHEN id % 2 = 0 THEN f(id) END", 2_400..=2_600),
    ] {
        let latency = Duration::from_secs(10);
        let (session, pool, seen) = session_with(latency, 1_000_000, 1, options.clone());
        let frame = session.sql(&format!("SELECT {call} AS v FROM t")).await.unwrap();
        let mut stream = frame.execute_stream().await.unwrap();
        let first = tokio::time::timeout(Duration::from_secs(1), stream.next()).await;
        assert!(first.is_err() && seen.in_flight() > 0, "{call}");
        assert!(bytes.contains(&pool.reserved()), "{call}: {}", pool.reserved());
        assert_eq!((count(stream).await, pool.reserved()), (ROWS as usize, 0), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_fill_the_buffer_without_filling_a_request_wait_for_nobody() {
    let hour = Duration::from_secs(3_600);
    let options = CallOptions::new().with_max_buffered_rows(200).with_batch_timeout(hour);
    for partitions in [1, 4] {
        let (session, _, seen) =
            session_with(Duration::from_secs(1), 1_000_000, partitions, options.clone());
        let begun = tokio::time::Instant::now();
        // Of 200 rows two need a call, and thirty make a request.
        let sql = "SELECT id, CASE WHEN id % 100 = 0 THEN f(id) END AS v FROM t";
        let frame = session.sql(sql).await.unwrap();
        assert_eq!(count(frame.execute_stream().await.unwrap()).await, ROWS as usize);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert_eq!(seen.sizes().iter().sum::<usize>(), ROWS as usize / 100);
    }
}

async fn count(stream: SendableRecordBatchStream) -> usize {
    stream.fold(0, |rows, batch| async move { rows + batch.unwrap().num_rows() }).await
}

async fn wait_for_nothing(pool: &Arc<dyn MemoryPool>, seen: &Seen) {
    for _ in 0..1_000 {
        if (pool.reserved(), seen.in_flight()) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} bytes and {} requests are left", pool.reserved(), seen.in_flight());
}
