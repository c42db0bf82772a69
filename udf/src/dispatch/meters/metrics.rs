//! [`CallMetrics`], what one call site, or one function, counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::dispatch::meters::histogram::{Histogram, HistogramSnapshot};
use crate::error::{CallError, ErrorClass};

/// Counters of one call site over all partitions of an execution, or of one function over all
/// queries of a runtime.
#[derive(Debug, Default)]
pub struct CallMetrics {
    rows: AtomicUsize,
    calls: AtomicUsize,
    requests: AtomicUsize,
    attempts: AtomicUsize,
    retries: AtomicUsize,
    timeouts: AtomicUsize,
    throttled: AtomicUsize,
    failures: [AtomicUsize; ErrorClass::ALL.len()],
    dedup_hits: AtomicUsize,
    cache_hits: AtomicUsize,
    cache_misses: AtomicUsize,
    cache_loads: AtomicUsize,
    cache_load_failures: AtomicUsize,
    cached_rows: AtomicUsize,
    cached_bytes: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    request_nanos: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    buffered_rows: AtomicUsize,
    pending_ordered_batches: AtomicUsize,
    passed: AtomicUsize,
    judged: AtomicUsize,
    batch_size: Histogram,
    batch_latency: Histogram,
    call_duration: Histogram,
    cache_load_duration: Histogram,
}

/// The state of [`CallMetrics`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Rows that came to the call site.
    pub rows: usize,
    /// Calls sent: rows less those that needed none or shared an answer.
    pub calls: usize,
    /// Requests sent.
    pub requests: usize,
    /// Attempts made.
    pub attempts: usize,
    /// Attempts after the first of a request.
    pub retries: usize,
    /// Attempts and requests that timed out.
    pub timeouts: usize,
    /// Attempts that were refused because of a limit.
    pub throttled: usize,
    /// Calls that failed for good.
    pub failures: usize,
    /// Calls that were answered by an equal one.
    pub dedup_hits: usize,
    /// Calls that were answered from the cache.
    pub cache_hits: usize,
    /// Calls that were made because the cache had no answer.
    pub cache_misses: usize,
    /// Times a whole table was read into the cache.
    pub cache_loads: usize,
    /// Times that failed.
    pub cache_load_failures: usize,
    /// The most requests in flight at one moment.
    pub in_flight_max: usize,
    /// Time spent in attempts, added up over requests in flight together.
    pub request_time: Duration,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $add:ident => $field:ident;)+) => {
        $($(#[$doc])* pub(crate) fn $add(&self, count: usize) {
            self.$field.fetch_add(count, Ordering::Relaxed);
        })+
    };
}

impl CallMetrics {
    counters! {
        add_rows => rows;
        add_calls => calls;
        add_requests => requests;
        add_attempts => attempts;
        add_retries => retries;
        add_timeouts => timeouts;
        add_throttled => throttled;
        add_buffered_rows => buffered_rows;
        add_pending_batches => pending_ordered_batches;
        add_dedup_hits => dedup_hits;
        add_cache_hits => cache_hits;
        add_cache_misses => cache_misses;
    }

    pub(crate) fn add_usage(&self, usage: crate::contract::answer::Usage) {
        self.input_tokens.fetch_add(usage.input_tokens, Ordering::Relaxed);
        self.output_tokens.fetch_add(usage.output_tokens, Ordering::Relaxed);
    }

    pub(crate) fn add_request_time(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.request_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.call_duration.record(micros(time));
    }

    /// Counts a whole table that was read, or could not be.
    pub(crate) fn add_cache_load(&self, time: Duration, loaded: bool) {
        let counter = if loaded { &self.cache_loads } else { &self.cache_load_failures };
        counter.fetch_add(1, Ordering::Relaxed);
        self.cache_load_duration.record(micros(time));
    }

    /// Says how many rows and bytes the cache holds.
    pub(crate) fn set_cached(&self, (rows, bytes): (usize, usize)) {
        self.cached_rows.store(rows, Ordering::Relaxed);
        self.cached_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts one of several caches, which held so many rows and bytes and holds so many now.
    pub(crate) fn change_cached(&self, old: (usize, usize), new: (usize, usize)) {
        for (counter, old, new) in
            [(&self.cached_rows, old.0, new.0), (&self.cached_bytes, old.1, new.1)]
        {
            // Atomic numbers wrap around, so that a difference below zero is taken away.
            counter.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
        }
    }

    /// Counts calls that failed for good.
    pub(crate) fn add_failures(&self, error: &CallError, calls: usize) {
        self.failures[error.class() as usize].fetch_add(calls, Ordering::Relaxed);
    }

    /// Counts requests of `rows` rows each, of which the oldest row had waited.
    pub(crate) fn add_batches(&self, requests: usize, rows: usize, waited: Duration) {
        self.batch_size.record_many(rows as u64, requests as u64);
        self.batch_latency.record_many(micros(waited), requests as u64);
    }

    /// Counts rows for which a boolean function was TRUE, of those for which it was not NULL.
    pub(crate) fn add_answers(&self, passed: usize, judged: usize) {
        self.passed.fetch_add(passed, Ordering::Relaxed);
        self.judged.fetch_add(judged, Ordering::Relaxed);
    }

    /// Returns the share of the rows for which a boolean function was TRUE, NULLs left aside.
    pub(crate) fn share_passed(&self) -> Option<f64> {
        let [passed, judged] =
            [&self.passed, &self.judged].map(|count| count.load(Ordering::Relaxed));
        (judged > 0).then(|| passed as f64 / judged as f64)
    }

    pub(crate) fn remove_buffered_rows(&self, rows: usize) {
        self.buffered_rows.fetch_sub(rows, Ordering::Relaxed);
    }

    pub(crate) fn remove_pending_batches(&self, batches: usize) {
        self.pending_ordered_batches.fetch_sub(batches, Ordering::Relaxed);
    }

    /// Counts a request as in flight.
    pub(crate) fn enter(&self) {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.in_flight_max.fetch_max(now, Ordering::Relaxed);
    }

    /// Counts a request as in flight no longer.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of requests in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the number of rows taken in and not yet given out.
    pub fn buffered_rows(&self) -> usize {
        self.buffered_rows.load(Ordering::Relaxed)
    }

    /// Returns the number of requests that are answered and wait for an earlier one, because rows
    /// are given out in order; of a request answered in parts, each part counts.
    pub fn pending_ordered_batches(&self) -> usize {
        self.pending_ordered_batches.load(Ordering::Relaxed)
    }

    /// Returns the rows that are cached: by the last cache that a call site used, by all caches of a
    /// function.
    pub fn cached_rows(&self) -> usize {
        self.cached_rows.load(Ordering::Relaxed)
    }

    /// Returns the bytes that cached rows and their keys take, as [`CallMetrics::cached_rows`].
    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes.load(Ordering::Relaxed)
    }

    /// Returns the calls that failed for good, by the class of their error.
    pub fn failures(&self) -> [(ErrorClass, usize); ErrorClass::ALL.len()] {
        ErrorClass::ALL.map(|class| (class, self.failures[class as usize].load(Ordering::Relaxed)))
    }

    /// Returns the rows of requests.
    pub fn batch_size(&self) -> HistogramSnapshot {
        self.batch_size.snapshot()
    }

    /// Returns how long the oldest row of each request had waited when it left, in microseconds.
    pub fn batch_latency(&self) -> HistogramSnapshot {
        self.batch_latency.snapshot()
    }

    /// Returns how long attempts took, in microseconds; rows that a row-wise function answered at
    /// once are one attempt together.
    pub fn call_duration(&self) -> HistogramSnapshot {
        self.call_duration.snapshot()
    }

    /// Returns how long it took to read a whole table, in microseconds, whether it could be or not.
    pub fn cache_load_duration(&self) -> HistogramSnapshot {
        self.cache_load_duration.snapshot()
    }

    /// Reads all counters.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        MetricsSnapshot {
            rows: read(&self.rows),
            calls: read(&self.calls),
            requests: read(&self.requests),
            attempts: read(&self.attempts),
            retries: read(&self.retries),
            timeouts: read(&self.timeouts),
            throttled: read(&self.throttled),
            failures: self.failures.iter().map(read).sum(),
            dedup_hits: read(&self.dedup_hits),
            cache_hits: read(&self.cache_hits),
            cache_misses: read(&self.cache_misses),
            cache_loads: read(&self.cache_loads),
            cache_load_failures: read(&self.cache_load_failures),
            in_flight_max: read(&self.in_flight_max),
            request_time: Duration::from_nanos(self.request_nanos.load(Ordering::Relaxed)),
            input_tokens: self.input_tokens.load(Ordering::Relaxed),
            output_tokens: self.output_tokens.load(Ordering::Relaxed),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
