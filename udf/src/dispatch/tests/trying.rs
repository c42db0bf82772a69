//! `try_` functions: failures are values beside the others.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};

use super::{Partition, answers, batches, ms, new_scope, read};
use crate::adapt::any::AsyncFunction;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::OnError;
use crate::testing::{ScriptedFunction, Step};

/// A row of a `try_` result.
type Row = Option<(Option<i64>, Option<(String, String, i32)>)>;

#[tokio::test(start_paused = true)]
async fn answers_have_no_error() {
    let (function, _) = ScriptedFunction::new("f").build();
    let mut partition = tried(&function, batches(2));
    assert_eq!(call(&mut partition, 0..3).await.unwrap(), values(0..3));
}

#[tokio::test(start_paused = true)]
async fn one_poison_row_is_one_error_and_every_other_a_value() {
    let step = Step::Poison(500, CallError::rejected("f", "too long"));
    let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
    let mut partition = tried(&function, batches(64));
    let mut expected = values(0..1000);
    expected[500] = Some((None, error("rejected", "f rejected the request: too long", 1)));
    assert_eq!(call(&mut partition, 0..1000).await.unwrap(), expected);
    // 16 requests for the rows, 2 x log2(64) to find the bad one.
    assert_eq!(partition.metrics().requests, 16 + 12);
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_its_attempts() {
    let step = Step::Fail(ms(1), CallError::transient("f", "503"));
    let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
    let mut partition = tried(&function, batches(1).with_max_attempts(4));
    let message = "f failed after 4 of 4 attempts: f failed: 503";
    let expected = [Some((None, error("transient", message, 4)))];
    assert_eq!(call(&mut partition, [1]).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn rows_that_need_no_call_are_null() {
    let (function, _) = ScriptedFunction::new("f").build();
    let mut partition = tried(&function, batches(4));
    partition.push_guarded([false, true, false], [1]);
    partition.push_nullable([None, Some(2)]);
    partition.dispatcher.finish();
    partition.run_until_ready(5).await.unwrap();
    let mut rows = rows(&partition.dispatcher.take(3).unwrap());
    rows.extend(self::rows(&partition.dispatcher.take(2).unwrap()));
    assert_eq!(rows, [None, Some((Some(2), None)), None, None, Some((Some(3), None))]);
}

#[tokio::test(start_paused = true)]
async fn a_default_stands_beside_the_error() {
    let step = Step::Fail(ms(1), CallError::function("f", "broken"));
    let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
    let options = batches(1).with_on_error(OnError::Default("-1".into()));
    let expected = [Some((Some(-1), error("internal", "f failed: broken", 1)))];
    assert_eq!(call(&mut tried(&function, options), [1]).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_a_value() {
    let function = ScriptedFunction::new("f").with_usual(Step::Hang).with_fallback(-1);
    let (function, _) = function.build();
    let mut partition = tried(&function, batches(1).with_timeout(ms(10)));
    assert_eq!(call(&mut partition, [1]).await.unwrap(), [Some((Some(-1), None))]);
}

#[tokio::test(start_paused = true)]
async fn followers_share_the_error() {
    let step = Step::Fail(ms(1), CallError::rejected("f", "no"));
    let (function, seen) = ScriptedFunction::new("f").with_usual(step).build();
    let mut partition = tried(&function, batches(1).with_dedup(true));
    let row = Some((None, error("rejected", "f rejected the request: no", 1)));
    assert_eq!(call(&mut partition, [1, 1]).await.unwrap(), [row.clone(), row]);
    assert_eq!(seen.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hopeless_errors_still_end_the_query() {
    let step = Step::Fail(ms(1), CallError::configuration("f", "401"));
    let (function, _) = ScriptedFunction::new("f").with_usual(step).build();
    let error = call(&mut tried(&function, batches(1)), [1]).await.unwrap_err();
    assert!(matches!(error, CallError::Configuration { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_function_and_its_try_form_share_answers_and_opening() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let (scope, options) = (new_scope(), batches(3).with_dedup(true));
    let mut plain = Partition::new(&scope, 1, &function, options.clone());
    let mut tried = Partition::new(&scope, 2, &function.with_try(), options);
    assert_eq!(plain.call(0..3).await.unwrap(), answers(0..3));
    assert_eq!(call(&mut tried, 0..3).await.unwrap(), values(0..3));
    assert_eq!((seen.sizes(), seen.opened_closed()), (vec![3], (1, 0)));
}

fn tried(function: &AsyncFunction, options: CallOptions) -> Partition {
    Partition::new(&new_scope(), 1, &function.clone().with_try(), options)
}

async fn call(
    partition: &mut Partition,
    args: impl IntoIterator<Item = i64>,
) -> Result<Vec<Row>, CallError> {
    partition.push(args);
    partition.dispatcher.finish();
    let count = partition.dispatcher.buffered_rows();
    partition.run_until_ready(count).await?;
    Ok(rows(&partition.dispatcher.take(count)?))
}

fn values(args: impl IntoIterator<Item = i64>) -> Vec<Row> {
    answers(args).into_iter().map(|value| Some((value, None))).collect()
}

fn error(code: &str, message: &str, attempts: i32) -> Option<(String, String, i32)> {
    Some((code.into(), message.into(), attempts))
}

fn rows(array: &ArrayRef) -> Vec<Row> {
    let row = array.as_struct();
    let (values, errors) = (read(row.column(0)), row.column(1).as_struct());
    let text = |column: usize, index: usize| {
        errors.column(column).as_string::<i32>().value(index).to_owned()
    };
    let attempts = errors.column(2).as_primitive::<Int32Type>();
    assert_eq!(row.column(0).as_primitive::<Int64Type>().len(), array.len());
    (0..array.len())
        .map(|index| {
            let error = errors
                .is_valid(index)
                .then(|| (text(0, index), text(1, index), attempts.value(index)));
            row.is_valid(index).then_some((values[index], error))
        })
        .collect()
}
