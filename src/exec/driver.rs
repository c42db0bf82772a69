//! [`drive`], the task that moves one partition's rows through its calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::cast::as_boolean_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::PhysicalExpr;
use farcall_udf::{CallError, Dispatcher, QueryScope};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::PollSender;

/// One call of the operator in one partition.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) dispatcher: Dispatcher,
    pub(super) args: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) guard: Option<Arc<dyn PhysicalExpr>>,
}

impl Lane {
    /// Evaluates guard and arguments, the arguments on guarded rows only, and hands them over.
    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let Some(guard) = &self.guard else {
            let args = evaluate(&self.args, batch)?;
            return Ok(self.dispatcher.push(rows, args, None)?);
        };
        let passes = passing(guard, batch)?;
        let passing = passes.count_set_bits();
        if passing == rows {
            let args = evaluate(&self.args, batch)?;
            return Ok(self.dispatcher.push(rows, args, None)?);
        }
        let guarded = filter_record_batch(batch, &BooleanArray::new(passes.clone(), None))?;
        let args = evaluate(&self.args, &guarded)?;
        Ok(self.dispatcher.push(rows, args, Some(passes))?)
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

/// What one partition holds back: batches in order, each with the rows already given out.
pub(super) struct Driver {
    pub(super) input: SendableRecordBatchStream,
    pub(super) lanes: Vec<Lane>,
    pub(super) schema: SchemaRef,
    pub(super) max_buffered_rows: usize,
    batches: VecDeque<(RecordBatch, usize)>,
    buffered_rows: usize,
    input_done: bool,
}

impl Driver {
    pub(super) fn new(
        input: SendableRecordBatchStream,
        lanes: Vec<Lane>,
        schema: SchemaRef,
        max_buffered_rows: usize,
    ) -> Self {
        Self {
            input,
            lanes,
            schema,
            max_buffered_rows,
            batches: VecDeque::new(),
            buffered_rows: 0,
            input_done: false,
        }
    }

    /// Sends requests, takes in answers and reads input.
    ///
    /// Ready when something changed. Input is read only while some window could use it and the
    /// buffered rows are below their bound: that is the back-pressure on the source.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut changed = false;
        for lane in &mut self.lanes {
            if let Poll::Ready(progress) = lane.dispatcher.poll_progress(cx) {
                progress?;
                changed = true;
            }
        }
        let wanted = self.lanes.iter().any(|lane| lane.dispatcher.wants_rows());
        if !self.input_done && wanted && self.buffered_rows < self.max_buffered_rows {
            match self.input.poll_next_unpin(cx) {
                Poll::Pending => {}
                Poll::Ready(Some(batch)) => {
                    changed = true;
                    self.push(batch?)?;
                }
                Poll::Ready(None) => {
                    changed = true;
                    self.input_done = true;
                    self.lanes.iter_mut().for_each(|lane| lane.dispatcher.finish());
                }
            }
        }
        if changed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for lane in &mut self.lanes {
            lane.push(&batch)?;
        }
        self.buffered_rows += batch.num_rows();
        self.batches.push_back((batch, 0));
        Ok(())
    }

    /// Takes the rows of the first batch that every call has answered, if there are any.
    fn take_ready(&mut self) -> Result<Option<RecordBatch>> {
        let Some((batch, taken)) = self.batches.front_mut() else { return Ok(None) };
        let ready = self.lanes.iter_mut().map(|lane| lane.dispatcher.ready_rows()).min();
        let rows = ready.unwrap_or(usize::MAX).min(batch.num_rows() - *taken);
        if rows == 0 {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = batch.slice(*taken, rows).columns().to_vec();
        *taken += rows;
        if *taken == batch.num_rows() {
            self.batches.pop_front();
        }
        self.buffered_rows -= rows;
        for lane in &mut self.lanes {
            columns.push(lane.dispatcher.take(rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?))
    }

    fn is_done(&self) -> bool {
        self.input_done && self.batches.is_empty()
    }
}

/// Runs one partition until its input is answered, it fails, or nobody reads any more.
///
/// It is a task of its own, never polled by the consumer: it holds places in windows and limits
/// that other partitions wait for, and a consumer may be waiting for one of those. It keeps working
/// while the output channel is full.
pub(super) async fn drive(
    mut driver: Driver,
    scope: Arc<QueryScope>,
    output: Sender<Result<RecordBatch>>,
) -> Result<()> {
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
        if let Some(call) = failed_call(error) {
            scope.fail(call);
        }
    }
    result
}

fn failed_call(error: &DataFusionError) -> Option<&CallError> {
    CallError::find(error)
}
