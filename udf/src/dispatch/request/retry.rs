//! [`RetryPolicy`], when a failed attempt is repeated and after which delay.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::dispatch::effort::Effort;
use crate::dispatch::query::site::CallSite;
use crate::error::{CallError, ErrorClass};
use crate::options::words::RetryStrategy;

/// Attempts at an answer that cannot be read: it is asked for once more.
const MALFORMED_ATTEMPTS: u32 = 2;

/// The shortest delay after being throttled by a remote side that names none.
const THROTTLED_DELAY: Duration = Duration::from_millis(10);

/// Decides about retries by the class of the error alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RetryPolicy(Effort);

impl RetryPolicy {
    /// Returns the policy of a call site.
    pub(crate) fn of(site: &CallSite) -> Self {
        Self(site.effort())
    }

    /// Says whether an attempt that was refused for a limit is made again without being counted.
    pub(crate) fn repeats_throttled(&self) -> bool {
        self.0.repeats
    }

    /// Returns the attempts that an error of this class may use up in total.
    pub(crate) fn max_attempts(&self, error: &CallError) -> u32 {
        match error.class() {
            _ if !self.0.repeats => 1,
            ErrorClass::Transient => self.0.max_attempts,
            ErrorClass::Malformed => self.0.max_attempts.min(MALFORMED_ATTEMPTS),
            // Being throttled says nothing about the request: `timeout` bounds it.
            ErrorClass::Throttled => u32::MAX,
            ErrorClass::Exhausted
            | ErrorClass::Rejected
            | ErrorClass::Configuration
            | ErrorClass::Internal
            | ErrorClass::Cancelled => 1,
        }
    }

    /// Says whether a request that failed for good is halved to find the bad row.
    pub(crate) fn isolates(&self, error: &CallError) -> bool {
        self.0.repeats && error.class().isolates()
    }

    /// Returns the delay before retry number `retry`, counted from 1.
    ///
    /// What the remote side asks for wins over what is computed. An exponential delay is drawn
    /// from zero to its full length, so that clients that failed together do not return together.
    pub(crate) fn delay(
        &self,
        retry: u32,
        error: &CallError,
        random: &mut fastrand::Rng,
    ) -> Duration {
        if let Some(asked) = error.retry_after() {
            return asked;
        }
        let delay = match self.0.strategy {
            RetryStrategy::NoRetry | RetryStrategy::FixedDelay => self.0.delay,
            RetryStrategy::ExponentialBackoff => self.ceiling(retry).mul_f64(random.f64()),
        };
        match error.class() {
            // Only time bounds these retries: without a delay they would spin.
            ErrorClass::Throttled => delay.max(THROTTLED_DELAY),
            _ => delay,
        }
    }

    /// Returns the longest delay before retry number `retry`.
    fn ceiling(&self, retry: u32) -> Duration {
        ExponentialBuilder::new()
            .with_min_delay(self.0.delay)
            .with_max_delay(self.0.max_delay)
            .with_factor(self.0.multiplier as f32)
            .without_max_times()
            .build()
            .nth(retry.saturating_sub(1) as usize)
            .unwrap_or(self.0.max_delay)
            .min(self.0.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resolved;
    use crate::options::CallOptions;

    #[test]
    fn exponential_delays_grow_to_the_cap() {
        let policy = policy_of(
            CallOptions::new()
                .with_retry_delay(Duration::from_millis(100))
                .with_max_retry_delay(Duration::from_millis(500)),
        );
        let ceilings: Vec<_> = (1..=5).map(|retry| policy.ceiling(retry).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 500, 500]);
    }

    #[test]
    fn jitter_stays_below_the_ceiling_and_follows_the_seed() {
        let policy = policy_of(CallOptions::new());
        let error = CallError::transient("f", "503");
        let draw = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (1..=6).map(|retry| policy.delay(retry, &error, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for (retry, delay) in (1..).zip(draw(7)) {
            assert!(delay <= policy.ceiling(retry));
        }
    }

    #[test]
    fn the_remote_side_delay_wins() {
        let policy = policy_of(CallOptions::new());
        let error = CallError::Throttled {
            function: "f".into(),
            message: "429".into(),
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(policy.delay(1, &error, &mut fastrand::Rng::new()), Duration::from_secs(7));
    }

    #[test]
    fn classes_decide_about_attempts() {
        let policy = policy_of(CallOptions::new().with_max_attempts(5));
        assert_eq!(policy.max_attempts(&CallError::transient("f", "")), 5);
        assert_eq!(policy.max_attempts(&CallError::malformed("f", "")), 2);
        assert_eq!(policy.max_attempts(&CallError::rejected("f", "")), 1);
        assert_eq!(policy.max_attempts(&CallError::configuration("f", "")), 1);
        let once = policy_of(CallOptions::new().with_retry_strategy(RetryStrategy::NoRetry));
        assert_eq!(once.max_attempts(&CallError::transient("f", "")), 1);
    }

    fn policy_of(options: CallOptions) -> RetryPolicy {
        RetryPolicy(Effort::of(&Resolved::of_call(&options), false))
    }
}
