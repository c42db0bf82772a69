//! [`SiteCounter`], the numbers of a session's call sites.

use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out the numbers of call sites, one counter per session.
///
/// Plans that were numbered apart are combined later (views, unions of data frames), so the numbers
/// must not start again with each plan.
#[derive(Debug, Default)]
pub struct SiteCounter(AtomicU64);

impl SiteCounter {
    /// Returns a number that no other call site of the session has.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}
