//! Models as SQL objects: CREATE MODEL, the registry, PREDICT.

pub mod provider;

pub use provider::{ModelDefinition, ModelProvider};
