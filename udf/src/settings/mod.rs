//! What a session sets, and what holds for one call.

pub mod config;
pub(crate) mod level;
pub(crate) mod misfit;
pub(crate) mod resolved;
mod resolver;
