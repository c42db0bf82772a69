//! The table `farcall.metrics`, what the session's runtime counted of its functions.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use farcall_udf::{CallMetrics, FarcallRuntime};

use super::families::{FAMILIES, Reading};

const SCHEMA: &str = "farcall";
const TABLE: &str = "metrics";

/// Adds the table to the session's default catalog.
///
/// A schema of that name which is there already is left alone, and so is a catalog that takes none:
/// a session is worth more than its table of metrics.
pub(crate) fn register(context: &SessionContext, runtime: &Arc<FarcallRuntime>) -> Result<()> {
    let catalog = context.copied_config().options().catalog.default_catalog.clone();
    let Some(catalog) = context.catalog(&catalog) else { return Ok(()) };
    if catalog.schema(SCHEMA).is_some() {
        return Ok(());
    }
    let partition = Metrics { schema: columns(), runtime: Arc::clone(runtime) };
    let table = StreamingTable::try_new(columns(), vec![Arc::new(partition)])?;
    let schema = MemorySchemaProvider::new();
    schema.register_table(TABLE.to_owned(), Arc::new(table))?;
    if let Err(error) = catalog.register_schema(SCHEMA, Arc::new(schema)) {
        tracing::warn!(%error, "the session has no table {SCHEMA}.{TABLE}");
    }
    Ok(())
}

/// One row per number: of counters and gauges the number, of a distribution its quantiles, maximum,
/// sum and count, named in `label`.
fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("function", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("unit", DataType::Utf8, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("value", DataType::Float64, false),
    ]))
}

/// Reads the numbers anew in every execution.
#[derive(Debug)]
struct Metrics {
    schema: SchemaRef,
    runtime: Arc<FarcallRuntime>,
}

impl PartitionStream for Metrics {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.read();
        let stream = futures::stream::iter([batch]);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

impl Metrics {
    fn read(&self) -> Result<RecordBatch> {
        let mut rows = Rows::default();
        for (function, metrics) in self.runtime.totals() {
            rows.add_function(&function, &metrics);
        }
        rows.into_batch(Arc::clone(&self.schema))
    }
}

/// The columns of the table, being filled.
#[derive(Default)]
struct Rows {
    function: Vec<String>,
    metric: Vec<&'static str>,
    kind: Vec<&'static str>,
    unit: Vec<&'static str>,
    label: Vec<Option<&'static str>>,
    value: Vec<f64>,
}

impl Rows {
    fn add_function(&mut self, function: &str, metrics: &CallMetrics) {
        for family in &FAMILIES {
            let mut add = |label: Option<&'static str>, value: f64| {
                self.function.push(function.to_owned());
                self.metric.push(family.metric);
                self.kind.push(family.reading.kind());
                self.unit.push(family.unit);
                self.label.push(label);
                self.value.push(value);
            };
            match family.reading {
                Reading::Counter(read) => add(None, read(&metrics.snapshot()) as f64),
                Reading::CounterBy(_, read) => {
                    read(metrics).into_iter().for_each(|(label, n)| add(Some(label), n as f64));
                }
                Reading::Gauge(read) => add(None, read(metrics) as f64),
                Reading::Sizes(_) | Reading::Times(_) => {}
            }
            if let Some(distribution) = family.reading.distribution(metrics) {
                let values = &distribution.values;
                for (label, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
                    add(Some(label), distribution.in_unit(values.quantile(share)));
                }
                add(Some("sum"), distribution.in_unit(values.sum));
                add(Some("count"), values.count as f64);
            }
        }
    }

    fn into_batch(self, schema: SchemaRef) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.function)),
            Arc::new(StringArray::from(self.metric)),
            Arc::new(StringArray::from(self.kind)),
            Arc::new(StringArray::from(self.unit)),
            Arc::new(StringArray::from(self.label)),
            Arc::new(Float64Array::from(self.value)),
        ];
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use farcall_udf::testing::{ScriptedFunction, Step};
    use farcall_udf::{CallError, CallOptions, OnError};

    use crate::FarcallSession;

    /// A session in which `half` was called on five rows: four in a request, and one that was refused.
    pub(in crate::metrics) async fn session_after_calls() -> FarcallSession {
        let config = SessionConfig::new().with_target_partitions(1);
        let session = FarcallSession::builder().with_config(config).build().unwrap();
        let refused = Step::Poison(4, CallError::rejected("half", "no"));
        let (function, _) = ScriptedFunction::new("half")
            .with_usual(refused)
            .with_declaration(|declaration| {
                let options =
                    CallOptions::new().with_max_batch_size(4).with_on_error(OnError::Null);
                declaration.with_options(options)
            })
            .build();
        session.register(function);
        rows(&session, "SELECT half(value) FROM generate_series(0, 4)").await;
        session
    }

    #[tokio::test]
    async fn the_table_shows_what_ended_queries_counted() {
        let session = session_after_calls().await;
        let sql = "SELECT metric, kind, unit, label, value FROM farcall.metrics \
                   WHERE function = 'half' AND unit <> 'seconds' AND value > 0";
        insta::assert_snapshot!(rows(&session, sql).await, @r"
        +------------+-----------+----------+----------+-------+
        | metric     | kind      | unit     | label    | value |
        +------------+-----------+----------+----------+-------+
        | rows       | counter   | rows     |          | 5.0   |
        | calls      | counter   | calls    |          | 5.0   |
        | requests   | counter   | requests |          | 2.0   |
        | attempts   | counter   | attempts |          | 2.0   |
        | failures   | counter   | calls    | rejected | 1.0   |
        | batch_size | histogram | rows     | p50      | 1.0   |
        | batch_size | histogram | rows     | p95      | 4.0   |
        | batch_size | histogram | rows     | p99      | 4.0   |
        | batch_size | histogram | rows     | max      | 4.0   |
        | batch_size | histogram | rows     | sum      | 5.0   |
        | batch_size | histogram | rows     | count    | 2.0   |
        +------------+-----------+----------+----------+-------+
        ");
    }

    #[tokio::test]
    async fn a_prepared_plan_reads_anew_in_every_execution() {
        let session = session_after_calls().await;
        let sql = "SELECT value FROM farcall.metrics WHERE metric = 'rows'";
        let frame = session.sql(sql).await.unwrap();
        rows(&session, "SELECT half(value) FROM generate_series(10, 12)").await;
        let batches = frame.collect().await.unwrap();
        assert!(pretty_format_batches(&batches).unwrap().to_string().contains("| 8.0 "));
    }

    #[tokio::test]
    async fn a_schema_of_the_users_that_has_the_name_is_left_alone() {
        let plain = SessionContext::new();
        plain.sql("CREATE SCHEMA farcall").await.unwrap().collect().await.unwrap();
        let session = FarcallSession::builder().with_state(plain.state()).build().unwrap();
        let error = session.sql("SELECT * FROM farcall.metrics").await.unwrap_err();
        assert!(error.to_string().contains("farcall.metrics"), "{error}");
    }

    async fn rows(session: &FarcallSession, sql: &str) -> String {
        let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }
}
