//! [`Effort`], how long and how often a request is tried.

use std::time::Duration;

use crate::options::words::RetryStrategy;
use crate::settings::resolved::Resolved;

/// What the options of a call site say of trying: equal efforts fail alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Effort {
    /// Whether anything may be sent twice: what has side effects needs the user's consent.
    pub(crate) repeats: bool,
    pub(crate) strategy: RetryStrategy,
    pub(crate) delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) multiplier: f64,
    pub(crate) max_attempts: u32,
    pub(crate) timeout: Duration,
    pub(crate) attempt_timeout: Duration,
}

impl Effort {
    pub(crate) fn of(options: &Resolved, side_effects: bool) -> Self {
        Self {
            repeats: options.has_retry_options() || !side_effects,
            strategy: options.retry_strategy(),
            delay: options.retry_delay(),
            max_delay: options.max_retry_delay(),
            multiplier: options.retry_multiplier(),
            max_attempts: options.attempts(),
            timeout: options.timeout(),
            attempt_timeout: options.attempt_timeout(),
        }
    }
}
