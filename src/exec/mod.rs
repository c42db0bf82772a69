//! Operators: how planned calls run.

mod async_calc;
mod call_metrics;
mod codec;
mod driver;
mod extension_planner;
mod held_rows;
mod resolve;
mod row_id;
mod scopes;

pub(crate) use driver::{Driver, Lane};

pub use async_calc::{AsyncCalcExec, PlannedCall};
pub use codec::{FarcallCodec, FunctionSource};
pub use extension_planner::FarcallQueryPlanner;
pub use resolve::{Resolution, ResolveExec};
pub use row_id::RowIdExec;
pub use scopes::ScopeRegistry;
