//! [`Cached`], how much a cache holds, as its function counts it.

use std::sync::Arc;

use crate::dispatch::meters::metrics::CallMetrics;

/// What an answer costs besides its key and its value: the places in list and map, and the slack of
/// these as they grow.
pub(crate) const ENTRY_BYTES: usize = 128;

/// The rows and bytes of one cache, added to those of its function until it is dropped.
#[derive(Debug)]
pub(crate) struct Cached {
    totals: Arc<CallMetrics>,
    rows: usize,
    bytes: usize,
}

impl Cached {
    pub(crate) fn new(totals: Arc<CallMetrics>) -> Self {
        Self { totals, rows: 0, bytes: 0 }
    }

    /// Returns rows and bytes.
    pub(crate) fn get(&self) -> (usize, usize) {
        (self.rows, self.bytes)
    }

    /// Says how much the cache holds now.
    pub(crate) fn set(&mut self, rows: usize, bytes: usize) {
        self.totals.change_cached((self.rows, self.bytes), (rows, bytes));
        (self.rows, self.bytes) = (rows, bytes);
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}
