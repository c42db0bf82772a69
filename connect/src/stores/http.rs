//! Connector `http`: a lookup table behind any endpoint that speaks the JSON wire form.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use async_trait::async_trait;
use datafusion_common::error::Result;
use datafusion_common::plan_err;
use farcall_udf::{
    ArgBatch, AsyncBatchLookupFunction, CallContext, CallError, CallOptions, FunctionContext,
    LookupAnswer, LookupConnector, LookupDefinition, LookupProvider, LookupQuery,
};

use crate::common::opened::opened;
use crate::common::options::Owner;
use crate::common::secrets::Secrets;
use crate::http::endpoint::{Endpoint, Opened};
use crate::http::options::HttpOptions;
use crate::http::protocol::Common;
use crate::http::target::EndpointTarget;
use crate::json::{Answer, Encoded, Kind, Mismatch, elements, encode, row_error, unsupported};

/// The connector `http`.
///
/// Options: those of provider `http` ([`HttpProvider`](crate::models::http::HttpProvider)) and the call options.
/// A table asks for its key and reads the columns that a query needs; an answer may leave the key's
/// own columns out, and must have all others.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpConnector;

impl LookupConnector for HttpConnector {
    fn name(&self) -> &str {
        "http"
    }

    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>> {
        let owner = Owner::lookup_table(table, LookupConnector::name(self));
        let options = HttpOptions::parse(owner, &table.options)?;
        for column in table.schema.fields() {
            if let Some(reason) = unsupported(column.data_type()) {
                return plan_err!("{owner}: column {}: {reason}", column.name());
            }
        }
        Ok(Arc::new(HttpTable { table: table.clone(), options }))
    }

    fn is_secret(&self, option: &str) -> bool {
        option == "headers"
    }
}

/// A lookup table behind HTTP.
#[derive(Debug)]
struct HttpTable {
    table: LookupDefinition,
    options: HttpOptions,
}

impl LookupProvider for HttpTable {
    fn schema(&self) -> &SchemaRef {
        &self.table.schema
    }

    fn key(&self) -> &[usize] {
        &self.table.key
    }

    fn options(&self) -> CallOptions {
        self.table.call_options.clone()
    }

    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        let name = self.table.name.clone();
        let column = |column: usize| Arc::clone(&self.table.schema.fields()[column]);
        let target = EndpointTarget { function: name.clone(), options: self.options.clone() };
        let outputs: Vec<FieldRef> = query.answered(&self.table.key).map(column).collect();
        let row = DataType::Struct(Fields::from(outputs.clone()));
        Ok(Arc::new(HttpLookup {
            endpoint: Endpoint::new(&name, Arc::new(target), self.options.limits),
            key: self.table.key.iter().map(|part| column(*part)).collect(),
            row: Arc::new(Field::new("row", row, true)),
            outputs,
            name,
        }))
    }
}

/// The lookup of one place in a query.
#[derive(Debug)]
struct HttpLookup {
    name: String,
    endpoint: Endpoint,
    key: Vec<FieldRef>,
    outputs: Vec<FieldRef>,
    /// The field of a found row.
    row: FieldRef,
}

#[async_trait]
impl AsyncBatchLookupFunction for HttpLookup {
    async fn open(&self, ctx: &FunctionContext) -> Result<farcall_udf::Opened, CallError> {
        self.endpoint.open(ctx).await.map(farcall_udf::Opened::new)
    }

    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        ctx: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        let opened: &Opened = opened(ctx, &self.name)?;
        let Encoded { body, sent, refused } = encode(&self.name, "keys", &self.key, &keys)?;
        if sent == 0 {
            return self.answer(&opened.secrets, &[], &[], refused);
        }
        let is_sent = |key: &usize| refused.iter().all(|(refused, _)| refused != key);
        let sent_keys: Vec<usize> = (0..keys.num_rows()).filter(is_sent).collect();
        let (body, metadata) = self.endpoint.post(opened, body, ctx, &Common).await?;
        let text = self.reader(&opened.secrets).read_json(&body)?;
        let found = self.reader(&opened.secrets).array(text, "rows")?;
        if found.len() != sent {
            let (function, got) = (self.name.clone(), found.len());
            return Err(CallError::RowCount { function, sent, got });
        }
        let answer = self.answer(&opened.secrets, &found, &sent_keys, refused)?;
        Ok(answer.with_metadata(metadata))
    }
}

impl HttpLookup {
    fn reader<'a>(&'a self, secrets: &'a Secrets) -> Answer<'a> {
        Answer { function: &self.name, outputs: &self.outputs, return_field: &self.row, secrets }
    }

    /// Reads what was found for each key that was sent: nothing, an object, or several; `errors`
    /// are those of the keys that were not.
    ///
    /// A key whose answer is `{"error": "text"}` fails alone, unless the table has such a column.
    fn answer(
        &self,
        secrets: &Secrets,
        found: &[&str],
        sent: &[usize],
        mut errors: Vec<(usize, CallError)>,
    ) -> Result<LookupAnswer, CallError> {
        let reader = self.reader(secrets);
        let may_fail = !reader.declares_error();
        let (mut rows, mut keys) = (Vec::new(), Vec::new());
        for (index, (key, text)) in sent.iter().zip(found).enumerate() {
            if may_fail && let Some(message) = row_error(text) {
                let message = secrets.excerpt(&message);
                errors.push((*key, CallError::rejected(&self.name, message)));
                continue;
            }
            let objects: Vec<&str> = match Kind::of(text) {
                Kind::Null => vec![],
                Kind::Array => elements(text).collect(),
                _ => vec![text],
            };
            for object in objects {
                self.check(&reader, object)
                    .map_err(|mismatch| reader.wrong_type(index, sent.len(), mismatch))?;
                rows.push(object);
                keys.push(*key as u32);
            }
        }
        Ok(LookupAnswer::new(self.columns(&reader, &rows)?, keys).with_errors(errors))
    }

    /// Checks a found row: an object that has every column that is asked for.
    fn check(&self, reader: &Answer<'_>, object: &str) -> Result<(), Mismatch> {
        if Kind::of(object) == Kind::Object {
            return reader.check_object(object);
        }
        Err(Mismatch {
            place: String::new(),
            got: Kind::of(object).name().to_owned(),
            declared: "an object".to_owned(),
        })
    }

    fn columns(&self, reader: &Answer<'_>, rows: &[&str]) -> Result<Vec<ArrayRef>, CallError> {
        if self.outputs.is_empty() {
            return Ok(vec![]);
        }
        let built = reader.build(rows)?;
        let found: &StructArray = built.as_struct();
        debug_assert_eq!(found.len(), rows.len());
        Ok(found.columns().to_vec())
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
