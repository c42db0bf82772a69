//! What farcall calls, and how one call is made.
//!
//! The crate knows no plan and no network. It has the functions that users write, in one row or many
//! ([`async_fn`], [`async_table_fn`], [`AsyncScalarFunction`], [`AsyncBatchFunction`],
//! [`AsyncTableFunction`], [`AsyncBatchLookupFunction`]), their options ([`CallOptions`]) and errors
//! ([`CallError`]), and the dispatcher that batches, bounds, times, retries and orders their calls.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use farcall_udf::{AsyncFunction, AsyncUdf, CallError, CallOptions, FarcallRuntime, async_fn};
//!
//! let shout = async_fn("shout", |text: String| async move {
//!     Ok::<String, CallError>(text.to_uppercase())
//! });
//! let options = CallOptions::new().with_timeout(Duration::from_secs(10)).with_buffer_capacity(50);
//! // A farcall session registers it as it is; this makes it a function of any DataFusion session.
//! let runtime = Arc::new(FarcallRuntime::new());
//! let udf = AsyncUdf::new(shout).with_call_options(options).into_async_scalar_udf(&runtime);
//! assert_eq!(udf.into_scalar_udf().name(), "shout");
//! ```

pub(crate) mod adapt;
mod async_udf;
pub(crate) mod contract;
mod dispatch;
mod error;
mod options;
mod plain;
pub(crate) mod settings;
pub mod testing;

pub use crate::adapt::any::AsyncFunction;
pub use crate::adapt::lookup_table::LookupTable;
pub use crate::adapt::typed::{TypedArgs, TypedClosure, TypedFunction, async_fn};
pub use crate::adapt::typed_table::{TypedRow, TypedTableFunction, async_table_fn};
pub use crate::adapt::typed_value::TypedValue;
pub use crate::async_udf::AsyncUdf;
pub use crate::contract::answer::{BatchAnswer, RateHints, ResponseMetadata, Usage};
pub use crate::contract::args::ArgBatch;
pub use crate::contract::connector::{LookupConnector, LookupDefinition, RowSource};
pub use crate::contract::context::{CallContext, FunctionContext, Parameters};
pub use crate::contract::declaration::{Declaration, Determinism, Recipe};
pub use crate::contract::function::{AsyncBatchFunction, AsyncScalarFunction};
pub use crate::contract::kind::Kind;
pub use crate::contract::lookup::{
    AsyncBatchLookupFunction, LookupAnswer, LookupProvider, LookupQuery, LookupScan,
};
pub use crate::contract::lookup_reader::LookupReader;
pub use crate::contract::opened::Opened;
pub use crate::contract::provider::{ModelDefinition, ModelProvider};
pub use crate::contract::resources::Resources;
pub use crate::contract::table::AsyncTableFunction;
pub use crate::dispatch::limits::quota::{Grant, LocalQuota, Quota};
pub use crate::dispatch::meters::histogram::{Histogram, HistogramBucket, HistogramSnapshot};
pub use crate::dispatch::meters::metrics::{CallMetrics, MetricsSnapshot};
pub use crate::dispatch::query::runtime::FarcallRuntime;
pub use crate::error::{CallError, ErrorClass};
pub use crate::options::name::canonical;

pub use crate::options::words::{
    Cache, Mode, NullInput, OnError, OutputMode, RetryPredicate, RetryStrategy, TimeoutPolicy,
};
pub use crate::options::{CallOptions, OptionInfo};
pub use crate::settings::config::FarcallConfig;
pub use crate::settings::level::Level;
pub use crate::settings::resolved::Resolved;

// What the operators and the planner need of the mechanism: no promise is made for it.
#[doc(hidden)]
pub use crate::adapt::any::TryFunction;
#[doc(hidden)]
pub use crate::adapt::lookup_table::LookupRecipeFn;
#[doc(hidden)]
pub use crate::adapt::rows::{PendingRow, RowBurst, RowFunction};
#[doc(hidden)]
pub use crate::contract::estimate::{Estimate, Estimated};
#[doc(hidden)]
pub use crate::contract::list_type::rows_of;
#[doc(hidden)]
pub use crate::dispatch::held::HeldBuffers;
#[doc(hidden)]
pub use crate::dispatch::limits::{Limiter, Limits};
#[doc(hidden)]
pub use crate::dispatch::query::execution_id::ExecutionId;
#[doc(hidden)]
pub use crate::dispatch::query::scope::{QueryScope, RowHolder};
#[doc(hidden)]
pub use crate::dispatch::query::site::CallSite;
#[doc(hidden)]
pub use crate::dispatch::{Dispatcher, check_default};
