//! A SQL engine for queries that call something far away.
//!
//! farcall extends Apache DataFusion with asynchronous functions: it splits a query so that a call
//! is made once, lazily, only for the rows that need it, and sends the calls in batches, bounded,
//! timed, retried and in order.

pub mod catalog;
mod estimates;
#[cfg(feature = "files")]
pub mod files;
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

/// The Rust of the documentation, as doc tests; tests/it/docs.rs runs the rest of it.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/errors.md")]
    mod errors {}
    #[doc = include_str!("../docs/rust.md")]
    mod rust {}
    #[doc = include_str!("../docs/table-functions.md")]
    mod table_functions {}
    #[doc = include_str!("../docs/testing-plans.md")]
    mod testing_plans {}
}
