//! [`KnownCalls`], what options and earlier queries tell of a call before it is made.

use std::sync::Arc;

use datafusion::config::ConfigOptions;
use farcall_planner::Estimates;
use farcall_udf::{AsyncUdf, Estimate, FarcallConfig, FarcallRuntime};

/// Knows what is declared at every level, and what the runtime counted of earlier queries.
#[derive(Debug)]
pub(crate) struct KnownCalls(pub(crate) Arc<FarcallRuntime>);

impl Estimates for KnownCalls {
    fn of(&self, call: &AsyncUdf, options: &ConfigOptions) -> Estimate {
        let function = call.function();
        let options = FarcallConfig::of(options).resolve(function, call.call_options());
        // What cannot be resolved is an error by and by, when operators are made.
        let declared = options.map_or_else(|_| Estimate::default(), |options| options.estimate());
        declared.or(self.0.observed(function))
    }
}
