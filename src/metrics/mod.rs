//! What a runtime counted of its functions, as a table and for Prometheus.

pub(crate) mod exposition;
mod families;
mod table;

pub use exposition::{CONTENT_TYPE, exposition};
pub(crate) use table::register;
