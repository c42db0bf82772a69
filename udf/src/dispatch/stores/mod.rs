//! Where answers are kept and shared: the memo of a query, the caches of a runtime.

pub(crate) mod cache;
pub(crate) mod cached;
pub(crate) mod caches;
pub(crate) mod call_log;
pub(crate) mod followers;
pub(crate) mod memo;
