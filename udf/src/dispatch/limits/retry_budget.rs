//! [`RetryBudget`], which slows retries down when most requests need them.

use std::time::Duration;

use tokio::time::Instant;

/// Retries that may happen without delay, at first and at most: five windows of the default size.
const CAPACITY: f64 = 500.0;
/// What a first attempt adds: one retry for every five requests can go on for ever.
const PER_REQUEST: f64 = 0.2;
/// Retries a second when nothing else is sent.
const PER_SECOND: f64 = 50.0;

/// Bounds the retries of everything that calls the same function in a runtime.
///
/// A remote side that fails every request is then asked [`PER_SECOND`] times a second and not by
/// every request of every query again. An empty budget delays a retry; it never forbids one.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    balance: f64,
    at: Instant,
}

impl RetryBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { balance: CAPACITY, at: now }
    }

    /// Counts a first attempt.
    pub(crate) fn deposit(&mut self) {
        self.balance = (self.balance + PER_REQUEST).min(CAPACITY);
    }

    /// Counts a retry; returns how long it must wait at least.
    pub(crate) fn withdraw(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.balance = (self.balance + passed * PER_SECOND).min(CAPACITY) - 1.0;
        self.at = now;
        Duration::try_from_secs_f64(-self.balance / PER_SECOND).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_wait_when_the_budget_is_empty() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        for _ in 0..CAPACITY as usize {
            assert_eq!(budget.withdraw(start), Duration::ZERO);
        }
        assert_eq!(budget.withdraw(start), Duration::from_millis(20));
        assert_eq!(budget.withdraw(start), Duration::from_millis(40));
        assert_eq!(budget.withdraw(start + Duration::from_secs(1)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_for_every_five_requests_never_waits() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        for request in 0..100_000 {
            budget.deposit();
            if request % 5 == 4 {
                assert_eq!(budget.withdraw(start), Duration::ZERO);
            }
        }
    }
}
