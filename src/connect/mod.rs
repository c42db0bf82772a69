//! Connectors: how a request travels.

use std::sync::Arc;

use crate::lookup::LookupConnector;
use crate::models::ModelProvider;

pub mod http;
pub(crate) mod json;
pub(crate) mod keepalive;
pub mod local;
pub mod memory;
pub(crate) mod pools;
pub mod postgres;
pub mod redis;
pub(crate) mod secrets;
pub(crate) mod template;
pub(crate) mod tls;
pub(crate) mod userinfo;

/// Returns every provider that comes with farcall.
pub fn providers() -> Vec<Arc<dyn ModelProvider>> {
    vec![Arc::new(http::HttpProvider), Arc::new(local::LocalProvider)]
}

/// Returns every connector that comes with farcall.
pub fn lookup_connectors() -> Vec<Arc<dyn LookupConnector>> {
    vec![
        Arc::new(http::HttpConnector),
        Arc::new(memory::MemoryConnector),
        Arc::new(postgres::PostgresConnector),
        Arc::new(redis::RedisConnector),
    ]
}

#[cfg(test)]
pub(crate) mod test_context;
#[cfg(test)]
#[path = "../../tests/it/support/server.rs"]
pub(crate) mod test_server;
