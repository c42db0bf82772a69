//! [`CallCounts`], a number per function.

use std::collections::BTreeMap;
use std::fmt;

/// A number per function: of its call sites in a plan, or of the calls made.
///
/// Shown as `f 60, g 20`, or `none`. A function and its `try_` form are one function; a model is
/// counted under its own name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallCounts(BTreeMap<String, usize>);

impl CallCounts {
    /// Returns the number of a function; 0 for one that does not occur.
    pub fn of(&self, function: &str) -> usize {
        self.0.get(function).copied().unwrap_or(0)
    }

    /// Returns the sum over all functions.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Returns the functions in the order of their names, those with 0 too.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(function, count)| (function.as_str(), *count))
    }

    pub(super) fn add(&mut self, function: &str, count: usize) {
        *self.0.entry(function.to_owned()).or_default() += count;
    }
}

impl fmt::Display for CallCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, (function, count)) in self.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{function} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_and_shown_by_name() {
        let mut counts = CallCounts::default();
        assert_eq!((counts.to_string().as_str(), counts.of("f")), ("none", 0));
        for (function, count) in [("g", 2), ("f", 1), ("g", 3), ("h", 0)] {
            counts.add(function, count);
        }
        assert_eq!(counts.to_string(), "f 1, g 5, h 0");
        assert_eq!((counts.of("g"), counts.total()), (5, 6));
    }
}
