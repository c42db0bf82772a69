//! What the tests stand on: twins, plans as text, a model server.

pub mod lazy;
pub mod lookups;
pub mod outcome;
pub mod plans;
pub mod remote;
#[path = "server.rs"]
pub mod server;
pub mod twins;
