//! [`Estimate`], what a call costs and how often its answer is TRUE, as far as anybody knows.

use crate::dispatch::meters::metrics::CallMetrics;

/// Calls after which what was observed of a function counts: fewer say little.
const MIN_CALLS: usize = 32;

/// What a call costs at least, in seconds: below, times are noise beside those of a network.
const MIN_COST: f64 = 0.001;

/// A number, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Estimated {
    /// Somebody declared it: in Rust, in `WITH`, or by `SET`.
    Declared(f64),
    /// Earlier queries of the runtime measured it.
    Observed(f64),
}

impl Estimated {
    /// Returns the number.
    pub fn value(self) -> f64 {
        match self {
            Self::Declared(value) | Self::Observed(value) => value,
        }
    }

    /// Returns the number if somebody declared it.
    pub fn declared(self) -> Option<f64> {
        match self {
            Self::Declared(value) => Some(value),
            Self::Observed(_) => None,
        }
    }
}

/// What is known of the calls of a function before they are made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    /// What a call costs: observed in seconds, declared in any unit that all functions of a query
    /// share.
    pub cost: Option<Estimated>,
    /// The share of the rows for which a boolean function is TRUE, from 0 to 1.
    pub selectivity: Option<Estimated>,
}

impl Estimate {
    /// Fills what is not declared with what was observed.
    pub fn or(self, observed: Self) -> Self {
        Self {
            cost: self.cost.or(observed.cost),
            selectivity: self.selectivity.or(observed.selectivity),
        }
    }

    /// Returns what the counters of a function tell: nothing before [`MIN_CALLS`] calls.
    ///
    /// A cost is a power of two of milliseconds: what differs by less is not worth another plan. It
    /// comes from the median of attempts, which a single slow one does not move. The answers of a
    /// function that costs next to nothing are not worth another order either: no selectivity.
    pub(crate) fn observed(counted: &CallMetrics) -> Self {
        let calls = counted.snapshot().calls;
        let attempts = counted.call_duration();
        if calls < MIN_CALLS || attempts.count == 0 {
            return Self::default();
        }
        let seconds = attempts.quantile(0.5) as f64 * 1e-6 * attempts.count as f64 / calls as f64;
        let doublings = (seconds / MIN_COST).log2().round().max(0.0);
        let selectivity = counted.share_passed().filter(|_| doublings > 0.0);
        Self {
            cost: Some(Estimated::Observed(MIN_COST * doublings.exp2())),
            selectivity: selectivity.map(Estimated::Observed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::ScriptedFunction;
    use crate::{AsyncFunction, CallOptions, Declaration, FarcallConfig};

    #[test]
    fn the_narrowest_declaration_wins_over_what_was_observed() {
        let function = |change: fn(Declaration) -> Declaration| {
            ScriptedFunction::new("p").with_declaration(change).build().0
        };
        let observed = Estimate { cost: observed(1.0), selectivity: observed(0.1) };
        let known = |function: &AsyncFunction, options: &CallOptions| {
            FarcallConfig::default().resolve(function, options).unwrap().estimate().or(observed)
        };
        let p = function(|p| p.with_cost(5.0).with_selectivity(0.5));
        let declared = |value| Some(Estimated::Declared(value));
        let expected = Estimate { cost: declared(7.0), selectivity: declared(0.5) };
        assert_eq!(known(&p, &CallOptions::new().with_cost(7.0)), expected);
        assert_eq!(known(&function(|p| p), &CallOptions::new()), observed);
    }

    #[test]
    fn observes_the_time_of_a_call_in_powers_of_two() {
        // 8 requests of 100 ms for 64 calls, and one that hung.
        let counted = counted(64, 8, Duration::from_millis(100));
        counted.add_request_time(Duration::from_secs(60));
        counted.add_answers(16, 64);
        let estimate = Estimate { cost: observed(0.016), selectivity: observed(0.25) };
        assert_eq!(Estimate::observed(&counted), estimate);
    }

    #[test]
    fn a_function_that_answers_at_once_differs_from_no_other() {
        let counted = counted(64, 64, Duration::from_micros(30));
        counted.add_answers(1, 64);
        let estimate = Estimate { cost: observed(0.001), selectivity: None };
        assert_eq!(Estimate::observed(&counted), estimate);
    }

    #[test]
    fn a_few_calls_tell_nothing() {
        let counted = counted(MIN_CALLS - 1, 8, Duration::from_millis(100));
        assert_eq!(Estimate::observed(&counted), Estimate::default());
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
