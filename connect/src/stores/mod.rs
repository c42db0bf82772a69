//! Stores that lookup tables stand for, a module each.

#[cfg(feature = "http")]
pub(crate) mod http;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
