//! How many requests run at once, and the order in which their answers come out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Partition, answers, batches, ms, new_scope, one, scope_in};
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::options::words::Mode;
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn rows_come_out_in_order_when_answers_come_in_reverse() {
    let delays = [40, 30, 20, 10].map(|delay| Step::Answer(ms(delay)));
    let (function, _) = ScriptedFunction::new("f").with_script(delays).build();
    let mut partition = one(&function, batches(2));
    partition.push(0..8);
    partition.run_for(ms(35)).await.unwrap();
    assert_eq!(partition.take(), []);
    assert_eq!(partition.finish().await.unwrap(), answers(0..8));
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_does_not_stop_others_from_starting() {
    let (function, seen) = ScriptedFunction::new("f")
        .with_script([Step::Answer(ms(1000))])
        .with_usual(Step::Answer(ms(10)))
        .build();
    let mut partition = one(&function, batches(1).with_buffer_capacity(2));
    let begun = Instant::now();
    assert_eq!(partition.call(0..100).await.unwrap(), answers(0..100));
    assert_eq!((begun.elapsed(), seen.in_flight_max()), (ms(1000), 2));
}

#[tokio::test(start_paused = true)]
async fn two_partitions_share_one_window() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let (scope, options) = (new_scope(), batches(1).with_buffer_capacity(3));
    let mut left = Partition::new(&scope, 1, &function, options.clone());
    let mut right = Partition::new(&scope, 1, &function, options);
    let begun = Instant::now();
    let (left, right) = tokio::join!(left.call(0..9), right.call(10..19));
    assert_eq!((left.unwrap(), right.unwrap()), (answers(0..9), answers(10..19)));
    assert_eq!((begun.elapsed(), seen.in_flight_max()), (ms(60), 3));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_a_flushed_request_asked_for_is_used_although_rows_follow() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let options = batches(10).with_buffer_capacity(1).with_batch_timeout(Duration::MAX);
    let scope = new_scope();
    let mut busy = Partition::new(&scope, 1, &function, options.clone());
    let mut flushed = Partition::new(&scope, 1, &function, options);
    busy.push(0..10);
    busy.run_for(ms(1)).await.unwrap();
    flushed.push([20]);
    assert!(flushed.dispatcher.flush());
    flushed.run_for(ms(1)).await.unwrap();
    flushed.push([21]);
    busy.push(30..40);
    let (rest, waited) = tokio::join!(busy.finish(), flushed.run_for(ms(50)));
    waited.unwrap();
    assert_eq!(rest.unwrap(), answers((0..10).chain(30..40)));
    assert_eq!(seen.attempts()[1], [20, 21]);
    assert_eq!(flushed.take(), answers([20, 21]));
}

#[tokio::test(start_paused = true)]
async fn one_partition_alone_may_fill_the_window() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let (scope, options) = (new_scope(), batches(1).with_buffer_capacity(4));
    let mut full = Partition::new(&scope, 1, &function, options.clone());
    let mut empty = Partition::new(&scope, 1, &function, options);
    let (full, empty) = tokio::join!(full.call(0..8), empty.finish());
    assert_eq!((full.unwrap().len(), empty.unwrap().len()), (8, 0));
    assert_eq!(seen.in_flight_max(), 4);
}

#[tokio::test(start_paused = true)]
async fn mode_sync_sends_one_request_at_a_time_and_batches_all_the_same() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let mut partition = one(&function, batches(4).with_mode(Mode::Sync));
    assert_eq!(partition.call(0..12).await.unwrap(), answers(0..12));
    assert_eq!((seen.in_flight_max(), seen.sizes()), (1, vec![4, 4, 4]));
}

#[tokio::test(start_paused = true)]
async fn a_function_with_side_effects_runs_one_request_at_a_time_unless_told() {
    for (options, expected) in [(batches(1), 1), (batches(1).with_mode(Mode::Async), 5)] {
        let (function, seen) = ScriptedFunction::new("f")
            .with_declaration(|declaration| declaration.with_side_effects(true))
            .with_usual(Step::Answer(ms(10)))
            .build();
        one(&function, options).call(0..5).await.unwrap();
        assert_eq!(seen.in_flight_max(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn max_concurrency_is_shared_by_call_sites_and_queries() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let runtime = Arc::new(FarcallRuntime::new());
    let (one, two) = (scope_in(&runtime), scope_in(&runtime));
    let options = batches(1).with_max_concurrency(2);
    let mut first = Partition::new(&one, 1, &function, options.clone());
    let mut second = Partition::new(&one, 2, &function, options.clone());
    let mut third = Partition::new(&two, 1, &function, options);
    let begun = Instant::now();
    let calls = tokio::join!(first.call(0..4), second.call(0..4), third.call(0..4));
    assert_eq!(calls.0.unwrap(), answers(0..4));
    assert_eq!((calls.1.unwrap(), calls.2.unwrap()), (answers(0..4), answers(0..4)));
    assert_eq!((begun.elapsed(), seen.in_flight_max()), (ms(60), 2));
}

#[tokio::test(start_paused = true)]
async fn stacked_call_sites_share_one_permit_without_a_deadlock() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let (scope, options) = (new_scope(), batches(1).with_max_concurrency(1));
    let mut below = Partition::new(&scope, 1, &function, options.clone());
    let mut above = Partition::new(&scope, 2, &function, options);
    below.push(0..4);
    below.dispatcher.finish();
    let mut out = Vec::new();
    for _ in 0..100 {
        below.run_for(ms(1)).await.unwrap();
        above.push(below.take().into_iter().flatten());
        above.run_for(ms(1)).await.unwrap();
        out.extend(above.take());
    }
    assert_eq!((out, seen.in_flight_max()), (answers(1..5), 1));
}
