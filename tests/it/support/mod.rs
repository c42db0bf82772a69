//! What the tests stand on: twins, plans as text, a model server.

pub mod plans;
pub mod remote;
#[path = "server.rs"]
pub mod server;
pub mod twins;
