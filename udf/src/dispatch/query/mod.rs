//! What belongs to one query, and what outlives queries.

pub(crate) mod execution_id;
pub(crate) mod runtime;
pub(crate) mod scope;
pub(crate) mod site;
