//! What CREATE says of a model or a lookup table before it is checked, and how that travels.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{exec_datafusion_err, exec_err, plan_datafusion_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// What to do when an object of that name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// It is an error.
    #[default]
    Fail,
    /// The new object takes its place; plans made before keep the old one.
    Replace,
    /// The existing object stays.
    Keep,
}

/// What CREATE MODEL says, before anything in it was checked.
///
/// `Debug` shows no option values: they may hold headers or keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// The model's name.
    pub name: String,
    /// The columns sent, in order.
    pub input: Vec<FieldRef>,
    /// The columns answered, in order.
    pub output: Vec<FieldRef>,
    /// What the model is for, in the user's words.
    pub comment: Option<String>,
    /// All of `WITH (..)`: `provider`, `version`, call options and the provider's own options.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What CREATE says of a lookup table, before anything in it was checked.
#[derive(Clone)]
pub(crate) struct LookupSpec {
    pub(crate) name: String,
    pub(crate) columns: Vec<FieldRef>,
    /// The columns of the key, by name.
    pub(crate) key: Vec<String>,
    /// All of WITH: `connector`, `ordering_key`, call options and the connector's own options.
    pub(crate) options: BTreeMap<String, String>,
}

/// A model or a lookup table as it travels: no secret is in it, at most the name of one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    name: String,
    shape: Shape,
    options: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Shape {
    Model { input: Vec<Column>, output: Vec<Column> },
    LookupTable { columns: Vec<Column>, key: Vec<String> },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    data_type: String,
}

impl Definition {
    /// Describes a model by its columns and options.
    pub(crate) fn model(spec: &ModelSpec, options: BTreeMap<String, String>) -> Self {
        let shape = Shape::Model { input: columns(&spec.input), output: columns(&spec.output) };
        Self { name: spec.name.clone(), shape, options }
    }

    /// Describes a lookup table by its columns, key and options.
    pub(crate) fn lookup_table(spec: &LookupSpec, options: BTreeMap<String, String>) -> Self {
        let shape = Shape::LookupTable { columns: columns(&spec.columns), key: spec.key.clone() };
        Self { name: spec.name.clone(), shape, options }
    }

    /// Writes the definition.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| plan_datafusion_err!("{}: {error}", self.name))
    }

    /// Hashes the definition without its name.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        let bytes = serde_json::to_vec(&(&self.shape, &self.options))
            .map_err(|error| plan_datafusion_err!("{}: {error}", self.name))?;
        Ok(format!("{:016x}", xxh3_64(&bytes)))
    }

    /// Reads a definition; the parser's message is left out, since it may quote from the bytes.
    ///
    /// # Errors
    /// An execution error that says where the bytes are no definition.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            exec_datafusion_err!(
                "a definition that arrived cannot be read at line {}, column {}",
                error.line(),
                error.column()
            )
        })
    }

    /// Returns what CREATE MODEL said.
    ///
    /// # Errors
    /// An execution error if this is no model, a planning error for a type that cannot be read.
    pub(crate) fn into_model(self) -> Result<ModelSpec> {
        let Self { name, shape, options } = self;
        match shape {
            Shape::Model { input, output } => Ok(ModelSpec {
                name,
                input: fields(&input)?,
                output: fields(&output)?,
                comment: None,
                options,
            }),
            Shape::LookupTable { .. } => exec_err!("{name} arrived as a lookup table, not a model"),
        }
    }

    /// Returns what CREATE said of a lookup table.
    ///
    /// # Errors
    /// An execution error if this is none, a planning error for a type that cannot be read.
    pub(crate) fn into_lookup_table(self) -> Result<LookupSpec> {
        let Self { name, shape, options } = self;
        match shape {
            Shape::LookupTable { columns, key } => {
                Ok(LookupSpec { name, columns: fields(&columns)?, key, options })
            }
            Shape::Model { .. } => exec_err!("{name} arrived as a model, not a lookup table"),
        }
    }
}

fn columns(fields: &[FieldRef]) -> Vec<Column> {
    let column = |field: &FieldRef| Column {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
    };
    fields.iter().map(column).collect()
}

fn fields(columns: &[Column]) -> Result<Vec<FieldRef>> {
    let field = |column: &Column| {
        let data_type: DataType = column.data_type.parse()?;
        Ok(Arc::new(Field::new(&column.name, data_type, true)) as FieldRef)
    };
    columns.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Fields, IntervalUnit, TimeUnit};

    use super::*;
    use crate::catalog::testing::{field, spec};

    #[test]
    fn every_type_survives() {
        let item = |data_type: DataType| Arc::new(Field::new("item", data_type, true));
        let types = [
            DataType::Boolean,
            DataType::Int64,
            DataType::UInt8,
            DataType::Float32,
            DataType::Utf8View,
            DataType::Binary,
            DataType::Date32,
            DataType::Decimal128(20, 3),
            DataType::Timestamp(TimeUnit::Millisecond, Some("+02:00".into())),
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::List(item(DataType::Float32)),
            DataType::FixedSizeList(item(DataType::Float32), 384),
            DataType::Struct(Fields::from(vec![
                Field::new("a b", DataType::Int32, true),
                Field::new("l", DataType::List(item(DataType::Utf8)), true),
            ])),
        ];
        for data_type in types {
            let mut spec = spec("m");
            spec.input = vec![field("x", data_type)];
            let bytes = Definition::model(&spec, spec.options.clone()).to_bytes().unwrap();
            assert_eq!(Definition::from_bytes(&bytes).unwrap().into_model().unwrap(), spec);
        }
    }

    #[test]
    fn an_object_does_not_arrive_as_another_kind() {
        let model = Definition::model(&spec("m"), BTreeMap::new());
        let error = model.into_lookup_table().err().unwrap().to_string();
        assert!(error.contains("m arrived as a model, not a lookup table"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_definition_are_refused_without_quoting_them() {
        let error = Definition::from_bytes(b"{\"hush\": 1}").err().unwrap().to_string();
        assert!(error.contains("cannot be read at line 1") && !error.contains("hush"), "{error}");
    }
}
