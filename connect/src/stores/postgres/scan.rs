//! [`PostgresScan`], which reads all rows of a table, as fast as they are taken.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use farcall_udf::{CallError, CallOptions, FunctionContext, LookupScan};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;
use tokio_postgres::RowStream;

use super::pool::Connection;
use super::source::{Opened, Rows, Source};
use crate::common::options::attempt_timeout;

/// Rows in a batch.
const BATCH_ROWS: usize = 8192;
/// Bytes at which a batch ends: what a reader has in memory, and far from the 2 GiB that Arrow's
/// columns hold, of which one value may be half.
const BATCH_BYTES: usize = 16 << 20;

/// Reads the whole table.
///
/// The first rows may take `attempt_timeout`, and so may each further batch: a free connection is
/// waited for no longer, since the query that waits may be what keeps it busy.
#[derive(Debug)]
pub(crate) struct PostgresScan {
    source: Arc<Source>,
    /// The columns that are read.
    schema: SchemaRef,
    /// What the table says.
    options: CallOptions,
}

impl PostgresScan {
    /// Makes what reads `columns` of a source that has no key.
    pub(crate) fn new(source: Source, schema: Schema, options: CallOptions) -> Self {
        Self { source: Arc::new(source), schema: Arc::new(schema), options }
    }

    async fn begin(&self, ctx: &FunctionContext, timeout: Duration) -> Result<Reading, CallError> {
        let opened = Arc::new(self.source.open(ctx)?);
        let deadline = Instant::now().checked_add(timeout);
        let (mut connection, select) = self.source.connect(&opened, deadline).await?;
        let statement = connection.prepare(&select.sql).await?;
        let rows = connection.query(&statement, std::iter::empty::<i32>()).await?;
        let (source, schema) = (Arc::clone(&self.source), Arc::clone(&self.schema));
        Ok(Reading { source, opened, schema, connection, rows })
    }
}

#[async_trait]
impl LookupScan for PostgresScan {
    async fn scan(
        &self,
        ctx: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        let name = self.source.name().to_owned();
        let timeout = attempt_timeout(ctx, &name, &self.options)?;
        let reading = in_time(&name, timeout, self.begin(ctx, timeout)).await?;
        let batches = futures::stream::try_unfold(reading, move |reading| {
            let name = name.clone();
            async move { in_time(&name, timeout, reading.next()).await }
        });
        Ok(batches.boxed())
    }
}

async fn in_time<T>(
    function: &str,
    timeout: Duration,
    step: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(timeout, step).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(CallError::AttemptTimeout { function: function.to_owned(), timeout, attempt: 1 })
        }
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
