//! What belongs to one query, and what outlives queries.

pub(crate) mod runtime;
pub(crate) mod scope;
pub(crate) mod site;
