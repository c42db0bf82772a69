//! [`PendingBatches`], how many answered requests wait for an earlier one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dispatch::meters::Meters;

/// Counts the answered requests of one partition of which no row can be given out in order yet.
#[derive(Debug)]
pub(crate) struct PendingBatches {
    /// The first call of each.
    firsts: BinaryHeap<Reverse<u64>>,
    meters: Meters,
}

impl PendingBatches {
    pub(crate) fn new(meters: &Meters) -> Self {
        Self { firsts: BinaryHeap::new(), meters: meters.clone() }
    }

    /// Counts an answered request by its first call, given how many calls are answered without a
    /// gap.
    pub(crate) fn add(&mut self, first: u64, answered: u64) {
        if first >= answered {
            self.firsts.push(Reverse(first));
            self.meters.add_pending_batches(1);
        }
    }

    /// Forgets the requests whose turn has come.
    pub(crate) fn advance(&mut self, answered: u64) {
        while self.firsts.peek().is_some_and(|Reverse(first)| *first < answered) {
            self.firsts.pop();
            self.meters.remove_pending_batches(1);
        }
    }
}

impl Drop for PendingBatches {
    fn drop(&mut self) {
        self.meters.remove_pending_batches(self.firsts.len());
    }
}
