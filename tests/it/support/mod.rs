//! What the tests stand on: twins, plans as text, a model server.

pub mod plans;
pub mod twins;
