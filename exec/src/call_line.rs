//! [`CallLine`], a call of an operator as EXPLAIN shows it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::physical_plan::ExecutionPlan;
use farcall_udf::{
    Cache, CallOptions, Estimate, Estimated, Mode, OutputMode, RetryPredicate, RetryStrategy,
};

use crate::bounds::calls_of;
use crate::planned_call::PlannedCall;

/// What the line shows of the operator that makes the call.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) output_mode: OutputMode,
    pub(super) demand: Option<usize>,
    pub(super) input: &'a Arc<dyn ExecutionPlan>,
}

/// What is called, for which rows, how, and how often at most.
pub(super) struct CallLine<'a> {
    operator: Shown<'a>,
    call: &'a PlannedCall,
    verbose: bool,
}

impl<'a> CallLine<'a> {
    /// With `verbose`, every option is shown with its level, too.
    pub(super) fn new(operator: Shown<'a>, call: &'a PlannedCall, verbose: bool) -> Self {
        Self { operator, call, verbose }
    }

    /// How the call is made: mode, order, batch, window, what a limit wants, limits.
    fn manner(&self) -> Vec<String> {
        let options = &self.call.options;
        let mode = options.mode();
        let window = match mode {
            Mode::Async => options.buffer_capacity(),
            Mode::Sync => 1,
        };
        let mut words = vec![
            mode.to_string(),
            self.operator.output_mode.to_string(),
            format!("batch={}", self.call.options.max_batch_size()),
            format!("window={window}"),
        ];
        let optional = [
            ("demand", self.operator.demand),
            ("max_concurrency", options.max_concurrency()),
            ("rpm", options.rpm()),
            ("tpm", options.tpm()),
        ];
        for (name, number) in optional {
            words.extend(number.map(|number| format!("{name}={number}")));
        }
        words.extend(self.cache());
        if options.retry_predicate() == RetryPredicate::LookupMiss {
            words.push("retry_predicate=lookup_miss".to_owned());
        }
        words
    }

    /// Where answers are kept, and what is set of it beside the defaults.
    fn cache(&self) -> Vec<String> {
        let options = &self.call.options;
        let relevant: &[&str] = match options.cache() {
            Cache::None => return Vec::new(),
            Cache::Partial => &[
                "cache_ttl",
                "cache_ttl_after_access",
                "cache_max_rows",
                "cache_max_bytes",
                "cache_missing_keys",
            ],
            Cache::Full => &["cache_reload_interval", "cache_max_rows", "cache_max_bytes"],
        };
        let mut words = vec![format!("cache={}", options.cache())];
        let default = |name| {
            let mut options = CallOptions::TABLE.iter().filter(|info| info.name == name);
            options.next().map(|info| info.default)
        };
        for name in relevant {
            let value = options.get(name).filter(|value| Some(value.as_str()) != default(*name));
            words.extend(value.map(|value| format!("{name}={value}")));
        }
        words
    }

    /// Time-outs of an attempt and of a request, and how often a request is tried.
    fn patience(&self) -> [String; 2] {
        let options = &self.call.options;
        let [attempt, total] =
            [options.attempt_timeout(), options.timeout()].map(humantime::format_duration);
        let attempts = options.attempts();
        let strategy = match attempts {
            1 => RetryStrategy::NoRetry,
            _ => options.retry_strategy(),
        };
        [format!("timeout={attempt}/{total}"), format!("retry={strategy}({attempts})")]
    }

    /// What was known of a call's cost and answer, and whether it was observed.
    fn estimates(&self) -> Vec<String> {
        let Estimate { cost, selectivity } = self.call.estimate;
        let known = [("cost", cost), ("selectivity", selectivity)];
        let shown = known.into_iter().filter_map(|(name, number)| {
            Some(match number? {
                Estimated::Declared(number) => format!("{name}={number}"),
                Estimated::Observed(number) => format!("observed_{name}={number:.3}"),
            })
        });
        shown.collect()
    }

    /// How many calls and requests the statistics of the input allow.
    fn bounds(&self) -> Vec<String> {
        if self.call.options.cache() == Cache::Full {
            // Its rows are there: nobody is called for a key.
            return Vec::new();
        }
        let (sign, calls) = match calls_of(self.call, self.operator.input) {
            Precision::Exact(calls) => ("<=", calls),
            Precision::Inexact(calls) => ("~", calls),
            Precision::Absent => return Vec::new(),
        };
        let mut words = vec![format!("calls{sign}{calls}")];
        let batch = self.call.options.max_batch_size();
        if batch > 1 {
            // A partial batch may leave before it is full, so this is never a bound.
            words.push(format!("requests~{}", calls.div_ceil(batch)));
        }
        words
    }

    /// Every option, and who said so.
    fn options(&self) -> Vec<String> {
        if !self.verbose {
            return Vec::new();
        }
        let entries = self.call.options.entries().into_iter();
        entries.map(|(name, value, level)| format!("{name}={value} ({level})")).collect()
    }
}

impl fmt::Display for CallLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.manner(),
            self.patience().into(),
            self.estimates(),
            self.bounds(),
            self.options(),
        ];
        let words = words.concat();
        write!(f, "{} [{}]", self.call, words.join(", "))
    }
}
