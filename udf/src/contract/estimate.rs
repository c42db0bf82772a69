//! [`Estimate`], what a call costs and how often its answer is TRUE, as far as anybody knows.

use crate::contract::declaration::Declaration;
use crate::options::CallOptions;

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
    /// Returns what is declared, the options of the narrowest level first.
    pub fn declared(declaration: &Declaration, options: &CallOptions) -> Self {
        let cost = options.declared_cost().or(declaration.cost());
        let selectivity = options.declared_selectivity().or(declaration.selectivity());
        Self {
            cost: cost.map(Estimated::Declared),
            selectivity: selectivity.map(Estimated::Declared),
        }
    }

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
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn the_narrowest_declaration_wins_over_what_was_observed() {
        let declaration = Declaration::new("p", vec![DataType::Int64], DataType::Boolean)
            .with_cost(5.0)
            .with_selectivity(0.5);
        let options = CallOptions::new().with_cost(7.0);
        let observed = Estimate { cost: observed(1.0), selectivity: observed(0.1) };
        let estimate = Estimate::declared(&declaration, &options).or(observed);
        let declared = |value| Some(Estimated::Declared(value));
        assert_eq!(estimate, Estimate { cost: declared(7.0), selectivity: declared(0.5) });
        let bare = Declaration::new("p", vec![DataType::Int64], DataType::Boolean);
        assert_eq!(Estimate::declared(&bare, &CallOptions::new()).or(observed), observed);
    }

    fn observed(value: f64) -> Option<Estimated> {
        Some(Estimated::Observed(value))
    }
}
