//! [`LookupTables`], how the planner learns which tables of a plan are looked up by key.

use std::fmt;
use std::sync::Arc;

use datafusion_expr::{TableScan, TableSource};
use farcall_udf::LookupTable;

/// Finds the lookup tables of a session.
pub trait LookupTables: fmt::Debug + Send + Sync {
    /// Returns the lookup table behind a source, if it is one.
    fn find(&self, source: &dyn TableSource) -> Option<LookupSource>;
}

/// A lookup table as the planner sees it.
#[derive(Debug, Clone)]
pub struct LookupSource {
    /// The table.
    pub table: Arc<LookupTable>,
    /// Whether its rows can be read without a key, too.
    pub can_be_scanned: bool,
}

impl LookupSource {
    /// Finds the lookup table that a scan reads.
    pub(crate) fn of(scan: &TableScan, tables: &dyn LookupTables) -> Option<Self> {
        tables.find(scan.source.as_ref())
    }
}
