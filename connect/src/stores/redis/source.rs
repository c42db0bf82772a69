//! [`Source`], the table as lookups and scans see it.

use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use arrow::datatypes::FieldRef;
use datafusion_common::error::Result;
use farcall_udf::{ArgBatch, CallError, LookupDefinition, LookupQuery, Resources};

use super::decode::Decoder;
use super::key::{Ambiguous, KeyTemplate};
use super::options::RedisOptions;
use super::pool::Pool;
use super::text;
use crate::common::environment::Environment;
use crate::common::secrets::Secrets;

/// Where the rows of a table are and how its keys are named.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: LookupDefinition,
    pub(crate) options: RedisOptions,
    pub(crate) template: KeyTemplate,
}

/// A server that was found, with what messages must not show of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) pool: Arc<Pool>,
    pub(crate) secrets: Secrets,
}

impl Source {
    pub(crate) fn name(&self) -> &str {
        &self.table.name
    }

    /// Returns the fields of the key.
    pub(crate) fn key(&self) -> impl Iterator<Item = &FieldRef> {
        self.table.key.iter().map(|part| &self.table.schema.fields()[*part])
    }

    /// Finds the server, and the connections that the runtime has to it.
    pub(crate) fn open(&self, resources: &Resources) -> Result<Opened, CallError> {
        let environment = Environment::of(resources);
        let opened =
            self.options.resolve(|name| environment.get(name)).and_then(|(server, secrets)| {
                Ok(Opened { pool: Pool::of(resources, &server)?, secrets })
            });
        opened.map_err(|message| CallError::configuration(self.name(), message))
    }

    /// Makes what reads the columns that a query wants answered.
    pub(crate) fn decoder(&self, query: &LookupQuery) -> Decoder {
        let fields = self.table.schema.fields();
        let outputs = query.answered(&self.table.key).map(|column| Arc::clone(&fields[column]));
        Decoder::new(self.name(), self.options.value, outputs.collect())
    }

    /// Writes the names of keys in Redis; a key that has none is named with the reason.
    pub(crate) fn names(&self, keys: &ArgBatch) -> Result<Names, CallError> {
        let texts = keys.columns().iter().map(text::to_key_texts).collect::<Result<_, _>>();
        let texts: Vec<BinaryArray> = texts.map_err(|error| CallError::Conversion {
            function: self.name().to_owned(),
            what: "a key".to_owned(),
            message: error.to_string(),
        })?;
        let mut names = Names::default();
        for row in 0..keys.num_rows() {
            let values: Option<Vec<&[u8]>> =
                texts.iter().map(|part| part.is_valid(row).then(|| part.value(row))).collect();
            let name = match values {
                None => Err("a part of it has no text".to_owned()),
                Some(values) => {
                    self.template.write(&values).map_err(|Ambiguous { column, separator }| {
                        format!(
                            "column {column} holds '{separator}', which ends it in '{}'",
                            self.template
                        )
                    })
                }
            };
            match name {
                Ok(name) => {
                    names.keys.push(name);
                    names.rows.push(row as u32);
                }
                Err(message) => {
                    let message = format!("the key cannot be the name of a Redis key: {message}");
                    names.errors.push((row, CallError::rejected(self.name(), message)));
                }
            }
        }
        Ok(names)
    }
}

/// The names of the keys of a request.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) keys: Vec<Vec<u8>>,
    /// The position in the request of each of `keys`.
    pub(crate) rows: Vec<u32>,
    /// The others.
    pub(crate) errors: Vec<(usize, CallError)>,
}
