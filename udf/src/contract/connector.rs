//! [`LookupConnector`], a kind of store that CREATE EXTERNAL TABLE .. STORED AS LOOKUP may name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::error::Result;
use datafusion_common::plan_err;

use crate::contract::lookup::LookupProvider;
use crate::options::CallOptions;

/// What CREATE says of a lookup table, checked but for the connector's own options.
///
/// `Debug` shows no option values: they may hold headers or keys.
#[derive(Clone)]
pub struct LookupDefinition {
    /// The table's name.
    pub name: String,
    /// The columns, all nullable.
    pub schema: SchemaRef,
    /// The columns of the key, by their position.
    pub key: Vec<usize>,
    /// The options that are the connector's, each by its one name: lower case, with underscores.
    pub options: BTreeMap<String, String>,
    /// The call options.
    pub call_options: CallOptions,
}

impl fmt::Debug for LookupDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupDefinition").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where a session reads the rows that fill a table: a connector says so, the catalog runs the query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowSource {
    /// A file, by its path; the extension says how it is read.
    File {
        /// The path as it was written.
        path: String,
        /// The extension in lower case: `csv`, `tsv`, `json`, `ndjson`, `jsonl`, `parquet`.
        extension: String,
    },
    /// Another table of the session.
    Table(String),
}

/// A kind of store that is looked up: `http` or `memory`, for instance.
///
/// A connector sees no session. One that is filled by a query says what is read
/// ([`LookupConnector::source`]); the catalog reads it and hands the rows over
/// ([`LookupConnector::filled`]).
pub trait LookupConnector: fmt::Debug + Send + Sync {
    /// Returns the name used in `OPTIONS ('connector' ..)`.
    fn name(&self) -> &str;

    /// Makes the provider of a table.
    ///
    /// # Errors
    /// A planning error that names the table and the option for an unknown, a missing or a bad
    /// option, with what is accepted. Option values that may be secret are not repeated.
    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>>;

    /// Says from where the session that creates the table fills it; `None` if the store holds rows
    /// itself. Of a table that was filled, the definition does not say which rows it has: another
    /// process finds it by its name.
    ///
    /// # Errors
    /// As [`LookupConnector::provider`].
    fn source(&self, _table: &LookupDefinition) -> Result<Option<RowSource>> {
        Ok(None)
    }

    /// Makes the provider of a table of the rows that its source gave, in the declared types.
    ///
    /// # Errors
    /// A planning error if the connector is not filled by a query, or the rows cannot be held.
    fn filled(
        &self,
        table: &LookupDefinition,
        _rows: RecordBatch,
    ) -> Result<Arc<dyn LookupProvider>> {
        plan_err!(
            "lookup table {}: connector '{}' is not filled by a query",
            table.name,
            self.name()
        )
    }

    /// Says whether an option's value must not be shown, `headers` for instance.
    fn is_secret(&self, option: &str) -> bool;
}
