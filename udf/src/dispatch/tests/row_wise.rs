//! Row-wise functions: trait objects and typed closures, at once and waiting.

use std::future::pending;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion_common::ScalarValue;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{answers, batches, ms, one};
use crate::adapt::any::AsyncFunction;
use crate::adapt::rows::{RowBurst, RowFunction};
use crate::adapt::typed::async_fn;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncScalarFunction;
use crate::error::CallError;
use crate::options::words::OnError;

#[tokio::test(start_paused = true)]
async fn a_closure_that_answers_at_once_needs_no_task() {
    let function = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }).build();
    let mut partition = one(&function, batches(1));
    assert_eq!(partition.call(0..20_000).await.unwrap(), answers(0..20_000));
    let metrics = partition.metrics();
    assert_eq!((metrics.calls, metrics.requests, metrics.attempts), (20_000, 20_000, 20_000));
    assert_eq!((metrics.in_flight_max, partition.free_places()), (0, 100));
}

#[tokio::test(start_paused = true)]
async fn closures_that_wait_run_at_the_same_time() {
    let function = async_fn("f", |x: i64| async move {
        tokio::time::sleep(ms(10)).await;
        Ok::<i64, CallError>(x + 1)
    });
    let mut partition = one(&function.build(), batches(1).with_buffer_capacity(5));
    let begun = Instant::now();
    assert_eq!(partition.call(0..20).await.unwrap(), answers(0..20));
    assert_eq!((begun.elapsed(), partition.metrics().in_flight_max), (ms(40), 5));
}

#[tokio::test(start_paused = true)]
async fn rows_that_wait_do_not_hold_back_rows_that_do_not() {
    let function = async_fn("f", |x: i64| async move {
        if x % 3 == 0 {
            tokio::time::sleep(ms(10)).await;
        }
        Ok::<i64, CallError>(x + 1)
    });
    let mut partition = one(&function.build(), batches(1));
    let begun = Instant::now();
    assert_eq!(partition.call(0..100).await.unwrap(), answers(0..100));
    assert_eq!((begun.elapsed(), partition.metrics().in_flight_max), (ms(10), 34));
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_fails_at_once_is_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let function = async_fn("f", move |x: i64| {
        let failing = x == 2 && counted.fetch_add(1, Ordering::SeqCst) < 2;
        async move { if failing { Err(CallError::transient("f", "503")) } else { Ok(x + 1) } }
    });
    let mut partition = one(&function.build(), batches(1));
    assert_eq!(partition.call(0..5).await.unwrap(), answers(0..5));
    let metrics = partition.metrics();
    assert_eq!((tries.load(Ordering::SeqCst), metrics.attempts, metrics.retries), (3, 7, 2));
}

#[tokio::test(start_paused = true)]
async fn the_failure_at_once_counts_as_the_first_attempt() {
    let function =
        async_fn(
            "f",
            |_: i64| async move { Err::<i64, CallError>(CallError::transient("f", "503")) },
        );
    let mut partition = one(&function.build(), batches(1).with_max_attempts(3));
    let error = partition.call([1]).await.unwrap_err();
    assert!(matches!(error, CallError::AttemptsExhausted { attempts: 3, .. }), "{error}");
    assert_eq!(partition.metrics().attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_loses_its_row_alone() {
    let function = async_fn("f", |x: i64| async move {
        assert_ne!(x, 1, "one is not accepted");
        if x == 3 {
            tokio::time::sleep(ms(1)).await;
            panic!("three panics late");
        }
        Ok::<i64, CallError>(x + 1)
    });
    let mut partition = one(&function.build(), batches(1).with_on_error(OnError::Null));
    let expected = [Some(1), None, Some(3), None, Some(5)];
    assert_eq!(partition.call(0..5).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_never_answers_times_out() {
    let function = async_fn("f", |_: i64| pending::<Result<i64, CallError>>());
    let options = batches(1).with_attempt_timeout(ms(10)).with_max_attempts(2);
    let begun = Instant::now();
    assert!(one(&function.build(), options).call([1]).await.is_err());
    assert_eq!(begun.elapsed(), ms(20));
}

#[tokio::test(start_paused = true)]
async fn optional_arguments_take_nulls_and_others_do_not() {
    let strict = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }).build();
    let lenient =
        async_fn("f", |x: Option<i64>| async move { Ok::<i64, CallError>(x.unwrap_or(-1)) });
    for (function, expected) in [(strict, [None, Some(2)]), (lenient.build(), [Some(-1), Some(1)])]
    {
        let mut partition = one(&function, batches(1));
        partition.push_nullable([None, Some(1)]);
        assert_eq!(partition.finish().await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn optional_results_may_be_null() {
    let function =
        async_fn("f", |x: i64| async move { Ok::<Option<i64>, CallError>((x > 0).then_some(x)) });
    assert_eq!(one(&function.build(), batches(1)).call(0..2).await.unwrap(), [None, Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_counts_rows_that_would_answer_at_once() {
    let function = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }).build();
    let mut partition = one(&function, batches(1).with_max_concurrency(1));
    assert_eq!(partition.call(0..10).await.unwrap(), answers(0..10));
    assert_eq!(partition.metrics().attempts, 10);
}

#[tokio::test(start_paused = true)]
async fn a_trait_object_is_called_row_by_row() {
    let function = AsyncFunction::scalar(Scripted::default());
    let mut partition = one(&function, batches(1));
    let begun = Instant::now();
    assert_eq!(partition.call(0..10).await.unwrap(), answers(0..10));
    assert_eq!(begun.elapsed(), ms(10));
}

#[tokio::test(start_paused = true)]
async fn each_row_of_a_trait_object_has_its_own_key() {
    let scripted = Scripted::default();
    let keys = Arc::clone(&scripted.keys);
    one(&AsyncFunction::scalar(scripted), batches(1)).call(0..10).await.unwrap();
    let mut keys = keys.lock().unwrap().clone();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_trait_object_that_answers_at_once_needs_no_task() {
    let mut partition = one(&AsyncFunction::scalar(Scripted::default()), batches(1));
    let even = (0..20_000).map(|x| 2 * x);
    assert_eq!(partition.call(even.clone()).await.unwrap(), answers(even));
    let metrics = partition.metrics();
    assert_eq!((metrics.calls, metrics.requests, metrics.attempts), (20_000, 20_000, 20_000));
    assert_eq!((metrics.in_flight_max, partition.free_places()), (0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_waits_is_started_once_and_keeps_its_key_over_attempts() {
    let waiting = Waiting::default();
    let seen = Arc::clone(&waiting.seen);
    let mut partition = one(&AsyncFunction::scalar(waiting), batches(1));
    assert_eq!(partition.call(0..4).await.unwrap(), answers(0..4));
    let seen = seen.lock().unwrap();
    // Of row 2, the first attempt waits and fails; each attempt is polled once before it waits.
    let rows: Vec<_> = seen.iter().map(|(x, attempt, polls, _)| (*x, *attempt, *polls)).collect();
    assert_eq!(rows, [(0, 1, 1), (1, 1, 1), (2, 1, 2), (3, 1, 1), (2, 2, 2)]);
    let keys: Vec<&str> = seen.iter().map(|(.., key)| key.as_str()).collect();
    assert_eq!(keys[2], keys[4]);
    assert_ne!(keys[2], keys[3]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_there_is_a_future_loses_its_row_alone() {
    let declaration = Declaration::new("f", vec![DataType::Int64], DataType::Int64);
    let function = AsyncFunction::scalar(Abrupt(declaration));
    let options = batches(1).with_on_error(OnError::Null);
    let expected = [Some(1), None, Some(3)];
    assert_eq!(one(&function, options).call(0..3).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn values_of_the_wrong_type_fail_their_row_alone() {
    let function = AsyncFunction::scalar(Scripted::default());
    let options = batches(1).with_on_error(OnError::Null);
    let rows = [1, WRONG_TYPE, 2, LATE_WRONG_TYPE, UNTYPED_NULL, PANIC];
    let expected = [Some(2), None, Some(3), None, None, None];
    assert_eq!(one(&function, options).call(rows).await.unwrap(), expected);
    let error = one(&function, batches(1)).call([WRONG_TYPE]).await.unwrap_err();
    assert!(error.to_string().ends_with("answered values of type Utf8 where Int64 is declared"));
}

#[tokio::test(start_paused = true)]
async fn a_row_function_that_breaks_its_contract_is_an_error() {
    for broken in [Broken::Nothing, Broken::TooMuch, Broken::WrongType, Broken::Panic, Broken::Err]
    {
        let function = AsyncFunction::Rows(Arc::new(BrokenRows::new(broken)));
        let options = batches(1).with_on_error(OnError::Null);
        assert_eq!(one(&function, options).call([1, 2]).await.unwrap(), [None, None]);
        assert!(one(&function, batches(1)).call([1, 2]).await.is_err());
    }
}

const WRONG_TYPE: i64 = -1;
const LATE_WRONG_TYPE: i64 = -2;
const UNTYPED_NULL: i64 = -3;
const PANIC: i64 = -4;

/// x + 1, odd numbers after 10 ms.
#[derive(Debug)]
struct Scripted {
    declaration: Declaration,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Default for Scripted {
    fn default() -> Self {
        let declaration = Declaration::new("f", vec![DataType::Int64], DataType::Int64);
        Self { declaration, keys: Arc::default() }
    }
}

#[async_trait]
impl AsyncScalarFunction for Scripted {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        ctx: &CallContext,
    ) -> Result<ScalarValue, CallError> {
        self.keys.lock().unwrap().push(ctx.idempotency_key());
        let ScalarValue::Int64(Some(x)) = args[0] else { return Ok(ScalarValue::Null) };
        if x % 2 == 1 || x == LATE_WRONG_TYPE {
            tokio::time::sleep(ms(10)).await;
        }
        match x {
            WRONG_TYPE | LATE_WRONG_TYPE => Ok(ScalarValue::from("no")),
            UNTYPED_NULL => Ok(ScalarValue::Null),
            PANIC => panic!("scripted panic"),
            x => Ok(ScalarValue::from(x + 1)),
        }
    }
}

/// x + 1, at once; 2 waits first, and fails the first time.
#[derive(Debug)]
struct Waiting {
    declaration: Declaration,
    /// The argument, the attempt, the polls and the key of every attempt, as they began.
    seen: SeenRows,
}

type SeenRows = Arc<Mutex<Vec<(i64, u32, usize, String)>>>;

impl Default for Waiting {
    fn default() -> Self {
        let declaration = Declaration::new("f", vec![DataType::Int64], DataType::Int64);
        Self { declaration, seen: Arc::default() }
    }
}

#[async_trait]
impl AsyncScalarFunction for Waiting {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        ctx: &CallContext,
    ) -> Result<ScalarValue, CallError> {
        let ScalarValue::Int64(Some(x)) = args[0] else { return Ok(ScalarValue::Null) };
        let attempt = {
            let mut seen = self.seen.lock().unwrap();
            seen.push((x, ctx.attempt, 0, ctx.idempotency_key()));
            seen.len() - 1
        };
        std::future::poll_fn(|cx| {
            let polls = &mut self.seen.lock().unwrap()[attempt].2;
            *polls += 1;
            if x == 2 && *polls == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        match (x, ctx.attempt) {
            (2, 1) => Err(CallError::transient("f", "503")),
            _ => Ok(ScalarValue::from(x + 1)),
        }
    }
}

/// x + 1, written without `async`; 1 panics where it should make a future.
#[derive(Debug)]
struct Abrupt(Declaration);

impl AsyncScalarFunction for Abrupt {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    fn eval<'a, 'b, 'c>(
        &'a self,
        args: Vec<ScalarValue>,
        _: &'b CallContext,
    ) -> BoxFuture<'c, Result<ScalarValue, CallError>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let ScalarValue::Int64(Some(x)) = args[0] else { panic!("no number") };
        assert_ne!(x, 1, "one is not accepted");
        Box::pin(async move { Ok(ScalarValue::from(x + 1)) })
    }
}

#[derive(Debug, Clone, Copy)]
enum Broken {
    Nothing,
    TooMuch,
    WrongType,
    Panic,
    Err,
}

/// A row function written by others, against its contract.
#[derive(Debug)]
struct BrokenRows {
    declaration: Declaration,
    broken: Broken,
}

impl BrokenRows {
    fn new(broken: Broken) -> Self {
        let declaration = Declaration::new("f", vec![DataType::Int64], DataType::Int64);
        Self { declaration, broken }
    }
}

impl RowFunction for BrokenRows {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    fn start(
        &self,
        _args: &ArgBatch,
        rows: Range<usize>,
        _ctx: &CallContext,
        _cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError> {
        let ints = |rows: usize| BatchAnswer::new(Arc::new(Int64Array::from(vec![0; rows])));
        let answered = match self.broken {
            Broken::Nothing => ints(0),
            Broken::TooMuch => ints(rows.len() + 1),
            Broken::WrongType => {
                BatchAnswer::new(Arc::new(StringArray::from(vec!["no"; rows.len()])))
            }
            Broken::Panic => panic!("broken"),
            Broken::Err => return Err(CallError::function("f", "broken")),
        };
        Ok(RowBurst { answered, pending: None })
    }
}
