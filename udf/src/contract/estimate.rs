//! [`Estimate`], what a call costs and how often its answer is TRUE, as far as anybody knows.

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
}

#[cfg(test)]
mod tests {

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

    fn observed(value: f64) -> Option<Estimated> {
        Some(Estimated::Observed(value))
    }
}
