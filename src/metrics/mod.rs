//! What a runtime counted of its functions, as a table and for Prometheus.

mod exposition;
mod families;
mod server;
mod table;

pub use exposition::exposition;
pub use server::{MetricsServer, serve};
pub(crate) use table::register;
