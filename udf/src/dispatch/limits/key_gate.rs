//! [`KeyGate`], which lets one call of a key run at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::task::AtomicWaker;

pub(crate) type Key = Arc<[u8]>;

/// The keys of one call site that are busy, over all partitions, and the calls that wait for them.
#[derive(Debug, Default)]
pub(crate) struct KeyGate(Mutex<HashMap<Key, VecDeque<Waiting>>>);

/// A call of some partition that waits for its key.
#[derive(Debug)]
pub(crate) struct Waiting {
    position: u64,
    turns: Arc<Turns>,
}

impl KeyGate {
    /// Takes the key, or waits for it behind all who came before.
    pub(crate) fn enter(&self, key: &Key, position: u64, turns: &Arc<Turns>) -> bool {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match busy.get_mut(key) {
            Some(waiting) => {
                waiting.push_back(Waiting { position, turns: Arc::clone(turns) });
                false
            }
            None => {
                busy.insert(Arc::clone(key), VecDeque::new());
                true
            }
        }
    }

    /// Gives the key to the next call that still wants it.
    pub(crate) fn leave(&self, key: &Key) {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = busy.get_mut(key) else { return };
        while let Some(next) = waiting.pop_front() {
            if next.turns.give(next.position) {
                return;
            }
        }
        busy.remove(key);
    }
}

/// The calls of one partition whose turn has come.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// `None` when the partition has gone.
    positions: Mutex<Option<Vec<u64>>>,
    pub(crate) waker: AtomicWaker,
}

impl Turns {
    pub(crate) fn open() -> Arc<Self> {
        Arc::new(Self { positions: Mutex::new(Some(Vec::new())), waker: AtomicWaker::new() })
    }

    fn give(&self, position: u64) -> bool {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(positions) = positions.as_mut() else { return false };
        positions.push(position);
        self.waker.wake();
        true
    }

    pub(crate) fn take(&self) -> Vec<u64> {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn close(&self) -> Vec<u64> {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.take().unwrap_or_default()
    }
}
