//! [`RowFunction`], the form in which the dispatcher calls row-wise functions.

use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, FieldRef};
use async_trait::async_trait;
use datafusion_common::ScalarValue;
use futures::channel::oneshot;
use futures::future::BoxFuture;

use crate::adapt::scalars::{ScalarBuilder, ScalarColumn};
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::conversion::{catch_panic, conversion};
use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncScalarFunction;
use crate::contract::opened::Opened;
use crate::error::CallError;

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
    async fn open(&self, _ctx: &FunctionContext) -> Result<Opened, CallError> {
        Ok(Opened::nothing())
    }

    /// Starts `rows` in order, polling each once with `cx`, and stops behind the first that waits.
    ///
    /// Errors: an `Err` fails all of `rows`; an error inside the answer fails its row, counted from
    /// the start of `rows`.
    ///
    /// # Errors
    /// One that fails all of `rows`; an error inside the answer fails its row, counted from the start of
    /// `rows`.
    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError>;

    /// Releases what `open` took, once per query, after its last call.
    async fn close(&self, _opened: Opened) -> Result<(), CallError> {
        Ok(())
    }
}

/// A trait object as a row function.
///
/// What comes at once costs a row no more than the future that `eval` itself makes: all rows of a
/// burst are evaluated in one future, which owns what they borrow.
#[derive(Debug)]
pub(crate) struct ScalarRows(pub(crate) Arc<dyn AsyncScalarFunction>);

#[async_trait]
impl RowFunction for ScalarRows {
    fn declaration(&self) -> &Declaration {
        self.0.declaration()
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        self.0.open(ctx).await
    }

    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError> {
        start_rows(Arc::clone(&self.0), args, rows, ctx, cx)
    }

    async fn close(&self, opened: Opened) -> Result<(), CallError> {
        self.0.close(opened).await
    }
}

/// What evaluates one row.
pub(crate) trait EvalRow: Send + Sync + 'static {
    /// Returns the function's name.
    fn name(&self) -> &str;

    /// Evaluates the row of `args` as a request of its own; the value is of the declared type.
    fn eval<'a>(&'a self, args: Vec<ScalarValue>, ctx: &'a CallContext) -> EvaluatedRow<'a>;
}

/// One row's value, still being computed.
pub(crate) type EvaluatedRow<'a> = BoxFuture<'a, Result<ScalarValue, CallError>>;

impl EvalRow for Arc<dyn AsyncScalarFunction> {
    fn name(&self) -> &str {
        self.declaration().name()
    }

    fn eval<'a>(&'a self, args: Vec<ScalarValue>, ctx: &'a CallContext) -> EvaluatedRow<'a> {
        self.as_ref().eval(args, ctx)
    }
}

/// Starts `rows` in order, as [`RowFunction::start`] says.
pub(crate) fn start_rows<F: EvalRow>(
    function: F,
    args: &ArgBatch,
    rows: Range<usize>,
    ctx: &CallContext,
    cx: &mut Context<'_>,
) -> Result<RowBurst, CallError> {
    let (hand_over, mut answered) = oneshot::channel();
    let name = function.name().to_owned();
    let burst = Burst {
        function,
        columns: args.columns().iter().map(ScalarColumn::new).collect(),
        rows,
        ctx: ctx.clone(),
        return_field: Arc::clone(args.return_field()),
    };
    let mut evaluation: PendingRow = Box::pin(burst.evaluate(hand_over));
    let pending = match evaluation.as_mut().poll(cx) {
        Poll::Pending => Some(evaluation),
        Poll::Ready(ended) => {
            ended?;
            None
        }
    };
    match answered.try_recv() {
        Ok(Some(answered)) => Ok(RowBurst { answered, pending }),
        _ => Err(conversion(&name, "an answer", "it is missing")),
    }
}

/// Rows to be evaluated one after the other, with what their futures borrow.
struct Burst<F> {
    function: F,
    columns: Vec<ScalarColumn>,
    rows: Range<usize>,
    /// Of the first row.
    ctx: CallContext,
    return_field: FieldRef,
}

impl<F: EvalRow> Burst<F> {
    /// Evaluates rows up to the first that waits, hands their answers over, and goes on as the
    /// future of that row; gives no row if none waits.
    ///
    /// Pending only after the answers were handed over; then the row was polled once.
    async fn evaluate(
        self,
        hand_over: oneshot::Sender<BatchAnswer>,
    ) -> Result<ArrayRef, CallError> {
        let Self { function, columns, rows, mut ctx, return_field } = self;
        let name = function.name();
        let first = ctx.request;
        let mut answers = Answers::new(name, return_field.data_type())?;
        for (index, row) in rows.enumerate() {
            // Each row is a request of its own.
            ctx.request = first + index as u64;
            let mut values = Vec::with_capacity(columns.len());
            for column in &columns {
                let read = column.push_to(row, &mut values);
                read.map_err(|error| conversion(name, "an argument", error))?;
            }
            // An answer is taken where it arrives: to hand it on would cost more than to compute it.
            let waits = poll_fn(|cx| {
                Poll::Ready(catch_panic(name, || {
                    let mut future = function.eval(std::mem::take(&mut values), &ctx);
                    match future.as_mut().poll(cx) {
                        Poll::Ready(answer) => {
                            answers.push(answer);
                            None
                        }
                        Poll::Pending => Some(future),
                    }
                }))
            });
            match waits.await {
                Ok(None) => {}
                Err(panic) => answers.push(Err(panic)),
                Ok(Some(future)) => {
                    // Nobody listens any more if the burst was given up.
                    let _ = hand_over.send(answers.finish()?);
                    futures::pending!();
                    let mut last = Answers::new(name, return_field.data_type())?;
                    last.push(future.await);
                    let (values, mut errors) = last.finish()?.into_parts();
                    return errors.pop().map_or(Ok(values), |(_, error)| Err(error));
                }
            }
        }
        let _ = hand_over.send(answers.finish()?);
        Ok(new_empty_array(return_field.data_type()))
    }
}

/// Answers that come row by row.
struct Answers<'a> {
    function: &'a str,
    data_type: &'a DataType,
    values: ScalarBuilder,
    errors: Vec<(usize, CallError)>,
    rows: usize,
}

impl<'a> Answers<'a> {
    fn new(function: &'a str, data_type: &'a DataType) -> Result<Self, CallError> {
        let values = ScalarBuilder::new(data_type);
        let values = values.map_err(|error| conversion(function, "an answer", error))?;
        Ok(Self { function, data_type, values, errors: Vec::new(), rows: 0 })
    }

    /// Appends the answer to the next row; a value of another type is an error of its row.
    #[inline]
    fn push(&mut self, answer: Result<ScalarValue, CallError>) {
        match answer {
            Ok(value) => {
                if let Err(value) = self.values.append(value) {
                    self.fail(CallError::WrongType {
                        function: self.function.to_owned(),
                        declared: self.data_type.to_string(),
                        got: value.data_type().to_string(),
                    });
                }
            }
            Err(error) => self.fail(error),
        }
        self.rows += 1;
    }

    #[cold]
    fn fail(&mut self, error: CallError) {
        self.values.append_null();
        self.errors.push((self.rows, error));
    }

    fn finish(self) -> Result<BatchAnswer, CallError> {
        let values = self.values.finish();
        let values = values.map_err(|error| conversion(self.function, "an answer", error))?;
        Ok(BatchAnswer::new(values).with_errors(self.errors))
    }
}
