//! Providers of models, a file each.

pub mod http;
#[cfg(feature = "local")]
pub mod local;
pub(crate) mod model;
pub(crate) mod wire;
