//! [`CallOptions`], how one function is called: one struct for builders, SQL, plans and docs.

pub(crate) mod name;
pub(crate) mod words;

use std::time::Duration;

use crate::error::CallError;
use crate::options::name::{quoted, resolve_name};
use crate::options::words::{
    Cache, Mode, NullInput, OnError, OptionValue, OutputMode, RetryPredicate, RetryStrategy,
    TimeoutPolicy,
};

/// One row of the table of options, for documentation and for SHOW.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionInfo {
    /// The word used everywhere.
    pub name: &'static str,
    /// The default as it would be written in SQL.
    pub default: &'static str,
    /// What it means, its unit included.
    pub description: &'static str,
}

macro_rules! options {
    ($( $(#[doc = $doc:literal])+ $name:ident / $with:ident : $ty:ty = $default:expr, $shown:literal; )+) => {
        /// How a function is called.
        ///
        /// An option that was not set has the documented default, and a narrower level may set it:
        /// call > function or model > session > default ([`CallOptions::overlay`]).
        ///
        /// ```
        /// use std::time::Duration;
        /// use farcall_udf::CallOptions;
        ///
        /// let options = CallOptions::new()
        ///     .with_max_batch_size(64)
        ///     .with_buffer_capacity(8)
        ///     .with_timeout(Duration::from_secs(30))
        ///     .build()?;
        /// assert_eq!(options.buffer_capacity(), 8);
        /// # Ok::<_, farcall_udf::CallError>(())
        /// ```
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct CallOptions {
            $($name: Option<$ty>,)+
        }

        impl CallOptions {
            /// Every option with its default and meaning, in the order of the documentation.
            pub const TABLE: &'static [OptionInfo] = &[$(
                OptionInfo {
                    name: stringify!($name),
                    default: $shown,
                    description: concat!($($doc),+),
                },
            )+];

            $(
                $(#[doc = $doc])+
                pub fn $with(mut self, value: $ty) -> Self {
                    self.$name = Some(value);
                    self
                }

                $(#[doc = $doc])+
                pub fn $name(&self) -> $ty {
                    self.$name.clone().unwrap_or($default)
                }
            )+

            /// Lets the options that `narrower` sets win over these.
            pub fn overlay(&self, narrower: &CallOptions) -> CallOptions {
                CallOptions {
                    $($name: narrower.$name.clone().or_else(|| self.$name.clone()),)+
                }
            }

            /// Returns the options that were set, as SQL would write them.
            pub fn entries(&self) -> Vec<(&'static str, String)> {
                let mut entries = Vec::new();
                $(if let Some(value) = &self.$name {
                    entries.push((stringify!($name), value.write()));
                })+
                entries
            }

            /// Returns the effective value of an option as SQL would write it.
            pub fn get(&self, name: &str) -> Option<String> {
                let name = resolve_name(name);
                match name.as_str() {
                    $(stringify!($name) if self.$name.is_none() && LIFTABLE.contains(&name.as_str()) => {
                        Some("none".to_owned())
                    })+
                    $(stringify!($name) => Some(OptionValue::write(&self.$name())),)+
                    _ => None,
                }
            }

            fn parse_into(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
                match name {
                    $(stringify!($name) => Some(
                        <$ty as OptionValue>::parse(value).map(|value| self.$name = Some(value)),
                    ),)+
                    _ => None,
                }
            }

            fn clear(&mut self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => { self.$name = None; true })+
                    _ => false,
                }
            }
        }
    };
}

/// Says that no number bounds an option.
const UNLIMITED_USIZE: usize = usize::MAX;

options! {
    /// Whether requests of one call site run at the same time: `async`, or `sync` for one at a time.
    mode / with_mode: Mode = Mode::Async, "async";
    /// The order of result rows: `ordered` is input order, `allow_unordered` as answers come.
    output_mode / with_output_mode: OutputMode = OutputMode::Ordered, "ordered";
    /// Requests in flight at once, per call site and query, over all partitions.
    buffer_capacity / with_buffer_capacity: usize = 100, "100";
    /// Rows in a request at most; row-wise functions have 1, batch functions and lookups 32 unless they declare another.
    max_batch_size / with_max_batch_size: usize = 1, "1 row-wise, 32 batch and lookup";
    /// Bytes of arguments in a request at most; a single larger row is still sent.
    max_batch_bytes / with_max_batch_bytes: usize = 4 * 1024 * 1024, "4194304";
    /// How long the oldest row of a partial batch waits for company.
    batch_timeout / with_batch_timeout: Duration = Duration::from_millis(100), "100ms";
    /// Rows taken in and not yet given out, per partition, at which no further input is read.
    max_buffered_rows / with_max_buffered_rows: usize = 65536, "65536";
    /// How long one attempt may take.
    attempt_timeout / with_attempt_timeout: Duration = Duration::from_secs(60), "1m";
    /// How long a request may take, retries and back-off included, waiting for a batch or a rate limit not.
    timeout / with_timeout: Duration = Duration::from_secs(180), "3m";
    /// What a request that exceeded `timeout` means: `fail_on_timeout`, or `allow_partial` for NULL.
    timeout_policy / with_timeout_policy: TimeoutPolicy = TimeoutPolicy::FailOnTimeout, "fail_on_timeout";
    /// How delays between attempts develop: `no_retry`, `fixed_delay`, `exponential_backoff`.
    retry_strategy / with_retry_strategy: RetryStrategy = RetryStrategy::ExponentialBackoff, "exponential_backoff";
    /// The delay before the second attempt.
    retry_delay / with_retry_delay: Duration = Duration::from_millis(100), "100ms";
    /// The longest computed delay between attempts.
    max_retry_delay / with_max_retry_delay: Duration = Duration::from_secs(30), "30s";
    /// The factor from one delay to the next.
    retry_multiplier / with_retry_multiplier: f64 = 2.0, "2";
    /// Attempts at a request in total: 1 means no retry. (Flink counts retries.)
    max_attempts / with_max_attempts: u32 = 3, "3";
    /// What is tried again: `failure`, or `lookup_miss` for keys without a row, too.
    retry_predicate / with_retry_predicate: RetryPredicate = RetryPredicate::Failure, "failure";
    /// What a call that failed for good gives: `fail`, `null`, or `default:VALUE`.
    on_error / with_on_error: OnError = OnError::Fail, "fail";
    /// What happens to a row with a NULL argument: `skip` gives NULL without a call, `send` calls.
    null_input / with_null_input: NullInput = NullInput::Skip, "skip; send for ML_PREDICT";
    /// Requests in flight at once over everything in the runtime that calls the same function.
    max_concurrency / with_max_concurrency: usize = UNLIMITED_USIZE, "none";
    /// Attempts a minute over everything in the runtime that calls the same function.
    rpm / with_rpm: usize = UNLIMITED_USIZE, "none";
    /// Tokens a minute, sent and received, over everything in the runtime that calls the same function.
    tpm / with_tpm: usize = UNLIMITED_USIZE, "none";
    /// Whether concurrency and rate are learned from how the remote side answers.
    adaptive / with_adaptive: bool = false, "true for network providers";
    /// Whether equal calls of a deterministic function share one answer within a query.
    dedup / with_dedup: bool = true, "true";
    /// Bytes of remembered answers at most, per function and query (of several call sites, the largest); the oldest are forgotten first.
    dedup_max_bytes / with_dedup_max_bytes: usize = 64 * 1024 * 1024, "67108864";
    /// Where answers of a deterministic function are kept for later queries: `none`, `partial` (as they come), or `full` (a lookup table as a whole).
    cache / with_cache: Cache = Cache::None, "none";
    /// Bytes of cached answers at most, per function: a `partial` cache forgets the least recently used, a `full` one must fit.
    cache_max_bytes / with_cache_max_bytes: usize = 64 * 1024 * 1024, "67108864";
    /// Rows of cached answers at most, as `cache_max_bytes`; a missing key counts as one.
    cache_max_rows / with_cache_max_rows: usize = UNLIMITED_USIZE, "none";
    /// How long a `partial` cache keeps an answer after it came.
    cache_ttl / with_cache_ttl: Duration = Duration::MAX, "none";
    /// How long a `partial` cache keeps an answer after it was last used.
    cache_ttl_after_access / with_cache_ttl_after_access: Duration = Duration::MAX, "none";
    /// Whether a `partial` cache keeps keys that a lookup did not find, too.
    cache_missing_keys / with_cache_missing_keys: bool = true, "true";
    /// How old a `full` cache gets before its table is read again; the old rows serve until the new ones are whole.
    cache_reload_interval / with_cache_reload_interval: Duration = Duration::MAX, "none";
    /// What a call costs, in seconds or in any unit that all functions of a query share.
    cost / with_cost: f64 = 1.0, "what earlier queries took, else 1";
    /// The share of rows for which a boolean function is TRUE, from 0 to 1.
    selectivity / with_selectivity: f64 = 0.5, "what earlier queries found, else 0.5";
}

/// Options that are no limit unless they are set, and may be set to `none`.
const LIFTABLE: &[&str] = &[
    "max_concurrency",
    "rpm",
    "tpm",
    "cache_max_rows",
    "cache_ttl",
    "cache_ttl_after_access",
    "cache_reload_interval",
];

/// Rows in a request of a batch function that declares nothing else.
pub const DEFAULT_BATCH_SIZE: usize = 32;

impl CallOptions {
    /// Makes options of which none is set: each has its documented default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one option from text, as SQL does; hyphen and underscore are equal.
    ///
    /// # Errors
    /// [`CallError::BadOption`] names the option and what is accepted.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), CallError> {
        let bad = |message: String| CallError::BadOption { option: name.to_owned(), message };
        let canonical_name = resolve_name(name);
        // The FLIP's keys and SQL both may say "none" to lift a limit.
        if LIFTABLE.contains(&canonical_name.as_str()) && value.eq_ignore_ascii_case("none") {
            self.clear(&canonical_name);
            return Ok(());
        }
        match self.parse_into(&canonical_name, value) {
            None => Err(bad(format!("no such option, accepted are {}", quoted(&Self::names())))),
            Some(Err(accepted)) => Err(bad(format!("value '{value}' is not accepted, {accepted}"))),
            Some(Ok(())) => self.check(&canonical_name).map_err(|message| {
                self.clear(&canonical_name);
                bad(message)
            }),
        }
    }

    /// Forgets one option, so that it has its default again; `false` if there is none of that name.
    pub fn unset(&mut self, name: &str) -> bool {
        self.clear(&resolve_name(name))
    }

    /// Says whether an option of that name exists, synonyms included.
    pub fn is_option(name: &str) -> bool {
        Self::names().contains(&resolve_name(name).as_str())
    }

    /// Returns the names of all options.
    pub fn names() -> Vec<&'static str> {
        Self::TABLE.iter().map(|info| info.name).collect()
    }

    /// Checks all options once.
    ///
    /// # Errors
    /// [`CallError::BadOption`] for a size of zero, a multiplier below 1, a zero time-out.
    pub fn build(self) -> Result<Self, CallError> {
        for name in Self::names() {
            self.check(name)
                .map_err(|message| CallError::BadOption { option: name.to_owned(), message })?;
        }
        Ok(self)
    }

    /// Returns the limit of requests in flight over the runtime, if one is set.
    pub fn concurrency_limit(&self) -> Option<usize> {
        self.max_concurrency
    }

    /// Returns the limit of attempts a minute over the runtime, if one is set.
    pub fn requests_limit(&self) -> Option<usize> {
        self.rpm
    }

    /// Returns the limit of tokens a minute over the runtime, if one is set.
    pub fn tokens_limit(&self) -> Option<usize> {
        self.tpm
    }

    /// Returns the limit of cached rows, if one is set.
    pub fn cache_rows_limit(&self) -> Option<usize> {
        self.cache_max_rows
    }

    /// Returns how long an answer is cached after it came, if that is limited.
    pub fn cache_lifetime(&self) -> Option<Duration> {
        self.cache_ttl
    }

    /// Returns how long an answer is cached after it was last used, if that is limited.
    pub fn cache_idle_time(&self) -> Option<Duration> {
        self.cache_ttl_after_access
    }

    /// Returns how old a table that is cached as a whole gets, if that is limited.
    pub fn cache_reload_time(&self) -> Option<Duration> {
        self.cache_reload_interval
    }

    /// Returns what a call costs, if somebody said so.
    pub fn declared_cost(&self) -> Option<f64> {
        self.cost
    }

    /// Returns the share of rows for which a boolean function is TRUE, if somebody said so.
    pub fn declared_selectivity(&self) -> Option<f64> {
        self.selectivity
    }

    /// Returns the rows in a request at most, given what holds if nobody set it.
    pub fn batch_size_or(&self, default: usize) -> usize {
        self.max_batch_size.unwrap_or(default)
    }

    /// Returns the mode, given whether a call changes something: then it is `sync` unless set.
    pub fn mode_or(&self, side_effects: bool) -> Mode {
        self.mode.unwrap_or(if side_effects { Mode::Sync } else { Mode::Async })
    }

    /// Returns how often a request that fails is attempted in total, given whether a call changes
    /// something: then once, unless somebody asked for retries.
    pub fn attempts_or(&self, side_effects: bool) -> u32 {
        match self.retry_strategy() {
            RetryStrategy::NoRetry => 1,
            _ if side_effects && !self.has_retry_options() => 1,
            RetryStrategy::FixedDelay | RetryStrategy::ExponentialBackoff => self.max_attempts(),
        }
    }

    /// Returns whether limits are learned, given what the function declares.
    pub fn adaptive_or(&self, declared: bool) -> bool {
        self.adaptive.unwrap_or(declared)
    }

    /// Says whether somebody asked for retries, which a function with side effects needs.
    pub(crate) fn has_retry_options(&self) -> bool {
        self.max_attempts.is_some() || self.retry_strategy.is_some()
    }

    /// Returns whether rows with a NULL argument are sent, given what the function declares.
    pub fn null_input_or(&self, declared: NullInput) -> NullInput {
        self.null_input.unwrap_or(declared)
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let positive = |value: usize| {
            if value == 0 {
                Err("value 0 is not accepted, the least is 1".to_owned())
            } else {
                Ok(())
            }
        };
        let lasting = |value: Duration| {
            if value.is_zero() {
                Err("value '0s' is not accepted, it must be longer than 0".to_owned())
            } else {
                Ok(())
            }
        };
        match name {
            "buffer_capacity" => positive(self.buffer_capacity()),
            "max_batch_size" => positive(self.max_batch_size()),
            "max_batch_bytes" => positive(self.max_batch_bytes()),
            "max_buffered_rows" => positive(self.max_buffered_rows()),
            "max_concurrency" => positive(self.max_concurrency()),
            "rpm" => positive(self.rpm()),
            "tpm" => positive(self.tpm()),
            "max_attempts" => positive(self.max_attempts() as usize),
            "timeout" => lasting(self.timeout()),
            "attempt_timeout" => lasting(self.attempt_timeout()),
            "cache_max_rows" => positive(self.cache_max_rows()),
            "cache_ttl" => lasting(self.cache_ttl()),
            "cache_ttl_after_access" => lasting(self.cache_ttl_after_access()),
            "cache_reload_interval" => lasting(self.cache_reload_interval()),
            "retry_multiplier"
                if !self.retry_multiplier().is_finite() || self.retry_multiplier() < 1.0 =>
            {
                Err(format!(
                    "value {} is not accepted, accepted are numbers from 1",
                    self.retry_multiplier()
                ))
            }
            "cost" if !self.cost().is_finite() || self.cost() < 0.0 => {
                Err(format!("value {} is not accepted, accepted are numbers from 0", self.cost()))
            }
            "selectivity" if !(0.0..=1.0).contains(&self.selectivity()) => Err(format!(
                "value {} is not accepted, accepted are numbers from 0 to 1",
                self.selectivity()
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_table() {
        for info in CallOptions::TABLE {
            let shown = CallOptions::new().get(info.name).unwrap();
            let documented = match info.name {
                "max_batch_size" => "1",
                "null_input" => "skip",
                "adaptive" => "false",
                "cost" => "1",
                "selectivity" => "0.5",
                _ => info.default,
            };
            assert_eq!(shown, documented, "{}", info.name);
        }
    }

    #[test]
    fn every_option_survives_text() {
        for info in CallOptions::TABLE {
            let shown = CallOptions::new().get(info.name).unwrap();
            let mut options = CallOptions::new();
            options.set(info.name, &shown).unwrap();
            assert_eq!(options.get(info.name), Some(shown));
        }
    }

    #[test]
    fn hyphens_cases_and_synonyms_are_accepted() {
        let mut options = CallOptions::new();
        options.set("Buffer-Capacity", "7").unwrap();
        assert_eq!(options.buffer_capacity(), 7);
        options.set("max_concurrent_operations", "8").unwrap();
        assert_eq!(options.buffer_capacity(), 8);
        options.set("retry-strategy", "FIXED_DELAY").unwrap();
        assert_eq!(options.retry_strategy(), RetryStrategy::FixedDelay);
    }

    #[test]
    fn flinks_words_for_caches_are_accepted() {
        let mut options = CallOptions::new();
        for (name, value) in [
            ("lookup.cache", "PARTIAL"),
            ("lookup.partial-cache.max-rows", "10"),
            ("lookup.partial-cache.expire-after-write", "1h"),
            ("lookup.partial-cache.expire-after-access", "1min"),
            ("lookup.partial-cache.cache-missing-key", "false"),
            ("lookup.full-cache.periodic-reload.interval", "5min"),
        ] {
            options.set(name, value).unwrap();
        }
        let expected = CallOptions::new()
            .with_cache(Cache::Partial)
            .with_cache_max_rows(10)
            .with_cache_ttl(Duration::from_secs(3600))
            .with_cache_ttl_after_access(Duration::from_secs(60))
            .with_cache_missing_keys(false)
            .with_cache_reload_interval(Duration::from_secs(300));
        assert_eq!(options, expected);
        options.set("cache", "memory").unwrap();
        assert_eq!(options.get("cache").as_deref(), Some("partial"));
    }

    #[test]
    fn bad_values_name_the_option_and_what_is_accepted() {
        let mut options = CallOptions::new();
        for (name, value, message) in [
            ("buffer_capacity", "0", "value 0 is not accepted, the least is 1"),
            (
                "buffer_capacity",
                "-3",
                "value '-3' is not accepted, accepted are whole numbers from 1",
            ),
            ("timeout", "30", "a duration needs a unit, such as '30s' or '30ms'"),
            ("timeout", "-5s", "accepted are durations with a unit"),
            ("retry_strategy", "often", "'no_retry', 'fixed_delay', 'exponential_backoff'"),
            ("cache", "some", "accepted are 'none', 'partial', 'full'"),
            ("cache_max_rows", "0", "value 0 is not accepted, the least is 1"),
            ("cache_ttl_after_access", "0s", "it must be longer than 0"),
            ("cache_reload_interval", "5", "a duration needs a unit"),
            ("cost", "-1", "value -1 is not accepted, accepted are numbers from 0"),
            ("cost", "inf", "value inf is not accepted, accepted are numbers from 0"),
            ("selectivity", "1.5", "value 1.5 is not accepted, accepted are numbers from 0 to 1"),
            ("selectivity", "half", "accepted are numbers"),
            ("colour", "red", "no such option, accepted are 'mode'"),
        ] {
            let error = options.set(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(message), "{error}");
        }
        assert_eq!(options, CallOptions::new());
    }

    #[test]
    fn narrower_levels_win() {
        let session = CallOptions::new().with_buffer_capacity(5).with_max_attempts(9);
        let call = CallOptions::new().with_buffer_capacity(2);
        let merged = session.overlay(&call);
        assert_eq!((merged.buffer_capacity(), merged.max_attempts()), (2, 9));
    }
}
