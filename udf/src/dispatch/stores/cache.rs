//! [`PartialCache`], the answers that a runtime keeps for later queries, each as it came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use lru::LruCache;
use tokio::time::Instant;

use crate::dispatch::effort::Effort;
use crate::dispatch::held::HeldBuffers;
use crate::dispatch::meters::metrics::CallMetrics;
use crate::dispatch::stores::cached::{Cached, ENTRY_BYTES};
use crate::dispatch::stores::followers::{Delivery, Followers, Found, Inbox, Lead};
use crate::error::CallError;
use crate::settings::resolved::Resolved;

/// How much a cache keeps of one function, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheLimits {
    pub(crate) max_bytes: usize,
    pub(crate) max_rows: usize,
    /// The age of an answer.
    ttl: Option<Duration>,
    /// The time since an answer was used.
    ttl_after_access: Option<Duration>,
    /// Whether keys without a row are kept.
    missing_keys: bool,
    /// The age of a whole table.
    pub(crate) reload_interval: Option<Duration>,
}

impl CacheLimits {
    /// Reads what the options say of a cache that keeps answers as they come.
    pub(crate) fn partial(options: &Resolved) -> Self {
        Self {
            max_bytes: options.cache_max_bytes(),
            max_rows: options.cache_max_rows().unwrap_or(usize::MAX),
            ttl: options.cache_ttl(),
            ttl_after_access: options.cache_ttl_after_access(),
            missing_keys: options.cache_missing_keys(),
            reload_interval: None,
        }
    }

    /// Reads what the options say of a cache that keeps a table as a whole.
    pub(crate) fn full(options: &Resolved) -> Self {
        Self {
            ttl: None,
            ttl_after_access: None,
            missing_keys: true,
            reload_interval: options.cache_reload_interval(),
            ..Self::partial(options)
        }
    }
}

/// The answers of one function, over all queries of a runtime.
///
/// Capped by bytes, each buffer counted once and as a whole, and by rows: the least recently used
/// are forgotten first, calls in flight never. An answer that is too old is forgotten when it is
/// asked for. Errors are not kept.
#[derive(Debug)]
pub(crate) struct PartialCache {
    limits: CacheLimits,
    /// Whether an answer is a list of rows that were found.
    is_lookup: bool,
    state: Mutex<State>,
}

/// The arguments of a call, encoded so that equal arguments are equal bytes.
type Key = Arc<[u8]>;

#[derive(Debug)]
struct State {
    /// Calls in flight, by the number that their leader has.
    leads: HashMap<usize, Leading>,
    next_lead: usize,
    in_flight: HashMap<Key, usize>,
    kept: LruCache<Key, Kept>,
    held: HeldBuffers,
    /// What the keys and their places in the map take.
    key_bytes: usize,
    rows: usize,
    cached: Cached,
}

/// A call in flight.
#[derive(Debug)]
struct Leading {
    key: Key,
    followers: Followers,
}

#[derive(Debug)]
struct Kept {
    array: ArrayRef,
    row: usize,
    /// The rows that the answer counts as.
    rows: usize,
    written: Instant,
    used: Instant,
}

impl Kept {
    fn is_over(&self, limits: &CacheLimits, now: Instant) -> bool {
        let over = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        over(self.written, limits.ttl) || over(self.used, limits.ttl_after_access)
    }
}

impl State {
    /// Returns the answer to a call that is not too old.
    fn find(
        &mut self,
        key: &[u8],
        limits: &CacheLimits,
        now: Instant,
    ) -> Option<(ArrayRef, usize)> {
        let kept = self.kept.get_mut(key)?;
        if !kept.is_over(limits, now) {
            kept.used = now;
            return Some((Arc::clone(&kept.array), kept.row));
        }
        if let Some(kept) = self.kept.pop(key) {
            self.release(key, &kept);
        }
        None
    }

    /// Returns an equal call in flight.
    fn leading(&mut self, key: &[u8]) -> Option<&mut Leading> {
        self.leads.get_mut(self.in_flight.get(key)?)
    }

    /// Adds a call in flight.
    fn lead(&mut self, key: &[u8]) -> Lead {
        let key: Key = key.into();
        let id = self.next_lead;
        self.next_lead += 1;
        let followers = Followers::default();
        self.leads.insert(id, Leading { key: Arc::clone(&key), followers });
        self.in_flight.insert(key, id);
        Lead(id)
    }

    /// Takes a call that is in flight no longer.
    fn landed(&mut self, Lead(id): Lead) -> Option<Leading> {
        let leading = self.leads.remove(&id)?;
        self.in_flight.remove(&leading.key);
        Some(leading)
    }

    fn keep(&mut self, key: Key, array: &ArrayRef, row: usize, rows: usize, now: Instant) {
        self.held.hold(array);
        self.key_bytes += key.len() + ENTRY_BYTES;
        self.rows += rows;
        let kept = Kept { array: Arc::clone(array), row, rows, written: now, used: now };
        if let Some((key, old)) = self.kept.push(key, kept) {
            self.release(&key, &old);
        }
    }

    fn release(&mut self, key: &[u8], kept: &Kept) {
        self.held.release(&kept.array);
        self.key_bytes -= key.len() + ENTRY_BYTES;
        self.rows -= kept.rows;
    }

    fn bytes(&self) -> usize {
        self.held.bytes() + self.key_bytes
    }

    fn forget_beyond(&mut self, limits: &CacheLimits) {
        while self.bytes() > limits.max_bytes || self.rows > limits.max_rows {
            let Some((key, kept)) = self.kept.pop_lru() else { return };
            self.release(&key, &kept);
        }
    }

    fn count(&mut self) {
        let (rows, bytes) = (self.rows, self.bytes());
        self.cached.set(rows, bytes);
    }
}

impl PartialCache {
    /// Makes an empty cache, whose size is counted in `totals`.
    pub(crate) fn new(limits: CacheLimits, is_lookup: bool, totals: Arc<CallMetrics>) -> Self {
        let state = State {
            leads: HashMap::new(),
            next_lead: 0,
            in_flight: HashMap::new(),
            kept: LruCache::unbounded(),
            held: HeldBuffers::default(),
            key_bytes: 0,
            rows: 0,
            cached: Cached::new(totals),
        };
        Self { limits, is_lookup, state: Mutex::new(state) }
    }

    /// Looks up calls in one go; `position` tells the inbox which call a delivery answers.
    pub(crate) fn find<'a>(
        &self,
        keys: impl Iterator<Item = (u64, &'a [u8])>,
        inbox: &Arc<Inbox>,
        mut found: impl FnMut(u64, Found),
    ) {
        let (mut state, now) = (self.state(), Instant::now());
        for (position, key) in keys {
            if let Some((array, row)) = state.find(key, &self.limits, now) {
                found(position, Found::Answer(array, row));
            } else if let Some(leading) = state.leading(key) {
                leading.followers.add(position, inbox);
                found(position, Found::Wait);
            } else {
                found(position, Found::Lead(state.lead(key)));
            }
        }
        state.count();
    }

    /// Keeps answers and hands them to the calls that wait for them.
    pub(crate) fn complete(&self, answers: impl Iterator<Item = (Lead, usize)>, array: &ArrayRef) {
        let (mut state, now) = (self.state(), Instant::now());
        for (lead, row) in answers {
            let Some(Leading { key, followers }) = state.landed(lead) else { continue };
            followers.deliver(|position| Delivery::Value(position, Arc::clone(array), row));
            match self.rows_found(array, row) {
                0 if !self.limits.missing_keys => {}
                rows => state.keep(key, array, row, rows.max(1), now),
            }
        }
        state.forget_beyond(&self.limits);
        state.count();
    }

    /// Returns the rows of a lookup's answer; any other counts as one.
    fn rows_found(&self, array: &ArrayRef, row: usize) -> usize {
        match array.data_type() {
            DataType::List(_) if self.is_lookup => {
                array.as_list::<i32>().value_length(row) as usize
            }
            _ => 1,
        }
    }

    /// Hands an answer to the calls that wait for it, and forgets it.
    pub(crate) fn hand_on(&self, lead: Lead, array: &ArrayRef, row: usize) {
        self.end(lead, |position| Delivery::Value(position, Arc::clone(array), row));
    }

    /// Hands the leader's failure to the calls that wait for it, and forgets it.
    pub(crate) fn fail(&self, lead: Lead, error: &CallError, effort: Effort) {
        self.end(lead, |position| Delivery::Failed(position, error.clone(), effort));
    }

    /// Gives up leading: the calls that wait look for another leader.
    pub(crate) fn abandon(&self, lead: Lead) {
        self.end(lead, Delivery::Orphaned);
    }

    fn end(&self, lead: Lead, delivery: impl Fn(u64) -> Delivery) {
        if let Some(Leading { followers, .. }) = self.state().landed(lead) {
            followers.deliver(delivery);
        }
    }

    /// Returns the rows that are kept, and the bytes that they take.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.state().cached.get()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
