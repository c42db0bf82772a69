//! [`Limiter`], the limits that everything in a runtime shares when it calls the same function.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The right to make one attempt; returned with the response, never held while backing off.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

/// Bounds how many attempts at one function run at the same time in a runtime.
///
/// First in, first out. A later limiter (requests and tokens per time, adaptive concurrency) only
/// has to hand out [`Permit`]s.
#[derive(Debug)]
pub struct Limiter {
    max_concurrency: Option<usize>,
    permits: Option<Arc<Semaphore>>,
}

impl Limiter {
    /// Makes a limiter; `None` limits nothing.
    pub fn new(max_concurrency: Option<usize>) -> Self {
        let permits = max_concurrency
            .map(|permits| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))));
        Self { max_concurrency, permits }
    }

    /// Returns the limit.
    pub fn max_concurrency(&self) -> Option<usize> {
        self.max_concurrency
    }

    /// Says whether every permit is granted at once.
    pub fn is_unlimited(&self) -> bool {
        self.permits.is_none()
    }

    /// Waits for the right to make one attempt.
    pub async fn acquire(&self) -> Permit {
        match &self.permits {
            // The semaphore is never closed, so that an error cannot occur; if it did, a missing
            // limit would be less harm than a lost query.
            Some(permits) => Permit(Arc::clone(permits).acquire_owned().await.ok()),
            None => Permit(None),
        }
    }
}
