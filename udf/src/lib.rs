//! What farcall calls, and how one call is made.
//!
//! The crate knows no plan and no network: functions ([`AsyncScalarFunction`],
//! [`AsyncBatchFunction`], [`AsyncTableFunction`], [`async_fn`]), their options and errors, and the
//! dispatcher that batches, bounds, times, retries and orders their calls.

mod adapter;
mod answer;
mod caches;
mod context;
mod declaration;
pub mod dispatch;
mod error;
mod estimate;
mod function;
mod lookup;
mod lookup_call;
mod lookup_reader;
mod options;
mod plain;
mod rows;
mod runtime;
mod scalars;
mod scope;
mod table;
pub mod testing;
mod tried;
mod typed;
mod typed_table;

pub use adapter::AsyncUdf;
pub use answer::{BatchAnswer, RateHints, ResponseMetadata, Usage};
pub use context::{CallContext, FunctionContext, Parameters};
pub use declaration::{Declaration, Determinism, NullInput, Recipe};
pub use dispatch::held::HeldBuffers;
pub use dispatch::histogram::{Histogram, HistogramBucket, HistogramSnapshot};
pub use dispatch::limit::{Limiter, Limits};
pub use dispatch::metrics::{CallMetrics, MetricsSnapshot};
pub use dispatch::{Dispatcher, check_default};
pub use error::{CallError, ErrorClass};
pub use estimate::{Estimate, Estimated};
pub use function::{ArgBatch, AsyncBatchFunction, AsyncFunction, AsyncScalarFunction};
pub use lookup::{
    AsyncBatchLookupFunction, LOOKUP_GROUP, LookupAnswer, LookupProvider, LookupQuery,
    LookupRecipeFn, LookupScan, LookupTable,
};
pub use lookup_reader::{LookupReader, check_cache};
pub use options::{
    Cache, CallOptions, DEFAULT_BATCH_SIZE, Mode, OnError, OptionInfo, OutputMode, RetryPredicate,
    RetryStrategy, TimeoutPolicy,
};
pub use rows::{PendingRow, RowBurst, RowFunction};
pub use runtime::FarcallRuntime;
pub use scope::{CallSite, QueryScope, RowHolder};
pub use table::{AsyncTableFunction, TABLE_GROUP, rows_of};
pub use tried::TryFunction;
pub use typed::{TypedArgs, TypedClosure, TypedFunction, TypedValue, async_fn};
pub use typed_table::{TypedRow, TypedTableFunction, async_table_fn};
