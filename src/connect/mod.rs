//! Connectors: how a request travels.

use std::sync::Arc;

use crate::models::ModelProvider;

/// Returns every provider that comes with farcall.
pub fn providers() -> Vec<Arc<dyn ModelProvider>> {
    Vec::new()
}
