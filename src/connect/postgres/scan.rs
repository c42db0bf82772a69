//! [`PostgresScan`], which reads all rows of a table, as fast as they are taken.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use farcall_udf::{CallError, FunctionContext, LookupScan};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_postgres::RowStream;

use super::pool::Connection;
use super::source::{Opened, Rows, Source};

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;
/// Bytes at which a batch ends: what a reader has in memory, and far from the 2 GiB that Arrow's
/// columns hold, of which one value may be half.
const BATCH_BYTES: usize = 16 << 20;

/// Reads the whole table.
#[derive(Debug)]
pub(super) struct PostgresScan {
    source: Arc<Source>,
    /// The columns that are read.
    schema: SchemaRef,
}

impl PostgresScan {
    /// Makes what reads `columns` of a source that has no key.
    pub(super) fn new(source: Source, schema: Schema) -> Self {
        Self { source: Arc::new(source), schema: Arc::new(schema) }
    }
}

#[async_trait]
impl LookupScan for PostgresScan {
    async fn scan(
        &self,
        ctx: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        let opened = self.source.open(ctx)?;
        let (mut connection, select) = self.source.connect(&opened, None).await?;
        let statement = connection.prepare(&select.sql).await?;
        let rows = connection.query(&statement, std::iter::empty::<i32>()).await?;
        let (source, schema) = (Arc::clone(&self.source), Arc::clone(&self.schema));
        let reading = Reading { source, opened, schema, connection, rows };
        Ok(futures::stream::try_unfold(reading, Reading::next).boxed())
    }
}

/// A table while it is read; dropped before its end, it ends the statement.
struct Reading {
    source: Arc<Source>,
    opened: Arc<Opened>,
    schema: SchemaRef,
    connection: Connection,
    rows: Pin<Box<RowStream>>,
}

impl Reading {
    /// Reads the next batch; nothing is read ahead of it.
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>, CallError> {
        let name = self.source.name();
        let mut columns = Rows::of(name, self.opened.select()?);
        let mut count = 0;
        while count < BATCH_ROWS
            && columns.bytes() < BATCH_BYTES
            && let Some(row) = self.connection.next(&mut self.rows).await?
        {
            if let Some(error) = columns.push(&row)? {
                return Err(error);
            }
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns.finish()?, &options);
        let batch = batch.map_err(|error| CallError::function(name, error))?;
        Ok(Some((batch, self)))
    }
}
