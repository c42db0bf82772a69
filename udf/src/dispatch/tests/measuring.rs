//! What is counted: distributions, gauges, failures by class.

use std::sync::Arc;
use std::time::Duration;

use super::{Partition, batches, ms, one, scope_in};
use crate::adapt::typed::async_fn;
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::error::{CallError, ErrorClass};
use crate::options::words::OnError;
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn sizes_waits_and_durations_are_distributions_of_requests() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(20))).build();
    let mut partition = one(&function, batches(4).with_batch_timeout(ms(100)));
    partition.push(0..9);
    partition.run_until_ready(9).await.unwrap();
    let metrics = partition.site.metrics();
    // Two full requests at once, and one of a single row after 100 ms.
    let sizes: Vec<_> = metrics.batch_size().buckets.iter().map(|b| (b.upper, b.count)).collect();
    assert_eq!(sizes, [(1, 1), (4, 2)]);
    assert_eq!((metrics.batch_latency().count, metrics.batch_latency().sum), (3, 100_000));
    assert_eq!((metrics.call_duration().count, metrics.call_duration().sum), (3, 60_000));
}

#[tokio::test(start_paused = true)]
async fn rows_answered_at_once_are_measured_together() {
    let function = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) }).build();
    let mut partition = one(&function, batches(1));
    partition.call(0..100).await.unwrap();
    let metrics = partition.site.metrics();
    assert_eq!((metrics.batch_size().count, metrics.call_duration().count), (100, 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_class() {
    let throttled = CallError::Throttled {
        function: "f".into(),
        message: "429".into(),
        retry_after: Some(ms(1)),
    };
    let script = [
        Step::Fail(Duration::ZERO, throttled),
        Step::Fail(Duration::ZERO, CallError::rejected("f", "400")),
        Step::Panic,
    ];
    let (function, _) = ScriptedFunction::new("f").with_script(script).build();
    let mut partition = one(&function, batches(1).with_on_error(OnError::Null));
    partition.call(0..3).await.unwrap();
    let failures: Vec<_> =
        partition.site.metrics().failures().into_iter().filter(|(_, calls)| *calls > 0).collect();
    assert_eq!(failures, [(ErrorClass::Rejected, 1), (ErrorClass::Internal, 1)]);
    assert_eq!((partition.metrics().failures, partition.metrics().throttled), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn buffered_rows_are_those_not_given_out() {
    let (function, _) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(1));
    partition.push(0..5);
    let metrics = Arc::clone(partition.site.metrics());
    assert_eq!(metrics.buffered_rows(), 5);
    partition.run_until_ready(5).await.unwrap();
    partition.dispatcher.take(2).unwrap();
    assert_eq!(metrics.buffered_rows(), 3);
    drop(partition);
    assert_eq!(metrics.buffered_rows(), 0);
}

#[tokio::test(start_paused = true)]
async fn answered_requests_are_pending_until_those_before_them_are_answered() {
    let script = [Step::Answer(ms(50)), Step::Answer(ms(10)), Step::Answer(ms(20))];
    let (function, _) = ScriptedFunction::new("f").with_script(script).build();
    let mut partition = one(&function, batches(2));
    let metrics = Arc::clone(partition.site.metrics());
    partition.push(0..6);
    for (time, pending) in [(5, 0), (10, 1), (10, 2), (30, 0)] {
        partition.run_for(ms(time)).await.unwrap();
        assert_eq!(metrics.pending_ordered_batches(), pending, "{time}");
    }
    assert_eq!(partition.dispatcher.ready_rows(), 6);
}

#[tokio::test(start_paused = true)]
async fn pending_requests_go_with_their_partition_and_unordered_ones_never_wait() {
    let script = [Step::Hang, Step::Answer(ms(1))];
    let (function, _) = ScriptedFunction::new("f").with_script(script.clone()).build();
    let mut partition = one(&function, batches(2));
    let metrics = Arc::clone(partition.site.metrics());
    partition.push(0..4);
    partition.run_for(ms(5)).await.unwrap();
    assert_eq!(metrics.pending_ordered_batches(), 1);
    drop(partition);
    assert_eq!(metrics.pending_ordered_batches(), 0);
    let (function, _) = ScriptedFunction::new("f").with_script(script).build();
    let mut partition = one(&function, batches(2)).unordered();
    partition.push(0..4);
    partition.run_for(ms(5)).await.unwrap();
    assert_eq!(partition.dispatcher.ready_rows(), 2);
    assert_eq!(partition.site.metrics().pending_ordered_batches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_adds_up_the_queries_that_ended_and_that_run() {
    let runtime = Arc::new(FarcallRuntime::new());
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(20))).build();
    let tried = function.clone().with_try();
    Partition::new(&scope_in(&runtime), 1, &function, batches(2)).call(0..4).await.unwrap();
    let mut running = Partition::new(&scope_in(&runtime), 1, &tried, batches(1));
    running.push(0..3);
    running.run_for(ms(5)).await.unwrap();
    let totals = runtime.totals();
    let [(name, metrics)] = totals.as_slice() else { panic!("{totals:?}") };
    let now = metrics.snapshot();
    assert_eq!((name.as_str(), now.rows, now.requests), ("f", 7, 5));
    assert_eq!((metrics.in_flight(), metrics.buffered_rows()), (3, 3));
    assert_eq!(metrics.call_duration().count, 2);
    drop(running);
    tokio::task::yield_now().await;
    assert_eq!((metrics.in_flight(), metrics.buffered_rows()), (0, 0));
}
