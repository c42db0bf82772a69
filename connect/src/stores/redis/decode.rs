//! [`Decoder`], from what Redis holds of keys to rows of the declared types.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use farcall_udf::CallError;

use super::documents::{self, Documents};
use super::find::{Ask, Found};
use super::{ValueKind, text};
use crate::common::secrets::Secrets;

/// How the values of a table become the columns that one place in a query reads.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: String,
    kind: ValueKind,
    outputs: Vec<FieldRef>,
    /// The field of a row.
    row: FieldRef,
}

/// The rows of some keys.
#[derive(Debug)]
pub(crate) struct Rows {
    /// The columns, a value for each of `keys`.
    pub(crate) columns: Vec<ArrayRef>,
    /// The position of each row's key.
    pub(crate) keys: Vec<u32>,
    /// The keys that failed, by their position; their rows mean nothing.
    pub(crate) errors: Vec<(usize, CallError)>,
}

impl Decoder {
    /// Makes the decoder of the columns that are answered, without those of the key.
    pub(crate) fn new(table: &str, kind: ValueKind, outputs: Vec<FieldRef>) -> Self {
        let row = DataType::Struct(Fields::from(outputs.clone()));
        let row = Arc::new(Field::new("row", row, true));
        Self { table: table.to_owned(), kind, outputs, row }
    }

    /// Returns what must be asked of each key.
    pub(crate) fn ask(&self) -> Ask {
        match self.kind {
            // How many rows a document has is known to whom reads it.
            ValueKind::Json => Ask::Value,
            kind if self.outputs.is_empty() => Ask::Presence(kind.redis_type()),
            ValueKind::String => Ask::Value,
            ValueKind::Hash => {
                Ask::Fields(self.outputs.iter().map(|output| output.name().clone()).collect())
            }
        }
    }

    /// Reads what was found of each key.
    ///
    /// Errors: a value that cannot be read fails its key alone.
    pub(crate) fn rows(
        &self,
        keys: &[Vec<u8>],
        found: Vec<Found>,
        secrets: &Secrets,
    ) -> Result<Rows, CallError> {
        let (mut values, mut of, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (key, found) in found.into_iter().enumerate() {
            match found {
                Found::Missing => {}
                Found::Values(found) => {
                    values.push(found);
                    of.push(key);
                }
                Found::OtherType(name) => {
                    let expected = self.kind.redis_type();
                    refused.push((key, format!("{name} where a {expected} is declared")));
                }
            }
        }
        let read = match self.kind {
            ValueKind::Json => self.documents(values),
            ValueKind::Hash | ValueKind::String => self.texts(&values),
        };
        let read = read.map_err(|error| CallError::Conversion {
            function: self.table.clone(),
            what: "an answer".to_owned(),
            message: secrets.excerpt(&error.to_string()),
        })?;
        refused.extend(read.refused.into_iter().map(|(row, message)| (of[row], message)));
        refused.sort_by_key(|(key, _)| *key);
        refused.dedup_by_key(|(key, _)| *key);
        let errors = refused.into_iter().map(|(key, message)| {
            let name = secrets.excerpt(&String::from_utf8_lossy(&keys[key]));
            let message = secrets.excerpt(&message);
            (key, CallError::malformed(&self.table, format!("key {name} holds {message}")))
        });
        let errors = errors.collect();
        let keys = read.of.iter().map(|row| of[*row] as u32).collect();
        Ok(Rows { columns: read.columns, keys, errors })
    }

    fn documents(&self, values: Vec<Vec<Option<Vec<u8>>>>) -> Result<Documents, ArrowError> {
        let texts: Vec<Vec<u8>> = values
            .into_iter()
            .map(|value| value.into_iter().flatten().flatten().collect())
            .collect();
        documents::read(&texts, &self.outputs, &self.row)
    }

    fn texts(&self, values: &[Vec<Option<Vec<u8>>>]) -> Result<Documents, ArrowError> {
        let (mut columns, mut refused) = (Vec::with_capacity(self.outputs.len()), Vec::new());
        for (index, output) in self.outputs.iter().enumerate() {
            let texts: Vec<Option<&[u8]>> =
                values.iter().map(|value| value.get(index)?.as_deref()).collect();
            let (column, wrong) = text::to_column(&texts, output)?;
            columns.push(column);
            let name = output.name();
            let told = |(row, message)| (row, format!("{message} (column {name})"));
            refused.extend(wrong.into_iter().map(told));
        }
        Ok(Documents { columns, of: (0..values.len()).collect(), refused })
    }
}
