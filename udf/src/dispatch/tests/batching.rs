//! When requests leave and how large they are.

use std::time::Duration;

use tokio::time::Instant;

use super::{answers, batches, ms, one};
use crate::error::CallError;
use crate::settings::config::FarcallConfig;
use crate::testing::ScriptedFunction;

#[tokio::test(start_paused = true)]
async fn a_full_request_leaves_at_once() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(3));
    partition.push(0..3);
    partition.run_until_ready(3).await.unwrap();
    assert_eq!(seen.sizes(), [3]);
    assert_eq!(partition.take(), answers(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_partial_request_leaves_when_its_oldest_row_has_waited() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(3).with_batch_timeout(ms(100)));
    let begun = Instant::now();
    partition.push([1]);
    partition.run_for(ms(60)).await.unwrap();
    partition.push([2]);
    assert_eq!(seen.attempts().len(), 0);
    partition.run_until_ready(2).await.unwrap();
    assert_eq!(begun.elapsed(), ms(100));
    assert_eq!(seen.attempts(), [[1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn a_partial_request_leaves_at_once_when_no_row_follows_for_now() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(3).with_batch_timeout(ms(100)));
    let begun = Instant::now();
    partition.push(0..5);
    partition.dispatcher.flush();
    partition.run_until_ready(5).await.unwrap();
    assert_eq!((begun.elapsed(), seen.sizes()), (ms(0), vec![3, 2]));
    // The next row takes it back.
    partition.push([6]);
    partition.run_until_ready(6).await.unwrap();
    assert_eq!((begun.elapsed(), seen.sizes()), (ms(100), vec![3, 2, 1]));
}

#[tokio::test(start_paused = true)]
async fn size_wins_over_time() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(2).with_batch_timeout(ms(100)));
    let begun = Instant::now();
    partition.push([1]);
    partition.run_for(ms(40)).await.unwrap();
    partition.push([2]);
    partition.run_until_ready(2).await.unwrap();
    assert_eq!((begun.elapsed(), seen.sizes()), (ms(40), vec![2]));
}

#[tokio::test(start_paused = true)]
async fn the_timer_of_a_sent_request_does_not_send_the_next() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(2).with_batch_timeout(ms(100)));
    let begun = Instant::now();
    partition.push([1]);
    partition.run_for(ms(60)).await.unwrap();
    partition.push([2, 3]);
    partition.run_until_ready(3).await.unwrap();
    // Row 3 came after 60 ms and waits its own 100 ms, not the 40 that row 1 had left.
    assert_eq!((begun.elapsed(), seen.sizes()), (ms(160), vec![2, 1]));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_sends_what_waits() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(3));
    let begun = Instant::now();
    assert_eq!(partition.call(0..5).await.unwrap(), answers(0..5));
    assert_eq!((begun.elapsed(), seen.sizes()), (Duration::ZERO, vec![3, 2]));
}

#[tokio::test(start_paused = true)]
async fn requests_are_cut_across_input_batches_of_any_size() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(4));
    for rows in [0..1, 1..1, 1..7, 7..9, 9..10] {
        partition.push(rows);
    }
    assert_eq!(partition.finish().await.unwrap(), answers(0..10));
    assert_eq!(seen.sizes(), [4, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_one_is_a_request_a_row() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(1));
    assert_eq!(partition.call(0..3).await.unwrap(), answers(0..3));
    assert_eq!(seen.sizes(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn no_rows_are_no_requests() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(4));
    partition.push([]);
    assert_eq!(partition.finish().await.unwrap(), []);
    assert_eq!((seen.attempts().len(), seen.opened_closed()), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_timeout_of_zero_waits_for_nobody() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(4).with_batch_timeout(Duration::ZERO));
    partition.push([1]);
    partition.run_until_ready(1).await.unwrap();
    assert_eq!(seen.sizes(), [1]);
}

#[tokio::test(start_paused = true)]
async fn durations_without_end_are_accepted() {
    let (function, _) = ScriptedFunction::new("f").build();
    let options = batches(2)
        .with_batch_timeout(Duration::MAX)
        .with_attempt_timeout(Duration::MAX)
        .with_timeout(Duration::MAX)
        .with_retry_delay(Duration::MAX)
        .with_max_retry_delay(Duration::MAX);
    assert_eq!(one(&function, options).call(0..3).await.unwrap(), answers(0..3));
}

#[test]
fn sizes_of_zero_are_refused_also_if_nobody_checked_them() {
    let (function, _) = ScriptedFunction::new("f").build();
    for options in [batches(0), batches(1).with_buffer_capacity(0), batches(1).with_max_attempts(0)]
    {
        let error = FarcallConfig::default().resolve(&function, &options).unwrap_err();
        assert!(
            matches!(CallError::find(&error).as_deref(), Some(CallError::BadOption { .. })),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_rows_are_wanted_while_a_full_request_waits() {
    let (function, _) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(2));
    partition.push([1]);
    assert!(partition.dispatcher.wants_rows());
    partition.push([2]);
    assert!(!partition.dispatcher.wants_rows());
    partition.run_until_ready(2).await.unwrap();
    assert!(partition.dispatcher.wants_rows());
    partition.dispatcher.finish();
    assert!(!partition.dispatcher.wants_rows());
}
