//! [`RedisScan`], which reads all rows of a table by walking over the keys of its server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use farcall_udf::{CallError, FunctionContext, LookupScan};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use redis::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::classify::Failure;
use super::decode::{Decoder, Rows};
use super::find::{Found, find};
use super::text;
use crate::common::options::attempt_timeout;
use crate::stores::redis::source::{Opened, Source};

/// How many keys a step of SCAN looks at, those of other tables included.
const KEYS_PER_STEP: usize = 1_000;
/// Values in a request at most: `max_response_bytes` leaves half a megabyte for each by default.
const VALUES_PER_REQUEST: usize = 128;

/// Reads a table: `SCAN` with a pattern of its keys, and the values as a lookup reads them.
///
/// A key that exists from beginning to end is read once, others at most once. What matches the
/// pattern and is no key of the table, or a value of another type, is left out: the same names may
/// stand for other things. Each request for names, and each for values, may take `attempt_timeout`;
/// one that is answered by too many bytes is made again for half of the names.
#[derive(Debug)]
pub(crate) struct RedisScan {
    source: Arc<Source>,
    decoder: Arc<Decoder>,
    columns: Vec<usize>,
}

impl RedisScan {
    /// Makes the reader of some of a table's columns; `decoder` reads those beside the key.
    pub(crate) fn new(source: Arc<Source>, decoder: Arc<Decoder>, columns: Vec<usize>) -> Self {
        Self { source, decoder, columns }
    }
}

#[async_trait]
impl LookupScan for RedisScan {
    async fn scan(
        &self,
        ctx: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        let field = |column: &usize| {
            let field = self.source.table.schema.field(*column);
            Field::new(field.name(), field.data_type().clone(), true)
        };
        let fields: Vec<Field> = self.columns.iter().map(field).collect();
        let walk = Walk {
            opened: self.source.open(&ctx.resources)?,
            source: Arc::clone(&self.source),
            decoder: Arc::clone(&self.decoder),
            columns: self.columns.clone(),
            schema: Arc::new(Schema::new(fields)),
            cursor: Some("0".into()),
            seen: HashSet::new(),
            found: Names::default(),
            values_per_request: VALUES_PER_REQUEST,
            attempt_timeout: attempt_timeout(
                ctx,
                self.source.name(),
                &self.source.table.call_options,
            )?,
        };
        let steps = stream::try_unfold(walk, |mut walk| async move {
            let step = walk.step().await?;
            Ok(step.map(|rows| (rows, walk)))
        });
        // Most steps over a server with other keys find nothing.
        let is_full = |rows: &Result<RecordBatch, _>| {
            let keep = rows.as_ref().map_or(true, |rows| rows.num_rows() > 0);
            std::future::ready(keep)
        };
        Ok(steps.filter(is_full).boxed())
    }
}

/// A reading of a table that is under way.
struct Walk {
    opened: Opened,
    source: Arc<Source>,
    decoder: Arc<Decoder>,
    columns: Vec<usize>,
    schema: SchemaRef,
    /// Where the walk goes on; `None` at its end.
    cursor: Option<Vec<u8>>,
    /// The keys that were read, hashed: a server that moves its keys names some of them twice.
    seen: HashSet<u128>,
    /// The names whose values were not read yet.
    found: Names,
    values_per_request: usize,
    attempt_timeout: Duration,
}

/// Names of Redis keys, and the columns of the table's key that they are made of.
#[derive(Debug, Default)]
struct Names {
    names: Vec<Vec<u8>>,
    columns: Vec<ArrayRef>,
}

impl Names {
    /// Takes the first names away.
    fn take(&mut self, count: usize) -> Names {
        let behind = self.names.split_off(count);
        let names = std::mem::replace(&mut self.names, behind);
        let first = self.columns.iter().map(|column| column.slice(0, count)).collect();
        for column in &mut self.columns {
            *column = column.slice(count, column.len() - count);
        }
        Names { names, columns: first }
    }
}

impl Walk {
    /// Reads the rows of the next names, of none perhaps.
    async fn step(&mut self) -> Result<Option<RecordBatch>, CallError> {
        if self.found.names.is_empty() {
            let Some(cursor) = self.cursor.take() else { return Ok(None) };
            let named = self.in_time(self.keys(cursor)).await?;
            let (next, named) = named.map_err(|failure| self.told(failure))?;
            self.cursor = next;
            self.found = self.of_table(named).map_err(|error| self.converting(&error))?;
            self.values_per_request = VALUES_PER_REQUEST;
        }
        loop {
            let count = self.found.names.len().min(self.values_per_request);
            let found = match self.in_time(self.values(&self.found.names[..count])).await? {
                Err(Failure::TooLarge(_)) if count > 1 => {
                    self.values_per_request = count / 2;
                    continue;
                }
                found => found.map_err(|failure| self.told(failure))?,
            };
            let keys = self.found.take(count);
            let mut rows = self.decoder.rows(&keys.names, found, &self.opened.secrets)?;
            return match rows.errors.pop() {
                Some((_, error)) => Err(error),
                None => {
                    let batch = self.batch(&keys.columns, rows);
                    batch.map(Some).map_err(|error| self.converting(&error))
                }
            };
        }
    }

    async fn in_time<T>(&self, request: impl Future<Output = T>) -> Result<T, CallError> {
        let timeout = self.attempt_timeout;
        match tokio::time::timeout(timeout, request).await {
            Ok(outcome) => Ok(outcome),
            Err(_) => {
                let function = self.source.name().to_owned();
                Err(CallError::AttemptTimeout { function, timeout, attempt: 1 })
            }
        }
    }

    /// Asks for values; one of another type is none of the table's.
    async fn values(&self, names: &[Vec<u8>]) -> Result<Vec<Found>, Failure> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = find(&self.opened.pool, &self.decoder.ask(), names).await?;
        let mine = |found: Found| match found {
            Found::OtherType(_) => Found::Missing,
            found => found,
        };
        Ok(found.into_iter().map(mine).collect())
    }

    /// Asks for the next names, and where the walk goes on behind them.
    async fn keys(&self, cursor: Vec<u8>) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>), Failure> {
        let mut scan = redis::pipe();
        scan.cmd("SCAN").arg(cursor).arg("MATCH").arg(self.source.template.pattern());
        scan.arg("COUNT").arg(KEYS_PER_STEP);
        let unexpected =
            || Failure::Malformed("SCAN was not answered by a cursor and keys".to_owned());
        let mut parts = match self.opened.pool.request(&scan).await?.pop() {
            Some(Value::ServerError(error)) => return Err(Failure::said(&error)),
            Some(Value::Array(parts)) => parts.into_iter(),
            _ => return Err(unexpected()),
        };
        let (Some(Value::BulkString(next)), Some(Value::Array(keys))) =
            (parts.next(), parts.next())
        else {
            return Err(unexpected());
        };
        let name = |key: Value| match key {
            Value::BulkString(name) => Ok(name),
            _ => Err(unexpected()),
        };
        let names = keys.into_iter().map(name).collect::<Result<_, _>>()?;
        Ok(((next != b"0").then_some(next), names))
    }

    /// Keeps the names that are keys of the table and were not read yet, with the columns of the key.
    fn of_table(&mut self, names: Vec<Vec<u8>>) -> Result<Names, ArrowError> {
        let fields: Vec<FieldRef> = self.source.key().cloned().collect();
        let mut parts: Vec<Vec<&[u8]>> = vec![Vec::new(); fields.len()];
        let mut mine = Vec::new();
        for name in &names {
            let Some(values) = self.source.template.read(name) else { continue };
            mine.push(name);
            parts.iter_mut().zip(values).for_each(|(part, value)| part.push(value));
        }
        let columns =
            parts.iter().zip(&fields).map(|(part, field)| text::from_key_texts(part, field));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        // What could not be asked for by a key is none.
        let is_key = |row: &usize| columns.iter().all(|column| column.is_valid(*row));
        let seen = &mut self.seen;
        let kept: Vec<usize> = (0..mine.len())
            .filter(is_key)
            .filter(|row| seen.insert(xxh3_128(mine[*row])))
            .collect();
        let rows: UInt32Array = kept.iter().map(|row| *row as u32).collect();
        let columns = columns.iter().map(|column| take(column, &rows, None));
        let columns = columns.collect::<Result<_, _>>()?;
        let names = kept.into_iter().map(|row| mine[row].clone()).collect();
        Ok(Names { names, columns })
    }

    /// Puts the columns of the key beside those that were read, in the order of the query.
    fn batch(&self, key_columns: &[ArrayRef], rows: Rows) -> Result<RecordBatch, ArrowError> {
        let count = rows.keys.len();
        let key_of_row = UInt32Array::from(rows.keys);
        let mut answered = rows.columns.into_iter();
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            match self.source.table.key.iter().position(|part| part == column) {
                Some(part) => columns.push(take(&key_columns[part], &key_of_row, None)?),
                None => columns.extend(answered.next()),
            }
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    fn told(&self, failure: Failure) -> CallError {
        failure.of(self.source.name(), &self.opened.secrets)
    }

    fn converting(&self, error: &ArrowError) -> CallError {
        CallError::Conversion {
            function: self.source.name().to_owned(),
            what: "an answer".to_owned(),
            message: self.opened.secrets.excerpt(&error.to_string()),
        }
    }
}
