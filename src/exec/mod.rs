//! Operators: how planned calls run.

mod async_calc;
mod async_lookup_join;
mod codec;
mod driver;
mod extension_planner;
mod pairing;
mod resolve;
mod row_id;
mod scopes;

pub use async_calc::{AsyncCalcExec, PlannedCall};
pub use async_lookup_join::AsyncLookupJoinExec;
pub use codec::{FarcallCodec, FunctionSource};
pub use extension_planner::FarcallQueryPlanner;
pub use resolve::{Resolution, ResolveExec};
pub use row_id::RowIdExec;
pub use scopes::ScopeRegistry;
