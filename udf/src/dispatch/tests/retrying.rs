//! Which failures are tried again, how often and when.

use std::time::Duration;

use tokio::time::Instant;

use super::{answers, batches, ms, one};
use crate::error::CallError;
use crate::options::words::{OnError, RetryStrategy};
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again() {
    let (function, seen) =
        ScriptedFunction::new("f").with_script([unavailable(), unavailable()]).build();
    let mut partition = one(&function, batches(2));
    assert_eq!(partition.call([1, 2]).await.unwrap(), answers([1, 2]));
    let attempts: Vec<u32> = seen.details().iter().map(|attempt| attempt.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!((partition.metrics().requests, partition.metrics().retries), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_in_total() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(unavailable()).build();
    let error = one(&function, batches(1).with_max_attempts(4)).call([1]).await.unwrap_err();
    assert!(
        matches!(error, CallError::AttemptsExhausted { attempts: 4, max_attempts: 4, .. }),
        "{error}"
    );
    assert_eq!(seen.attempts().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_means_no_retry() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(unavailable()).build();
    let error = one(&function, batches(1).with_max_attempts(1)).call([1]).await.unwrap_err();
    assert!(matches!(error, CallError::Remote { .. }), "{error}");
    assert_eq!(seen.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_that_will_not_pass_are_tried_once() {
    for error in [
        CallError::rejected("f", "400"),
        CallError::function("f", "broken"),
        CallError::Conversion {
            function: "f".into(),
            what: "an answer".into(),
            message: "no".into(),
        },
        CallError::configuration("f", "401"),
        CallError::BadOption { option: "x".into(), message: "no".into() },
        CallError::Exhausted { function: "f".into(), message: "insufficient_quota".into() },
    ] {
        let step = Step::Fail(ms(1), error.clone());
        let (function, seen) = ScriptedFunction::new("f").with_usual(step).build();
        let failure = one(&function, batches(1)).call([1]).await.unwrap_err();
        assert_eq!((failure.to_string(), seen.attempts().len()), (error.to_string(), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_tried_again() {
    let error = CallError::Transport { function: "f".into(), message: "reset".into() };
    let (function, seen) =
        ScriptedFunction::new("f").with_script([Step::Fail(ms(1), error)]).build();
    assert_eq!(one(&function, batches(1)).call([1]).await.unwrap(), answers([1]));
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_remote_sides_delay_is_honoured() {
    let (function, _) = ScriptedFunction::new("f").with_script([throttled(Some(ms(7000)))]).build();
    let begun = Instant::now();
    assert_eq!(one(&function, batches(1)).call([1]).await.unwrap(), answers([1]));
    assert_eq!(begun.elapsed(), ms(7000));
}

#[tokio::test(start_paused = true)]
async fn being_throttled_uses_up_no_attempt() {
    let script = std::iter::repeat_n(throttled(Some(ms(10))), 20).chain([unavailable()]);
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let options = batches(1).with_max_attempts(2);
    assert_eq!(one(&function, options).call([1]).await.unwrap(), answers([1]));
    let attempts: Vec<u32> = seen.details().iter().map(|attempt| attempt.attempt).collect();
    assert_eq!(attempts, (1..=22).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_total_time_bounds_being_throttled() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(throttled(None)).build();
    let options = batches(1).with_timeout(Duration::from_secs(1));
    let error = one(&function, options).call([1]).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    // Without a delay of its own, 10 ms lie between two attempts.
    assert!(seen.attempts().len() <= 100, "{} attempts", seen.attempts().len());
}

#[tokio::test(start_paused = true)]
async fn fixed_delays_stay_the_same() {
    let script = [unavailable(), unavailable(), unavailable()];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let options = batches(1)
        .with_retry_strategy(RetryStrategy::FixedDelay)
        .with_retry_delay(ms(500))
        .with_max_attempts(4);
    one(&function, options).call([1]).await.unwrap();
    let begun: Vec<Instant> = seen.details().iter().map(|attempt| attempt.begun).collect();
    assert!(begun.windows(2).all(|pair| pair[1] - pair[0] == ms(501)), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn no_retry_tries_once() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(unavailable()).build();
    let options = batches(1).with_retry_strategy(RetryStrategy::NoRetry).with_max_attempts(5);
    assert!(one(&function, options).call([1]).await.is_err());
    assert_eq!(seen.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn side_effects_are_repeated_with_consent_alone() {
    for (options, attempts) in [(batches(1), 1), (batches(1).with_max_attempts(3), 3)] {
        let (function, seen) = ScriptedFunction::new("f")
            .with_declaration(|declaration| declaration.with_side_effects(true))
            .with_usual(unavailable())
            .build();
        assert!(one(&function, options).call([1]).await.is_err());
        assert_eq!(seen.attempts().len(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn side_effects_are_not_repeated_when_they_are_throttled_either() {
    for (options, attempts) in [(batches(1), 1), (batches(1).with_max_attempts(1), 2)] {
        let throttled =
            CallError::Throttled { function: "f".into(), message: "429".into(), retry_after: None };
        let (function, seen) = ScriptedFunction::new("f")
            .with_declaration(|declaration| declaration.with_side_effects(true))
            .with_script([Step::Fail(ms(1), throttled)])
            .build();
        let answered = one(&function, options).call([1]).await.is_ok();
        assert_eq!((seen.attempts().len(), answered), (attempts, attempts == 2));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_rows_that_failed_are_sent_again() {
    let step = Step::FailRow(1, CallError::transient("f", "503"));
    let (function, seen) = ScriptedFunction::new("f").with_script([step]).build();
    assert_eq!(one(&function, batches(3)).call(0..3).await.unwrap(), answers(0..3));
    assert_eq!(seen.attempts(), [vec![0, 1, 2], vec![1]]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_goes_on_failing_fails_alone() {
    let error = CallError::transient("f", "503");
    let script = [Step::FailRow(1, error.clone()), Step::FailRow(0, error)];
    let (function, _) = ScriptedFunction::new("f").with_script(script).build();
    let options = batches(3).with_max_attempts(2).with_on_error(OnError::Null);
    let mut partition = one(&function, options);
    assert_eq!(partition.call(0..3).await.unwrap(), [Some(1), None, Some(3)]);
    assert_eq!(partition.metrics().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_at_the_same_content_share_an_idempotency_key() {
    let script = [unavailable(), Step::FailRow(0, CallError::transient("f", "503"))];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    one(&function, batches(2)).call(0..2).await.unwrap();
    let keys: Vec<String> = seen.details().into_iter().map(|seen| seen.idempotency_key).collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

fn unavailable() -> Step {
    Step::Fail(ms(1), CallError::transient("f", "503"))
}

fn throttled(retry_after: Option<Duration>) -> Step {
    let error = CallError::Throttled { function: "f".into(), message: "429".into(), retry_after };
    Step::Fail(Duration::ZERO, error)
}
