//! Lookup joins: rows as DataFusion's own joins give them, keys looked up as rarely as may be.

mod cache;
mod equivalence;
mod http;
mod keys;
mod memory;
mod plans;
mod refused;
mod scan;
mod sql;
