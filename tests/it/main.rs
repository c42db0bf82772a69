//! The one binary of integration tests: public API and SQL only.

// Clippy takes only functions marked as tests for tests, but the helpers below them are, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod call_table;
mod calls;
mod cancel;
mod cli;
mod codec;
mod concurrency;
mod costs;
mod docs;
mod explain;
mod exports;
mod faults;
mod functions;
mod generator;
mod handle;
mod imports;
mod joins;
mod late_calls;
mod lateral;
mod limits;
mod load;
mod lookups;
mod memory;
mod metrics;
mod mistakes;
mod narrow;
mod option_table;
mod packages;
mod plain_queries;
mod plans;
mod properties;
mod rule_order;
mod secrets;
mod settings;
mod shapes;
mod sql_examples;
mod statements;
mod stores;
mod streaming;
mod support;
mod waiting;
