//! A SQL engine for queries that call something far away.
//!
//! farcall extends Apache DataFusion with asynchronous functions: it splits a query so that a call
//! is made once, lazily, only for the rows that need it, and sends the calls in batches, bounded,
//! timed, retried and in order.
//!
//! ```
//! use farcall::FarcallSession;
//! use farcall::udf::{CallError, async_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> datafusion::error::Result<()> {
//! let session = FarcallSession::new()?;
//! session.register(async_fn("double", |x: i64| async move { Ok::<i64, CallError>(2 * x) }));
//! // The call is made for the one row that passes the condition.
//! let sql = "SELECT double(x) AS y FROM (VALUES (1), (21)) AS t (x) WHERE x > 20";
//! let rows = session.sql(sql).await?.to_string().await?;
//! assert!(rows.contains("| 42 |"), "{rows}");
//! # Ok(())
//! # }
//! ```
//!
//! Where things are: [`udf`] what is called, [`planner`] where and for which rows, [`exec`] the
//! operators, [`connect`] models and stores, [`catalog`] what SQL defines, [`streams`] calls without
//! SQL, [`plans`] snapshots of plans for tests, [`metrics`] what was counted.

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
