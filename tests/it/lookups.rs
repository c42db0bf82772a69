//! Lookup joins: rows as DataFusion's own joins give them, keys looked up as rarely as may be.

mod equivalence;
mod http;
mod keys;
mod plans;
mod postgres;
mod refused;
mod sql;
