//! [`Attempts`], the attempts at one request: how many there were, whether one more may follow, when.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::limits::Permit;
use crate::dispatch::query::site::CallSite;
use crate::dispatch::request::retry::RetryPolicy;
use crate::dispatch::request::timeout::Deadline;
use crate::error::{CallError, ErrorClass};

/// Why an attempt has to be repeated, or a request given up.
pub(crate) struct Failure {
    pub(crate) error: CallError,
    /// How long the remote side asks to wait, over all calls of the request.
    asked: Option<Duration>,
    /// Whether the request has no time left.
    out_of_time: bool,
}

impl Failure {
    pub(crate) fn new(error: CallError) -> Self {
        Self { asked: error.retry_after(), error, out_of_time: false }
    }

    /// Says that the attempt was cut off because the request has no time left.
    pub(crate) fn out_of_time(error: CallError) -> Self {
        Self { out_of_time: true, ..Self::new(error) }
    }

    /// Adds the failure of another row of the same request.
    pub(crate) fn add(&mut self, error: CallError) {
        self.asked = self.asked.max(error.retry_after());
        // One row that was not throttled makes the attempt count, and one that failed says more
        // than one that is not there.
        if self.is_throttled() || self.error.is_lookup_miss() {
            self.error = error;
        }
    }

    fn is_throttled(&self) -> bool {
        self.error.class() == ErrorClass::Throttled
    }
}

/// What follows a failed attempt.
pub(crate) enum Verdict {
    /// Another attempt, at once: the delay is over.
    Again,
    /// Nothing: all attempts are used up, by this error.
    Exhausted(CallError),
    /// Nothing: the time is used up, as this error says.
    OutOfTime(CallError),
}

/// The attempts at one request, or at reading one table: the one place that owns the order permit,
/// attempt, classify, back off.
pub(crate) struct Attempts {
    site: Arc<CallSite>,
    policy: RetryPolicy,
    /// The requests of a site that failed together must not come back together.
    random: fastrand::Rng,
    deadline: Deadline,
    /// Whether the request is a part of one that was refused.
    isolating: bool,
    /// Those that count against `max_attempts`.
    counted: u32,
    /// Those that were throttled.
    throttled: u32,
    last: Option<CallError>,
}

impl Attempts {
    /// Begins a request of a call site; `isolating` says that it is a part of one that was refused.
    pub(crate) fn new(site: &Arc<CallSite>, isolating: bool) -> Self {
        Self {
            policy: RetryPolicy::of(site),
            random: fastrand::Rng::new(),
            deadline: Deadline::new(site.options.timeout()),
            isolating,
            counted: 0,
            throttled: 0,
            last: None,
            site: Arc::clone(site),
        }
    }

    /// Begins an attempt as soon as the limits of the remote side allow it.
    pub(crate) async fn begin(&mut self) -> Permit {
        self.counted += 1;
        let asked = Instant::now();
        let permit = self.site.limiter.acquire(self.site.priority).await;
        self.deadline.got_permit(asked.elapsed());
        permit
    }

    /// Counts an attempt that was made elsewhere.
    pub(crate) fn begun(&mut self) {
        self.counted += 1;
        self.deadline.got_permit(Duration::ZERO);
    }

    /// Returns how many attempts were begun.
    pub(crate) fn made(&self) -> u32 {
        self.counted.saturating_add(self.throttled)
    }

    /// Returns the time left to the request.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.left()
    }

    /// Says whether an error of the latest attempt may be followed by another one.
    pub(crate) fn may_repeat(&self, error: &CallError) -> bool {
        self.counted < self.max_attempts(error)
    }

    /// Says whether a request that failed for good is halved to find the bad row.
    pub(crate) fn isolates(&self, error: &CallError) -> bool {
        self.policy.isolates(error)
    }

    /// Decides what follows a failed attempt, and waits for as long as it has to be waited.
    pub(crate) async fn after(&mut self, failure: Failure) -> Verdict {
        if failure.is_throttled() {
            self.site.metrics.add_throttled(1);
            if self.policy.repeats_throttled() {
                // Being throttled uses up no attempt.
                self.counted -= 1;
                self.throttled += 1;
            }
        }
        if failure.out_of_time {
            // The attempt that was cut off says nothing; the one before it may.
            let last = self.last.take();
            return Verdict::OutOfTime(self.out_of_time(last));
        }
        if !self.may_repeat(&failure.error) {
            return Verdict::Exhausted(failure.error);
        }
        if !self.back_off(&failure).await {
            return Verdict::OutOfTime(self.out_of_time(Some(failure.error)));
        }
        self.site.metrics.add_retries(1);
        self.last = Some(failure.error);
        Verdict::Again
    }

    /// Waits before the next attempt; `false` if the time is up before.
    async fn back_off(&mut self, failure: &Failure) -> bool {
        let delay = match failure.asked {
            Some(asked) => asked,
            None => self.policy.delay(self.made(), &failure.error, &mut self.random),
        };
        // A refusal for a limit is not a sign of trouble, and the limit bounds it already.
        let delay = match failure.is_throttled() {
            true => delay,
            false => delay.max(self.site.limiter.count_retry()),
        };
        let left = self.deadline.left();
        tokio::time::sleep(delay.min(left)).await;
        if delay >= left {
            self.site.metrics.add_timeouts(1);
        }
        delay < left
    }

    /// Returns the error of a request without time left.
    pub(crate) fn out_of_time(&self, last: Option<CallError>) -> CallError {
        CallError::Timeout {
            function: self.site.function().name().to_owned(),
            timeout: self.site.options.timeout(),
            attempts: self.made(),
            last: last.map(Box::new),
        }
    }

    /// Says how often a call was tried, if it was tried more than once.
    pub(crate) fn sum_up(&self, error: CallError) -> CallError {
        if self.made() <= 1 {
            return error;
        }
        CallError::AttemptsExhausted {
            function: self.site.function().name().to_owned(),
            attempts: self.counted,
            max_attempts: self.max_attempts(&error),
            last: Box::new(error),
        }
    }

    /// Returns the attempts that an error may use up; the parts of a malformed answer are asked for
    /// once, because the whole was asked for twice.
    fn max_attempts(&self, error: &CallError) -> u32 {
        match error.class() {
            ErrorClass::Malformed if self.isolating => 1,
            _ => self.policy.max_attempts(error),
        }
    }
}
