//! Connectors: how a request travels.

use std::sync::Arc;

use crate::lookup::LookupConnector;
use crate::models::ModelProvider;

pub mod http;
pub mod local;
pub mod memory;
pub mod postgres;
mod tls;

/// Returns every provider that comes with farcall.
pub fn providers() -> Vec<Arc<dyn ModelProvider>> {
    vec![Arc::new(http::HttpProvider), Arc::new(local::LocalProvider)]
}

/// Returns every connector that comes with farcall.
pub fn lookup_connectors() -> Vec<Arc<dyn LookupConnector>> {
    vec![Arc::new(http::HttpConnector), Arc::new(postgres::PostgresConnector)]
}

#[cfg(test)]
pub(crate) mod test_context;
#[cfg(test)]
#[path = "../../tests/it/support/server.rs"]
pub(crate) mod test_server;
