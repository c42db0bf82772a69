//! The transport over HTTP: clients, endpoints, classification, rate hints.

pub(crate) mod classify;
pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod options;
pub(crate) mod protocol;
pub(crate) mod rate;
pub(crate) mod target;
