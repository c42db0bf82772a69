//! [`Load`], how a whole table is read: permit, attempt, time-out, classify, back off.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion_execution::memory_pool::{MemoryConsumer, MemoryPool};
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use crate::answer::RateHints;
use crate::context::FunctionContext;
use crate::dispatch::cache::CacheLimits;
use crate::dispatch::cached::Cached;
use crate::dispatch::full::table::{FullTable, TableBuilder};
use crate::dispatch::limit::Outcome;
use crate::dispatch::retry::RetryPolicy;
use crate::error::{CallError, ErrorClass};
use crate::lookup_reader::WholeTable;
use crate::rows::panicked;
use crate::scope::CallSite;

/// What reads a table for its cache, as the options of a call site say.
///
/// `attempt_timeout` bounds the wait for the first rows and for each further batch, `timeout` the
/// time in which a new attempt may begin: how long a large table takes is nobody's fault.
pub(super) struct Load {
    pub(super) whole: WholeTable,
    pub(super) site: Arc<CallSite>,
    pub(super) ctx: FunctionContext,
    pub(super) memory: Arc<dyn MemoryPool>,
}

impl Load {
    /// Reads the table, again where a failure may pass.
    pub(super) async fn run(self, limits: &CacheLimits) -> Result<Arc<FullTable>, CallError> {
        let policy = RetryPolicy::of(&self.site);
        let (mut random, begun) = (fastrand::Rng::new(), Instant::now());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let permit = self.site.limiter.acquire(self.site.priority).await;
            let started = Instant::now();
            let loaded = AssertUnwindSafe(self.attempt(limits, attempts)).catch_unwind().await;
            let loaded = loaded
                .unwrap_or_else(|payload| Err(panicked(self.site.function().name(), payload)));
            self.site.metrics.add_cache_load(started.elapsed(), loaded.is_ok());
            let error = match loaded {
                Ok(table) => {
                    let hints = RateHints::default();
                    permit.settle(Outcome::Answered { tokens: 0, hints });
                    return Ok(Arc::new(table));
                }
                Err(error) => error,
            };
            permit.settle(Outcome::of(&error));
            if error.class().ends_query() || attempts >= policy.max_attempts(&error) {
                return Err(sum_up(self.site.function().name(), error, attempts, &policy));
            }
            let delay = policy.delay(attempts, &error, &mut random);
            self.wait(delay, begun, attempts, error).await?;
        }
    }

    /// Waits before the next attempt, if it begins in time.
    async fn wait(
        &self,
        delay: Duration,
        begun: Instant,
        attempts: u32,
        error: CallError,
    ) -> Result<(), CallError> {
        let timeout = self.site.options.timeout();
        if begun.elapsed() + delay >= timeout {
            let (function, last) = (self.site.function().name().to_owned(), Some(Box::new(error)));
            return Err(CallError::Timeout { function, timeout, attempts, last });
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    async fn attempt(&self, limits: &CacheLimits, attempt: u32) -> Result<FullTable, CallError> {
        let consumer = MemoryConsumer::new(format!("rows of {}", self.whole.reader.table()));
        let account = consumer.register(&self.memory);
        let mut builder = TableBuilder::new(&self.whole, limits, &self.memory, account)?;
        let mut batches = self.in_time(attempt, self.whole.reader.read(&self.ctx)).await??;
        while let Some(batch) = self.in_time(attempt, batches.next()).await? {
            builder.push(&batch?)?;
        }
        builder.finish(Cached::new(self.site.metrics.function()))
    }

    async fn in_time<T>(
        &self,
        attempt: u32,
        step: impl Future<Output = T>,
    ) -> Result<T, CallError> {
        let timeout = self.site.options.attempt_timeout();
        tokio::time::timeout(timeout, step).await.map_err(|_| CallError::AttemptTimeout {
            function: self.site.function().name().to_owned(),
            timeout,
            attempt,
        })
    }
}

/// Says how often a table was tried to be read, if more than once.
fn sum_up(function: &str, error: CallError, attempts: u32, policy: &RetryPolicy) -> CallError {
    if attempts <= 1 || error.class() == ErrorClass::Throttled {
        return error;
    }
    CallError::AttemptsExhausted {
        function: function.to_owned(),
        attempts,
        max_attempts: policy.max_attempts(&error),
        last: Box::new(error),
    }
}
