//! Lookup joins: rows as DataFusion's own joins give them, keys looked up as rarely as may be.

mod cache;
mod equivalence;
mod http;
mod keys;
mod memory;
mod opened;
mod plans;
mod postgres;
mod redis;
mod redis_faults;
mod redis_scan;
mod redis_secrets;
mod redis_tls;
mod refused;
mod scan;
mod sql;
