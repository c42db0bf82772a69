//! [`LookupReader`], which reads the rows of a lookup table without a key, and checks them.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::contract::context::FunctionContext;
use crate::contract::lookup::LookupScan;
use crate::error::CallError;

/// Makes what reads a lookup table whole.
///
/// # Errors
/// A planning error that names the table if that cannot be read.
pub(crate) type ReaderFn = Arc<dyn Fn() -> Result<WholeTable> + Send + Sync>;

/// A lookup table to be read whole, and where its key stands among the columns that are read.
pub(crate) struct WholeTable {
    pub(crate) reader: LookupReader,
    /// The columns of the key, by their position among those that are read.
    pub(crate) key: Vec<usize>,
    /// The columns of a found row that lookups give, which are the first ones.
    pub(crate) columns: usize,
}

/// Reads all rows of some columns of a lookup table.
#[derive(Clone)]
pub struct LookupReader {
    table: String,
    schema: SchemaRef,
    scan: Arc<dyn LookupScan>,
}

impl LookupReader {
    pub(crate) fn new(table: &str, schema: SchemaRef, scan: Arc<dyn LookupScan>) -> Self {
        Self { table: table.to_owned(), schema, scan }
    }

    /// Returns the table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Returns the columns that are read, all nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Begins to read; every batch has the columns of [`LookupReader::schema`].
    ///
    /// Errors: those of the scan, and [`CallError::Malformed`] or [`CallError::WrongType`] for a
    /// batch of other columns. Cancel: dropping the stream ends the reading.
    ///
    /// # Errors
    /// Those of the scan; in the stream [`CallError::Malformed`] or [`CallError::WrongType`] for a batch of
    /// other columns.
    pub async fn read(
        &self,
        ctx: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        let batches = self.scan.scan(ctx).await?;
        let reader = self.clone();
        Ok(batches.map(move |batch| reader.check(batch?)).boxed())
    }

    fn check(&self, batch: RecordBatch) -> Result<RecordBatch, CallError> {
        let (got, wanted) = (batch.num_columns(), self.schema.fields().len());
        if got != wanted {
            let message = format!("{got} columns where {wanted} are asked for");
            return Err(CallError::malformed(&self.table, message));
        }
        for (column, field) in batch.columns().iter().zip(self.schema.fields()) {
            if column.data_type() != field.data_type() {
                return Err(CallError::WrongType {
                    function: self.table.clone(),
                    declared: format!("{} (column {})", field.data_type(), field.name()),
                    got: column.data_type().to_string(),
                });
            }
        }
        RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())
            .map_err(|error| CallError::malformed(&self.table, error.to_string()))
    }
}

impl fmt::Debug for LookupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupReader").field("table", &self.table).finish_non_exhaustive()
    }
}
