//! [`settle`], the life of one request: permit, attempt, time-out, classify, back off, isolate.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::answer::BatchAnswer;
use crate::context::CallContext;
use crate::dispatch::batch::CallRuns;
use crate::dispatch::retry::RetryPolicy;
use crate::dispatch::timeout::{Attempt, Deadline, within};
use crate::error::CallError;
use crate::function::{ArgBatch, AsyncFunction};
use crate::options::{OnError, TimeoutPolicy};
use crate::rows::{PendingRow, panicked};
use crate::scope::{CallSite, QueryScope};

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
    let name = site.function().name().to_owned();
    let runner = Runner {
        policy: RetryPolicy::new(&site.options),
        // The calls of a request that failed together must not come back together.
        random: fastrand::Rng::new(),
        site,
        scope,
        number: request.number,
    };
    if request.window.is_none() {
        let window = Arc::clone(&runner.site.window);
        request.window = window.acquire_owned().await.ok();
    }
    let _in_flight = runner.site.metrics.enter();
    let Request { args, calls, started, failed, window: _window, .. } = request;
    let run = runner.run(args, calls, started, failed);
    match std::panic::AssertUnwindSafe(run).catch_unwind().await {
        Ok(settled) => settled,
        Err(payload) => Err(panicked(&name, payload)),
    }
}

struct Runner {
    site: Arc<CallSite>,
    scope: Arc<QueryScope>,
    policy: RetryPolicy,
    random: fastrand::Rng,
    number: u64,
}

impl Runner {
    async fn run(
        mut self,
        args: ArgBatch,
        calls: CallRuns,
        started: Option<PendingRow>,
        failed: Option<CallError>,
    ) -> Result<Settled, CallError> {
        let mut settled = Settled::default();
        self.call(args, calls, started, failed, &mut settled).await?;
        Ok(settled)
    }

    /// Attempts a request until it is answered or has failed for good; the one place that owns the
    /// order permit, attempt, time-out, classify, back off.
    async fn call(
        &mut self,
        mut args: ArgBatch,
        mut calls: CallRuns,
        mut started: Option<PendingRow>,
        mut failed: Option<CallError>,
        settled: &mut Settled,
    ) -> Result<(), CallError> {
        let mut deadline = Deadline::new(self.site.options.timeout());
        let (mut attempts, mut throttled) = (0_u32, 0_u32);
        if failed.is_some() {
            attempts = 1;
            deadline.got_permit(Duration::ZERO);
        }
        loop {
            let error = match failed.take() {
                Some(error) => error,
                None => {
                    let asked = Instant::now();
                    let permit = self.site.limiter.acquire().await;
                    deadline.got_permit(asked.elapsed());
                    attempts += 1;
                    let answer = self.attempt(&args, attempts, started.take(), &deadline).await;
                    drop(permit);
                    match answer.and_then(|answer| self.check(answer, args.num_rows())) {
                        Err(error) => error,
                        Ok(answer) => match self.keep(answer, &args, &calls, attempts, settled)? {
                            None => return Ok(()),
                            Some((rest, error)) => {
                                let conversion =
                                    |e| crate::rows::conversion(self.name(), "an argument", e);
                                calls = pick(&calls, &rest);
                                args = args.take(&rest).map_err(conversion)?;
                                error
                            }
                        },
                    }
                }
            };
            if error.class().ends_query() {
                return Err(error);
            }
            if matches!(error, CallError::Throttled { .. }) {
                // Being throttled uses up no attempt.
                attempts -= 1;
                throttled += 1;
            }
            let out_of_time = matches!(error, CallError::Timeout { .. });
            if !out_of_time && attempts < self.policy.max_attempts(&error) {
                let delay = self.policy.delay(attempts + throttled, &error, &mut self.random);
                if self.back_off(delay, &deadline).await {
                    self.site.metrics.add_retries(1);
                    continue;
                }
                let error = self.out_of_time(attempts, Some(error));
                return self.replace(args, calls, error, settled).await;
            }
            if error.class().isolates() && args.num_rows() > 1 {
                return self.bisect(args, calls, settled).await;
            }
            let error = match attempts {
                _ if out_of_time => error,
                0 | 1 => error,
                attempts => CallError::AttemptsExhausted {
                    function: self.name().to_owned(),
                    attempts,
                    max_attempts: self.policy.max_attempts(&error),
                    last: Box::new(error),
                },
            };
            return self.replace(args, calls, error, settled).await;
        }
    }

    fn name(&self) -> &str {
        self.site.function().name()
    }

    async fn attempt(
        &self,
        args: &ArgBatch,
        attempt: u32,
        started: Option<PendingRow>,
        deadline: &Deadline,
    ) -> Result<BatchAnswer, CallError> {
        let attempt_timeout = self.site.options.attempt_timeout();
        let left = deadline.left();
        let ctx = self.context(attempt, Instant::now() + attempt_timeout.min(left));
        let begun = Instant::now();
        self.site.metrics.add_attempts(1);
        let outcome =
            within(attempt_timeout, left, invoke(self.site.function(), args, started, &ctx)).await;
        self.site.metrics.add_request_time(begun.elapsed());
        match outcome {
            Attempt::Done(answer) => answer,
            Attempt::TooLong => {
                self.site.metrics.add_timeouts(1);
                Err(CallError::AttemptTimeout {
                    function: self.name().to_owned(),
                    timeout: attempt_timeout,
                    attempt,
                })
            }
            Attempt::OutOfTime => {
                self.site.metrics.add_timeouts(1);
                Err(self.out_of_time(attempt, None))
            }
        }
    }

    fn context(&self, attempt: u32, deadline: Instant) -> CallContext {
        call_context(&self.scope, &self.site, self.number, attempt, deadline)
    }

    fn out_of_time(&self, attempts: u32, last: Option<CallError>) -> CallError {
        CallError::Timeout {
            function: self.name().to_owned(),
            timeout: self.site.options.timeout(),
            attempts: attempts.max(1),
            last: last.map(Box::new),
        }
    }

    /// Checks that the answer fits the request.
    fn check(&self, answer: BatchAnswer, sent: usize) -> Result<BatchAnswer, CallError> {
        let function = || self.name().to_owned();
        let got = answer.values().len();
        if got != sent {
            return Err(CallError::RowCount { function: function(), sent, got });
        }
        Ok(answer)
    }

    /// Keeps the rows that were answered; returns those to be tried again, with the reason.
    fn keep(
        &mut self,
        answer: BatchAnswer,
        args: &ArgBatch,
        calls: &CallRuns,
        attempts: u32,
        settled: &mut Settled,
    ) -> Result<Option<(UInt32Array, CallError)>, CallError> {
        let declared = args.return_field().data_type();
        if answer.values().data_type() != declared {
            // The same for every row and every time: no use in asking again.
            return Err(CallError::WrongType {
                function: self.name().to_owned(),
                declared: declared.to_string(),
                got: answer.values().data_type().to_string(),
            });
        }
        self.site.metrics.add_usage(answer.usage());
        let (values, errors) = answer.into_parts();
        if errors.is_empty() {
            settled.answered.push((calls.clone(), values));
            return Ok(None);
        }
        let mut bad = vec![false; values.len()];
        let (mut again, mut reason) = (Vec::new(), None);
        for (row, error) in errors {
            if error.class().ends_query() {
                return Err(error);
            }
            if row >= bad.len() || std::mem::replace(&mut bad[row], true) {
                continue;
            }
            if attempts < self.policy.max_attempts(&error) {
                again.push(row as u32);
                reason.get_or_insert(error);
            } else {
                let row_calls = calls.slice(row, 1);
                self.replace_now(1, row_calls, error, settled)?;
            }
        }
        let good: UInt32Array =
            (0..bad.len()).filter(|row| !bad[*row]).map(|row| row as u32).collect();
        if !good.is_empty() {
            let kept = arrow::compute::take(&values, &good, None)
                .map_err(|error| crate::rows::conversion(self.name(), "an answer", error))?;
            settled.answered.push((pick(calls, &good), kept));
        }
        Ok(reason.map(|error| (UInt32Array::from(again), error)))
    }

    /// Waits before the next attempt; `false` if the time is up before.
    async fn back_off(&self, delay: Duration, deadline: &Deadline) -> bool {
        let left = deadline.left();
        tokio::time::sleep(delay.min(left)).await;
        if delay >= left {
            self.site.metrics.add_timeouts(1);
        }
        delay < left
    }

    /// Halves a refused request until the bad row stands alone; answers already paid for are kept.
    fn bisect<'a>(
        &'a mut self,
        args: ArgBatch,
        calls: CallRuns,
        settled: &'a mut Settled,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let rows = args.num_rows();
            let half = rows / 2;
            for (offset, len) in [(0, half), (half, rows - half)] {
                self.site.metrics.add_requests(1);
                let (args, calls) = (args.slice(offset, len), calls.slice(offset, len));
                self.call(args, calls, None, None, settled).await?;
            }
            Ok(())
        })
    }

    /// Gives failed calls the values that the options want: `timeout_batch`, then
    /// `timeout_policy`, then `on_error`.
    async fn replace(
        &mut self,
        args: ArgBatch,
        calls: CallRuns,
        error: CallError,
        settled: &mut Settled,
    ) -> Result<(), CallError> {
        if is_timeout(&error)
            && let AsyncFunction::Batch(function) = self.site.function()
        {
            let ctx = self.context(1, Instant::now());
            if let Some(answer) = function.timeout_batch(&args, &ctx).await {
                let answer = self.check(answer, args.num_rows())?;
                self.site.metrics.add_failures(args.num_rows());
                let (values, _) = answer.into_parts();
                settled.replaced.push(Replaced { calls, values, error });
                return Ok(());
            }
        }
        self.replace_now(args.num_rows(), calls, error, settled)
    }

    fn replace_now(
        &self,
        rows: usize,
        calls: CallRuns,
        error: CallError,
        settled: &mut Settled,
    ) -> Result<(), CallError> {
        let values = replacement(&self.site, &error, rows)?;
        settled.replaced.push(Replaced { calls, values, error });
        Ok(())
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
        call_site: site.number,
        request,
        attempt,
        deadline,
        cancellation: scope.cancellation().clone(),
        span: tracing::Span::current(),
        parameters: Arc::clone(scope.parameters()),
        config: Arc::clone(scope.config()),
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
    };
    if let Some(pending) = started {
        return Ok(BatchAnswer::new(pending.await?));
    }
    let burst =
        std::future::poll_fn(|cx| std::task::Poll::Ready(function.start(args, 0..1, ctx, cx)))
            .await?;
    match burst.pending {
        Some(pending) => Ok(BatchAnswer::new(pending.await?)),
        None => Ok(burst.answered),
    }
}

/// Returns the values that the options give to `rows` calls that failed for good, or the error.
pub(crate) fn replacement(
    site: &CallSite,
    error: &CallError,
    rows: usize,
) -> Result<ArrayRef, CallError> {
    let data_type = site.data_type();
    site.metrics.add_failures(rows);
    if error.class().ends_query() {
        return Err(error.clone());
    }
    if is_timeout(error) && site.options.timeout_policy() == TimeoutPolicy::AllowPartial {
        return Ok(new_null_array(data_type, rows));
    }
    match site.options.on_error() {
        OnError::Fail => Err(error.clone()),
        OnError::Null => Ok(new_null_array(data_type, rows)),
        OnError::Default(text) => default_value(&text, data_type)?
            .to_array_of_size(rows)
            .map_err(|e| crate::rows::conversion(site.function().name(), "a default value", e)),
    }
}

/// Checks the value of `on_error = 'default:VALUE'` at planning time.
///
/// # Errors
/// [`CallError::BadOption`] if the text is not a value of the type.
pub fn check_default(text: &str, data_type: &DataType) -> Result<(), CallError> {
    default_value(text, data_type).map(|_| ())
}

/// Reads the value of `on_error = 'default:VALUE'`.
fn default_value(text: &str, data_type: &DataType) -> Result<ScalarValue, CallError> {
    ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| CallError::BadOption {
        option: "on_error".into(),
        message: format!("default '{text}' is not a value of type {data_type}"),
    })
}

fn is_timeout(error: &CallError) -> bool {
    match error {
        CallError::Timeout { .. } | CallError::AttemptTimeout { .. } => true,
        CallError::AttemptsExhausted { last, .. } => is_timeout(last),
        _ => false,
    }
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
