//! What the tests stand on: twins, lookup tables, table functions, a lazy oracle, a model server, real
//! stores.

pub mod lazy;
pub mod lookups;
pub mod outcome;
pub mod plans;
pub mod postgres;
pub mod redis;
pub mod remote;
pub mod root;
pub mod rules;
#[path = "server.rs"]
pub mod server;
pub mod sources;
pub mod store;
pub mod tables;
pub mod threads;
pub mod twins;
pub mod workspace;
