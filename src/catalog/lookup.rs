//! [`LookupSpec`], what CREATE says of a lookup table, as it was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::{exec_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use farcall_connect::redact;
use farcall_udf::{CallError, CallOptions, LookupConnector, LookupDefinition, canonical};
use serde::{Deserialize, Serialize};

use crate::catalog::option_names::{find_twice, given_twice};

/// The option that names the column of the key by which lookups are ordered.
const ORDERING_KEY: &str = "ordering_key";

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
        if let Some(option) = find_twice(&self.options) {
            return plan_err!("lookup table {name}: {}", given_twice(option));
        }
        let (mut connector, mut call_options) = (None, CallOptions::new());
        let mut options = BTreeMap::new();
        for (option, value) in &self.options {
            let canonical = canonical(option);
            if canonical == "connector" {
                connector = Some(value.as_str());
            } else if canonical == ORDERING_KEY {
                ordering_key_of(name, &schema, &key, value)?;
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

    /// Returns the part of the key by which lookups are ordered, if the options name one.
    pub(crate) fn ordering_key(&self, table: &LookupDefinition) -> Result<Option<usize>> {
        let named = |(option, _): &(&String, &String)| canonical(option) == ORDERING_KEY;
        let column = self.options.iter().find(named).map(|(_, column)| column);
        column
            .map(|column| ordering_key_of(&table.name, &table.schema, &table.key, column))
            .transpose()
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

/// Returns the part of the key that a column is.
fn ordering_key_of(table: &str, schema: &Schema, key: &[usize], column: &str) -> Result<usize> {
    let names: Vec<&str> = key.iter().map(|part| schema.field(*part).name().as_str()).collect();
    match names.iter().position(|name| *name == column) {
        Some(part) => Ok(part),
        None => plan_err!(
            "lookup table {table}: option '{ORDERING_KEY}': '{column}' is no column of the key, accepted \
             are {}",
            names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
        ),
    }
}
