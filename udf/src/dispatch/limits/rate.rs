//! [`Bucket`], which turns a limit per minute into waiting times.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills steadily and from which every request takes.
///
/// It holds what comes in within a second: enough to smooth over timers, too little for a burst
/// that the remote side would refuse. It may be overdrawn by one request, whose cost is known only
/// afterwards, and by one that costs more than it holds; those who come later wait for it.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    capacity: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Makes a full bucket.
    pub(crate) fn per_minute(limit: usize, now: Instant) -> Self {
        let per_second = limit as f64 / 60.0;
        Self::new(per_second, per_second.max(1.0), now)
    }

    /// Sets another limit from now on; what it holds stays.
    pub(crate) fn set_per_minute(&mut self, limit: usize, now: Instant) {
        let per_second = limit as f64 / 60.0;
        self.set_rate(per_second, per_second.max(1.0), now);
    }

    /// Makes a full bucket that holds `capacity`.
    pub(crate) fn new(per_second: f64, capacity: f64, now: Instant) -> Self {
        Self { per_second, capacity, level: capacity, at: now }
    }

    /// Lets it fill faster or slower from now on.
    pub(crate) fn set_rate(&mut self, per_second: f64, capacity: f64, now: Instant) {
        self.fill(now);
        (self.per_second, self.capacity) = (per_second, capacity);
        self.level = self.level.min(capacity);
    }

    /// Returns how long a request of this cost must wait; zero if it may go.
    pub(crate) fn wait(&mut self, cost: f64, now: Instant) -> Duration {
        self.fill(now);
        if self.per_second <= 0.0 {
            return Duration::MAX;
        }
        let missing = cost.min(self.capacity) - self.level;
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        // Timers fire at whole milliseconds: a wait below would find the bucket still too low.
        let wait = Duration::try_from_secs_f64(missing / self.per_second);
        wait.unwrap_or(Duration::MAX).max(Duration::from_millis(1))
    }

    /// Takes the cost of a request out; a negative one gives back.
    pub(crate) fn take(&mut self, cost: f64) {
        self.level = (self.level - cost).min(self.capacity);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.capacity);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_serves_a_second_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(120, start);
        for _ in 0..2 {
            assert_eq!(bucket.wait(1.0, start), Duration::ZERO);
            bucket.take(1.0);
        }
        assert_eq!(bucket.wait(1.0, start), Duration::from_millis(500));
        assert_eq!(bucket.wait(1.0, start + Duration::from_millis(500)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_below_one_a_second_still_lets_one_go() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(6, start);
        assert_eq!(bucket.wait(1.0, start), Duration::ZERO);
        bucket.take(1.0);
        assert_eq!(bucket.wait(1.0, start), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_costs_more_than_the_bucket_holds_is_paid_by_the_next() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(600, start);
        assert_eq!(bucket.wait(35.0, start), Duration::ZERO);
        bucket.take(35.0);
        assert_eq!(bucket.wait(10.0, start), Duration::from_millis(3500));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_does_not_overflow() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(60, start);
        bucket.take(-50.0);
        bucket.take(1.0);
        assert_eq!(bucket.wait(1.0, start), Duration::from_secs(1));
    }
}
