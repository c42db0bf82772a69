//! [`Histogram`], a distribution of sizes or times that costs three additions a value.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// One bucket for zero, one for one, and one for each doubling from there to the largest `u64`.
const BUCKETS: usize = 66;

/// Counts values by their order of magnitude; without locks, for any number of writers.
///
/// A bucket ends at a power of two and includes it: requests of 64 rows and of 33 share one.
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sums: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

/// The values of a [`Histogram`] between one power of two, excluded, and the next, included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramBucket {
    /// The largest value that the bucket takes: zero, or a power of two.
    pub upper: u64,
    /// How many values there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// The state of a [`Histogram`] at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How many values there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The largest of them; zero of none.
    pub max: u64,
    /// The buckets that are not empty, in order.
    pub buckets: Vec<HistogramBucket>,
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value that occurred several times.
    pub(crate) fn record_many(&self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        let bucket = bucket_of(value);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        self.sums[bucket].fetch_add(value.saturating_mul(times), Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// Reads the distribution.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let buckets = self.counts.iter().zip(&self.sums).enumerate();
        let buckets = buckets.map(|(bucket, (count, sum))| HistogramBucket {
            upper: upper_bound(bucket),
            count: read(count),
            sum: read(sum),
        });
        HistogramSnapshot::new(buckets.collect(), read(&self.max))
    }
}

/// Returns the bucket of a value.
fn bucket_of(value: u64) -> usize {
    match value.checked_sub(1) {
        None => 0,
        Some(below) => (u64::BITS - below.leading_zeros()) as usize + 1,
    }
}

/// Returns the largest value that a bucket takes.
fn upper_bound(bucket: usize) -> u64 {
    match bucket.checked_sub(1) {
        None => 0,
        Some(bits) => 1_u64.checked_shl(bits as u32).unwrap_or(u64::MAX),
    }
}

impl HistogramSnapshot {
    fn new(mut buckets: Vec<HistogramBucket>, max: u64) -> Self {
        buckets.retain(|bucket| bucket.count > 0);
        let count = buckets.iter().map(|bucket| bucket.count).sum();
        let sum = buckets.iter().fold(0, |sum: u64, bucket| sum.saturating_add(bucket.sum));
        Self { count, sum, max, buckets }
    }

    /// Returns both distributions as one.
    pub fn merged(&self, other: &Self) -> Self {
        let mut buckets = self.buckets.clone();
        for bucket in &other.buckets {
            match buckets.binary_search_by_key(&bucket.upper, |bucket| bucket.upper) {
                Ok(at) => {
                    buckets[at].count += bucket.count;
                    buckets[at].sum = buckets[at].sum.saturating_add(bucket.sum);
                }
                Err(at) => buckets.insert(at, *bucket),
            }
        }
        Self::new(buckets, self.max.max(other.max))
    }

    /// Returns the average, zero of nothing.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// Returns how many values there were up to a bound, which is zero or a power of two.
    pub fn count_up_to(&self, bound: u64) -> u64 {
        let within = self.buckets.iter().take_while(|bucket| bucket.upper <= bound);
        within.map(|bucket| bucket.count).sum()
    }

    /// Estimates the value that a share of all values, from 0 to 1, does not exceed.
    ///
    /// It is the average of the bucket in which that value lies: exact where all values of the
    /// bucket are equal, and off by a factor of two at most. The whole share gives the largest value.
    pub fn quantile(&self, share: f64) -> u64 {
        if share >= 1.0 {
            return self.max;
        }
        let rank = (self.count as f64 * share.max(0.0)).ceil() as u64;
        let mut upto = 0;
        let bucket = self.buckets.iter().find(|bucket| {
            upto += bucket.count;
            upto >= rank
        });
        bucket.map_or(0, |bucket| bucket.sum / bucket.count.max(1))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sums: [const { AtomicU64::new(0) }; BUCKETS],
            max: AtomicU64::new(0),
        }
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
    fn values_are_counted_up_to_powers_of_two() {
        let snapshot = recorded(&[0, 1, 2, 3, 4, 5, 1000, u64::MAX]);
        let buckets: Vec<_> = snapshot.buckets.iter().map(|b| (b.upper, b.count)).collect();
        let expected = [(0, 1), (1, 1), (2, 1), (4, 2), (8, 1), (1024, 1), (u64::MAX, 1)];
        assert_eq!((buckets.as_slice(), snapshot.max), (&expected[..], u64::MAX));
        assert_eq!([0, 2, 512, 1024].map(|bound| snapshot.count_up_to(bound)), [1, 3, 6, 7]);
    }

    #[test]
    fn quantiles_and_mean_follow_the_values() {
        let histogram = Histogram::default();
        histogram.record_many(10, 99);
        histogram.record(1000);
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count, snapshot.sum), (100, 1990));
        assert_eq!(
            [0.5, 0.99, 0.995, 1.0].map(|share| snapshot.quantile(share)),
            [10, 10, 1000, 1000]
        );
        assert!((snapshot.mean() - 19.9).abs() < 1e-9);
    }

    #[test]
    fn full_requests_have_their_size_also_beside_a_partial_one() {
        let mut sizes = vec![64; 20];
        sizes.push(3);
        assert_eq!([0.01, 0.5, 0.95].map(|share| recorded(&sizes).quantile(share)), [3, 64, 64]);
    }

    #[test]
    fn merged_distributions_are_that_of_all_values() {
        let merged = recorded(&[1, 5, 9]).merged(&recorded(&[0, 5, 700]));
        assert_eq!(merged, recorded(&[1, 5, 9, 0, 5, 700]));
    }

    #[test]
    fn nothing_has_quantiles_of_zero() {
        let snapshot = Histogram::default().snapshot();
        assert_eq!((snapshot.quantile(0.5), snapshot.quantile(1.0), snapshot.mean()), (0, 0, 0.0));
    }

    fn recorded(values: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram.snapshot()
    }
}
