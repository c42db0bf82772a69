//! The logical nodes that calls stand in, and those that help to join on calls and lookups.

mod async_calc;
mod async_lookup_join;
mod resolve;
mod row_id;
mod table_call;

pub use async_calc::{AsyncCalc, CallColumn};
pub use async_lookup_join::{AsyncLookupJoin, LookupColumn, LookupJoinType};
pub use resolve::{Resolve, ResolveKind, ResolveOutput};
pub use row_id::RowId;
pub use table_call::TableCall;
