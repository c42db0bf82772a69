//! Operators: how planned calls run, and the rules that suit a physical plan to them.

mod async_calc;
mod async_lookup_join;
mod bounds;
mod call_line;
mod call_metrics;
mod codec;
mod credit;
mod demand;
mod driver;
mod extension_planner;
mod held_rows;
mod output_order;
mod pairing;
mod physical_rules;
mod plans;
mod resolve;
mod row_id;
mod scopes;
mod stream_filters;
mod streaming_filter;
#[cfg(test)]
mod testing;

pub(crate) use credit::Credit;
pub(crate) use driver::{Driver, Lane};

pub use async_calc::{AsyncCalcExec, PlannedCall};
pub use async_lookup_join::AsyncLookupJoinExec;
pub use codec::{FarcallCodec, FunctionSource};
pub use extension_planner::FarcallQueryPlanner;
pub use physical_rules::physical_optimizer_rules;
pub use resolve::{Resolution, ResolveExec};
pub use row_id::RowIdExec;
pub use scopes::ScopeRegistry;
pub use streaming_filter::StreamingFilterExec;
