//! [`ScannedLookup`], the rows of a lookup table as DataFusion reads them, without a key.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use farcall_udf::{
    FarcallRuntime, FunctionContext, LookupQuery, LookupReader, LookupTable, Parameters,
};
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A lookup table whose provider can be scanned, read as a whole.
///
/// The provider is asked for the columns that a query reads, and for the rows that meet the
/// conditions which it takes over.
pub(super) struct ScannedLookup {
    table: Arc<LookupTable>,
    schema: SchemaRef,
    runtime: Arc<FarcallRuntime>,
    parameters: Parameters,
}

impl ScannedLookup {
    /// Makes the table; `None` if its provider cannot be scanned.
    ///
    /// # Errors
    /// What the provider says of a scan.
    pub(super) fn try_new(
        table: &Arc<LookupTable>,
        runtime: &Arc<FarcallRuntime>,
        parameters: &Parameters,
    ) -> Result<Option<Self>> {
        let columns = 0..table.schema().fields().len();
        let reader = table.reader(&LookupQuery::new(columns))?;
        Ok(reader.map(|reader| Self {
            table: Arc::clone(table),
            schema: Arc::clone(reader.schema()),
            runtime: Arc::clone(runtime),
            parameters: Arc::clone(parameters),
        }))
    }
}

impl fmt::Debug for ScannedLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScannedLookup").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Writes a condition as a provider reads it, over columns without qualifier.
fn unqualified(condition: &Expr) -> Result<Expr> {
    let unqualify = |expr: Expr| match expr {
        Expr::Column(column) => Transformed::yes(Expr::Column(Column::from_name(column.name))),
        expr => Transformed::no(expr),
    };
    condition.clone().transform_up(|expr| Ok(unqualify(expr))).data()
}

#[async_trait]
impl TableProvider for ScannedLookup {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let takes = |filter: &&Expr| {
            Ok(match self.table.provider().takes_filter(&unqualified(filter)?) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            })
        };
        filters.iter().map(takes).collect()
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        // A provider is asked for something, also where a query only counts rows.
        let nothing = columns.is_empty().then(Vec::new);
        if nothing.is_some() {
            columns.push(self.table.key()[0]);
        }
        let filters = filters.iter().map(unqualified).collect::<Result<_>>()?;
        let Some(reader) = self.table.reader(&LookupQuery::new(columns).with_filters(filters))?
        else {
            return plan_err!("lookup table {} cannot be scanned", self.table.name());
        };
        let schema = Arc::clone(reader.schema());
        let rows: Arc<dyn PartitionStream> = Arc::new(ScannedRows {
            reader,
            runtime: Arc::clone(&self.runtime),
            parameters: Arc::clone(&self.parameters),
        });
        let scan =
            StreamingTableExec::try_new(schema, vec![rows], nothing.as_ref(), [], false, limit)?;
        Ok(Arc::new(scan))
    }
}

/// The rows of one scan, read anew in every execution.
#[derive(Debug)]
struct ScannedRows {
    reader: LookupReader,
    runtime: Arc<FarcallRuntime>,
    parameters: Parameters,
}

impl PartitionStream for ScannedRows {
    fn schema(&self) -> &SchemaRef {
        self.reader.schema()
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let cancellation = CancellationToken::new();
        // Dropping the stream tells the provider, too.
        let guard = cancellation.clone().drop_guard();
        let query_id = Uuid::new_v4().to_string();
        let ctx = FunctionContext::new(query_id, Arc::clone(self.runtime.resources()))
            .with_cancellation(cancellation)
            .with_parameters(Arc::clone(&self.parameters))
            .with_config(Arc::clone(task.session_config().options()));
        let reader = self.reader.clone();
        let batches = async move {
            let batches = reader.read(&ctx).await.map_err(DataFusionError::from)?;
            Ok::<_, DataFusionError>(batches.map(move |batch| {
                let _ = &guard;
                batch.map_err(DataFusionError::from)
            }))
        };
        let batches = futures::stream::once(batches).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.reader.schema()), batches))
    }
}
