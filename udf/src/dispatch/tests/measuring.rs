//! What is counted: distributions, gauges, failures by class.

use std::time::Duration;

use super::{batches, ms, one};
use crate::error::{CallError, ErrorClass};
use crate::options::OnError;
use crate::testing::{ScriptedFunction, Step};
use crate::typed::async_fn;

#[tokio::test(start_paused = true)]
async fn sizes_waits_and_durations_are_distributions_of_requests() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(20))).build();
    let mut partition = one(&function, batches(4).with_batch_timeout(ms(100)));
    partition.push(0..9);
    partition.run_until_ready(9).await.unwrap();
    let metrics = partition.site.metrics();
    // Two full requests at once, and one of a single row after 100 ms.
    assert_eq!(metrics.batch_size().buckets, [(1, 1), (7, 3)]);
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
    let metrics = std::sync::Arc::clone(partition.site.metrics());
    assert_eq!(metrics.buffered_rows(), 5);
    partition.run_until_ready(5).await.unwrap();
    partition.dispatcher.take(2).unwrap();
    assert_eq!(metrics.buffered_rows(), 3);
    drop(partition);
    assert_eq!(metrics.buffered_rows(), 0);
}
