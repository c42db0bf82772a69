//! Lookup joins: rows as DataFusion's own joins give them, keys looked up as rarely as may be.

mod equivalence;
mod http;
mod keys;
mod plans;
mod redis;
mod redis_faults;
mod redis_scan;
mod redis_secrets;
mod redis_tls;
mod refused;
mod sql;
