//! [`MemoryLookup`], a lookup table in the memory of the process.

mod connector;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use datafusion_common::cast::as_boolean_array;
use datafusion_common::error::Result;
use datafusion_common::{DFSchema, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{BinaryExpr, Expr};
use datafusion_physical_expr::create_physical_expr;
use farcall_udf::{
    ArgBatch, AsyncBatchLookupFunction, CallContext, CallError, CallOptions, FunctionContext,
    LookupAnswer, LookupProvider, LookupQuery, LookupScan,
};
use futures::stream::{BoxStream, StreamExt};

pub use connector::MemoryConnector;

/// A lookup table whose rows are held in memory: for tests, and for small tables that change never.
#[derive(Debug, Clone)]
pub struct MemoryLookup {
    rows: RecordBatch,
    schema: SchemaRef,
    key: Vec<usize>,
    options: CallOptions,
}

impl MemoryLookup {
    /// Makes a table of rows, found by the columns of `key`; a key may have several rows.
    ///
    /// # Errors
    /// A planning error for a key column that the rows do not have.
    pub fn try_new(rows: RecordBatch, key: &[&str]) -> Result<Self> {
        let schema = rows.schema();
        let mut columns = Vec::with_capacity(key.len());
        for name in key {
            match schema.index_of(name) {
                Ok(column) => columns.push(column),
                Err(_) => return plan_err!("the rows have no key column {name}"),
            }
        }
        Ok(Self { rows, schema, key: columns, options: CallOptions::new() })
    }

    /// Sets the call options of its lookups.
    pub fn with_options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Returns the rows that meet conditions; NULL does not.
    fn filtered(&self, filters: &[Expr]) -> Result<RecordBatch> {
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let (properties, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let mut rows = self.rows.clone();
        for filter in filters {
            let filter = create_physical_expr(filter, &schema, &properties, &context)?;
            let passes = filter.evaluate(&rows)?.into_array(rows.num_rows())?;
            let passes: &BooleanArray = as_boolean_array(&passes)?;
            rows = filter_record_batch(&rows, passes)?;
        }
        Ok(rows)
    }
}

impl LookupProvider for MemoryLookup {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn key(&self) -> &[usize] {
        &self.key
    }

    fn options(&self) -> CallOptions {
        self.options.clone()
    }

    /// Takes comparisons of a column with a constant.
    fn takes_filter(&self, filter: &Expr) -> bool {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return false };
        let constant = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if !value.is_null());
        let column = |expr: &Expr| matches!(expr, Expr::Column(_));
        op.supports_propagation()
            && (column(left) && constant(right) || constant(left) && column(right))
    }

    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        let rows = self.filtered(&query.filters)?;
        let keys = rows.project(&self.key)?;
        let sort = keys.schema_ref().fields().iter();
        let sort = sort.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sort)?;
        let mut by_key: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        for (row, key) in converter.convert_columns(keys.columns())?.iter().enumerate() {
            by_key.entry(key.data().into()).or_default().push(row as u32);
        }
        let columns = query.answered(&self.key);
        let columns = columns.map(|column| Arc::clone(rows.column(column))).collect();
        Ok(Arc::new(MemoryFunction { columns, by_key, converter }))
    }

    fn scan(&self, query: &LookupQuery) -> Result<Option<Arc<dyn LookupScan>>> {
        let rows = self.filtered(&query.filters)?.project(&query.columns)?;
        Ok(Some(Arc::new(MemoryScan(rows))))
    }
}

/// The rows that a scan reads.
#[derive(Debug)]
struct MemoryScan(RecordBatch);

#[async_trait]
impl LookupScan for MemoryScan {
    async fn scan(
        &self,
        _: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        Ok(futures::stream::iter([Ok(self.0.clone())]).boxed())
    }
}

/// The lookup of one place in a query.
#[derive(Debug)]
struct MemoryFunction {
    columns: Vec<ArrayRef>,
    by_key: HashMap<Box<[u8]>, Vec<u32>>,
    converter: RowConverter,
}

impl MemoryFunction {
    fn find(&self, keys: &ArgBatch) -> Result<LookupAnswer, ArrowError> {
        let (mut rows, mut of_row) = (Vec::new(), Vec::new());
        for (key, data) in self.converter.convert_columns(keys.columns())?.iter().enumerate() {
            let found = self.by_key.get(data.data()).map_or(&[][..], Vec::as_slice);
            rows.extend_from_slice(found);
            of_row.extend(found.iter().map(|_| key as u32));
        }
        let rows = UInt32Array::from(rows);
        let columns = self.columns.iter().map(|column| take(column, &rows, None));
        Ok(LookupAnswer::new(columns.collect::<Result<_, _>>()?, of_row))
    }
}

#[async_trait]
impl AsyncBatchLookupFunction for MemoryFunction {
    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        _: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        self.find(&keys).map_err(|error| CallError::function("a lookup in memory", error))
    }
}
