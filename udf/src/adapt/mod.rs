//! How each kind of function becomes rows or batches that the dispatcher can start.

pub(crate) mod any;
pub(crate) mod lookup_call;
pub(crate) mod lookup_table;
pub(crate) mod rows;
pub(crate) mod scalars;
pub(crate) mod table_rows;
pub(crate) mod tried;
pub(crate) mod typed;
pub(crate) mod typed_table;
pub(crate) mod typed_value;
