//! Time-outs of attempts and requests, and what becomes of the rows.

use std::time::Duration;

use tokio::time::Instant;

use super::{answers, batches, ms, one};
use crate::error::CallError;
use crate::options::words::{OnError, RetryStrategy, TimeoutPolicy};
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn an_attempt_is_given_up_after_its_time() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Hang).build();
    let options = batches(1).with_attempt_timeout(ms(50)).with_max_attempts(2);
    let begun = Instant::now();
    let error = one(&function, options).call([1]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "f failed after 2 of 2 attempts: f timed out after 50ms on attempt 2 (attempt_timeout)"
    );
    let CallError::AttemptsExhausted { last, .. } = error else { panic!("{error}") };
    assert!(matches!(*last, CallError::AttemptTimeout { attempt: 2, .. }));
    assert_eq!((begun.elapsed(), seen.attempts().len()), (ms(100), 2));
}

#[tokio::test(start_paused = true)]
async fn the_total_time_covers_attempts_and_back_off() {
    let failure = Step::Fail(ms(30), CallError::transient("f", "503"));
    let (function, seen) = ScriptedFunction::new("f").with_usual(failure).build();
    let options = batches(1)
        .with_retry_strategy(RetryStrategy::FixedDelay)
        .with_retry_delay(ms(30))
        .with_max_attempts(100)
        .with_timeout(ms(200));
    let begun = Instant::now();
    let error = one(&function, options).call([1]).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { attempts: 4, .. }), "{error}");
    assert_eq!((begun.elapsed(), seen.attempts().len()), (ms(200), 4));
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_total_time_names_the_last_failure() {
    let failure = Step::Fail(ms(10), CallError::transient("f", "503"));
    let (function, _) = ScriptedFunction::new("f").with_usual(failure).build();
    let options = batches(1)
        .with_retry_strategy(RetryStrategy::FixedDelay)
        .with_retry_delay(Duration::from_secs(60))
        .with_timeout(ms(100));
    let error = one(&function, options).call([1]).await.unwrap_err();
    assert_eq!(error.to_string(), "f timed out after 100ms and 1 attempt (timeout): f failed: 503");
}

#[tokio::test(start_paused = true)]
async fn a_retry_may_succeed_before_the_time_is_up() {
    let (function, seen) = ScriptedFunction::new("f")
        .with_script([Step::Hang])
        .with_usual(Step::Answer(ms(10)))
        .build();
    let options = batches(2).with_attempt_timeout(ms(50)).with_timeout(ms(100));
    let mut partition = one(&function, options);
    assert_eq!(partition.call([1, 2]).await.unwrap(), answers([1, 2]));
    assert_eq!(seen.attempts().len(), 2);
    assert_eq!((partition.metrics().timeouts, partition.metrics().failures), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_last_moment_counts() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(100))).build();
    let options = batches(1).with_timeout(ms(100));
    assert_eq!(one(&function, options).call([1]).await.unwrap(), answers([1]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_a_moment_late_does_not() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(101))).build();
    let options = batches(1).with_timeout(ms(100));
    let error = one(&function, options).call([1]).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { attempts: 1, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn allow_partial_gives_null_to_the_rows_of_the_late_request_alone() {
    let (function, _) =
        ScriptedFunction::new("f").with_script([Step::Answer(ms(1)), Step::Hang]).build();
    let options = batches(2).with_timeout(ms(50)).with_timeout_policy(TimeoutPolicy::AllowPartial);
    let mut partition = one(&function, options);
    let expected = [Some(1), Some(2), None, None, Some(5), Some(6)];
    assert_eq!(partition.call(0..6).await.unwrap(), expected);
    assert_eq!((partition.metrics().timeouts, partition.metrics().failures), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn allow_partial_is_for_time_outs_alone() {
    let failure = Step::Fail(ms(1), CallError::rejected("f", "no"));
    let (function, _) = ScriptedFunction::new("f").with_usual(failure).build();
    let options = batches(1).with_timeout_policy(TimeoutPolicy::AllowPartial);
    let error = one(&function, options).call([1]).await.unwrap_err();
    assert!(matches!(error, CallError::Rejected { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_functions_own_fallback_comes_before_the_options() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Hang).with_fallback(-1).build();
    let options = batches(2)
        .with_timeout(ms(50))
        .with_timeout_policy(TimeoutPolicy::AllowPartial)
        .with_on_error(OnError::Fail);
    assert_eq!(one(&function, options).call([1, 2]).await.unwrap(), [Some(-1), Some(-1)]);
}

#[tokio::test(start_paused = true)]
async fn the_fallback_serves_exhausted_attempts_that_timed_out() {
    let (function, seen) =
        ScriptedFunction::new("f").with_usual(Step::Hang).with_fallback(-1).build();
    let options = batches(1).with_attempt_timeout(ms(10)).with_max_attempts(3);
    assert_eq!(one(&function, options).call([1]).await.unwrap(), [Some(-1)]);
    assert_eq!(seen.attempts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_fallback_is_for_time_outs_alone() {
    let failure = Step::Fail(ms(1), CallError::rejected("f", "no"));
    let (function, _) = ScriptedFunction::new("f").with_usual(failure).with_fallback(-1).build();
    assert!(one(&function, batches(1)).call([1]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_batch_or_a_permit_is_not_the_requests_time() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(90))).build();
    let options =
        batches(2).with_batch_timeout(ms(500)).with_timeout(ms(100)).with_max_concurrency(1);
    let mut partition = one(&function, options);
    partition.push(0..5);
    partition.run_until_ready(5).await.unwrap();
    assert_eq!(partition.take(), answers(0..5));
}
