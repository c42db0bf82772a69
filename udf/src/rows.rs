//! [`RowFunction`], the form in which the dispatcher calls row-wise functions.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion_common::ScalarValue;
use futures::future::BoxFuture;

use crate::answer::BatchAnswer;
use crate::context::{CallContext, FunctionContext};
use crate::declaration::Declaration;
use crate::error::CallError;
use crate::function::{ArgBatch, AsyncScalarFunction};

/// One row's value, as an array of one row, still being computed.
pub type PendingRow = BoxFuture<'static, Result<ArrayRef, CallError>>;

/// What came of starting rows one after the other.
pub struct RowBurst {
    /// The rows that were answered at once: a prefix of those asked for.
    pub answered: BatchAnswer,
    /// The row after that prefix, if it was started and waits for something.
    pub pending: Option<PendingRow>,
}

/// A row-wise function that can start many rows in one dynamic call.
///
/// A function that answers at once then costs no boxed future, no permit and no clock per row; one
/// that waits gives its future back, and the dispatcher spawns it as a request of its own.
#[async_trait]
pub trait RowFunction: fmt::Debug + Send + Sync + 'static {
    /// Returns what the function says about itself; the same value every time.
    fn declaration(&self) -> &Declaration;

    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Starts `rows` in order, polling each once with `cx`, and stops behind the first that waits.
    ///
    /// Errors: an `Err` fails all of `rows`; an error inside the answer fails its row, counted from
    /// the start of `rows`.
    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError>;

    /// Releases what `open` took, once per query, after its last call.
    async fn close(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// A trait object as a row function: each row is a boxed future.
#[derive(Debug)]
pub(crate) struct ScalarRows(pub(crate) Arc<dyn AsyncScalarFunction>);

#[async_trait]
impl RowFunction for ScalarRows {
    fn declaration(&self) -> &Declaration {
        self.0.declaration()
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<(), CallError> {
        self.0.open(ctx).await
    }

    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError> {
        let name = self.declaration().name();
        let data_type = args.return_field().data_type();
        start_values(name, args, rows, ctx, cx, |values, ctx| {
            let function = Arc::clone(&self.0);
            let (name, data_type) = (name.to_owned(), data_type.clone());
            Box::pin(async move {
                let value = function.eval(values, &ctx).await?;
                declared(&name, value, &data_type)
            })
        })
    }

    async fn close(&self) -> Result<(), CallError> {
        self.0.close().await
    }
}

/// One row's value, of the declared type, still being computed.
pub(crate) type PendingValue = BoxFuture<'static, Result<ScalarValue, CallError>>;

/// Starts rows in order, each as the future that `begin` makes of its arguments, and stops behind
/// the first that waits.
pub(crate) fn start_values(
    name: &str,
    args: &ArgBatch,
    rows: Range<usize>,
    ctx: &CallContext,
    cx: &mut Context<'_>,
    begin: impl Fn(Vec<ScalarValue>, CallContext) -> PendingValue,
) -> Result<RowBurst, CallError> {
    let convert =
        |error: datafusion_common::DataFusionError| conversion(name, "an argument", error);
    let mut answers = Vec::with_capacity(rows.len());
    let mut pending = None;
    for (index, row) in rows.enumerate() {
        let values = args.row(row).map_err(convert)?;
        // Each row is a request of its own.
        let ctx = CallContext { request: ctx.request + index as u64, ..ctx.clone() };
        let mut future = begin(values, ctx);
        match catch_panic(name, || future.as_mut().poll(cx)) {
            Err(panic) => answers.push(Err(panic)),
            Ok(Poll::Ready(answer)) => answers.push(answer),
            Ok(Poll::Pending) => {
                let name = name.to_owned();
                pending = Some(Box::pin(async move {
                    let value = future.await?;
                    value.to_array().map_err(|error| conversion(&name, "an answer", error))
                }) as PendingRow);
                break;
            }
        }
    }
    let answered = BatchAnswer::from_rows(answers, args.return_field().data_type())
        .map_err(|error| conversion(name, "an answer", error))?;
    Ok(RowBurst { answered, pending })
}

/// Checks the type of one value; an untyped NULL is a NULL of every type.
fn declared(
    function: &str,
    value: ScalarValue,
    data_type: &DataType,
) -> Result<ScalarValue, CallError> {
    if value.data_type() == *data_type {
        return Ok(value);
    }
    if value == ScalarValue::Null {
        return ScalarValue::try_from(data_type)
            .map_err(|error| conversion(function, "an answer", error));
    }
    Err(CallError::WrongType {
        function: function.to_owned(),
        declared: data_type.to_string(),
        got: value.data_type().to_string(),
    })
}

/// Turns a panic of user code into an error of the row that caused it.
pub(crate) fn catch_panic<T>(function: &str, run: impl FnOnce() -> T) -> Result<T, CallError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_err(|payload| panicked(function, payload))
}

/// Makes the error for a panic that was caught.
pub(crate) fn panicked(function: &str, payload: Box<dyn std::any::Any + Send>) -> CallError {
    let message = match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(message) => (*message).to_owned(),
            Err(_) => "no message".to_owned(),
        },
    };
    CallError::Panicked { function: function.to_owned(), message }
}

/// Makes the error for values that do not fit their types.
pub(crate) fn conversion(function: &str, what: &str, error: impl fmt::Display) -> CallError {
    CallError::Conversion {
        function: function.to_owned(),
        what: what.to_owned(),
        message: error.to_string(),
    }
}
