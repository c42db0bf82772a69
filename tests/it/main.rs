//! The one binary of integration tests: public API and SQL only.

// Clippy takes only functions marked as tests for tests, but the helpers below them are, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod cli;
mod codec;
mod docs;
mod generator;
mod packages;
mod shapes;
mod sql_examples;
mod support;
