//! Functions without arguments, for which a request is a number of rows alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use async_trait::async_trait;

use super::{batches, new_scope, read, resolved};
use crate::adapt::any::AsyncFunction;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::declaration::{Declaration, Determinism};
use crate::contract::function::AsyncBatchFunction;
use crate::dispatch::Dispatcher;
use crate::error::CallError;
use crate::options::CallOptions;

#[tokio::test(start_paused = true)]
async fn a_deterministic_function_is_called_once_for_all_rows() {
    let function = Counter::new(Determinism::Deterministic);
    let answer = call(function, batches(2).with_dedup(true), None).await;
    assert_eq!(answer, [Some(0); 5]);
}

#[tokio::test(start_paused = true)]
async fn a_volatile_function_is_called_for_each_row() {
    let function = Counter::new(Determinism::Volatile);
    let answer = call(function, batches(2).with_dedup(true), None).await;
    assert_eq!(answer, [0, 1, 2, 3, 4].map(Some));
}

#[tokio::test(start_paused = true)]
async fn rows_behind_a_guard_are_not_counted() {
    let function = Counter::new(Determinism::Volatile);
    let guard = [true, false, false, true, true].into_iter().collect();
    let answer = call(function, batches(2), Some(guard)).await;
    assert_eq!(answer, [Some(0), None, None, Some(1), Some(2)]);
}

async fn call(
    function: Counter,
    options: CallOptions,
    guard: Option<BooleanBuffer>,
) -> Vec<Option<i64>> {
    let (scope, result) = (new_scope(), Arc::new(Field::new("y", DataType::Int64, true)));
    let function = AsyncFunction::batch(function);
    let result: FieldRef = result;
    let options = resolved(&function, options);
    let site = scope.site(1, 0, &function, &options, &result, &Arc::default());
    let mut dispatcher = Dispatcher::new(scope, site, [].into()).unwrap();
    dispatcher.push(5, vec![], guard).unwrap();
    dispatcher.finish();
    let array: ArrayRef = std::future::poll_fn(|cx| {
        while dispatcher.ready_rows() < 5 {
            std::task::ready!(dispatcher.poll_progress(cx))?;
        }
        std::task::Poll::Ready(dispatcher.take(5))
    })
    .await
    .unwrap();
    read(&array)
}

/// Counts its calls.
#[derive(Debug)]
struct Counter {
    declaration: Declaration,
    next: AtomicI64,
}

impl Counter {
    fn new(determinism: Determinism) -> Self {
        let declaration =
            Declaration::new("counter", vec![], DataType::Int64).with_determinism(determinism);
        Self { declaration, next: AtomicI64::new(0) }
    }
}

#[async_trait]
impl AsyncBatchFunction for Counter {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        let rows = args.num_rows() as i64;
        let first = self.next.fetch_add(rows, Ordering::SeqCst);
        Ok(BatchAnswer::new(Arc::new((first..first + rows).map(Some).collect::<Int64Array>())))
    }
}
