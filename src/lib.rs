//! A SQL engine for queries that call something far away.
//!
//! farcall extends Apache DataFusion with asynchronous functions: it splits a query so that a call
//! is made once, lazily, only for the rows that need it, and sends the calls in batches, bounded,
//! timed, retried and in order.

pub mod catalog;
mod estimates;
pub mod metrics;
pub mod plans;
mod query_planner;
pub mod session;
pub mod sql;
pub mod streams;

pub use farcall_connect as connect;
pub use farcall_exec as exec;
pub use farcall_planner as planner;
pub use farcall_udf as udf;
pub use query_planner::FarcallQueryPlanner;
pub use session::{FarcallSession, FarcallSessionBuilder};
pub use streams::{AsyncDataStream, BatchCall};
