//! [`LookupConnector`], a kind of store that CREATE EXTERNAL TABLE .. STORED AS LOOKUP may name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{exec_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use farcall_udf::{CallError, CallOptions, LookupProvider};
use serde::{Deserialize, Serialize};

use crate::models::redact;

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
    /// The options that are the connector's.
    pub options: BTreeMap<String, String>,
    /// The call options.
    pub call_options: CallOptions,
}

impl fmt::Debug for LookupDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupDefinition").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A kind of store that is looked up, `http` or `postgres` for instance.
pub trait LookupConnector: fmt::Debug + Send + Sync {
    /// Returns the name used in `OPTIONS ('connector' ..)`.
    fn name(&self) -> &str;

    /// Makes the provider of a table.
    ///
    /// # Errors
    /// A planning error that names the table and the option for an unknown, a missing or a bad
    /// option, with what is accepted. Option values that may be secret are not repeated.
    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>>;

    /// Says whether an option's value must not be shown, `headers` for instance.
    fn is_secret(&self, option: &str) -> bool;
}

/// A definition as it was written: columns, key, and all options.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupSpec {
    pub(crate) name: String,
    /// Names and types.
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) key: Vec<String>,
    pub(crate) options: BTreeMap<String, String>,
}

impl LookupSpec {
    /// Finds the connector and sorts the options.
    pub(crate) fn define(
        &self,
        connectors: &[Arc<dyn LookupConnector>],
    ) -> Result<(LookupDefinition, Arc<dyn LookupConnector>)> {
        let name = &self.name;
        let mut fields = Vec::with_capacity(self.columns.len());
        for (column, data_type) in &self.columns {
            fields.push(Field::new(column, data_type.parse()?, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let mut key = Vec::with_capacity(self.key.len());
        for column in &self.key {
            match schema.index_of(column) {
                Ok(index) => key.push(index),
                Err(_) => return plan_err!("lookup table {name}: no column {column} for its key"),
            }
        }
        if key.is_empty() {
            return plan_err!(
                "lookup table {name} needs a key: PRIMARY KEY (..) behind its columns"
            );
        }
        let (mut connector, mut call_options) = (None, CallOptions::new());
        let mut options = BTreeMap::new();
        for (option, value) in &self.options {
            let canonical = option.trim().to_ascii_lowercase().replace('-', "_");
            if canonical == "connector" {
                connector = Some(value.as_str());
            } else if CallOptions::is_option(&canonical) {
                call_options.set(&canonical, value).map_err(|error| match error {
                    CallError::BadOption { message, .. } => {
                        plan_datafusion_err!("lookup table {name}: option '{option}': {message}")
                    }
                    other => other.into(),
                })?;
            } else {
                options.insert(option.clone(), value.clone());
            }
        }
        let names: Vec<String> =
            connectors.iter().map(|connector| format!("'{}'", connector.name())).collect();
        let accepted = names.join(", ");
        let Some(wanted) = connector else {
            return plan_err!(
                "lookup table {name}: option 'connector' is missing, accepted are {accepted}"
            );
        };
        let connector = connectors.iter().find(|connector| connector.name() == wanted);
        let Some(connector) = connector else {
            return plan_err!(
                "lookup table {name}: no connector '{wanted}', accepted are {accepted}"
            );
        };
        let definition =
            LookupDefinition { name: name.clone(), schema, key, options, call_options };
        Ok((definition, Arc::clone(connector)))
    }

    /// Says whether the definition holds no secret itself.
    pub(crate) fn may_travel(&self, connector: &dyn LookupConnector) -> bool {
        let mut options = self.options.iter();
        options.all(|(option, value)| redact::may_travel(value, connector.is_secret(option)))
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| plan_datafusion_err!("lookup table {}: {error}", self.name))
    }

    /// Reads a definition; the parser's message is left out, since it may quote from the bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            exec_datafusion_err!(
                "the definition of a lookup table cannot be read at line {}, column {}",
                error.line(),
                error.column()
            )
        })
    }
}
