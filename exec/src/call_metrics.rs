//! What EXPLAIN ANALYZE shows of a call, as DataFusion's metrics.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::common::format::MetricCategory;
use datafusion::physical_plan::metrics::{
    Count, CustomMetricValue, Gauge, Label, Metric, MetricValue, MetricsSet, Time,
};
use farcall_udf::{CallMetrics, HistogramSnapshot, MetricsSnapshot};

/// Adds what a call counted, under the name of its result column.
///
/// The counters that every call has are always there; what is rare (failures by class, throttled
/// attempts, what became of a cache, tokens) and distributions only if something was counted. Where DataFusion
/// adds up the calls of one operator, distributions become that of all calls and maxima the largest.
pub(super) fn push_call(set: &mut MetricsSet, call: &str, counters: &CallMetrics) {
    let mut push = |value: MetricValue, category: MetricCategory| {
        let label = Label::new("call", call.to_owned());
        let metric = Metric::new_with_labels(value, None, vec![label]).with_category(category);
        set.push(Arc::new(metric));
    };
    let now = counters.snapshot();
    for (name, number) in standing(&now) {
        push(count(name, number), MetricCategory::Rows);
    }
    let by_class = counters.failures().into_iter();
    let by_class = by_class.map(|(class, calls)| (format!("failures_{}", class.as_str()), calls));
    let rare = rare(&now).into_iter().map(|(name, number)| (name.to_owned(), number));
    for (name, number) in by_class.chain(rare).filter(|(_, number)| *number > 0) {
        push(count(name, number), MetricCategory::Rows);
    }
    for (name, number, category) in [
        ("cached_rows", counters.cached_rows(), MetricCategory::Rows),
        ("cached_bytes", counters.cached_bytes(), MetricCategory::Bytes),
    ] {
        if number > 0 {
            let gauge = Gauge::new();
            gauge.set(number);
            push(MetricValue::Gauge { name: name.into(), gauge }, category);
        }
    }
    let in_flight = custom("in_flight_max", Largest(Mutex::new(now.in_flight_max)));
    // How much is in flight at once depends on who is faster.
    push(in_flight, MetricCategory::Timing);
    let time = Time::new();
    time.add_duration(now.request_time);
    push(MetricValue::Time { name: "request_time".into(), time }, MetricCategory::Timing);
    for (name, unit, distribution, category) in [
        ("batch_size", Unit::Rows, counters.batch_size(), MetricCategory::Rows),
        ("batch_latency", Unit::Micros, counters.batch_latency(), MetricCategory::Timing),
        ("call_duration", Unit::Micros, counters.call_duration(), MetricCategory::Timing),
        (
            "cache_load_duration",
            Unit::Micros,
            counters.cache_load_duration(),
            MetricCategory::Timing,
        ),
    ] {
        if distribution.count > 0 {
            push(custom(name, Distribution::new(unit, distribution)), category);
        }
    }
}

fn standing(now: &MetricsSnapshot) -> [(&'static str, usize); 8] {
    [
        ("requests", now.requests),
        ("calls", now.calls),
        ("rows", now.rows),
        ("attempts", now.attempts),
        ("retries", now.retries),
        ("timeouts", now.timeouts),
        ("failures", now.failures),
        ("dedup_hits", now.dedup_hits),
    ]
}

fn rare(now: &MetricsSnapshot) -> [(&'static str, usize); 7] {
    let tokens = |tokens: u64| usize::try_from(tokens).unwrap_or(usize::MAX);
    [
        ("throttled", now.throttled),
        ("cache_hits", now.cache_hits),
        ("cache_misses", now.cache_misses),
        ("cache_loads", now.cache_loads),
        ("cache_load_failures", now.cache_load_failures),
        ("input_tokens", tokens(now.input_tokens)),
        ("output_tokens", tokens(now.output_tokens)),
    ]
}

fn count(name: impl Into<Cow<'static, str>>, number: usize) -> MetricValue {
    let count = Count::new();
    count.add(number);
    MetricValue::Count { name: name.into(), count }
}

fn custom(name: &'static str, value: impl CustomMetricValue + 'static) -> MetricValue {
    MetricValue::Custom { name: name.into(), value: Arc::new(value) }
}

/// A number of which the largest counts, not the sum.
#[derive(Debug)]
struct Largest(Mutex<usize>);

impl Largest {
    fn get(&self) -> usize {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Largest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl CustomMetricValue for Largest {
    fn new_empty(&self) -> Arc<dyn CustomMetricValue> {
        Arc::new(Self(Mutex::new(0)))
    }

    fn aggregate(&self, other: Arc<dyn CustomMetricValue + 'static>) {
        let mut largest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *largest = other.as_usize().max(*largest);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_usize(&self) -> usize {
        self.get()
    }

    fn is_eq(&self, other: &Arc<dyn CustomMetricValue>) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.get() == self.get())
    }
}

/// What a distribution measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Rows,
    Micros,
}

/// A distribution, shown as median, 95th percentile and largest value.
#[derive(Debug)]
struct Distribution {
    unit: Unit,
    values: Mutex<HistogramSnapshot>,
}

impl Distribution {
    fn new(unit: Unit, values: HistogramSnapshot) -> Self {
        Self { unit, values: Mutex::new(values) }
    }

    fn values(&self) -> MutexGuard<'_, HistogramSnapshot> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values();
        let show = |value: u64| match self.unit {
            Unit::Rows => value.to_string(),
            Unit::Micros => format!("{:.1?}", Duration::from_micros(value)),
        };
        // No comma: it stands between metrics.
        let [median, p95, max] = [0.5, 0.95, 1.0].map(|share| show(values.quantile(share)));
        write!(f, "p50 {median} p95 {p95} max {max}")
    }
}

impl CustomMetricValue for Distribution {
    fn new_empty(&self) -> Arc<dyn CustomMetricValue> {
        Arc::new(Self::new(self.unit, HistogramSnapshot::default()))
    }

    fn aggregate(&self, other: Arc<dyn CustomMetricValue + 'static>) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        // Two locks at once, in whatever order, might wait for each other.
        let added = other.values().clone();
        let mut values = self.values();
        *values = values.merged(&added);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn is_eq(&self, other: &Arc<dyn CustomMetricValue>) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return false };
        let values = other.values().clone();
        self.unit == other.unit && *self.values() == values
    }
}
