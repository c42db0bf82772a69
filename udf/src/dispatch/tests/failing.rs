//! What becomes of rows whose call fails for good.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use async_trait::async_trait;

use super::{answers, batches, ms, one};
use crate::adapt::any::AsyncFunction;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncBatchFunction;
use crate::dispatch::request::runs::CallRuns;
use crate::error::{CallError, ErrorClass};
use crate::options::CallOptions;
use crate::options::words::OnError;
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn a_short_answer_is_asked_for_once_more() {
    let (function, seen) = ScriptedFunction::new("f").with_script([Step::Short]).build();
    assert_eq!(one(&function, batches(4)).call(0..4).await.unwrap(), answers(0..4));
    assert_eq!(seen.sizes(), [4, 4]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_short_twice_is_isolated() {
    let (function, seen) =
        ScriptedFunction::new("f").with_script([Step::Short, Step::Short]).build();
    assert_eq!(one(&function, batches(4)).call(0..4).await.unwrap(), answers(0..4));
    assert_eq!(seen.sizes(), [4, 4, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn answers_always_short_fail_with_both_numbers() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Short).build();
    let error = one(&function, batches(4)).call(0..4).await.unwrap_err();
    assert!(matches!(error, CallError::RowCount { sent: 1, got: 0, .. }), "{error}");
    assert_eq!(seen.sizes(), [4, 4, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_asked_for_once_more_and_then_isolated() {
    let (function, seen) = ScriptedFunction::new("f").with_script([Step::Long, Step::Long]).build();
    assert_eq!(one(&function, batches(4)).call(0..4).await.unwrap(), answers(0..4));
    assert_eq!(seen.sizes(), [4, 4, 2, 2]);
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Long).build();
    let error = one(&function, batches(4)).call(0..4).await.unwrap_err();
    assert!(matches!(error, CallError::RowCount { sent: 1, got: 2, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_fails_twice_in_one_answer_fails_once() {
    let function = AsyncFunction::batch(FailsTwice(Declaration::new(
        "f",
        vec![DataType::Int64],
        DataType::Int64,
    )));
    let mut partition = one(&function, batches(3).with_on_error(OnError::Null));
    assert_eq!(partition.call(0..3).await.unwrap(), [Some(0), None, Some(2)]);
    assert_eq!(partition.metrics().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_answer_to_the_same_calls_changes_nothing() {
    let (function, _) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(2));
    partition.push(0..4);
    partition.run_until_ready(4).await.unwrap();
    for first in [0, 2] {
        let (mut calls, again) = (CallRuns::default(), Int64Array::from(vec![7, 8]));
        calls.push(first, 2);
        partition.dispatcher.answer(&calls, &(Arc::new(again) as ArrayRef));
        assert_eq!(partition.take(), if first == 0 { answers(0..4) } else { vec![] });
    }
    assert_eq!(partition.call([4]).await.unwrap(), answers([4]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_wrong_type_names_both() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::WrongType).build();
    let error = one(&function, batches(1)).call([1]).await.unwrap_err();
    let CallError::AttemptsExhausted { attempts: 2, last, .. } = error else { panic!("{error}") };
    assert!(matches!(*last, CallError::WrongType { .. }));
    assert_eq!(last.to_string(), "f answered values of type Utf8 where Int64 is declared");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_answer_is_asked_for_once_more() {
    let step = Step::Fail(ms(1), CallError::malformed("f", "not json"));
    let (function, seen) = ScriptedFunction::new("f").with_script([step]).build();
    assert_eq!(one(&function, batches(2)).call(0..2).await.unwrap(), answers(0..2));
    assert_eq!(seen.sizes(), [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_of_its_request() {
    let script = [Step::Answer(ms(1)), Step::Panic];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let options = batches(2).with_on_error(OnError::Null);
    let expected = [Some(1), Some(2), None, None, Some(5), Some(6)];
    assert_eq!(one(&function, options).call(0..6).await.unwrap(), expected);
    assert_eq!(seen.attempts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_the_query_with_its_message() {
    let (function, _) = ScriptedFunction::new("f").with_usual(Step::Panic).build();
    let error = one(&function, batches(2)).call(0..2).await.unwrap_err();
    assert!(matches!(error, CallError::Panicked { .. }));
    assert_eq!(error.to_string(), "f panicked: scripted panic");
}

#[tokio::test(start_paused = true)]
async fn a_poison_row_stands_alone_in_the_end() {
    let rejected = CallError::rejected("f", "too long");
    for poison in [0, 77, 127] {
        let step = Step::Poison(poison, rejected.clone());
        let (function, seen) = ScriptedFunction::new("f").with_usual(step).build();
        let mut partition = one(&function, batches(128).with_on_error(OnError::Null));
        let mut expected = answers(0..128);
        expected[poison as usize] = None;
        assert_eq!(partition.call(0..128).await.unwrap(), expected);
        // 2 x log2(128) requests more than the one that was refused.
        assert_eq!((partition.metrics().requests, seen.attempts().len()), (15, 15));
        assert_eq!(partition.metrics().failures, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_refused_request_are_requests_of_their_own() {
    let step = Step::Poison(3, CallError::rejected("f", "too long"));
    let (function, seen) = ScriptedFunction::new("f").with_usual(step).build();
    one(&function, batches(4).with_on_error(OnError::Null)).call(0..4).await.unwrap();
    let mut keys: Vec<String> =
        seen.details().into_iter().map(|seen| seen.idempotency_key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), seen.attempts().len());
}

#[tokio::test(start_paused = true)]
async fn side_effects_are_not_bisected_without_consent() {
    let step = Step::Poison(3, CallError::rejected("f", "too long"));
    let (function, seen) = ScriptedFunction::new("f")
        .with_declaration(|declaration| declaration.with_side_effects(true))
        .with_usual(step)
        .build();
    let options = batches(4).with_on_error(OnError::Null);
    assert_eq!(one(&function, options).call(0..4).await.unwrap(), [None; 4]);
    assert_eq!(seen.sizes(), [4]);
}

#[tokio::test(start_paused = true)]
async fn on_error_null_keeps_every_other_row() {
    let options = batches(2).with_on_error(OnError::Null);
    let expected = [None, None, Some(3), Some(4)];
    assert_eq!(one(&failing_first(), options).call(0..4).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn on_error_default_is_cast_to_the_type() {
    let options = batches(2).with_on_error(OnError::Default("-7".into()));
    let expected = [Some(-7), Some(-7), Some(3), Some(4)];
    assert_eq!(one(&failing_first(), options).call(0..4).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_default_of_another_type_is_a_bad_option() {
    let options = batches(2).with_on_error(OnError::Default("many".into()));
    let error = one(&failing_first(), options).call(0..4).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad option on_error: default 'many' is not a value of type Int64"
    );
}

#[tokio::test(start_paused = true)]
async fn on_error_fail_ends_the_query() {
    let mut partition = one(&failing_first(), batches(2));
    let error = partition.call(0..4).await.unwrap_err();
    assert!(matches!(error, CallError::Function { .. }), "{error}");
    assert!(partition.dispatcher.scope.cancellation().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn hopeless_errors_end_the_query_whatever_on_error_says() {
    for error in [
        CallError::configuration("f", "401"),
        CallError::BadOption { option: "x".into(), message: "no".into() },
        CallError::Exhausted { function: "f".into(), message: "402".into() },
        CallError::Cancelled { function: "f".into() },
    ] {
        let step = Step::Fail(ms(1), error.clone());
        let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
        let options = batches(1).with_on_error(OnError::Null);
        let failure = one(&function, options).call(0..3).await.unwrap_err();
        assert_eq!(failure.to_string(), error.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hopeless_error_of_one_row_ends_the_query() {
    let step = Step::FailRow(1, CallError::configuration("f", "401"));
    let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
    let options = batches(3).with_on_error(OnError::Null);
    let failure = one(&function, options).call(0..3).await.unwrap_err();
    assert_eq!(failure.class(), ErrorClass::Configuration);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_row_outside_the_request_is_ignored() {
    let step = Step::FailRow(9, CallError::rejected("f", "no"));
    let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
    assert_eq!(one(&function, batches(3)).call(0..3).await.unwrap(), answers(0..3));
}

#[tokio::test(start_paused = true)]
async fn the_first_error_stops_all_partitions_of_the_query() {
    let script = [Step::Fail(ms(10), CallError::function("f", "broken"))];
    let (function, seen) =
        ScriptedFunction::new("f").with_script(script).with_usual(Step::Answer(ms(7))).build();
    let scope = super::new_scope();
    let options: CallOptions = batches(1).with_buffer_capacity(1);
    let mut one = super::Partition::new(&scope, 1, &function, options.clone());
    let mut two = super::Partition::new(&scope, 2, &function, options);
    let (one, two) = tokio::join!(one.call(0..100), two.call(0..100));
    assert_eq!(one.unwrap_err().to_string(), "f failed: broken");
    assert_eq!(two.unwrap_err().to_string(), "f failed: broken");
    tokio::task::yield_now().await;
    assert_eq!((seen.attempts().len(), seen.in_flight()), (3, 0));
}

fn failing_first() -> AsyncFunction {
    let script = [Step::Fail(ms(1), CallError::function("f", "broken"))];
    ScriptedFunction::new("f").with_script(script).build().0
}

/// Gives back its argument, but for the second row, which it names twice as failed.
#[derive(Debug)]
struct FailsTwice(Declaration);

#[async_trait]
impl AsyncBatchFunction for FailsTwice {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        let error = || CallError::rejected("f", "no");
        let errors = vec![(1, error()), (1, error())];
        Ok(BatchAnswer::new(Arc::clone(args.column(0))).with_errors(errors))
    }
}
