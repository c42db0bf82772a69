//! [`LookupTableProvider`], a lookup table in DataFusion's catalog.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::DefaultTableSource;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;
use farcall_planner::{LookupSource, LookupTables};
use farcall_udf::{FarcallRuntime, LookupTable, Parameters};

use crate::catalog::scan::ScannedLookup;

/// A lookup table as DataFusion's catalog holds it.
///
/// Its rows are found by key, when it is joined; they can be read without one only if there is a
/// table to read them from.
#[derive(Debug)]
pub struct LookupTableProvider {
    table: Arc<LookupTable>,
    schema: SchemaRef,
    scanned: Option<Arc<dyn TableProvider>>,
}

impl LookupTableProvider {
    /// Makes the catalog's entry of a table that is only looked up.
    pub fn new(table: Arc<LookupTable>) -> Self {
        // A row that is not found has NULL everywhere, and nothing checks what a store promises.
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let fields: Vec<Field> = table.schema().fields().iter().map(nullable).collect();
        let schema = Arc::new(Schema::new(fields));
        Self { table, schema, scanned: None }
    }

    /// Reads all rows from the store itself where a query has no key, if its provider can be scanned;
    /// scans are told `runtime` and `parameters`.
    ///
    /// # Errors
    /// What the provider says of a scan.
    pub fn with_own_scan(
        self,
        runtime: &Arc<FarcallRuntime>,
        parameters: &Parameters,
    ) -> Result<Self> {
        match ScannedLookup::try_new(&self.table, runtime, parameters)? {
            Some(scanned) => self.with_scan(Arc::new(scanned)),
            None => Ok(self),
        }
    }

    /// Reads all rows from another table where a query has no key.
    ///
    /// # Errors
    /// A planning error if the columns are not the same.
    pub fn with_scan(mut self, scanned: Arc<dyn TableProvider>) -> Result<Self> {
        let same = |a: &Schema, b: &Schema| {
            let column = |field: &Arc<Field>| (field.name().clone(), field.data_type().clone());
            a.fields().iter().map(column).eq(b.fields().iter().map(column))
        };
        if !same(&self.schema, &scanned.schema()) {
            return plan_err!(
                "lookup table {} is scanned by a table of other columns",
                self.table.name()
            );
        }
        self.schema = scanned.schema();
        self.scanned = Some(scanned);
        Ok(self)
    }

    /// Returns the table.
    pub fn table(&self) -> &Arc<LookupTable> {
        &self.table
    }
}

#[async_trait]
impl TableProvider for LookupTableProvider {
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
        // A lookup finds the conditions in the scan, and takes them from there.
        match &self.scanned {
            Some(scanned) => scanned.supports_filters_pushdown(filters),
            None => Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()]),
        }
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.scanned {
            Some(scanned) => scanned.scan(state, projection, filters, limit).await,
            None => plan_err!("lookup table {} cannot be scanned", self.table.name()),
        }
    }
}

/// Finds the lookup tables among those of DataFusion's catalog.
#[derive(Debug, Clone, Copy, Default)]
pub struct CatalogLookups;

impl LookupTables for CatalogLookups {
    fn find(&self, source: &dyn TableSource) -> Option<LookupSource> {
        let source: &dyn Any = source;
        let source = source.downcast_ref::<DefaultTableSource>()?;
        let provider = source.table_provider.downcast_ref::<LookupTableProvider>()?;
        let can_be_scanned = provider.scanned.is_some();
        Some(LookupSource { table: Arc::clone(&provider.table), can_be_scanned })
    }
}
