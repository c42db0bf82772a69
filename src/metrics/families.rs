//! [`FAMILIES`], the list of what is counted of each function, with units and meanings.

use std::time::Duration;

use farcall_udf::{CallMetrics, HistogramSnapshot, MetricsSnapshot};

/// Something that is counted of each function.
pub(super) struct Family {
    /// The same word as in EXPLAIN ANALYZE.
    pub(super) metric: &'static str,
    /// What its values count; seconds for times.
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
    pub(super) reading: Reading,
}

/// How something is read.
pub(super) enum Reading {
    /// A number that only grows.
    Counter(fn(&MetricsSnapshot) -> u64),
    /// Numbers that only grow, each with the value of a label of this name.
    CounterBy(&'static str, fn(&CallMetrics) -> Vec<(&'static str, u64)>),
    /// A number of this moment.
    Gauge(fn(&CallMetrics) -> usize),
    /// A distribution of numbers.
    Sizes(fn(&CallMetrics) -> HistogramSnapshot),
    /// A distribution of times.
    Times(fn(&CallMetrics) -> HistogramSnapshot),
}

impl Reading {
    /// Returns the kind of metric, in Prometheus's words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Reading::Counter(_) | Reading::CounterBy(..) => "counter",
            Reading::Gauge(_) => "gauge",
            Reading::Sizes(_) | Reading::Times(_) => "histogram",
        }
    }

    /// Returns a distribution, if it is one.
    pub(super) fn distribution(&self, metrics: &CallMetrics) -> Option<Distribution> {
        match self {
            Reading::Sizes(read) => Some(Distribution { values: read(metrics), times: false }),
            Reading::Times(read) => Some(Distribution { values: read(metrics), times: true }),
            Reading::Counter(_) | Reading::CounterBy(..) | Reading::Gauge(_) => None,
        }
    }
}

/// A distribution in the unit of its family.
pub(super) struct Distribution {
    pub(super) values: HistogramSnapshot,
    times: bool,
}

impl Distribution {
    /// Turns a value of the distribution into the unit of its family.
    pub(super) fn in_unit(&self, value: u64) -> f64 {
        if self.times { Duration::from_micros(value).as_secs_f64() } else { value as f64 }
    }

    /// Returns the upper bounds of buckets that are worth telling: 64 µs to 268 s, and 1 to 131,072
    /// rows. They are always the same, as whoever compares two readings expects.
    pub(super) fn bounds(&self) -> impl Iterator<Item = u64> {
        let exponents = if self.times { 6..=28 } else { 0..=17 };
        exponents.map(|exponent| 1 << exponent)
    }
}

const fn counter(
    metric: &'static str,
    unit: &'static str,
    help: &'static str,
    read: fn(&MetricsSnapshot) -> u64,
) -> Family {
    Family { metric, unit, help, reading: Reading::Counter(read) }
}

const fn gauge(
    metric: &'static str,
    unit: &'static str,
    help: &'static str,
    read: fn(&CallMetrics) -> usize,
) -> Family {
    Family { metric, unit, help, reading: Reading::Gauge(read) }
}

/// What is counted, in the order in which it is shown.
pub(super) const FAMILIES: [Family; 24] = [
    counter("rows", "rows", "Rows that came to calls.", |now| now.rows as u64),
    counter(
        "calls",
        "calls",
        "Calls sent: rows less those that needed none or shared an answer.",
        |now| now.calls as u64,
    ),
    counter("requests", "requests", "Requests sent.", |now| now.requests as u64),
    counter("attempts", "attempts", "Attempts at requests.", |now| now.attempts as u64),
    counter("retries", "attempts", "Attempts after the first of a request.", |now| {
        now.retries as u64
    }),
    counter("timeouts", "attempts", "Attempts and requests that timed out.", |now| {
        now.timeouts as u64
    }),
    counter("throttled", "attempts", "Attempts that were refused because of a limit.", |now| {
        now.throttled as u64
    }),
    Family {
        metric: "failures",
        unit: "calls",
        help: "Calls that failed for good, by the class of their error.",
        reading: Reading::CounterBy("class", |metrics| {
            let failures = metrics.failures().into_iter();
            failures.map(|(class, calls)| (class.as_str(), calls as u64)).collect()
        }),
    },
    counter("dedup_hits", "calls", "Calls that an equal one of the same query answered.", |now| {
        now.dedup_hits as u64
    }),
    counter("cache_hits", "calls", "Calls that were answered from the cache.", |now| {
        now.cache_hits as u64
    }),
    counter(
        "cache_misses",
        "calls",
        "Calls that were made because a partial cache had no answer.",
        |now| now.cache_misses as u64,
    ),
    counter("cache_loads", "tables", "Times a table was read into a full cache.", |now| {
        now.cache_loads as u64
    }),
    counter("cache_load_failures", "tables", "Times that failed.", |now| {
        now.cache_load_failures as u64
    }),
    counter("input_tokens", "tokens", "Tokens sent.", |now| now.input_tokens),
    counter("output_tokens", "tokens", "Tokens received.", |now| now.output_tokens),
    gauge("requests_in_flight", "requests", "Requests in flight.", CallMetrics::in_flight),
    gauge(
        "buffered_rows",
        "rows",
        "Rows taken in and not yet given out.",
        CallMetrics::buffered_rows,
    ),
    gauge(
        "pending_ordered_batches",
        "requests",
        "Answered requests that wait for an earlier one, because rows are given out in order.",
        CallMetrics::pending_ordered_batches,
    ),
    gauge("cached_rows", "rows", "Rows of cached answers.", CallMetrics::cached_rows),
    gauge("cached_bytes", "bytes", "Bytes of cached answers.", CallMetrics::cached_bytes),
    Family {
        metric: "batch_size",
        unit: "rows",
        help: "Rows in a request.",
        reading: Reading::Sizes(CallMetrics::batch_size),
    },
    Family {
        metric: "batch_latency",
        unit: "seconds",
        help: "Time for which the oldest row of a request had waited when it left.",
        reading: Reading::Times(CallMetrics::batch_latency),
    },
    Family {
        metric: "call_duration",
        unit: "seconds",
        help: "Time that an attempt took.",
        reading: Reading::Times(CallMetrics::call_duration),
    },
    Family {
        metric: "cache_load_duration",
        unit: "seconds",
        help: "Time that reading a table into a full cache took.",
        reading: Reading::Times(CallMetrics::cache_load_duration),
    },
];
