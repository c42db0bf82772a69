//! Who farcall calls: providers of models and stores of lookup tables, a cargo feature each.
//!
//! | feature | brings |
//! |---|---|
//! | `http` | [`HttpProvider`], [`HttpConnector`]: models and lookup tables over HTTP |
//! | `local` | [`LocalProvider`]: small models inside the process, and [`serve`], which serves them |
//! | `postgres` | [`PostgresConnector`] |
//! | `redis` | [`RedisConnector`] |
//!
//! [`MemoryConnector`] needs none.
//!
//! ```
//! use farcall_connect::{lookup_connectors, providers};
//!
//! // What a session of farcall knows, by the names that WITH takes.
//! let connectors = lookup_connectors();
//! assert!(connectors.iter().any(|connector| connector.name() == "memory"));
//! for provider in providers() {
//!     println!("'provider' = '{}'", provider.name());
//! }
//! ```

// What several features share is unused by some of them alone.
#![cfg_attr(
    not(all(feature = "local", feature = "postgres", feature = "redis")),
    allow(dead_code, unused_imports)
)]

mod common;
#[cfg(feature = "http")]
mod http;
#[cfg(any(feature = "http", feature = "redis"))]
mod json;
#[cfg(feature = "http")]
mod models;
pub(crate) mod stores;
#[cfg(all(test, feature = "http"))]
mod test_context;
#[cfg(all(test, feature = "http"))]
#[path = "../../tests/it/support/server.rs"]
mod test_server;

use std::sync::Arc;

use farcall_udf::{LookupConnector, ModelProvider};

#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub use common::environment::Environment;
pub use common::redact;
#[cfg(feature = "http")]
pub use models::http::{HttpProvider, without_query};
#[cfg(feature = "local")]
pub use models::local::{LocalModel, LocalProvider, LocalServer, serve};
#[cfg(feature = "http")]
pub use stores::http::HttpConnector;
pub use stores::memory::{MemoryConnector, MemoryLookup};
#[cfg(feature = "postgres")]
pub use stores::postgres::PostgresConnector;
#[cfg(feature = "redis")]
pub use stores::redis::RedisConnector;

/// Returns every provider that the features bring.
pub fn providers() -> Vec<Arc<dyn ModelProvider>> {
    vec![
        #[cfg(feature = "http")]
        Arc::new(HttpProvider),
        #[cfg(feature = "local")]
        Arc::new(LocalProvider),
    ]
}

/// Returns every connector that the features bring.
pub fn lookup_connectors() -> Vec<Arc<dyn LookupConnector>> {
    vec![
        #[cfg(feature = "http")]
        Arc::new(HttpConnector),
        Arc::new(MemoryConnector),
        #[cfg(feature = "postgres")]
        Arc::new(PostgresConnector),
        #[cfg(feature = "redis")]
        Arc::new(RedisConnector),
    ]
}
