//! [`Credit`], the rows and calls that a limit above allows one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt};

/// How many rows a partition may take in, and how many calls it may make for them, while a limit
/// above wants only some rows.
///
/// Both begin with the rows that the limit wants. When all that came in is given out and the reader
/// still waits for more (a filter in between dropped some), what is used up doubles, so that the calls
/// made stay below twice those that were needed, and a filter that passes nearly nothing costs a
/// logarithm of rounds. Rows and calls count apart, because many rows may need no call, and then
/// suddenly all do. It is never a limit itself: whoever waits gets more while the input has rows.
#[derive(Debug)]
pub struct Credit {
    granted: Used,
    reader: Arc<Reader>,
}

/// What a partition has used of its credit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Used {
    /// Rows taken in.
    pub(super) rows: u64,
    /// Calls made for them, of the call that has made the most.
    pub(super) calls: u64,
}

impl Credit {
    /// Begins with the rows that are wanted; `None` lets in any number.
    pub fn new(demand: Option<usize>) -> Self {
        let rows = demand.map_or(u64::MAX, |rows| rows.max(1) as u64);
        Self { granted: Used { rows, calls: rows }, reader: Arc::default() }
    }

    /// Returns where the reader says that it waits.
    pub(super) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Returns how many further rows may come in, each of which may need a call.
    pub(super) fn left(&self, used: Used) -> usize {
        let rows = self.granted.rows.saturating_sub(used.rows);
        let calls = self.granted.calls.saturating_sub(used.calls);
        usize::try_from(rows.min(calls)).unwrap_or(usize::MAX)
    }

    /// Doubles what is used up if the reader has the `given` batches and waits for more; else it
    /// wakes the task when that is so.
    pub(super) fn poll_grow(&mut self, used: Used, given: u64, cx: &Context<'_>) {
        if self.reader.waits_after(given, cx) {
            let double = |granted: &mut u64, used| {
                if *granted <= used {
                    *granted = granted.saturating_mul(2);
                }
            };
            double(&mut self.granted.rows, used.rows);
            double(&mut self.granted.calls, used.calls);
        }
    }
}

/// What the reader of a partition's output tells the partition's driver.
///
/// A channel cannot tell it: a reader that took the last batch out may be done, and then the rows
/// called for on suspicion are paid for nothing. Only one that comes back and finds nothing waits.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The batches that the reader had when it last found none ready, plus one; 0 before.
    ///
    /// The number tells a reader that waits for the next batch from one that was about to get it.
    waits_with: AtomicU64,
    driver: AtomicWaker,
}

impl Reader {
    fn wait(&self, received: u64) {
        self.waits_with.store(received + 1, Ordering::Release);
        self.driver.wake();
    }

    fn waits_after(&self, given: u64, cx: &Context<'_>) -> bool {
        self.driver.register(cx.waker());
        self.waits_with.load(Ordering::Acquire) == given + 1
    }
}

/// Passes batches on, and says when the reader waits for one.
pub(super) fn announce(
    mut batches: SendableRecordBatchStream,
    reader: Arc<Reader>,
) -> impl Stream<Item = Result<RecordBatch>> {
    let mut received = 0;
    futures::stream::poll_fn(move |cx| {
        let next = batches.poll_next_unpin(cx);
        match &next {
            Poll::Pending => reader.wait(received),
            Poll::Ready(Some(_)) => received += 1,
            Poll::Ready(None) => {}
        }
        next
    })
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn doubles_when_the_reader_has_everything_and_waits() {
        let (mut credit, cx) = (Credit::new(Some(20)), Context::from_waker(Waker::noop()));
        assert_eq!((credit.left(used(0, 0)), credit.left(used(20, 20))), (20, 0));
        credit.reader().wait(3);
        credit.poll_grow(used(20, 20), 3, &cx);
        assert_eq!(credit.left(used(20, 20)), 20);
        credit.poll_grow(used(40, 40), 3, &cx);
        assert_eq!(credit.left(used(40, 40)), 40);
    }

    #[test]
    fn rows_without_a_call_do_not_raise_the_calls() {
        let (mut credit, cx) = (Credit::new(Some(20)), Context::from_waker(Waker::noop()));
        credit.reader().wait(0);
        credit.poll_grow(used(20, 0), 0, &cx);
        assert_eq!((credit.left(used(20, 0)), credit.left(used(30, 7))), (20, 10));
        assert_eq!(credit.left(used(35, 17)), 3);
        credit.poll_grow(used(38, 20), 0, &cx);
        assert_eq!(credit.left(used(38, 20)), 2);
    }

    #[test]
    fn stays_while_the_reader_is_busy_or_has_a_batch_before_it() {
        let (mut credit, cx) = (Credit::new(Some(20)), Context::from_waker(Waker::noop()));
        credit.poll_grow(used(20, 20), 0, &cx);
        // It began to wait before the last batch was sent.
        credit.reader().wait(2);
        credit.poll_grow(used(20, 20), 3, &cx);
        assert_eq!(credit.left(used(20, 20)), 0);
    }

    #[test]
    fn without_a_limit_every_row_may_come_in() {
        assert!(Credit::new(None).left(used(1_000_000, 1_000_000)) > usize::MAX / 2);
        assert_eq!(Credit::new(Some(0)).left(used(0, 0)), 1);
    }

    fn used(rows: u64, calls: u64) -> Used {
        Used { rows, calls }
    }
}
