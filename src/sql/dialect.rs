//! The dialect that farcall's SQL is read in.

use datafusion::sql::sqlparser::dialect::GenericDialect;

/// Returns the dialect: the one that accepts most of what the others do.
pub(crate) fn dialect() -> GenericDialect {
    GenericDialect {}
}
