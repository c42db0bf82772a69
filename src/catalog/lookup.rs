//! [`Defined`], a lookup table's definition checked but for the connector's own options.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::plan_err;
use datafusion::error::Result;
use farcall_udf::{LookupConnector, LookupDefinition};

use crate::catalog::definition::{Definition, LookupSpec};
use crate::catalog::with_clause::{Object, With};

/// The option that names the column of the key by which lookups are ordered.
const ORDERING_KEY: &str = "ordering_key";

/// A lookup table that can be made.
pub(crate) struct Defined {
    pub(crate) definition: LookupDefinition,
    pub(crate) connector: Arc<dyn LookupConnector>,
    /// The part of the key by which lookups are ordered.
    pub(crate) ordering_key: Option<usize>,
    /// What travels, if it may.
    pub(crate) recipe: Definition,
    pub(crate) may_travel: bool,
}

impl Defined {
    /// Checks columns and key, finds the connector and sorts the options.
    ///
    /// # Errors
    /// A planning error that names the table and the option or column.
    pub(crate) fn try_new(
        spec: &LookupSpec,
        connectors: &[Arc<dyn LookupConnector>],
    ) -> Result<Self> {
        let object = Object::lookup_table(&spec.name);
        let schema = Arc::new(Schema::new(spec.columns.clone()));
        let mut key = Vec::with_capacity(spec.key.len());
        for column in &spec.key {
            match schema.index_of(column) {
                Ok(index) => key.push(index),
                Err(_) => return plan_err!("{object}: no column {column} for its key"),
            }
        }
        if key.is_empty() {
            return plan_err!("{object} needs a key: PRIMARY KEY (..) behind its columns");
        }
        let mut with = With::read(object, &spec.options)?;
        let connector = with.find_maker(object, connectors, |connector| connector.name())?;
        let recipe = Definition::lookup_table(spec, with.written(object));
        let ordering_key = with.own.remove(ORDERING_KEY);
        let ordering_key = ordering_key
            .map(|column| ordering_key_of(object, &schema, &key, &column))
            .transpose()?;
        let may_travel = with.may_travel(|option| connector.is_secret(option));
        let With { call_options, own: options, .. } = with;
        let definition =
            LookupDefinition { name: spec.name.clone(), schema, key, options, call_options };
        Ok(Self { definition, connector, ordering_key, recipe, may_travel })
    }
}

/// Returns the part of the key that a column is.
fn ordering_key_of(
    object: Object<'_>,
    schema: &Schema,
    key: &[usize],
    column: &str,
) -> Result<usize> {
    let names: Vec<&str> = key.iter().map(|part| schema.field(*part).name().as_str()).collect();
    names.iter().position(|name| *name == column).ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let message =
            format!("'{column}' is no column of the key, accepted are {}", names.join(", "));
        object.bad_option(ORDERING_KEY, message)
    })
}
