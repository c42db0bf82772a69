//! What farcall calls, and how one call is made.
//!
//! The crate knows no plan and no network: functions ([`AsyncScalarFunction`],
//! [`AsyncBatchFunction`], [`AsyncTableFunction`], [`async_fn`]), their options and errors, and the
//! dispatcher that batches, bounds, times, retries and orders their calls.

pub(crate) mod adapt;
mod async_udf;
pub(crate) mod contract;
pub mod dispatch;
mod error;
mod options;
mod plain;
pub(crate) mod settings;
pub mod testing;

pub use crate::adapt::any::AsyncFunction;
pub use crate::adapt::any::TryFunction;
pub use crate::adapt::lookup_table::{LookupRecipeFn, LookupTable};
pub use crate::adapt::rows::{PendingRow, RowBurst, RowFunction};
pub use crate::adapt::typed::{TypedArgs, TypedClosure, TypedFunction, async_fn};
pub use crate::adapt::typed_table::{TypedRow, TypedTableFunction, async_table_fn};
pub use crate::adapt::typed_value::TypedValue;
pub use crate::async_udf::AsyncUdf;
pub use crate::contract::answer::{BatchAnswer, RateHints, ResponseMetadata, Usage};
pub use crate::contract::args::ArgBatch;
pub use crate::contract::connector::{LookupConnector, LookupDefinition, RowSource};
pub use crate::contract::context::{CallContext, FunctionContext, Parameters};
pub use crate::contract::declaration::{Declaration, Determinism, Recipe};
pub use crate::contract::estimate::{Estimate, Estimated};
pub use crate::contract::function::{AsyncBatchFunction, AsyncScalarFunction};
pub use crate::contract::kind::Kind;
pub use crate::contract::list_type::rows_of;
pub use crate::contract::lookup::{
    AsyncBatchLookupFunction, LookupAnswer, LookupProvider, LookupQuery, LookupScan,
};
pub use crate::contract::lookup_reader::LookupReader;
pub use crate::contract::opened::Opened;
pub use crate::contract::provider::{ModelDefinition, ModelProvider};
pub use crate::contract::resources::Resources;
pub use crate::contract::table::AsyncTableFunction;
pub use crate::dispatch::limits::quota::{Grant, LocalQuota, Quota};
pub use crate::dispatch::limits::{Limiter, Limits};
pub use crate::dispatch::meters::histogram::{Histogram, HistogramBucket, HistogramSnapshot};
pub use crate::dispatch::meters::metrics::{CallMetrics, MetricsSnapshot};
pub use crate::dispatch::query::execution_id::ExecutionId;
pub use crate::dispatch::query::runtime::FarcallRuntime;
pub use crate::dispatch::query::scope::{QueryScope, RowHolder};
pub use crate::dispatch::query::site::CallSite;
pub use crate::options::words::NullInput;
pub use crate::options::words::{
    Cache, Mode, OnError, OutputMode, RetryPredicate, RetryStrategy, TimeoutPolicy,
};
pub use crate::settings::config::FarcallConfig;
pub use crate::settings::level::Level;
pub use crate::settings::resolved::Resolved;
pub use dispatch::held::HeldBuffers;
pub use dispatch::{Dispatcher, check_default};
pub use error::{CallError, ErrorClass};
pub use options::name::canonical;
pub use options::{CallOptions, OptionInfo};
