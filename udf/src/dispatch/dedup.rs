//! [`Memo`], the answers given so far within a query, so that equal calls are made once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef};
use datafusion_execution::memory_pool::MemoryReservation;
use futures::task::AtomicWaker;

use crate::error::CallError;
use crate::scope::CallSite;

/// What an answer costs besides its key and its value: the places in map and queue, two counts of
/// references, and the slack of a growing map.
pub(crate) const ENTRY_BYTES: usize = 128;

/// The arguments of a call, encoded so that equal arguments are equal bytes.
pub(crate) type Key = Arc<[u8]>;

/// What became of a call that another one leads.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The leader was answered.
    Value(u64, ArrayRef, usize),
    /// The leader failed for good, tried as its call site wants it.
    Failed(u64, CallError, Arc<CallSite>),
    /// The leader was cancelled: the call must look for another one, or lead itself.
    Orphaned(u64),
}

/// Where the deliveries for one partition's calls arrive.
///
/// Bounded by the partition's buffered rows: each waiting call gets one delivery.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    deliveries: Mutex<Vec<Delivery>>,
    waker: AtomicWaker,
}

impl Inbox {
    fn deliver(&self, delivery: Delivery) {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
        self.waker.wake();
    }

    /// Takes all deliveries; without one, the task of `cx` is woken by the next.
    pub(crate) fn take(&self, cx: &std::task::Context<'_>) -> Vec<Delivery> {
        self.waker.register(cx.waker());
        std::mem::take(&mut self.deliveries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a call finds in the memo.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody made it yet: the caller leads, and must complete, fail or abandon it.
    Lead(Key),
    /// An equal call was answered.
    Answer(ArrayRef, usize),
    /// An equal call is on its way; the answer arrives in the inbox.
    Wait,
}

/// Calls that wait for an equal one: their positions, and where their deliveries arrive.
pub(crate) type Followers = Vec<(u64, Arc<Inbox>)>;

/// Hands something to every call that waits for an equal one.
pub(crate) fn deliver(followers: Followers, delivery: impl Fn(u64) -> Delivery) {
    for (position, inbox) in followers {
        inbox.deliver(delivery(position));
    }
}

#[derive(Debug)]
enum Entry {
    InFlight(Followers),
    Answered { array: ArrayRef, row: usize, bytes: usize },
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// Answered calls, the oldest first; a key stands there once.
    answered: VecDeque<Key>,
    bytes: usize,
    /// Where the bytes are accounted, if they belong to a query.
    account: Option<MemoryReservation>,
}

impl Entries {
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.answered.pop_front()
            && let Some(Entry::Answered { bytes, .. }) = self.by_key.remove(&oldest)
        {
            self.bytes -= bytes;
        }
    }

    fn forget_beyond(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes && !self.answered.is_empty() {
            self.forget_oldest();
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
    max_bytes: usize,
    entries: Mutex<Entries>,
}

impl Memo {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, entries: Mutex::default() }
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
            match entries.by_key.get_mut(key) {
                Some(Entry::Answered { array, row, .. }) => {
                    found(position, Found::Answer(Arc::clone(array), *row));
                }
                Some(Entry::InFlight(followers)) => {
                    followers.push((position, Arc::clone(inbox)));
                    found(position, Found::Wait);
                }
                None => {
                    let key: Key = key.into();
                    entries.by_key.insert(Arc::clone(&key), Entry::InFlight(Vec::new()));
                    found(position, Found::Lead(key));
                }
            }
        }
    }

    /// Remembers answers and hands them to the calls that wait for them.
    pub(crate) fn complete(&self, answers: impl Iterator<Item = (Key, usize)>, array: &ArrayRef) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // The array may be a small part of a large one: then its buffers say too much.
        let row_bytes = array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| array.get_buffer_memory_size())
            .div_ceil(array.len().max(1));
        for (key, row) in answers {
            let bytes = key.len() + row_bytes + ENTRY_BYTES;
            let answered = Entry::Answered { array: Arc::clone(array), row, bytes };
            if let Some(Entry::InFlight(followers)) =
                entries.by_key.insert(Arc::clone(&key), answered)
            {
                deliver(followers, |position| Delivery::Value(position, Arc::clone(array), row));
            }
            entries.answered.push_back(key);
            entries.bytes += bytes;
        }
        entries.forget_beyond(self.max_bytes);
        entries.settle_account();
    }

    /// Hands an answer to the calls that wait for it, and forgets it.
    pub(crate) fn hand_on(&self, key: &Key, array: &ArrayRef, row: usize) {
        self.end(key, |position| Delivery::Value(position, Arc::clone(array), row));
    }

    /// Hands the leader's failure to the calls that wait for it, and forgets it.
    pub(crate) fn fail(&self, key: &Key, error: &CallError, site: &Arc<CallSite>) {
        self.end(key, |position| Delivery::Failed(position, error.clone(), Arc::clone(site)));
    }

    /// Gives up leading: the calls that wait look for another leader.
    pub(crate) fn abandon(&self, key: &Key) {
        self.end(key, Delivery::Orphaned);
    }

    fn end(&self, key: &Key, delivery: impl Fn(u64) -> Delivery) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Entry::InFlight(followers)) = entries.by_key.remove(key) {
            deliver(followers, delivery);
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
        let Found::Lead(key) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Wait));
        memo.complete([(key, 0)].into_iter(), &ints(1));
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Value(1, _, 0)]));
        assert!(matches!(look(&memo, &inbox, 2, b"a"), Found::Answer(_, 0)));
    }

    #[test]
    fn followers_of_a_cancelled_leader_look_again() {
        let (memo, inbox) = (Memo::new(1 << 20), Arc::new(Inbox::default()));
        let Found::Lead(key) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Wait));
        memo.abandon(&key);
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Orphaned(1)]));
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Lead(_)));
    }

    #[test]
    fn an_answer_handed_on_is_not_remembered() {
        let (memo, inbox) = (Memo::new(1 << 20), Arc::new(Inbox::default()));
        let Found::Lead(key) = look(&memo, &inbox, 0, b"a") else { panic!("no lead") };
        assert!(matches!(look(&memo, &inbox, 1, b"a"), Found::Wait));
        memo.hand_on(&key, &ints(1), 0);
        let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
        assert!(matches!(deliveries.as_slice(), [Delivery::Value(1, _, 0)]));
        assert!(matches!(look(&memo, &inbox, 2, b"a"), Found::Lead(_)));
    }

    #[test]
    fn forgets_the_oldest_answer_first() {
        let (memo, inbox) = (Memo::new(2 * (1 + 8 + ENTRY_BYTES)), Arc::new(Inbox::default()));
        for (position, key) in [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d"), (4, b"e")] {
            let Found::Lead(key) = look(&memo, &inbox, position, key) else { panic!("no lead") };
            memo.complete([(key, 0)].into_iter(), &ints(1));
        }
        assert!(matches!(look(&memo, &inbox, 9, b"e"), Found::Answer(..)));
        assert!(matches!(look(&memo, &inbox, 9, b"d"), Found::Answer(..)));
        assert!(matches!(look(&memo, &inbox, 9, b"c"), Found::Lead(_)));
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
