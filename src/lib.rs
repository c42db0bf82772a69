//! A SQL engine for queries that call something far away.
//!
//! farcall extends Apache DataFusion with asynchronous functions: it splits a query so that a call
//! is made once, lazily, only for the rows that need it, and sends the calls in batches, bounded,
//! timed, retried and in order.

pub mod cli;
pub mod config;
pub mod connect;
mod estimates;
pub mod exec;
pub mod lookup;
pub mod metrics;
pub mod models;
pub mod plans;
pub mod session;
pub mod sql;
pub mod streams;

pub use farcall_planner as planner;
pub use farcall_udf as udf;
pub use session::{FarcallSession, FarcallSessionBuilder};
pub use streams::{AsyncDataStream, BatchCall};
