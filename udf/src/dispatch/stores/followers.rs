//! [`Followers`], calls that wait for the answer of an equal one.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::ArrayRef;
use futures::task::AtomicWaker;

use crate::dispatch::effort::Effort;
use crate::error::CallError;

/// What became of a call that another one leads.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The leader was answered.
    Value(u64, ArrayRef, usize),
    /// The leader failed for good, tried as its call site wants it.
    Failed(u64, CallError, Effort),
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

/// The duty to make a call for all that are equal to it: to complete, hand on, fail or abandon it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lead(pub(crate) usize);

/// What a call finds in the memo.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody made it yet: the caller leads.
    Lead(Lead),
    /// An equal call was answered.
    Answer(ArrayRef, usize),
    /// An equal call is on its way; the answer arrives in the inbox.
    Wait,
}

/// Calls that wait for an equal one: their positions, and where their deliveries arrive.
#[derive(Debug, Default)]
pub(crate) struct Followers(Vec<(u64, Arc<Inbox>)>);

impl Followers {
    /// Adds a call.
    pub(crate) fn add(&mut self, position: u64, inbox: &Arc<Inbox>) {
        self.0.push((position, Arc::clone(inbox)));
    }

    /// Hands something to every one of them.
    pub(crate) fn deliver(self, delivery: impl Fn(u64) -> Delivery) {
        for (position, inbox) in self.0 {
            inbox.deliver(delivery(position));
        }
    }
}

/// Where a call stands in the log; the hash is kept so that the table grows without reading keys.
///
/// There is one for each answer that is remembered, anywhere in a large table: half the bytes are
/// half the misses. Hence the last bits of the call's number.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) hash: u32,
    pub(crate) call: u32,
}

impl Place {
    /// Returns what the table goes by: it takes the place from the last bits and compares the first.
    pub(crate) fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }

    pub(crate) fn is_of(&self, call: usize) -> bool {
        self.call == call as u32
    }
}
