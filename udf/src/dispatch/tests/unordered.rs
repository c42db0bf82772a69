//! Rows given out as their answers come.

use super::{Partition, answers, batches, ms, one};
use crate::adapt::any::AsyncFunction;
use crate::error::CallError;
use crate::options::words::OnError;
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn the_first_answer_comes_out_first() {
    let mut partition = one(&reversed(), batches(2)).unordered();
    partition.push(0..4);
    partition.run_for(ms(15)).await.unwrap();
    assert_eq!(partition.take_any(), [(2, Some(3)), (3, Some(4))]);
    assert_eq!((partition.dispatcher.ready_rows(), partition.dispatcher.buffered_rows()), (0, 2));
    partition.run_for(ms(15)).await.unwrap();
    assert_eq!(partition.take_any(), [(0, Some(1)), (1, Some(2))]);
    assert_eq!(partition.dispatcher.buffered_rows(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_row_is_lost_or_doubled_over_batches_and_guards() {
    let usual = Step::Poison(3, CallError::rejected("f", "no"));
    let (function, _) = ScriptedFunction::new("f").with_usual(usual).build();
    let options = batches(3).with_dedup(true).with_on_error(OnError::Null);
    let mut partition = one(&function, options).unordered();
    partition.push([1, 2, 1]);
    partition.push_guarded([false, true, false, true], [3, 2]);
    partition.push_nullable([None, Some(4)]);
    partition.dispatcher.finish();
    let count = partition.dispatcher.buffered_rows();
    partition.run_until_ready(count).await.unwrap();
    let mut rows = partition.take_any();
    rows.sort_unstable();
    let expected = [Some(2), Some(3), Some(2), None, None, None, Some(3), None, Some(5)];
    assert_eq!(rows, (0..).zip(expected).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn order_and_no_order_do_not_mix() {
    let mut ordered = one(&reversed(), batches(2));
    assert_eq!(ordered.call(0..4).await.unwrap(), answers(0..4));
    assert!(ordered.dispatcher.take_any(1).is_err());
    let mut unordered: Partition = one(&reversed(), batches(2)).unordered();
    unordered.push([1]);
    assert!(unordered.dispatcher.take(0).is_err());
}

/// Answers its second request before the first.
fn reversed() -> AsyncFunction {
    let script = [Step::Answer(ms(20)), Step::Answer(ms(10))];
    ScriptedFunction::new("f").with_script(script).build().0
}
