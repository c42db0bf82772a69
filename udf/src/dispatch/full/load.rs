//! [`Load`], how a whole table is read: attempted until it is here, or cannot be had.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion_execution::memory_pool::{MemoryConsumer, MemoryPool};
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::contract::answer::RateHints;
use crate::contract::context::FunctionContext;
use crate::contract::conversion::panicked;
use crate::contract::lookup_reader::WholeTable;
use crate::dispatch::full::table::{FullTable, TableBuilder};
use crate::dispatch::limits::Outcome;
use crate::dispatch::query::site::CallSite;
use crate::dispatch::request::attempts::{Attempts, Failure, Verdict};
use crate::dispatch::stores::cache::CacheLimits;
use crate::dispatch::stores::cached::Cached;
use crate::error::CallError;

/// What reads a table for its cache, as the options of a call site say.
///
/// `attempt_timeout` bounds the wait for the first rows and for each further batch, `timeout` the
/// time in which a new attempt may begin: how long a large table takes is nobody's fault.
pub(crate) struct Load {
    pub(super) whole: WholeTable,
    pub(super) site: Arc<CallSite>,
    pub(super) ctx: FunctionContext,
    /// Tells the reader that nobody waits any more.
    pub(super) _end: DropGuard,
    pub(super) memory: Arc<dyn MemoryPool>,
}

impl Load {
    /// Reads the table, again where a failure may pass.
    pub(super) async fn run(self, limits: &CacheLimits) -> Result<Arc<FullTable>, CallError> {
        let mut attempts = Attempts::new(&self.site, false);
        self.site.limiter.count_request();
        loop {
            let permit = attempts.begin().await;
            let started = Instant::now();
            let loaded = AssertUnwindSafe(self.attempt(limits, attempts.made())).catch_unwind();
            let loaded = loaded.await;
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
            if error.class().ends_query() {
                return Err(error);
            }
            match attempts.after(Failure::new(error)).await {
                Verdict::Again => {}
                Verdict::OutOfTime(error) => return Err(error),
                Verdict::Exhausted(error) => return Err(attempts.sum_up(error)),
            }
        }
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
