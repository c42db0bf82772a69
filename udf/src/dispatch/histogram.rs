//! [`Histogram`], a distribution of sizes or times that costs three additions a value.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One bucket for every power of two that a `u64` has, and one for zero.
const BUCKETS: usize = 65;

/// Counts values by their order of magnitude; without locks, for any number of writers.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// The state of a [`Histogram`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How many values there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// For each bucket that is not empty, in order: the largest value it takes, and how many values
    /// there were up to that one.
    pub buckets: Vec<(u64, u64)>,
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value that occurred several times.
    pub(crate) fn record_many(&self, value: u64, times: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    /// Reads the distribution.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut buckets = Vec::new();
        for (bits, bucket) in self.buckets.iter().enumerate() {
            let values = bucket.load(Ordering::Relaxed);
            if values > 0 {
                count += values;
                // The largest number of so many bits.
                let largest = u64::MAX.checked_shr(u64::BITS - bits as u32).unwrap_or(0);
                buckets.push((largest, count));
            }
        }
        HistogramSnapshot { count, sum: self.sum.load(Ordering::Relaxed), buckets }
    }
}

impl HistogramSnapshot {
    /// Returns the average, zero of nothing.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// Returns a value that a share of all values, from 0 to 1, does not exceed: the end of its
    /// bucket, so up to twice too much.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        self.buckets.iter().find(|(_, upto)| *upto >= rank).map_or(0, |(largest, _)| *largest)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_by_powers_of_two() {
        let histogram = Histogram::default();
        [0, 1, 2, 3, 4, 1000, u64::MAX].iter().for_each(|value| histogram.record(*value));
        let expected = [(0, 1), (1, 2), (3, 4), (7, 5), (1023, 6), (u64::MAX, 7)];
        assert_eq!(histogram.snapshot().buckets, expected);
    }

    #[test]
    fn quantiles_and_mean_follow_the_values() {
        let histogram = Histogram::default();
        histogram.record_many(10, 99);
        histogram.record(1000);
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.sum), (100, 1990));
        assert_eq!((snapshot.quantile(0.5), snapshot.quantile(0.99)), (15, 15));
        assert_eq!(snapshot.quantile(1.0), 1023);
        assert!((snapshot.mean() - 19.9).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_quantiles_of_zero() {
        let snapshot = Histogram::default().snapshot();
        assert_eq!((snapshot.quantile(0.5), snapshot.mean()), (0, 0.0));
    }
}
