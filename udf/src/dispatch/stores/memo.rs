//! [`Memo`], the answers given so far within a query, so that equal calls are made once.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::ArrayRef;
use datafusion_execution::memory_pool::MemoryReservation;
use hashbrown::hash_table::{Entry, HashTable};

use crate::contract::sizes::average_bytes;
use crate::dispatch::effort::Effort;
use crate::dispatch::stores::call_log::{CallLog, Known};
use crate::dispatch::stores::followers::{Delivery, Followers, Found, Inbox, Lead, Place};
use crate::error::CallError;

/// What an answer costs besides its key and its value: the places in log and table, and the slack of
/// these as they grow.
const ENTRY_BYTES: usize = 64;

#[derive(Debug, Default)]
struct Entries {
    /// The calls with their keys: arguments, encoded so that equal arguments are equal bytes.
    log: CallLog,
    by_key: HashTable<Place>,
    hasher: hashbrown::DefaultHashBuilder,
    /// Answers to calls before this one are forgotten.
    oldest: usize,
    bytes: usize,
    /// Where the bytes are accounted, if they belong to a query.
    account: Option<MemoryReservation>,
}

impl Entries {
    /// Finds a call; one that is not there is added as in flight.
    fn find_or_lead(&mut self, key: &[u8]) -> Result<Known<'_>, Lead> {
        let Self { log, by_key, .. } = self;
        let hash = self.hasher.hash_one(key) as u32;
        let equal =
            |place: &Place| place.hash == hash && log.key(log.number(place.call)) == Some(key);
        let spread = |place: &Place| Place::spread(place.hash);
        let call = match by_key.entry(Place::spread(hash), equal, spread) {
            Entry::Occupied(place) => log.number(place.get().call),
            Entry::Vacant(vacant) => {
                let call = log.lead(key);
                vacant.insert(Place { hash, call: call as u32 });
                return Err(Lead(call));
            }
        };
        log.known(call).ok_or(Lead(call))
    }

    /// Remembers an answer for calls to come, unless younger ones had to make room already.
    fn answer(&mut self, Lead(call): Lead, array: &ArrayRef, row: usize, row_bytes: usize) {
        let followers = if call < self.oldest {
            self.end(Lead(call))
        } else {
            self.log.answer(call, array, row, row_bytes).map(|(followers, bytes)| {
                self.bytes += bytes + ENTRY_BYTES;
                followers
            })
        };
        if let Some(followers) = followers {
            followers.deliver(|position| Delivery::Value(position, Arc::clone(array), row));
        }
    }

    /// Forgets a call; returns those that wait for it.
    fn end(&mut self, Lead(call): Lead) -> Option<Followers> {
        if let Some(key) = self.log.key(call) {
            let hash = Place::spread(self.hasher.hash_one(key) as u32);
            if let Ok(place) = self.by_key.find_entry(hash, |place| place.is_of(call)) {
                place.remove();
            }
        }
        let ended = self.log.end(call)?;
        if let Some(bytes) = ended.answer_bytes {
            self.bytes -= bytes + ENTRY_BYTES;
        }
        Some(ended.followers)
    }

    /// Forgets the oldest answers as long as all take more than that.
    fn forget_beyond(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes
            && let Some(call) = self.log.next_answered(self.oldest)
        {
            self.end(Lead(call));
            self.oldest = call + 1;
        }
    }

    /// Accounts for the bytes; answers for which the pool has no room are forgotten.
    fn settle_account(&mut self) {
        let account = self.account.as_ref();
        let refused = account.filter(|account| account.try_resize(self.bytes).is_err());
        let Some(granted) = refused.map(MemoryReservation::size) else { return };
        self.forget_beyond(granted);
        if let Some(account) = &self.account {
            account.resize(self.bytes);
        }
    }
}

/// The answers of one function, over all call sites and partitions of a query.
///
/// Capped by bytes: the oldest answers are forgotten first, calls in flight never. Errors are not
/// remembered. The bytes are accounted in the query's memory pool: when that refuses, answers are
/// forgotten, too.
#[derive(Debug)]
pub(crate) struct Memo {
    max_bytes: AtomicUsize,
    entries: Mutex<Entries>,
}

impl Memo {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes: max_bytes.into(), entries: Mutex::default() }
    }

    /// Raises the cap: call sites share the answers, so the one that allows most decides.
    pub(crate) fn allow(&self, max_bytes: usize) {
        self.max_bytes.fetch_max(max_bytes, Ordering::Relaxed);
    }

    /// Accounts for the bytes of the answers.
    pub(crate) fn accounted(self, account: MemoryReservation) -> Self {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).account = Some(account);
        self
    }

    /// Looks up calls in one go; `position` tells the inbox which call a delivery answers.
    pub(crate) fn find<'a>(
        &self,
        keys: impl Iterator<Item = (u64, &'a [u8])>,
        inbox: &Arc<Inbox>,
        mut found: impl FnMut(u64, Found),
    ) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, key) in keys {
            let what = match entries.find_or_lead(key) {
                Err(lead) => Found::Lead(lead),
                Ok(Known::Answered(array, row)) => Found::Answer(Arc::clone(array), row),
                Ok(Known::InFlight(followers)) => {
                    followers.add(position, inbox);
                    Found::Wait
                }
            };
            found(position, what);
        }
    }

    /// Remembers answers and hands them to the calls that wait for them.
    pub(crate) fn complete(&self, answers: impl Iterator<Item = (Lead, usize)>, array: &ArrayRef) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let row_bytes = average_bytes(array);
        for (lead, row) in answers {
            entries.answer(lead, array, row, row_bytes);
        }
        entries.forget_beyond(self.max_bytes.load(Ordering::Relaxed));
        entries.settle_account();
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
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(followers) = entries.end(lead) {
            followers.deliver(delivery);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn followers_get_the_leaders_answer() {
        let (memo, inbox) = (Memo::new(1 << 20), Arc::new(Inbox::default()));
        let Found::Lead(lead) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Wait));
        memo.complete([(lead, 0)].into_iter(), &ints(1));
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Value(1, _, 0)]));
        assert!(matches!(look(&memo, &inbox, 2, b"a"), Found::Answer(_, 0)));
    }

    #[test]
    fn followers_of_a_cancelled_leader_look_again() {
        let (memo, inbox) = (Memo::new(1 << 20), Arc::new(Inbox::default()));
        let Found::Lead(lead) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Wait));
        memo.abandon(lead);
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Orphaned(1)]));
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Lead(_)));
    }

    #[test]
    fn an_answer_handed_on_is_not_remembered() {
        let (memo, inbox) = (Memo::new(1 << 20), Arc::new(Inbox::default()));
        let Found::Lead(lead) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Wait));
        memo.hand_on(lead, &ints(1), 0);
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Value(1, _, 0)]));
        assert!(matches!(look(&memo, &inbox, 2, b"a"), Found::Lead(_)));
    }

    #[test]
    fn forgets_the_oldest_answer_first() {
        let (memo, inbox) = (Memo::new(2 * (1 + 8 + ENTRY_BYTES)), Arc::new(Inbox::default()));
        for (position, key) in [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d"), (4, b"e")] {
            let Found::Lead(lead) = look(&memo, &inbox, position, key) else { panic!("no lead") };
            memo.complete([(lead, 0)].into_iter(), &ints(1));
        }
        assert!(matches!(look(&memo, &inbox, 9, b"e"), Found::Answer(..)));
        assert!(matches!(look(&memo, &inbox, 9, b"d"), Found::Answer(..)));
        assert!(matches!(look(&memo, &inbox, 9, b"c"), Found::Lead(_)));
    }

    #[test]
    fn an_answer_that_comes_after_younger_ones_were_forgotten_is_not_remembered() {
        let (memo, inbox) = (Memo::new(0), Arc::new(Inbox::default()));
        let Found::Lead(slow) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        let Found::Lead(fast) = look(&memo, &inbox, 1, b"b") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 2, b"a"), Found::Wait));
        memo.complete([(fast, 0)].into_iter(), &ints(1));
        memo.complete([(slow, 0)].into_iter(), &ints(1));
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Value(2, _, 0)]));
        assert!(matches!(look(&memo, &inbox, 3, b"a"), Found::Lead(_)));
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let (memo, inbox) = (Memo::new(0), Arc::new(Inbox::default()));
        for round in 0..3 {
            let leads: Vec<Lead> = (0..1000_u32)
                .map(|key| match look(&memo, &inbox, 0, &key.to_be_bytes()) {
                    Found::Lead(lead) => lead,
                    other => panic!("{round}: {other:?}"),
                })
                .collect();
            memo.complete(leads.into_iter().zip(0..), &ints(1000));
            let entries = memo.entries.lock().unwrap();
            assert_eq!((entries.by_key.len(), entries.bytes), (0, 0));
        }
    }

    fn look(memo: &Memo, inbox: &Arc<Inbox>, position: u64, key: &[u8]) -> Found {
        let mut result = None;
        memo.find([(position, key)].into_iter(), inbox, |_, found| result = Some(found));
        result.unwrap()
    }

    fn ints(rows: usize) -> ArrayRef {
        Arc::new(Int64Array::from(vec![7; rows]))
    }
}
