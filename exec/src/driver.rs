//! [`Driver`], the task that moves one partition's rows through its calls.

use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{filter_record_batch, interleave_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use farcall_udf::{CallError, Dispatcher, QueryScope};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::PollSender;

use crate::credit::{Credit, Used, announce};
use crate::held_rows::HeldRows;

/// One call of the operator in one partition.
#[derive(Debug)]
pub struct Lane {
    /// Makes the calls.
    pub dispatcher: Dispatcher,
    /// The arguments, over the input.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    /// The condition under which a row needs the call.
    pub guard: Option<Arc<dyn PhysicalExpr>>,
}

impl Lane {
    /// Evaluates guard and arguments of a batch that is held, and hands them over.
    fn push(&mut self, batch: &RecordBatch, held: &mut HeldRows) -> Result<()> {
        let (args, needs_call) = self.evaluate(batch)?;
        held.add_arguments(&args);
        Ok(self.dispatcher.push(batch.num_rows(), args, needs_call)?)
    }

    /// Evaluates the arguments on guarded rows only; says which those are, if not all.
    fn evaluate(&self, batch: &RecordBatch) -> Result<(Vec<ArrayRef>, Option<BooleanBuffer>)> {
        let Some(guard) = &self.guard else { return Ok((evaluate(&self.args, batch)?, None)) };
        let passes = passing(guard, batch)?;
        if passes.count_set_bits() == batch.num_rows() {
            return Ok((evaluate(&self.args, batch)?, None));
        }
        let guarded = filter_record_batch(batch, &BooleanArray::new(passes.clone(), None))?;
        Ok((evaluate(&self.args, &guarded)?, Some(passes)))
    }
}

/// Returns the rows for which a condition is true; NULL is not.
fn passing(guard: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanBuffer> {
    let value = guard.evaluate(batch)?.into_array(batch.num_rows())?;
    let value = as_boolean_array(&value)?;
    Ok(match value.nulls() {
        None => value.values().clone(),
        Some(nulls) => value.values() & nulls.inner(),
    })
}

fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// One partition's rows on their way through the calls.
pub struct Driver {
    scope: Arc<QueryScope>,
    input: SendableRecordBatchStream,
    lanes: Vec<Lane>,
    schema: SchemaRef,
    max_buffered_rows: usize,
    /// Rows in a batch that is given out, where rows of several input batches are mixed.
    batch_size: usize,
    unordered: bool,
    credit: Credit,
    held: HeldRows,
    given_batches: u64,
    /// What was read and not taken in: more rows than the credit lets in, or than the memory pool
    /// has room for.
    waiting: Option<RecordBatch>,
    input_done: bool,
}

impl Driver {
    /// Gives rows out in input order: the columns of `input`, then the answers of the lanes.
    pub fn new(
        scope: Arc<QueryScope>,
        input: SendableRecordBatchStream,
        lanes: Vec<Lane>,
        schema: SchemaRef,
        batch_size: usize,
        credit: Credit,
    ) -> Self {
        let sites = || lanes.iter().map(|lane| lane.dispatcher.site());
        let functions: Vec<&str> = sites().map(|site| site.function().name()).collect();
        let limits = sites().map(|site| site.options().max_buffered_rows());
        Self {
            held: HeldRows::new(Arc::clone(&scope), functions.join(" and ")),
            max_buffered_rows: limits.min().unwrap_or(usize::MAX),
            scope,
            input,
            lanes,
            schema,
            batch_size,
            unordered: false,
            credit,
            given_batches: 0,
            waiting: None,
            input_done: false,
        }
    }

    /// Gives rows out as their answers come; for one call only.
    pub fn unordered(mut self) -> Self {
        debug_assert_eq!(self.lanes.len(), 1);
        self.lanes = self
            .lanes
            .into_iter()
            .map(|lane| Lane { dispatcher: lane.dispatcher.with_unordered_output(), ..lane })
            .collect();
        self.unordered = true;
        self
    }

    /// Runs in a task of its own, which starts with the first poll of the stream: one that nobody
    /// reads makes no call, and dropping it ends the task with all its requests.
    ///
    /// `kept` is dropped with the task, after the driver.
    pub fn into_stream(self, kept: impl Send + 'static) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let stream_schema = Arc::clone(&schema);
        let reader = Arc::clone(self.credit.reader());
        let stream = futures::stream::once(async move {
            let mut builder = RecordBatchReceiverStream::builder(stream_schema, 1);
            let output = builder.tx();
            builder.spawn(async move {
                let _kept = kept;
                drive(self, output).await
            });
            Ok::<_, DataFusionError>(announce(builder.build(), reader))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream.try_flatten()))
    }

    /// Sends requests, takes in answers and reads input.
    ///
    /// Ready when something changed. Input is read only while some window could use it, the
    /// buffered rows are below their bound and the memory pool has room: that is the back-pressure
    /// on the source.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut changed = false;
        for lane in &mut self.lanes {
            if let Poll::Ready(progress) = lane.dispatcher.poll_progress(cx) {
                progress?;
                changed = true;
            }
        }
        let answers = self.held_answers();
        self.held.account(answers);
        let wanted = self.lanes.iter().any(|lane| lane.dispatcher.wants_rows());
        if !self.input_done && wanted {
            changed |= match self.held.rows() < self.max_buffered_rows {
                true => self.read_input(answers, cx)?,
                // Nothing comes to fill up a request before some of these rows are given out.
                false => self.flush(),
            };
        }
        if changed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Takes in as many rows of the next batch as the credit allows, if the memory pool has room for
    /// them; says whether something changed.
    fn read_input(&mut self, answers: usize, cx: &mut Context<'_>) -> Result<bool> {
        if self.credit.left(self.used()) == 0 && self.held.is_empty() {
            self.credit.poll_grow(self.used(), self.given_batches, cx);
        }
        let allowed = self.credit.left(self.used());
        if allowed == 0 {
            return Ok(false);
        }
        let batch = match self.waiting.take() {
            Some(batch) => batch,
            None => match self.input.poll_next_unpin(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Some(batch)) => batch?,
                Poll::Ready(None) => {
                    self.input_done = true;
                    self.lanes.iter_mut().for_each(|lane| lane.dispatcher.finish());
                    return Ok(true);
                }
            },
        };
        let rows = batch.num_rows().min(allowed);
        if rows == 0 {
            return Ok(true);
        }
        let part = batch.slice(0, rows);
        if !self.held.admit(&part, answers)? {
            // The rows held here make room when they are given out, which wakes this task.
            self.waiting = Some(batch);
            return Ok(self.flush());
        }
        if rows < batch.num_rows() {
            self.waiting = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        for lane in &mut self.lanes {
            lane.push(&part, &mut self.held)?;
        }
        if self.credit.left(self.used()) == 0 {
            self.flush();
        }
        Ok(true)
    }

    fn used(&self) -> Used {
        let calls = self.lanes.iter().map(|lane| lane.dispatcher.queued_calls()).max();
        Used { rows: self.held.taken(), calls: calls.unwrap_or_default() }
    }

    /// Lets requests leave that wait to fill up: no further rows come before some are given out.
    fn flush(&mut self) -> bool {
        let flushed = self.lanes.iter_mut().map(|lane| lane.dispatcher.flush());
        flushed.fold(false, |any, flushed| any | flushed)
    }

    /// Returns the bytes that answers keep in memory until their rows are given out.
    fn held_answers(&self) -> usize {
        self.lanes.iter().map(|lane| lane.dispatcher.held_bytes()).sum()
    }

    /// Takes rows that every call has answered, if there are any.
    fn take_ready(&mut self) -> Result<Option<RecordBatch>> {
        let taken = if self.unordered { self.take_any()? } else { self.take_first()? };
        if taken.is_some() {
            let answers = self.held_answers();
            self.held.account(answers);
        }
        Ok(taken)
    }

    /// Takes answered rows of the first batch.
    fn take_first(&mut self) -> Result<Option<RecordBatch>> {
        let Some((start, batch, left)) = self.held.first() else { return Ok(None) };
        let ready = self.lanes.iter_mut().map(|lane| lane.dispatcher.ready_rows()).min();
        let rows = ready.unwrap_or(usize::MAX).min(left);
        if rows == 0 {
            return Ok(None);
        }
        let mut columns = batch.slice(batch.num_rows() - left, rows).columns().to_vec();
        self.held.give_out(start, rows);
        for lane in &mut self.lanes {
            columns.push(lane.dispatcher.take(rows)?);
        }
        self.batch(columns, rows).map(Some)
    }

    /// Takes answered rows of any batches.
    fn take_any(&mut self) -> Result<Option<RecordBatch>> {
        let [lane] = self.lanes.as_mut_slice() else { return self.take_first() };
        let Some((numbers, values)) = lane.dispatcher.take_any(self.batch_size)? else {
            return Ok(None);
        };
        let mut sources: Vec<(u64, RecordBatch)> = Vec::new();
        let mut rows = Vec::with_capacity(numbers.len());
        for number in numbers.values() {
            let Some((start, batch)) = self.held.batch_of(*number) else {
                return internal_err!("a call answered row {number}, which is not held");
            };
            let source = match sources.iter().rposition(|(other, _)| *other == start) {
                Some(source) => source,
                None => {
                    sources.push((start, batch.clone()));
                    sources.len() - 1
                }
            };
            rows.push((source, (number - start) as usize));
            self.held.give_out(start, 1);
        }
        let sources: Vec<&RecordBatch> = sources.iter().map(|(_, batch)| batch).collect();
        let mut columns = match sources.first().map(|batch| batch.num_columns()) {
            None | Some(0) => Vec::new(),
            Some(_) => interleave_record_batch(&sources, &rows)?.columns().to_vec(),
        };
        columns.push(values);
        self.batch(columns, rows.len()).map(Some)
    }

    fn batch(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        self.given_batches += 1;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn is_done(&self) -> bool {
        self.input_done && self.held.is_empty()
    }
}

/// Runs one partition until its input is answered, it fails, or nobody reads any more.
///
/// It is a task of its own, never polled by the consumer: it holds places in windows and limits
/// that other partitions wait for, and a consumer may be waiting for one of those. It keeps working
/// while the output channel is full.
async fn drive(mut driver: Driver, output: Sender<Result<RecordBatch>>) -> Result<()> {
    let scope = Arc::clone(&driver.scope);
    let mut output = PollSender::new(output);
    let mut cancelled = Box::pin(scope.cancellation().clone().cancelled_owned());
    let result = std::future::poll_fn(|cx| {
        if cancelled.poll_unpin(cx).is_ready() {
            let cancelled = CallError::Cancelled { function: "the query".into() };
            return Poll::Ready(Err(scope.failure().unwrap_or(cancelled).into()));
        }
        loop {
            match output.poll_reserve(cx) {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    if let Some(batch) = driver.take_ready()? {
                        // The receiver may go at any time: then the next reservation says so.
                        let _ = output.send_item(Ok(batch));
                        continue;
                    }
                    if driver.is_done() {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            match driver.poll_work(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    if let Err(error) = &result {
        // One failed call ends the whole query: no partition makes a further call. An error of the
        // input is its own operator's affair and reaches the client by itself.
        if let Some(call) = CallError::find(error) {
            scope.fail(&call);
        }
    }
    result
}
