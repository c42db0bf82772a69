//! Work spread over threads, each with a runtime of its own.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads at most; more would not be faster than the cores that CI has.
const MAX_THREADS: usize = 8;

/// Calls `work` with the number of a thread on as many threads as there are cores, and returns
/// what each gives.
pub fn on_threads<R: Send>(work: impl AsyncFn(&Numbers) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let numbers = Numbers(AtomicUsize::new(0));
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(&numbers))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(MAX_THREADS)).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The numbers from 0, each given out to one thread.
#[derive(Debug)]
pub struct Numbers(AtomicUsize);

impl Numbers {
    /// Returns the next number, if it is below `end`.
    pub fn next_below(&self, end: usize) -> Option<usize> {
        Some(self.0.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < end)
    }
}
