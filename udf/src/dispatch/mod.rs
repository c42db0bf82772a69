//! How a call happens: batched, bounded, timed, retried, in order.

pub mod limit;
pub mod metrics;
pub(crate) mod dedup;
