//! [`Dispatcher`], how calls happen: deduplicated, batched, bounded, timed, retried, in order.

mod answers;
mod clock;
pub(crate) mod effort;
pub(crate) mod full;
pub(crate) mod held;
pub(crate) mod keyed;
mod leading;
pub mod limits;
mod merge;
pub(crate) mod meters;
mod output;
mod pending;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod stores;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter;
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common_runtime::JoinSet;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::adapt::any::AsyncFunction;
use crate::adapt::rows::{RowBurst, RowFunction};
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::conversion::{catch_panic, conversion, panicked};
use crate::dispatch::clock::after;
use crate::dispatch::full::FullLookup;
use crate::dispatch::held::HeldBuffers;
use crate::dispatch::keyed::KeyedCalls;
use crate::dispatch::limits::window::Window;
use crate::dispatch::merge::{Merged, Merger};
use crate::dispatch::output::Output;
use crate::dispatch::pending::PendingBatches;
use crate::dispatch::query::scope::QueryScope;
use crate::dispatch::query::site::{CallSite, Opening};
use crate::dispatch::request::batch::{Batcher, Formed};
use crate::dispatch::request::replace::replacement;
use crate::dispatch::request::retry::RetryPolicy;
use crate::dispatch::request::runs::CallRuns;
use crate::dispatch::request::{Replaced, Request, Settled, call_context, in_order, settle};
use crate::error::CallError;
use crate::options::words::{Cache, NullInput};

pub use crate::dispatch::request::replace::check_default;

/// Rows that a row-wise function is started with in one go.
const BURST_ROWS: usize = 8192;

/// Makes the calls of one call site for one partition of rows.
///
/// Rows go in by [`Dispatcher::push`], answers come out by [`Dispatcher::take`] in the same order,
/// or by [`Dispatcher::take_any`] in the order of their arrival.
/// In between, [`Dispatcher::poll_progress`] must be polled by a task that never waits for whoever
/// takes the answers: it holds places in a window that other partitions share.
///
/// Bounded: requests in flight by `buffer_capacity`; rows by whoever pushes, who asks
/// [`Dispatcher::wants_rows`] before. The first error ends the query: all its dispatchers stop and
/// give that error. Dropping one aborts its requests and returns their permits.
pub struct Dispatcher {
    scope: Arc<QueryScope>,
    site: Arc<CallSite>,
    fields: Arc<[FieldRef]>,
    null_input: NullInput,
    batcher: Batcher,
    output: Output,
    pending: PendingBatches,
    next_call: u64,
    queued_calls: u64,
    window: Window,
    requests: JoinSet<Result<Settled, CallError>>,
    opening: Option<Opening>,
    linger: Option<(Instant, Pin<Box<Sleep>>)>,
    full: Option<FullLookup>,
    merger: Option<Merger>,
    keyed: Option<KeyedCalls>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    finished: bool,
    flushing: bool,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("site", &self.site)
            .field("waiting", &self.batcher.waiting())
            .field("in_flight", &self.requests.len())
            .finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// Makes a dispatcher for one partition of a call site.
    ///
    /// # Errors
    /// [`CallError::BadOption`] for a cache of a whole table that the function does not have.
    pub fn new(
        scope: Arc<QueryScope>,
        site: Arc<CallSite>,
        fields: Arc<[FieldRef]>,
    ) -> Result<Self, CallError> {
        let options = site.options();
        // More rows than may be held back never come together.
        let max_rows = options.max_batch_size().min(options.max_buffered_rows());
        Ok(Self {
            null_input: options.null_input(),
            batcher: Batcher::new(max_rows, options).with_token_cap(site.function()),
            output: Output::ordered(site.data_type().clone(), site.tries.clone(), held(&site)),
            pending: PendingBatches::new(&site.metrics),
            next_call: 0,
            queued_calls: 0,
            window: Window::new(Arc::clone(&site.window)),
            requests: JoinSet::new(),
            opening: Some(scope.opening(&site.function)),
            linger: None,
            full: FullLookup::new(&scope, &site, &fields)?,
            merger: Merger::new(&scope, &site, &fields)?,
            keyed: KeyedCalls::new(&site, &fields)?,
            cancelled: Box::pin(scope.cancellation().clone().cancelled_owned()),
            finished: false,
            flushing: false,
            fields,
            scope,
            site,
        })
    }

    /// Gives rows out as their answers come, by [`Dispatcher::take_any`]; to be said before the
    /// first push. Whoever takes them decides: `output_mode` allows it, and a plan that cannot see
    /// the order may as well.
    pub fn with_unordered_output(mut self) -> Self {
        debug_assert_eq!(self.output.buffered(), 0);
        let (data_type, tries) = (self.site.data_type().clone(), self.site.tries.clone());
        self.output = Output::unordered(data_type, tries, held(&self.site));
        self
    }

    /// Takes in the next rows.
    ///
    /// `needs_call` says which of the `num_rows` rows pass the guard (`None`: all); `args` holds the
    /// arguments of those rows only. The others are NULL and cost nothing.
    ///
    /// # Errors
    /// The first error of the query, and arguments whose number is not that of the rows.
    pub fn push(
        &mut self,
        num_rows: usize,
        args: Vec<ArrayRef>,
        needs_call: Option<BooleanBuffer>,
    ) -> Result<(), CallError> {
        if num_rows == 0 {
            return Ok(());
        }
        // Rows that were told to leave still do: a place that they asked for must not be kept.
        self.flushing &= self.batcher.waiting() > 0;
        let calls = needs_call.as_ref().map_or(num_rows, BooleanBuffer::count_set_bits);
        self.site.metrics.add_rows(num_rows);
        self.site.metrics.add_buffered_rows(num_rows);
        let args = ArgBatch::new(
            args,
            Arc::clone(&self.fields),
            Arc::clone(&self.site.return_field),
            calls,
        );
        let (args, needs_call) = self.skip_nulls(args, needs_call)?;
        self.output.push(num_rows, needs_call);
        let first = self.next_call;
        self.next_call += args.num_rows() as u64;
        let mut calls = CallRuns::default();
        calls.push(first, args.num_rows());
        self.enqueue(args, calls)
    }

    /// Returns the call site.
    pub fn site(&self) -> &Arc<CallSite> {
        &self.site
    }

    /// Says that no row follows: partial requests leave at the next progress.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Says that no row follows until those taken in are answered: partial requests leave at the next
    /// progress, since waiting would bring them no company. The next push after they left takes it
    /// back.
    ///
    /// Returns whether that makes a difference: then nothing else wakes the task.
    pub fn flush(&mut self) -> bool {
        let due = self.batcher.waiting() > 0 && !self.flushing && !self.finished;
        self.flushing = true;
        due
    }

    /// Returns the bytes that answers keep in memory until they are taken.
    pub fn held_bytes(&self) -> usize {
        self.output.held_bytes()
    }

    /// Says whether further rows would help to keep the window full.
    pub fn wants_rows(&self) -> bool {
        let waits = self.full.as_ref().is_some_and(FullLookup::is_waiting);
        !self.finished && !waits && !self.batcher.has_full_request()
    }

    /// Returns the calls queued so far: rows taken in, less those that a guard, a NULL or an equal
    /// call saved.
    pub fn queued_calls(&self) -> u64 {
        self.queued_calls
    }

    /// Returns the rows taken in and not yet given out.
    pub fn buffered_rows(&self) -> usize {
        self.output.buffered()
    }

    /// Returns how many rows can be taken.
    pub fn ready_rows(&mut self) -> usize {
        self.output.ready()
    }

    /// Takes the values of the next `count` rows, which must be ready and belong to one push.
    ///
    /// # Errors
    /// An error if the values cannot be put into one array.
    pub fn take(&mut self, count: usize) -> Result<ArrayRef, CallError> {
        let values = self.output.take(count);
        let values = values.map_err(|error| self.conversion("an answer", error))?;
        self.count_answers(&values);
        Ok(values)
    }

    /// Takes the values of up to `max` rows that are ready, in whatever order, and the numbers of
    /// those rows, counted from the first row ever pushed; `None` if none is ready.
    ///
    /// Only for [`Dispatcher::with_unordered_output`].
    ///
    /// # Errors
    /// An error if the values cannot be put into one array.
    pub fn take_any(&mut self, max: usize) -> Result<Option<(UInt64Array, ArrayRef)>, CallError> {
        let taken = self.output.take_any(max);
        if let Ok(Some((_, values))) = &taken {
            self.count_answers(values);
        }
        taken.map_err(|error| self.conversion("an answer", error))
    }

    /// Counts rows as given out, and for how many of them a boolean function is TRUE.
    fn count_answers(&self, values: &ArrayRef) {
        self.site.metrics.remove_buffered_rows(values.len());
        if let Some(values) = values.as_boolean_opt() {
            let judged = values.len() - values.null_count();
            self.site.metrics.add_answers(values.true_count(), judged);
        }
    }

    /// Sends requests that are due and takes in answers.
    ///
    /// Ready when something changed; then it must be polled again, and nothing wakes the task.
    /// Pending when only an answer, a permit, a timer or further rows can change something; all but
    /// the last wake the task. An error ends the query, here and in all other dispatchers.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            let function = || self.site.function().name().to_owned();
            let error = self.scope.failure();
            let error = error.unwrap_or_else(|| CallError::Cancelled { function: function() });
            return Poll::Ready(Err(self.stop(error)));
        }
        let progress = self.poll_requests(cx);
        progress.map_err(|error| self.stop(error))
    }

    /// Ends the query and what this dispatcher has in flight; returns the query's first error.
    fn stop(&mut self, error: CallError) -> CallError {
        self.scope.fail(&error);
        self.requests = JoinSet::new();
        // A place that was asked for may be granted, and nobody would use it.
        self.window = Window::new(Arc::clone(&self.site.window));
        // Calls of other queries may wait for ours, whoever keeps this one.
        self.full = None;
        self.merger = None;
        self.keyed = None;
        self.scope.failure().unwrap_or(error)
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut changed = self.take_full(cx)?;
        changed |= self.take_merged(cx)?;
        changed |= self.take_turns(cx);
        while let Poll::Ready(Some(joined)) = self.requests.poll_join_next(cx) {
            let settled = joined.map_err(|error| self.lost_request(error))??;
            self.settle(settled)?;
            changed = true;
        }
        while self.batcher.waiting() > 0 {
            match self.poll_send(cx) {
                Poll::Ready(Ok(true)) => {
                    changed = true;
                    break;
                }
                Poll::Ready(Ok(false)) => changed = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if let Some(answered) = self.output.answered_upto() {
            self.pending.advance(answered);
        }
        if changed { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Sends one request; `true` if answers came at once.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, CallError>> {
        ready!(self.poll_open(cx))?;
        ready!(self.poll_due(cx));
        let Some(permit) = ready!(self.window.poll_permit(cx)) else {
            return Poll::Ready(Err(CallError::Cancelled {
                function: self.site.function().name().to_owned(),
            }));
        };
        self.linger = None;
        if let AsyncFunction::Rows(function) = self.site.function()
            && self.site.limiter.is_unlimited()
        {
            let function = Arc::clone(function);
            return Poll::Ready(self.start_rows(&function, permit, cx));
        }
        let formed = self.batcher.form().map_err(|error| self.conversion("an argument", error))?;
        if let Some(formed) = formed {
            self.count_requests(1, formed.args.num_rows(), formed.arrived);
            let number = self.site.next_request.fetch_add(1, Ordering::Relaxed);
            self.spawn(Request {
                args: formed.args,
                calls: formed.calls,
                number,
                started: None,
                failed: None,
                window: Some(permit),
            });
        }
        Poll::Ready(Ok(false))
    }

    /// Opens the function before its first request.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if let Some(opening) = &mut self.opening {
            ready!(Pin::new(opening).poll(cx))?;
            self.opening = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until a request is full, its oldest row has waited long enough, or no row follows.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.finished || self.flushing || self.batcher.has_full_request() {
            return Poll::Ready(());
        }
        let Some(deadline) = self.batcher.deadline() else { return Poll::Pending };
        if deadline <= Instant::now() {
            return Poll::Ready(());
        }
        // The timer belongs to the oldest row: one that was set for an earlier row is replaced.
        let timer = match &mut self.linger {
            Some((set_for, timer)) if *set_for == deadline => timer,
            linger => {
                let timer = Box::pin(tokio::time::sleep_until(deadline));
                &mut linger.insert((deadline, timer)).1
            }
        };
        timer.as_mut().poll(cx)
    }

    /// Starts rows of a row-wise function one after the other, as many as answer at once; the one
    /// that waits becomes a request of its own.
    fn start_rows(
        &mut self,
        function: &Arc<dyn RowFunction>,
        permit: OwnedSemaphorePermit,
        cx: &mut Context<'_>,
    ) -> Result<bool, CallError> {
        let Some(args) = self.batcher.front().cloned() else { return Ok(false) };
        let rows = args.num_rows().min(BURST_ROWS);
        // Numbers are names, not counts: rows that are not started now get new ones later.
        let number = self.site.next_request.fetch_add(rows as u64, Ordering::Relaxed);
        let begun = Instant::now();
        let deadline = after(begun, self.site.options.attempt_timeout());
        let ctx = call_context(&self.scope, &self.site, number, 1, deadline);
        let burst =
            catch_panic(function.declaration().name(), || function.start(&args, 0..rows, &ctx, cx));
        let burst = match burst.and_then(|burst| self.fit_burst(burst?, rows)) {
            Ok(burst) => burst,
            Err(error) => failed_burst(rows, self.site.data_type(), &error),
        };
        let answered = burst.answered.values().len();
        let started = answered + usize::from(burst.pending.is_some());
        let Some(formed) = self.batcher.pop(started) else { return Ok(false) };
        let Formed { args, calls, arrived } = formed;
        self.count_requests(started, 1, arrived);
        if answered > 0 {
            self.site.metrics.add_attempts(answered);
            self.site.metrics.add_request_time(begun.elapsed());
        }
        if let Some(pending) = burst.pending {
            self.spawn(Request {
                args: args.slice(answered, 1),
                calls: calls.slice(answered, 1),
                number: number + answered as u64,
                started: Some(pending),
                failed: None,
                window: Some(permit),
            });
        }
        self.take_burst(args.slice(0, answered), calls.slice(0, answered), number, burst.answered)?;
        Ok(answered > 0)
    }

    /// Checks that a burst answers or starts a row, none beyond those asked for, in the right type.
    fn fit_burst(&self, burst: RowBurst, asked: usize) -> Result<RowBurst, CallError> {
        let values = burst.answered.values();
        let function = || self.site.function().name().to_owned();
        let got = values.len() + usize::from(burst.pending.is_some());
        if got == 0 || got > asked {
            return Err(CallError::RowCount { function: function(), sent: asked, got });
        }
        if !values.is_empty() && values.data_type() != self.site.data_type() {
            return Err(CallError::WrongType {
                function: function(),
                declared: self.site.data_type().to_string(),
                got: values.data_type().to_string(),
            });
        }
        Ok(burst)
    }

    /// Keeps what was answered at once; rows that failed become requests if they may be tried again.
    fn take_burst(
        &mut self,
        args: ArgBatch,
        calls: CallRuns,
        number: u64,
        answer: BatchAnswer,
    ) -> Result<(), CallError> {
        let (values, errors) = answer.into_parts();
        let policy = RetryPolicy::of(&self.site);
        let mut from = 0;
        for (row, error) in in_order(errors, values.len()) {
            self.answer(&calls.slice(from, row - from), &values.slice(from, row - from));
            from = row + 1;
            let calls = calls.slice(row, 1);
            if error.class().ends_query() || policy.max_attempts(&error) <= 1 {
                let values = replacement(&self.site, &error, 1)?;
                self.take_replaced(Replaced { calls, values, error, fallback: false });
                continue;
            }
            self.spawn(Request {
                args: args.slice(row, 1),
                calls,
                number: number + row as u64,
                started: None,
                failed: Some(error),
                window: None,
            });
        }
        let rest = values.len() - from;
        self.answer(&calls.slice(from, rest), &values.slice(from, rest));
        Ok(())
    }

    fn spawn(&mut self, request: Request) {
        // In a box from the beginning: what has thousands of bytes is not moved into the task.
        let settling = settle(request, Arc::clone(&self.site), Arc::clone(&self.scope));
        self.requests.spawn(Box::pin(settling));
    }

    /// Counts requests of `rows` rows each, of which the oldest came at `arrived`.
    fn count_requests(&self, requests: usize, rows: usize, arrived: Instant) {
        self.site.metrics.add_requests(requests);
        self.site.metrics.add_calls(requests * rows);
        self.site.metrics.add_batches(requests, rows, arrived.elapsed());
    }

    /// Takes in what came of a request.
    fn settle(&mut self, settled: Settled) -> Result<(), CallError> {
        for (calls, values) in settled.answered {
            self.answer(&calls, &values);
        }
        for replaced in settled.replaced {
            self.take_replaced(replaced);
        }
        Ok(())
    }

    /// Takes in values of calls that failed for good.
    fn take_replaced(&mut self, replaced: Replaced) {
        if let Some(merger) = &mut self.merger {
            merger.replaced(&replaced);
        }
        if !replaced.fallback {
            for position in replaced.calls.positions() {
                self.output.add_error(position, &replaced.error);
            }
        }
        self.give_out(&replaced.calls, &replaced.values);
    }

    /// Takes in answers: they are remembered, handed to whoever waits for them, and given out.
    fn answer(&mut self, calls: &CallRuns, values: &ArrayRef) {
        if let Some(merger) = &mut self.merger {
            merger.answered(calls, values);
        }
        self.give_out(calls, values);
    }

    fn give_out(&mut self, calls: &CallRuns, values: &ArrayRef) {
        if let Some(keyed) = &mut self.keyed {
            keyed.answered(calls);
        }
        self.put_out(calls, values);
        if let (Some(first), Some(answered)) = (calls.iter().next(), self.output.answered_upto()) {
            self.pending.add(first.position, answered);
        }
    }

    fn put_out(&mut self, calls: &CallRuns, values: &ArrayRef) {
        let mut offset = 0;
        for run in calls.iter() {
            self.output.add(run.position, values, offset, run.len);
            offset += run.len;
        }
    }

    /// Takes in the answers to calls that waited for a whole table.
    fn take_full(&mut self, cx: &mut Context<'_>) -> Result<bool, CallError> {
        let Some(full) = &mut self.full else { return Ok(false) };
        let Poll::Ready(answered) = full.poll(cx) else { return Ok(false) };
        for (calls, values) in answered? {
            self.put_out(&calls, &values);
        }
        Ok(true)
    }

    /// Takes in what became of calls that waited for an equal one.
    fn take_merged(&mut self, cx: &Context<'_>) -> Result<bool, CallError> {
        let Some(merger) = &mut self.merger else { return Ok(false) };
        let merged = merger.take(cx);
        let changed = !merged.is_empty();
        for merged in merged {
            match merged {
                Merged::Value(position, array, row) => self.output.add(position, &array, row, 1),
                Merged::Failed(position, error) => {
                    let values = replacement(&self.site, &error, 1)?;
                    self.output.add_error(position, &error);
                    self.output.add(position, &values, 0, 1);
                }
                Merged::Again(position, args) => {
                    let mut calls = CallRuns::default();
                    calls.push(position, 1);
                    self.enqueue(args, calls)?;
                }
            }
        }
        Ok(changed)
    }

    /// Queues the calls whose ordering key has become free.
    fn take_turns(&mut self, cx: &Context<'_>) -> bool {
        let Some(keyed) = &mut self.keyed else { return false };
        let turns = keyed.take(cx);
        let changed = !turns.is_empty();
        for (position, args, arrived) in turns {
            let mut calls = CallRuns::default();
            calls.push(position, 1);
            self.batcher.push(args, calls, arrived);
        }
        changed
    }

    /// Leaves out rows with NULL arguments if the function does not take them.
    fn skip_nulls(
        &self,
        args: ArgBatch,
        needs_call: Option<BooleanBuffer>,
    ) -> Result<(ArgBatch, Option<BooleanBuffer>), CallError> {
        if self.null_input == NullInput::Send {
            return Ok((args, needs_call));
        }
        let mut valid: Option<NullBuffer> = None;
        for column in args.columns() {
            valid = NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref());
        }
        let Some(valid) = valid.filter(|valid| valid.null_count() > 0) else {
            return Ok((args, needs_call));
        };
        let valid = valid.into_inner();
        let kept = BooleanArray::new(valid.clone(), None);
        let columns = args
            .columns()
            .iter()
            .map(|column| filter(column, &kept))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.conversion("an argument", error))?;
        let args = ArgBatch::new(
            columns,
            Arc::clone(&self.fields),
            Arc::clone(&self.site.return_field),
            valid.count_set_bits(),
        );
        let needs_call = match needs_call {
            None => valid,
            Some(guard) => {
                let mut valid = valid.iter();
                guard.iter().map(|passes| passes && valid.next().unwrap_or(false)).collect()
            }
        };
        Ok((args, Some(needs_call)))
    }

    /// Queues calls for requests, less those that an equal one answers; a table that is held as a
    /// whole answers all.
    fn enqueue(&mut self, args: ArgBatch, calls: CallRuns) -> Result<(), CallError> {
        if let Some(full) = &mut self.full {
            if let Some((calls, values)) = full.ask(args, calls)? {
                self.put_out(&calls, &values);
            }
            return Ok(());
        }
        let (args, calls) = match &mut self.merger {
            None => (args, calls),
            Some(merger) => merger.sort_out(args, calls, |position, array, row| {
                self.output.add(position, array, row, 1);
            })?,
        };
        self.queued_calls += args.num_rows() as u64;
        let now = Instant::now();
        let (args, calls) = match &mut self.keyed {
            None => (args, calls),
            Some(keyed) => keyed.admit(args, calls, now)?,
        };
        self.batcher.push(args, calls, now);
        Ok(())
    }

    /// Makes the error for a request whose task did not end by itself.
    fn lost_request(&self, error: JoinError) -> CallError {
        let function = self.site.function().name();
        match error.try_into_panic() {
            Ok(payload) => panicked(function, payload),
            Err(_) => CallError::Cancelled { function: function.to_owned() },
        }
    }

    fn conversion(&self, what: &str, error: impl fmt::Display) -> CallError {
        conversion(self.site.function().name(), what, error)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.site.metrics.remove_buffered_rows(self.output.buffered());
    }
}

/// Returns what counts the bytes of answers: a table that is held as a whole accounts for itself.
fn held(site: &CallSite) -> HeldBuffers {
    match site.options().cache() {
        Cache::Full => HeldBuffers::by_rows(),
        Cache::None | Cache::Partial => HeldBuffers::default(),
    }
}

/// Makes a burst of which every row failed.
fn failed_burst(rows: usize, data_type: &DataType, error: &CallError) -> RowBurst {
    let answered = BatchAnswer::new(new_null_array(data_type, rows))
        .with_errors((0..rows).map(|row| (row, error.clone())).collect());
    RowBurst { answered, pending: None }
}

#[cfg(test)]
pub(crate) mod tests;
