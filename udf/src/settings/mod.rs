//! What a session sets, and what holds for one call.

pub mod config;
