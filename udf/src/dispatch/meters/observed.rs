//! What the counters of a function tell of its next calls.

use crate::contract::estimate::{Estimate, Estimated};
use crate::dispatch::meters::metrics::CallMetrics;

/// Calls after which what was observed of a function counts: fewer say little.
const MIN_CALLS: usize = 32;

/// What a call costs at least, in seconds: below, times are noise beside those of a network.
const MIN_COST: f64 = 0.001;

impl CallMetrics {
    /// Returns what the counters of a function tell: nothing before [`MIN_CALLS`] calls.
    ///
    /// A cost is a power of two of milliseconds: what differs by less is not worth another plan. It
    /// comes from the median of attempts, which a single slow one does not move. The answers of a
    /// function that costs next to nothing are not worth another order either: no selectivity.
    pub(crate) fn estimate(&self) -> Estimate {
        let calls = self.snapshot().calls;
        let attempts = self.call_duration();
        if calls < MIN_CALLS || attempts.count == 0 {
            return Estimate::default();
        }
        let seconds = attempts.quantile(0.5) as f64 * 1e-6 * attempts.count as f64 / calls as f64;
        let doublings = (seconds / MIN_COST).log2().round().max(0.0);
        let selectivity = self.share_passed().filter(|_| doublings > 0.0);
        Estimate {
            cost: Some(Estimated::Observed(MIN_COST * doublings.exp2())),
            selectivity: selectivity.map(Estimated::Observed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn observes_the_time_of_a_call_in_powers_of_two() {
        // 8 requests of 100 ms for 64 calls, and one that hung.
        let counted = counted(64, 8, Duration::from_millis(100));
        counted.add_request_time(Duration::from_secs(60));
        counted.add_answers(16, 64);
        let estimate = Estimate { cost: observed(0.016), selectivity: observed(0.25) };
        assert_eq!(counted.estimate(), estimate);
    }

    #[test]
    fn a_function_that_answers_at_once_differs_from_no_other() {
        let counted = counted(64, 64, Duration::from_micros(30));
        counted.add_answers(1, 64);
        let estimate = Estimate { cost: observed(0.001), selectivity: None };
        assert_eq!(counted.estimate(), estimate);
    }

    #[test]
    fn a_few_calls_tell_nothing() {
        let counted = counted(MIN_CALLS - 1, 8, Duration::from_millis(100));
        assert_eq!(counted.estimate(), Estimate::default());
    }

    fn observed(value: f64) -> Option<Estimated> {
        Some(Estimated::Observed(value))
    }

    fn counted(calls: usize, attempts: usize, took: Duration) -> CallMetrics {
        let counted = CallMetrics::default();
        counted.add_calls(calls);
        (0..attempts).for_each(|_| counted.add_request_time(took));
        counted
    }
}
