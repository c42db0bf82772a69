//! [`settle`], the life of one request: attempted until it is answered, or isolated, or replaced.

pub(crate) mod attempts;
pub(crate) mod batch;
pub(crate) mod miss;
pub(crate) mod replace;
pub(crate) mod retry;
pub(crate) mod runs;
pub(crate) mod timeout;

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, UInt32Array};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::adapt::any::AsyncFunction;
use crate::adapt::rows::PendingRow;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::conversion::{conversion, panicked};
use crate::dispatch::clock::after;
use crate::dispatch::limits::Outcome;
use crate::dispatch::query::scope::QueryScope;
use crate::dispatch::query::site::CallSite;
use crate::dispatch::request::attempts::{Attempts, Failure, Verdict};
use crate::dispatch::request::miss::{mark_misses, missed};
use crate::dispatch::request::replace::{fallback, fit, is_timeout, replacement};
use crate::dispatch::request::runs::CallRuns;
use crate::dispatch::request::timeout::{Attempt, within};
use crate::error::CallError;

/// A request on its way.
pub(crate) struct Request {
    pub(crate) args: ArgBatch,
    pub(crate) calls: CallRuns,
    pub(crate) number: u64,
    /// The first attempt, if it was started already.
    pub(crate) started: Option<PendingRow>,
    /// The first attempt's failure, if it was made already.
    pub(crate) failed: Option<CallError>,
    /// The place in the window; taken here if it is missing.
    pub(crate) window: Option<OwnedSemaphorePermit>,
}

/// Values for calls that failed for good, as the options want it.
pub(crate) struct Replaced {
    pub(crate) calls: CallRuns,
    pub(crate) values: ArrayRef,
    pub(crate) error: CallError,
    /// Whether the function itself supplied the values.
    pub(crate) fallback: bool,
}

/// What came of a request: every call of it stands in exactly one of the two lists.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) answered: Vec<(CallRuns, ArrayRef)>,
    pub(crate) replaced: Vec<Replaced>,
}

/// Brings a request to its end; an error ends the query.
pub(crate) async fn settle(
    mut request: Request,
    site: Arc<CallSite>,
    scope: Arc<QueryScope>,
) -> Result<Settled, CallError> {
    if request.window.is_none() {
        request.window = Arc::clone(&site.window).acquire_owned().await.ok();
    }
    let _in_flight = site.metrics.enter();
    let Request { args, calls, number, started, failed, window: _window } = request;
    let mut runner = Runner { isolating: false, settled: Settled::default(), number, site, scope };
    runner.call(args, calls, started, failed).await?;
    Ok(runner.settled)
}

/// Brings a request to its end, in parts if need be.
struct Runner {
    site: Arc<CallSite>,
    scope: Arc<QueryScope>,
    number: u64,
    /// Whether the request is a part of one that was refused.
    isolating: bool,
    settled: Settled,
}

impl Runner {
    /// Attempts a request until it is answered or has failed for good.
    async fn call(
        &mut self,
        mut args: ArgBatch,
        mut calls: CallRuns,
        mut started: Option<PendingRow>,
        mut failed: Option<CallError>,
    ) -> Result<(), CallError> {
        let mut attempts = Attempts::new(&self.site, self.isolating);
        self.site.limiter.count_request();
        loop {
            let failure = match failed.take() {
                Some(error) => {
                    attempts.begun();
                    Failure::new(error)
                }
                None => {
                    let permit = attempts.begin().await;
                    let answer = self.attempt(&args, started.take(), &attempts).await;
                    permit.settle(outcome(&answer));
                    match answer {
                        Err(failure) => failure,
                        Ok(answer) => match self.keep(answer, &calls, &attempts)? {
                            None => return Ok(()),
                            Some((rest, failure)) => {
                                if rest.len() < args.num_rows() {
                                    // Another content is another request to the remote side.
                                    self.renumber();
                                    calls = pick(&calls, &rest);
                                    args = args
                                        .take(&rest)
                                        .map_err(|e| conversion(self.name(), "an argument", e))?;
                                }
                                failure
                            }
                        },
                    }
                }
            };
            if failure.error.class().ends_query() {
                return Err(failure.error);
            }
            let error = match attempts.after(failure).await {
                Verdict::Again => continue,
                Verdict::OutOfTime(error) => error,
                Verdict::Exhausted(error) if attempts.isolates(&error) && args.num_rows() > 1 => {
                    return self.bisect(args, calls).await;
                }
                Verdict::Exhausted(error) => attempts.sum_up(error),
            };
            return self.replace(&args, calls, error).await;
        }
    }

    fn name(&self) -> &str {
        self.site.function().name()
    }

    fn renumber(&mut self) {
        self.number = self.site.next_request.fetch_add(1, Ordering::Relaxed);
    }

    async fn attempt(
        &self,
        args: &ArgBatch,
        started: Option<PendingRow>,
        attempts: &Attempts,
    ) -> Result<BatchAnswer, Failure> {
        let attempt_timeout = self.site.options.attempt_timeout();
        let (attempt, left) = (attempts.made(), attempts.time_left());
        let begun = Instant::now();
        let ctx = self.context(attempt, after(begun, attempt_timeout.min(left)));
        self.site.metrics.add_attempts(1);
        let call =
            AssertUnwindSafe(invoke(self.site.function(), args, started, &ctx)).catch_unwind();
        let outcome = within(attempt_timeout, left, call).await;
        let elapsed = begun.elapsed();
        self.site.metrics.add_request_time(elapsed);
        tracing::debug!(
            target: "farcall",
            function = self.name(),
            request = self.number,
            attempt,
            rows = args.num_rows(),
            elapsed_ms = elapsed.as_millis() as u64,
            ended = outcome.word(),
            "attempt"
        );
        match outcome {
            Attempt::Done(Ok(answer)) => answer
                .and_then(|answer| fit(&self.site, answer, args.num_rows()))
                .map(|answer| mark_misses(&self.site, answer))
                .map_err(Failure::new),
            Attempt::Done(Err(payload)) => Err(Failure::new(panicked(self.name(), payload))),
            Attempt::TooLong => {
                self.site.metrics.add_timeouts(1);
                Err(Failure::new(CallError::AttemptTimeout {
                    function: self.name().to_owned(),
                    timeout: attempt_timeout,
                    attempt,
                }))
            }
            Attempt::OutOfTime => {
                self.site.metrics.add_timeouts(1);
                Err(Failure::out_of_time(attempts.out_of_time(None)))
            }
        }
    }

    fn context(&self, attempt: u32, deadline: Instant) -> CallContext {
        call_context(&self.scope, &self.site, self.number, attempt, deadline)
    }

    /// Keeps the rows that were answered; returns those to be tried again, with the reason.
    fn keep(
        &mut self,
        answer: BatchAnswer,
        calls: &CallRuns,
        attempts: &Attempts,
    ) -> Result<Option<(UInt32Array, Failure)>, CallError> {
        self.site.metrics.add_usage(answer.usage());
        let (values, errors) = answer.into_parts();
        if errors.is_empty() {
            self.settled.answered.push((calls.clone(), values));
            return Ok(None);
        }
        let mut bad = vec![false; values.len()];
        let (mut again, mut failure) = (Vec::new(), None::<Failure>);
        for (row, error) in in_order(errors, bad.len()) {
            if error.class().ends_query() {
                return Err(error);
            }
            bad[row] = true;
            if attempts.may_repeat(&error) {
                again.push(row as u32);
                match &mut failure {
                    Some(failure) => failure.add(error),
                    None => failure = Some(Failure::new(error)),
                }
            } else {
                let error = attempts.sum_up(error);
                self.replace_now(1, calls.slice(row, 1), error)?;
            }
        }
        let good: UInt32Array =
            (0..bad.len()).filter(|row| !bad[*row]).map(|row| row as u32).collect();
        if !good.is_empty() {
            let kept = arrow::compute::take(&values, &good, None)
                .map_err(|error| conversion(self.name(), "an answer", error))?;
            self.settled.answered.push((pick(calls, &good), kept));
        }
        Ok(failure.map(|failure| (UInt32Array::from(again), failure)))
    }

    /// Halves a refused request until the bad row stands alone; answers already paid for are kept.
    fn bisect(&mut self, args: ArgBatch, calls: CallRuns) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(async move {
            self.isolating = true;
            let rows = args.num_rows();
            let half = rows / 2;
            for (offset, len) in [(0, half), (half, rows - half)] {
                self.site.metrics.add_requests(1);
                self.site.metrics.add_batches(1, len, Duration::ZERO);
                self.renumber();
                let (args, calls) = (args.slice(offset, len), calls.slice(offset, len));
                self.call(args, calls, None, None).await?;
            }
            Ok(())
        })
    }

    /// Gives failed calls the values that the options want: `timeout_batch`, then
    /// `timeout_policy`, then `on_error`.
    async fn replace(
        &mut self,
        args: &ArgBatch,
        calls: CallRuns,
        error: CallError,
    ) -> Result<(), CallError> {
        let rows = args.num_rows();
        if !is_timeout(&error) {
            return self.replace_now(rows, calls, error);
        }
        let ctx = self.context(1, after(Instant::now(), self.site.options.attempt_timeout()));
        let (values, errors) = match fallback(&self.site, args, &ctx).await {
            None => return self.replace_now(rows, calls, error),
            Some(Err(broken)) => return self.replace_now(rows, calls, broken),
            Some(Ok(answer)) => answer.into_parts(),
        };
        let mut from = 0;
        for (row, row_error) in in_order(errors, rows) {
            self.replace_by_fallback(&calls, &values, from..row, &error);
            self.replace_now(1, calls.slice(row, 1), row_error)?;
            from = row + 1;
        }
        self.replace_by_fallback(&calls, &values, from..rows, &error);
        Ok(())
    }

    fn replace_by_fallback(
        &mut self,
        calls: &CallRuns,
        values: &ArrayRef,
        rows: Range<usize>,
        error: &CallError,
    ) {
        if rows.is_empty() {
            return;
        }
        self.site.metrics.add_failures(error, rows.len());
        self.settled.replaced.push(Replaced {
            calls: calls.slice(rows.start, rows.len()),
            values: values.slice(rows.start, rows.len()),
            error: error.clone(),
            fallback: true,
        });
    }

    fn replace_now(
        &mut self,
        rows: usize,
        calls: CallRuns,
        error: CallError,
    ) -> Result<(), CallError> {
        if let Some(values) = missed(&self.site, &error, rows) {
            self.settled.answered.push((calls, values));
            return Ok(());
        }
        let values = replacement(&self.site, &error, rows)?;
        self.settled.replaced.push(Replaced { calls, values, error, fallback: false });
        Ok(())
    }
}

/// Returns what an attempt tells about the limits of the remote side.
fn outcome(answer: &Result<BatchAnswer, Failure>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Outcome::of(&failure.error),
    };
    let mut errors = answer.errors().iter().map(|(_, error)| Outcome::of(error));
    let usage = answer.usage();
    match errors.find(|outcome| matches!(outcome, Outcome::Throttled)) {
        Some(throttled) => throttled,
        None => Outcome::Answered {
            tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            hints: answer.metadata().rate,
        },
    }
}

/// Makes what a function is told with an attempt.
pub(crate) fn call_context(
    scope: &Arc<QueryScope>,
    site: &Arc<CallSite>,
    request: u64,
    attempt: u32,
    deadline: Instant,
) -> CallContext {
    CallContext {
        query_id: Arc::clone(scope.query_id()),
        execution: Arc::clone(scope.execution()),
        call_site: site.number,
        request,
        attempt,
        deadline,
        cancellation: scope.cancellation().clone(),
        span: tracing::Span::current(),
        parameters: Arc::clone(scope.parameters()),
        config: Arc::clone(scope.config()),
        // Requests leave only after the function was opened.
        opened: site.function.opened().unwrap_or_default(),
    }
}

async fn invoke(
    function: &AsyncFunction,
    args: &ArgBatch,
    started: Option<PendingRow>,
    ctx: &CallContext,
) -> Result<BatchAnswer, CallError> {
    let function = match function {
        AsyncFunction::Batch(function) => return function.eval_batch(args.clone(), ctx).await,
        AsyncFunction::Rows(function) => function,
        AsyncFunction::Try(function) => {
            return Err(CallError::function(function.declaration().name(), "it makes no calls"));
        }
    };
    if let Some(pending) = started {
        return Ok(BatchAnswer::new(pending.await?));
    }
    let burst = std::future::poll_fn(|cx| Poll::Ready(function.start(args, 0..1, ctx, cx))).await?;
    match burst.pending {
        Some(pending) => Ok(BatchAnswer::new(pending.await?)),
        None => Ok(burst.answered),
    }
}

/// Puts errors in the order of their rows; a row outside the answer, or one that stands there
/// twice, says nothing.
pub(crate) fn in_order(
    mut errors: Vec<(usize, CallError)>,
    rows: usize,
) -> Vec<(usize, CallError)> {
    errors.retain(|(row, _)| *row < rows);
    errors.sort_by_key(|(row, _)| *row);
    errors.dedup_by_key(|(row, _)| *row);
    errors
}

/// Returns the calls of single rows.
fn pick(calls: &CallRuns, rows: &UInt32Array) -> CallRuns {
    let mut picked = CallRuns::default();
    let positions: Vec<u64> = calls.positions().collect();
    for row in rows.values() {
        picked.push(positions[*row as usize], 1);
    }
    picked
}
