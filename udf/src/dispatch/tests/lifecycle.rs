//! Opening, closing and cancelling: nothing outlives its query.

use std::sync::Arc;

use super::{Partition, answers, batches, ms, new_scope, one};
use crate::dispatch::query::scope::QueryScope;
use crate::error::CallError;
use crate::options::words::OnError;
use crate::testing::{ScriptedFunction, Seen, Step};

#[tokio::test(start_paused = true)]
async fn a_function_is_opened_and_closed_once_per_query() {
    let (function, seen) = ScriptedFunction::new("f").with_open(Step::Answer(ms(5))).build();
    let scope = new_scope();
    let mut one = Partition::new(&scope, 1, &function, batches(1));
    let mut two = Partition::new(&scope, 1, &function, batches(1));
    let mut other = Partition::new(&scope, 2, &function, batches(1));
    let calls = tokio::join!(one.call(0..3), two.call(0..3), other.call(0..3));
    assert!(calls.0.is_ok() && calls.1.is_ok() && calls.2.is_ok());
    assert_eq!(seen.opened_closed(), (1, 0));
    drop((one, two, other));
    ended(scope, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_is_closed_after_an_error() {
    let usual = Step::Fail(ms(1), CallError::function("f", "broken"));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let scope = new_scope();
    let mut partition = Partition::new(&scope, 1, &function, batches(1));
    assert!(partition.call(0..3).await.is_err());
    drop(partition);
    ended(scope, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn a_function_is_closed_after_cancellation() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Hang).build();
    let scope = new_scope();
    let mut partition = Partition::new(&scope, 1, &function, batches(1));
    partition.push(0..3);
    partition.run_for(ms(10)).await.unwrap();
    assert_eq!(seen.in_flight(), 3);
    drop(partition);
    ended(scope, &seen).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_to_open_may_give_up_without_opening_twice() {
    let (function, seen) = ScriptedFunction::new("f").with_open(Step::Answer(ms(20))).build();
    let scope = new_scope();
    let mut first = Partition::new(&scope, 1, &function, batches(1));
    let mut second = Partition::new(&scope, 1, &function, batches(1));
    first.push([1]);
    first.run_for(ms(10)).await.unwrap();
    drop(first);
    assert_eq!(second.call([2]).await.unwrap(), answers([2]));
    assert_eq!(seen.opened_closed(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_open_ends_the_query_and_is_not_closed() {
    let open = Step::Fail(ms(1), CallError::transient("f", "no route"));
    let (function, seen) = ScriptedFunction::new("f").with_open(open).build();
    let mut partition = one(&function, batches(1).with_on_error(OnError::Null));
    assert_eq!(partition.call([1]).await.unwrap_err().to_string(), "f failed: no route");
    drop(partition);
    tokio::time::sleep(ms(1)).await;
    assert_eq!((seen.opened_closed(), seen.attempts().len()), ((1, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_opening_is_an_error() {
    let (function, _) = ScriptedFunction::new("f").with_open(Step::Panic).build();
    let scope = new_scope();
    let mut one = Partition::new(&scope, 1, &function, batches(1));
    let mut two = Partition::new(&scope, 1, &function, batches(1));
    let (one, two) = tokio::join!(one.call([1]), two.call([1]));
    assert!(matches!(one.unwrap_err(), CallError::Panicked { .. }));
    assert!(matches!(two.unwrap_err(), CallError::Panicked { .. }));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_dispatcher_aborts_requests_and_returns_permits() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Hang).build();
    let options = batches(1).with_buffer_capacity(4).with_max_concurrency(2);
    let mut partition = one(&function, options);
    partition.push(0..9);
    partition.run_for(ms(10)).await.unwrap();
    assert_eq!((seen.in_flight(), partition.free_places()), (2, 0));
    let site = Arc::clone(&partition.site);
    drop(partition);
    tokio::task::yield_now().await;
    assert_eq!((seen.in_flight(), site.window.available_permits()), (0, 4));
    assert_eq!(site.metrics().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_while_it_waits_for_a_place_leaves_the_place_to_others() {
    let usual = Step::Answer(ms(10));
    let (function, _) = ScriptedFunction::new("f").with_usual(usual).build();
    let (scope, options) = (new_scope(), batches(1).with_buffer_capacity(1));
    let mut first = Partition::new(&scope, 1, &function, options.clone());
    let mut second = Partition::new(&scope, 1, &function, options.clone());
    let mut third = Partition::new(&scope, 1, &function, options);
    first.push([1]);
    first.run_for(ms(1)).await.unwrap();
    second.push([2]);
    second.run_for(ms(1)).await.unwrap();
    third.push([3]);
    third.run_for(ms(1)).await.unwrap();
    drop(second);
    assert_eq!(third.finish().await.unwrap(), answers([3]));
}

#[tokio::test(start_paused = true)]
async fn dropping_it_between_attempts_stops_the_attempts() {
    let usual = Step::Fail(ms(1), CallError::transient("f", "503"));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let options = batches(1).with_retry_delay(ms(1000)).with_max_attempts(50);
    let mut partition = one(&function, options);
    partition.push([1]);
    partition.run_for(ms(2)).await.unwrap();
    drop(partition);
    let made = seen.attempts().len();
    tokio::time::sleep(ms(100_000)).await;
    assert_eq!(seen.attempts().len(), made);
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_scope_wakes_and_stops_the_dispatcher() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Hang).build();
    let mut partition = one(&function, batches(1));
    let cancellation = partition.dispatcher.scope.cancellation().clone();
    let cancel = async {
        tokio::time::sleep(ms(10)).await;
        cancellation.cancel();
    };
    let (result, ()) = tokio::join!(partition.call([1]), cancel);
    assert!(matches!(result.unwrap_err(), CallError::Cancelled { .. }));
    tokio::task::yield_now().await;
    assert_eq!(seen.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn cancelling_at_any_stage_ends_the_calls_and_frees_every_permit() {
    let (at_once, broken) = (Step::Answer(ms(0)), CallError::transient("f", "503"));
    let failing = Step::Fail(ms(1), broken);
    let patient = batches(1).with_retry_delay(ms(60_000)).with_max_retry_delay(ms(60_000));
    for (stage, open, usual, options, sent) in [
        ("opening", Step::Hang, at_once.clone(), batches(1), 0),
        ("waiting for company", at_once.clone(), at_once.clone(), batches(10), 0),
        ("window", at_once.clone(), Step::Hang, batches(1).with_buffer_capacity(2), 2),
        ("limit", at_once.clone(), Step::Hang, batches(1).with_max_concurrency(1), 1),
        ("rate", at_once.clone(), at_once.clone(), batches(1).with_rpm(1), 1),
        ("attempt", at_once.clone(), Step::Hang, batches(1).with_adaptive(true), 3),
        ("back-off", at_once.clone(), failing, patient, 3),
        ("answered", at_once.clone(), at_once, batches(1), 3),
    ] {
        let (function, seen) = ScriptedFunction::new("f").with_open(open).with_usual(usual).build();
        let mut partition = one(&function, options);
        partition.push(0..3);
        partition.run_for(ms(10)).await.unwrap();
        assert_eq!(seen.attempts().len(), sent, "{stage}");
        partition.dispatcher.scope.cancellation().cancel();
        let error = partition.run_for(ms(10)).await.unwrap_err();
        assert!(matches!(error, CallError::Cancelled { .. }), "{stage}: {error}");
        tokio::time::sleep(ms(3_600_000)).await;
        let site = &partition.site;
        let running = (seen.in_flight(), site.limiter.in_flight(), site.metrics().in_flight());
        assert_eq!((running, seen.attempts().len()), ((0, 0, 0), sent), "{stage}");
        assert_eq!(partition.free_places(), site.options().buffer_capacity(), "{stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_cancellation_is_not_given_out() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(10))).build();
    let mut partition = one(&function, batches(1));
    partition.push([1]);
    partition.run_for(ms(5)).await.unwrap();
    partition.dispatcher.scope.cancellation().cancel();
    tokio::time::sleep(ms(20)).await;
    assert_eq!((seen.in_flight(), seen.attempts().len()), (0, 1));
    let error = partition.run_for(ms(1)).await.unwrap_err();
    assert!(matches!(error, CallError::Cancelled { .. }), "{error}");
    assert_eq!((partition.dispatcher.ready_rows(), partition.take()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn every_permit_is_back_after_failures() {
    let script = [
        Step::Panic,
        Step::Hang,
        Step::Short,
        Step::Fail(ms(1), CallError::transient("f", "503")),
        Step::Fail(ms(1), CallError::rejected("f", "400")),
    ];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let options = batches(2)
        .with_buffer_capacity(3)
        .with_max_concurrency(2)
        .with_attempt_timeout(ms(20))
        .with_on_error(OnError::Null);
    let mut partition = one(&function, options);
    assert_eq!(partition.call(0..20).await.unwrap().len(), 20);
    assert_eq!((partition.free_places(), seen.in_flight()), (3, 0));
    assert_eq!(partition.site.metrics().in_flight(), 0);
}

/// Drops the query and checks that the function was opened and closed once, after its last call.
async fn ended(scope: Arc<QueryScope>, seen: &Seen) {
    drop(scope);
    tokio::time::sleep(ms(1)).await;
    assert_eq!((seen.opened_closed(), seen.in_flight()), ((1, 1), 0));
}
