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
mod plans;
mod resolve;
mod row_id;
mod scopes;
mod stream_filters;
mod streaming_filter;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;

pub(crate) use credit::Credit;
pub(crate) use driver::{Driver, Lane};

pub use async_calc::{AsyncCalcExec, PlannedCall};
pub use async_lookup_join::AsyncLookupJoinExec;
pub use codec::{FarcallCodec, FunctionSource};
pub use demand::Demand;
pub use extension_planner::FarcallQueryPlanner;
pub use output_order::OutputOrder;
pub use resolve::{Resolution, ResolveExec};
pub use row_id::RowIdExec;
pub use scopes::ScopeRegistry;
pub use stream_filters::StreamFilters;
pub use streaming_filter::StreamingFilterExec;

/// Returns the physical optimizer rules, to be appended to DataFusion's own, in this order.
///
/// Each leaves a plan without calls alone.
pub fn physical_optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    vec![
        // Where partitions meet is settled first: the others look at what is left between calls.
        Arc::new(Demand),
        Arc::new(StreamFilters),
        // Last, since orderings that it gives up must not have been relied on below it.
        Arc::new(OutputOrder),
    ]
}
