//! [`Tally`], what a run of random queries has seen.

use std::collections::BTreeMap;

/// What a run has seen.
#[derive(Debug, Default)]
pub struct Tally {
    pub queries: usize,
    pub unfit: usize,
    pub refused: BTreeMap<String, usize>,
    pub superfluous: BTreeMap<String, usize>,
    pub fewer: usize,
    pub calls: usize,
    /// How many queries each rule changed.
    pub fired: BTreeMap<String, usize>,
}

impl Tally {
    /// Adds what another thread has seen.
    pub fn add(&mut self, other: Self) {
        let Self { queries, unfit, refused, superfluous, fewer, calls, fired } = other;
        self.queries += queries;
        self.unfit += unfit;
        self.fewer += fewer;
        self.calls += calls;
        for (sum, part) in [
            (&mut self.refused, refused),
            (&mut self.superfluous, superfluous),
            (&mut self.fired, fired),
        ] {
            for (name, count) in part {
                *sum.entry(name).or_default() += count;
            }
        }
    }
}
