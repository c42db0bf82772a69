//! [`Window`], the requests of one call site in flight at once, seen from one partition.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// One partition's door to the window that all partitions of a call site share.
///
/// A permit that was asked for must be used at once: a partition that holds one and is not polled
/// would stop the others. Hence only a driver task may poll this, never a consumer.
#[derive(Debug)]
pub(crate) struct Window(PollSemaphore);

impl Window {
    pub(crate) fn new(permits: Arc<Semaphore>) -> Self {
        Self(PollSemaphore::new(permits))
    }

    /// Asks for the right to have one more request in flight, first in, first out.
    pub(crate) fn poll_permit(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<OwnedSemaphorePermit>> {
        self.0.poll_acquire(cx)
    }
}
