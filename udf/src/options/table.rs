//! The table of options: name, setter, type, default, what the documentation says, and check.

/// Hands the table of options to a macro, with the types of their values in scope.
///
/// A row is `name / setter(argument): type = default, "default as documented", check;`.
macro_rules! option_table {
    ($then:ident) => {
        $then! {
            /// Whether requests of one call site run at the same time: `async`, or `sync` for one at a time.
            mode / with_mode(Mode): Mode = Mode::Async, "async", any;
            /// The order of result rows: `ordered` is input order, `allow_unordered` as answers come.
            output_mode / with_output_mode(OutputMode): OutputMode = OutputMode::Ordered, "ordered", any;
            /// Requests in flight at once, per call site and query, over all partitions.
            buffer_capacity / with_buffer_capacity(usize): usize = 100, "100", positive;
            /// Rows in a request at most; row-wise functions have 1, batch functions and lookups 32 unless they declare another.
            max_batch_size / with_max_batch_size(usize): usize = 1, "1 row-wise, 32 batch and lookup", positive;
            /// Bytes of arguments in a request at most; a single larger row is still sent.
            max_batch_bytes / with_max_batch_bytes(usize): usize = 4 * 1024 * 1024, "4194304", positive;
            /// How long the oldest row of a partial batch waits for company.
            batch_timeout / with_batch_timeout(Duration): Duration = Duration::from_millis(100), "100ms", any;
            /// Rows taken in and not yet given out, per partition, at which no further input is read.
            max_buffered_rows / with_max_buffered_rows(usize): usize = 65536, "65536", positive;
            /// How long one attempt may take.
            attempt_timeout / with_attempt_timeout(Duration): Duration = Duration::from_secs(60), "1m", lasting;
            /// How long a request may take, retries and back-off included, waiting for a batch or a rate limit not.
            timeout / with_timeout(Duration): Duration = Duration::from_secs(180), "3m", lasting;
            /// What a request that exceeded `timeout` means: `fail_on_timeout`, or `allow_partial` for NULL.
            timeout_policy / with_timeout_policy(TimeoutPolicy): TimeoutPolicy = TimeoutPolicy::FailOnTimeout, "fail_on_timeout", any;
            /// How delays between attempts develop: `no_retry`, `fixed_delay`, `exponential_backoff`.
            retry_strategy / with_retry_strategy(RetryStrategy): RetryStrategy = RetryStrategy::ExponentialBackoff, "exponential_backoff", any;
            /// The delay before the second attempt.
            retry_delay / with_retry_delay(Duration): Duration = Duration::from_millis(100), "100ms", any;
            /// The longest computed delay between attempts.
            max_retry_delay / with_max_retry_delay(Duration): Duration = Duration::from_secs(30), "30s", any;
            /// The factor from one delay to the next.
            retry_multiplier / with_retry_multiplier(f64): f64 = 2.0, "2", from_one;
            /// Attempts at a request in total: 1 means no retry. (Flink counts retries.)
            max_attempts / with_max_attempts(u32): u32 = 3, "3", positive;
            /// What is tried again: `failure`, or `lookup_miss` for keys without a row, too.
            retry_predicate / with_retry_predicate(RetryPredicate): RetryPredicate = RetryPredicate::Failure, "failure", any;
            /// What a call that failed for good gives: `fail`, `null`, or `default:VALUE`.
            on_error / with_on_error(OnError): OnError = OnError::Fail, "fail", any;
            /// What happens to a row with a NULL argument: `skip` gives NULL without a call, `send` calls.
            null_input / with_null_input(NullInput): NullInput = NullInput::Skip, "skip; send for ML_PREDICT", any;
            /// Requests in flight at once over everything in the runtime that calls the same function.
            max_concurrency / with_max_concurrency(impl Into<Option<usize>>): Option<usize> = None, "none", positive;
            /// Attempts a minute over everything in the runtime that calls the same function.
            rpm / with_rpm(impl Into<Option<usize>>): Option<usize> = None, "none", positive;
            /// Tokens a minute, sent and received, over everything in the runtime that calls the same function.
            tpm / with_tpm(impl Into<Option<usize>>): Option<usize> = None, "none", positive;
            /// Whether concurrency and rate are learned from how the remote side answers.
            adaptive / with_adaptive(bool): bool = false, "true for network providers", any;
            /// Whether equal calls of a deterministic function share one answer within a query.
            dedup / with_dedup(bool): bool = true, "true", any;
            /// Bytes of remembered answers at most, per function and query (of several call sites, the largest); the oldest are forgotten first.
            dedup_max_bytes / with_dedup_max_bytes(usize): usize = 64 * 1024 * 1024, "67108864", any;
            /// Where answers of a deterministic function are kept for later queries: `none`, `partial` (as they come), or `full` (a lookup table as a whole).
            cache / with_cache(Cache): Cache = Cache::None, "none", any;
            /// Bytes of cached answers at most, per function: a `partial` cache forgets the least recently used, a `full` one must fit.
            cache_max_bytes / with_cache_max_bytes(usize): usize = 64 * 1024 * 1024, "67108864", any;
            /// Rows of cached answers at most, as `cache_max_bytes`; a missing key counts as one.
            cache_max_rows / with_cache_max_rows(impl Into<Option<usize>>): Option<usize> = None, "none", positive;
            /// How long a `partial` cache keeps an answer after it came.
            cache_ttl / with_cache_ttl(impl Into<Option<Duration>>): Option<Duration> = None, "none", lasting;
            /// How long a `partial` cache keeps an answer after it was last used.
            cache_ttl_after_access / with_cache_ttl_after_access(impl Into<Option<Duration>>): Option<Duration> = None, "none", lasting;
            /// Whether a `partial` cache keeps keys that a lookup did not find, too.
            cache_missing_keys / with_cache_missing_keys(bool): bool = true, "true", any;
            /// How old a `full` cache gets before its table is read again; the old rows serve until the new ones are whole.
            cache_reload_interval / with_cache_reload_interval(impl Into<Option<Duration>>): Option<Duration> = None, "none", lasting;
            /// What a call costs, in seconds or in any unit that all functions of a query share.
            cost / with_cost(f64): f64 = 1.0, "what earlier queries took, else 1", from_zero;
            /// The share of rows for which a boolean function is TRUE, from 0 to 1.
            selectivity / with_selectivity(f64): f64 = 0.5, "what earlier queries found, else 0.5", share;
        }
    };
}

pub(crate) use option_table;
