//! Operators: how planned calls run, and the rules that suit a physical plan to them.
//!
//! [`NodePlanner`] makes the operators of the planner's nodes, [`QueryRootExec`] ends a query with its
//! streams, [`FarcallCodec`] carries plans to other processes, and [`SessionExt`] is what operators
//! find of their session. A session of the crate `farcall` has all of it; this is for engines that
//! build their own.
//!
//! ```
//! use std::sync::Arc;
//! use datafusion::execution::SessionStateBuilder;
//! use datafusion::physical_planner::DefaultPhysicalPlanner;
//! use datafusion::prelude::SessionConfig;
//! use farcall_exec::{NodePlanner, SessionExt, physical_optimizer_rules};
//! use farcall_udf::{FarcallRuntime, Parameters};
//!
//! let runtime = Arc::new(FarcallRuntime::new());
//! let ext = SessionExt::new(runtime, Parameters::default());
//! let config = SessionConfig::new().with_extension(Arc::new(ext));
//! let mut state = SessionStateBuilder::new().with_config(config).with_default_features();
//! for rule in physical_optimizer_rules() {
//!     state = state.with_physical_optimizer_rule(rule);
//! }
//! assert!(SessionExt::of(state.build().config()).is_some());
//! // What plans the nodes, inside a query planner.
//! let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(NodePlanner)]);
//! ```

mod async_calc;
mod async_lookup_join;
mod bounds;
mod call_line;
mod call_metrics;
mod codec;
mod credit;
mod demand;
mod driver;
mod execution;
mod held_rows;
mod node_planner;
mod output_order;
mod pairing;
mod physical_rules;
mod planned_call;
mod plans;
mod query_root;
mod resolve;
mod row_id;
mod session_ext;
mod stream_filters;
mod streaming_filter;
#[cfg(test)]
mod testing;
mod travel;

pub use async_calc::AsyncCalcExec;
pub use async_lookup_join::AsyncLookupJoinExec;
pub use codec::{FarcallCodec, FunctionSource};
pub use credit::Credit;
pub use driver::{Driver, Lane};
pub use execution::ExecutionHandle;
pub use node_planner::NodePlanner;
pub use physical_rules::physical_optimizer_rules;
pub use planned_call::PlannedCall;
pub use query_root::QueryRootExec;
pub use resolve::{Resolution, ResolveExec};
pub use row_id::RowIdExec;
pub use session_ext::SessionExt;
pub use streaming_filter::StreamingFilterExec;
pub use travel::check_travel;
