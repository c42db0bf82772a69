//! The one binary of integration tests: public API and SQL only.

// Clippy takes only functions marked as tests for tests, but the helpers below them are, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod cancel;
mod cli;
mod codec;
mod concurrency;
mod docs;
mod faults;
mod functions;
mod generator;
mod joins;
mod lookups;
mod mistakes;
mod narrow;
mod packages;
mod secrets;
mod shapes;
mod sql_examples;
mod statements;
mod support;
