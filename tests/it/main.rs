//! The one binary of integration tests: public API and SQL only.

mod cli;
