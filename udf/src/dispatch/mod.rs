//! [`Dispatcher`], how calls happen: deduplicated, batched, bounded, timed, retried, in order.

mod batch;
pub(crate) mod dedup;
pub mod limit;
pub mod metrics;
mod order;
mod request;
mod retry;
mod timeout;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter;
use arrow::datatypes::FieldRef;
use arrow::row::{RowConverter, SortField};
use datafusion_common_runtime::JoinSet;
use futures::future::BoxFuture;
use tokio::time::{Instant, Sleep};

use crate::dispatch::batch::{Batcher, CallRuns, Formed};
use crate::dispatch::dedup::{Delivery, Found, Inbox, Key, Memo};
use crate::dispatch::order::{AnswerQueue, RowQueue};
pub use crate::dispatch::request::check_default;
use crate::dispatch::request::{Request, Settled, call_context, replacement, settle};
use crate::dispatch::window::Window;
use crate::error::CallError;
use crate::function::{ArgBatch, AsyncFunction, NullInput};
use crate::options::DEFAULT_BATCH_SIZE;
use crate::rows::{RowFunction, conversion};
use crate::scope::{CallSite, QueryScope};

/// Rows that a row-wise function is started with in one go.
const BURST_ROWS: usize = 8192;

/// Makes the calls of one call site for one partition of rows.
///
/// Rows go in by [`Dispatcher::push`], answers come out by [`Dispatcher::take`] in the same order.
/// In between, [`Dispatcher::poll_progress`] must be polled by a task that never waits for whoever
/// takes the answers: it holds places in a window that other partitions share.
///
/// Bounded: requests in flight by `buffer_capacity`; rows by whoever pushes, who asks
/// [`Dispatcher::wants_rows`] before. Dropping it aborts all requests and returns all permits.
pub struct Dispatcher {
    scope: Arc<QueryScope>,
    site: Arc<CallSite>,
    fields: Arc<[FieldRef]>,
    null_input: NullInput,
    batcher: Batcher,
    rows: RowQueue,
    answers: AnswerQueue,
    next_call: u64,
    window: Window,
    requests: JoinSet<Result<Settled, CallError>>,
    opening: Opening,
    linger: Option<(Instant, Pin<Box<Sleep>>)>,
    dedup: Option<Dedup>,
    finished: bool,
}

enum Opening {
    NotYet,
    Running(BoxFuture<'static, Result<(), CallError>>),
    Done,
}

/// One partition's part in merging equal calls.
struct Dedup {
    memo: Arc<Memo>,
    converter: RowConverter,
    inbox: Arc<Inbox>,
    /// Calls that others may wait for.
    leading: HashMap<u64, Key>,
    /// Calls that wait for others, with their arguments in case they must lead after all.
    following: HashMap<u64, (Arc<ArgBatch>, usize)>,
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
    /// [`CallError::Configuration`] if equal calls shall be merged and a type has no equality.
    pub fn new(
        scope: Arc<QueryScope>,
        site: Arc<CallSite>,
        fields: Arc<[FieldRef]>,
    ) -> Result<Self, CallError> {
        let options = site.options();
        let declaration = site.function().declaration();
        let max_rows = match site.function() {
            AsyncFunction::Rows(_) => 1,
            AsyncFunction::Batch(_) => options.batch_size_or(DEFAULT_BATCH_SIZE),
        };
        let dedup = if options.dedup() && declaration.is_reusable() {
            let sort =
                fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
            let converter = RowConverter::new(sort).map_err(|error| {
                CallError::configuration(
                    declaration.name(),
                    format!("equal arguments cannot be found ({error}), set dedup to false"),
                )
            })?;
            Some(Dedup {
                memo: site.function.memo(&fields, options.dedup_max_bytes()),
                converter,
                inbox: Arc::default(),
                leading: HashMap::new(),
                following: HashMap::new(),
            })
        } else {
            None
        };
        Ok(Self {
            null_input: options.null_input_or(declaration.null_input()),
            batcher: Batcher::new(max_rows, options),
            rows: RowQueue::default(),
            answers: AnswerQueue::new(site.data_type().clone()),
            next_call: 0,
            window: Window::new(Arc::clone(&site.window)),
            requests: JoinSet::new(),
            opening: Opening::NotYet,
            linger: None,
            dedup,
            finished: false,
            fields,
            scope,
            site,
        })
    }

    /// Takes in the next rows.
    ///
    /// `needs_call` says which of the `num_rows` rows pass the guard (`None`: all); `args` holds the
    /// arguments of those rows only. The others are NULL and cost nothing.
    pub fn push(
        &mut self,
        num_rows: usize,
        args: Vec<ArrayRef>,
        needs_call: Option<BooleanBuffer>,
    ) -> Result<(), CallError> {
        let calls = needs_call.as_ref().map_or(num_rows, BooleanBuffer::count_set_bits);
        self.site.metrics.add_rows(num_rows);
        let args = ArgBatch::new(
            args,
            Arc::clone(&self.fields),
            Arc::clone(&self.site.return_field),
            calls,
        );
        let (args, needs_call) = self.skip_nulls(args, needs_call)?;
        self.rows.push(num_rows, needs_call);
        let first = self.next_call;
        self.next_call += args.num_rows() as u64;
        let mut calls = CallRuns::default();
        calls.push(first, args.num_rows());
        self.enqueue(args, calls)
    }

    /// Says that no row follows: partial requests leave at once.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Says whether further rows would help to keep the window full.
    pub fn wants_rows(&self) -> bool {
        !self.finished && !self.batcher.has_full_request()
    }

    /// Returns the rows taken in and not yet given out.
    pub fn buffered_rows(&self) -> usize {
        self.rows.buffered()
    }

    /// Returns how many rows can be taken.
    pub fn ready_rows(&mut self) -> usize {
        self.rows.ready(self.answers.ready())
    }

    /// Takes the values of the next `count` rows, which must be ready and belong to one push.
    pub fn take(&mut self, count: usize) -> Result<ArrayRef, CallError> {
        self.rows
            .take(count, &mut self.answers)
            .map_err(|error| self.conversion("an answer", error))
    }

    /// Sends requests that are due and takes in answers.
    ///
    /// Ready when something changed; pending when only an answer, a permit, a timer or further rows
    /// can change something. An error ends the query.
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut changed = self.take_deliveries(cx)?;
        while let Poll::Ready(Some(joined)) = self.requests.poll_join_next(cx) {
            let settled = joined.map_err(|error| CallError::Function {
                function: self.site.function().name().to_owned(),
                message: error.to_string(),
            })??;
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
            self.count_requests(1, formed.args.num_rows());
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
        loop {
            match &mut self.opening {
                Opening::Done => return Poll::Ready(Ok(())),
                Opening::Running(opening) => {
                    let opened = ready!(opening.as_mut().poll(cx));
                    self.opening = Opening::Done;
                    opened?;
                }
                Opening::NotYet => {
                    let (scope, site) = (Arc::clone(&self.scope), Arc::clone(&self.site));
                    self.opening =
                        Opening::Running(Box::pin(async move { scope.open(&site.function).await }));
                }
            }
        }
    }

    /// Waits until a request is full, its oldest row has waited long enough, or input has ended.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.finished || self.batcher.has_full_request() {
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
        permit: tokio::sync::OwnedSemaphorePermit,
        cx: &mut Context<'_>,
    ) -> Result<bool, CallError> {
        let Some(args) = self.batcher.front().cloned() else { return Ok(false) };
        let rows = args.num_rows().min(BURST_ROWS);
        // Numbers are names, not counts: rows that are not started now get new ones later.
        let number = self.site.next_request.fetch_add(rows as u64, Ordering::Relaxed);
        let deadline = Instant::now() + self.site.options.attempt_timeout();
        let ctx = call_context(&self.scope, &self.site, number, 1, deadline);
        let burst = function.start(&args, 0..rows, &ctx, cx)?;
        let answered = burst.answered.values().len();
        let started = answered + usize::from(burst.pending.is_some());
        let Some(formed) = self.batcher.pop(started) else { return Ok(false) };
        let Formed { args, calls } = formed;
        self.count_requests(started, started);
        self.site.metrics.add_attempts(answered);
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

    /// Keeps what was answered at once; rows that failed become requests that may try again.
    fn take_burst(
        &mut self,
        args: ArgBatch,
        calls: CallRuns,
        number: u64,
        answer: crate::answer::BatchAnswer,
    ) -> Result<(), CallError> {
        let (values, errors) = answer.into_parts();
        if !values.is_empty() && values.data_type() != self.site.data_type() {
            return Err(CallError::WrongType {
                function: self.site.function().name().to_owned(),
                declared: self.site.data_type().to_string(),
                got: values.data_type().to_string(),
            });
        }
        let mut from = 0;
        for (row, error) in errors {
            self.answer(&calls.slice(from, row - from), &values.slice(from, row - from));
            from = row + 1;
            self.spawn(Request {
                args: args.slice(row, 1),
                calls: calls.slice(row, 1),
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
        self.requests.spawn(settle(request, Arc::clone(&self.site), Arc::clone(&self.scope)));
    }

    fn count_requests(&self, requests: usize, calls: usize) {
        self.site.metrics.add_requests(requests);
        self.site.metrics.add_calls(calls);
    }

    /// Takes in what came of a request.
    fn settle(&mut self, settled: Settled) -> Result<(), CallError> {
        for (calls, values) in settled.answered {
            self.answer(&calls, &values);
        }
        for replaced in settled.replaced {
            if let Some(dedup) = &mut self.dedup {
                for position in replaced.calls.positions() {
                    if let Some(key) = dedup.leading.remove(&position) {
                        dedup.memo.fail(&key, &replaced.error);
                    }
                }
            }
            self.give_out(&replaced.calls, &replaced.values);
        }
        Ok(())
    }

    /// Takes in answers: they are remembered, handed to whoever waits for them, and given out.
    fn answer(&mut self, calls: &CallRuns, values: &ArrayRef) {
        if let Some(Dedup { memo, leading, .. }) = &mut self.dedup {
            let keys = calls.positions().enumerate();
            let answers =
                keys.filter_map(|(row, position)| Some((leading.remove(&position)?, row)));
            memo.complete(answers, values);
        }
        self.give_out(calls, values);
    }

    fn give_out(&mut self, calls: &CallRuns, values: &ArrayRef) {
        let mut offset = 0;
        for run in calls.iter() {
            self.answers.add(run.position, values, offset, run.len);
            offset += run.len;
        }
    }

    /// Takes in what became of calls that waited for an equal one.
    fn take_deliveries(&mut self, cx: &Context<'_>) -> Result<bool, CallError> {
        let Some(dedup) = &mut self.dedup else { return Ok(false) };
        let deliveries = dedup.inbox.take(cx);
        let changed = !deliveries.is_empty();
        for delivery in deliveries {
            match delivery {
                Delivery::Value(position, array, row) => {
                    self.following(position);
                    self.answers.add(position, &array, row, 1);
                }
                Delivery::Failed(position, error) => {
                    self.following(position);
                    let values = replacement(&self.site, &error, 1)?;
                    self.answers.add(position, &values, 0, 1);
                }
                Delivery::Orphaned(position) => {
                    if let Some((args, row)) = self.following(position) {
                        let mut calls = CallRuns::default();
                        calls.push(position, 1);
                        self.enqueue(args.slice(row, 1), calls)?;
                    }
                }
            }
        }
        Ok(changed)
    }

    fn following(&mut self, position: u64) -> Option<(Arc<ArgBatch>, usize)> {
        self.dedup.as_mut()?.following.remove(&position)
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

    /// Queues calls for requests, less those that an equal one answers.
    fn enqueue(&mut self, args: ArgBatch, calls: CallRuns) -> Result<(), CallError> {
        let now = Instant::now();
        let Some(dedup) = &mut self.dedup else {
            self.batcher.push(args, calls, now);
            return Ok(());
        };
        if args.num_rows() == 0 {
            return Ok(());
        }
        let name = self.site.function.function.name();
        let Dedup { memo, converter, inbox, leading, following } = dedup;
        let no_columns = args.columns().is_empty();
        let keys = if no_columns {
            // Without arguments all calls are equal.
            None
        } else {
            let keys = converter.convert_columns(args.columns());
            Some(keys.map_err(|error| conversion(name, "an argument", error))?)
        };
        let positions: Vec<u64> = calls.positions().collect();
        let keys = positions.iter().enumerate().map(|(row, position)| {
            (*position, keys.as_ref().map_or(&[][..], |keys| keys.row(row).data()))
        });
        let args = Arc::new(args);
        let (mut row, mut hits) = (0_usize, 0_usize);
        let (mut lead_rows, mut lead_calls) = (Vec::<u32>::new(), CallRuns::default());
        memo.find(keys, inbox, |position, found| {
            match found {
                Found::Lead(key) => {
                    leading.insert(position, key);
                    lead_rows.push(row as u32);
                    lead_calls.push(position, 1);
                }
                Found::Answer(array, offset) => {
                    hits += 1;
                    self.answers.add(position, &array, offset, 1);
                }
                Found::Wait => {
                    hits += 1;
                    following.insert(position, (Arc::clone(&args), row));
                }
            }
            row += 1;
        });
        self.site.metrics.add_dedup_hits(hits);
        let args = if lead_rows.len() == args.num_rows() {
            args.as_ref().clone()
        } else {
            args.take(&UInt32Array::from(lead_rows))
                .map_err(|error| conversion(name, "an argument", error))?
        };
        self.batcher.push(args, lead_calls, now);
        Ok(())
    }

    fn conversion(&self, what: &str, error: impl fmt::Display) -> CallError {
        conversion(self.site.function().name(), what, error)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // Calls of other partitions may wait for ours, which now never come.
        if let Some(dedup) = &mut self.dedup {
            for key in dedup.leading.values() {
                dedup.memo.abandon(key);
            }
        }
    }
}
