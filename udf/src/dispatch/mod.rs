//! How a call happens: batched, bounded, timed, retried, in order.

pub(crate) mod dedup;
pub mod limit;
pub mod metrics;
