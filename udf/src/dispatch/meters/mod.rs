//! [`Meters`], the two places where a call site counts: its own, and its function's over all queries.

pub mod histogram;
pub mod metrics;
mod observed;

use std::sync::Arc;
use std::time::Duration;

use crate::contract::answer::Usage;
use crate::dispatch::meters::metrics::CallMetrics;
use crate::error::CallError;

/// Counts everything twice: for the call site, and for the function in the runtime.
///
/// What an operator shows belongs to one execution, and goes with it; what a runtime shows is the
/// sum over queries that ended and queries that run.
#[derive(Debug, Clone)]
pub(crate) struct Meters {
    site: Arc<CallMetrics>,
    function: Arc<CallMetrics>,
}

macro_rules! counted_twice {
    ($($name:ident($($value:ident: $type:ty),+);)+) => {
        $(pub(crate) fn $name(&self, $($value: $type),+) {
            self.site.$name($($value),+);
            self.function.$name($($value),+);
        })+
    };
}

impl Meters {
    pub(crate) fn new(site: &Arc<CallMetrics>, function: Arc<CallMetrics>) -> Self {
        Self { site: Arc::clone(site), function }
    }

    /// Returns what the call site counted.
    pub(crate) fn site(&self) -> &Arc<CallMetrics> {
        &self.site
    }

    /// Returns what the function counted.
    pub(crate) fn function(&self) -> Arc<CallMetrics> {
        Arc::clone(&self.function)
    }

    counted_twice! {
        add_rows(rows: usize);
        add_calls(calls: usize);
        add_requests(requests: usize);
        add_attempts(attempts: usize);
        add_retries(retries: usize);
        add_timeouts(timeouts: usize);
        add_throttled(attempts: usize);
        add_dedup_hits(calls: usize);
        add_cache_hits(calls: usize);
        add_cache_misses(calls: usize);
        add_cache_load(time: Duration, loaded: bool);
        add_usage(usage: Usage);
        add_request_time(time: Duration);
        add_failures(error: &CallError, calls: usize);
        add_batches(requests: usize, rows: usize, waited: Duration);
        add_answers(passed: usize, judged: usize);
        add_buffered_rows(rows: usize);
        remove_buffered_rows(rows: usize);
        add_pending_batches(batches: usize);
        remove_pending_batches(batches: usize);
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight {
        self.site.enter();
        self.function.enter();
        InFlight(self.clone())
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Meters);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.site.leave();
        self.0.function.leave();
    }
}
