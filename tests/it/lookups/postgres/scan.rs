//! A table that is read as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::logical_expr::{Expr, col, lit};
use farcall::connect::PostgresConnector;
use farcall::udf::{CallError, CallOptions, FunctionContext, LookupProvider, LookupQuery};
use farcall::udf::{LookupConnector, LookupDefinition};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::support::postgres::{Database, until};

const ROWS: i64 = 100_000;

async fn table(database: &Database) -> Arc<dyn LookupProvider> {
    database
        .run(&format!(
            "CREATE TABLE big (id bigint, name text, n numeric);
             INSERT INTO big SELECT i, repeat('x', 100), i FROM generate_series(1, {ROWS}) i"
        ))
        .await;
    provider(database)
}

fn provider(database: &Database) -> Arc<dyn LookupProvider> {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8View, true),
        Field::new("n", DataType::Decimal128(4, 0), true),
    ];
    let options = [
        ("url", database.url()),
        ("password", database.password.clone()),
        ("table", format!("{}.big", database.schema)),
        ("application_name", database.schema.clone()),
    ];
    let definition = LookupDefinition {
        name: "big".into(),
        schema: Arc::new(Schema::new(fields)),
        key: vec![0],
        options: options
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        call_options: CallOptions::new(),
    };
    PostgresConnector.provider(&definition).unwrap()
}

async fn scan(
    table: &dyn LookupProvider,
    columns: &[usize],
    filters: Vec<Expr>,
) -> BoxStream<'static, Result<RecordBatch, CallError>> {
    assert!(filters.iter().all(|filter| table.takes_filter(filter)));
    let query = LookupQuery::new(columns.iter().copied()).with_filters(filters);
    let context = FunctionContext::new("query", Arc::default());
    table.scan(&query).unwrap().unwrap().scan(&context).await.unwrap()
}

#[tokio::test]
async fn all_rows_come_in_batches_with_the_columns_that_are_read() {
    let database = Database::new().await;
    let table = table(&database).await;
    let batches: Vec<RecordBatch> =
        scan(table.as_ref(), &[1, 0], vec![]).await.try_collect().await.unwrap();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let sum: i64 =
        batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values()).sum();
    assert_eq!((rows as i64, sum), (ROWS, ROWS * (ROWS + 1) / 2));
    assert!(batches.len() > 10);
    let filters = vec![col("id").lt(lit(4_i64))];
    let batches: Vec<RecordBatch> =
        scan(table.as_ref(), &[], filters).await.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[tokio::test]
async fn large_values_come_in_batches_of_few_rows() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE big (id bigint, name text, n numeric);
              INSERT INTO big SELECT i, repeat('x', 3 << 20), 0 FROM generate_series(1, 20) i",
        )
        .await;
    let batches: Vec<RecordBatch> =
        scan(provider(&database).as_ref(), &[0, 1], vec![]).await.try_collect().await.unwrap();
    // The row that goes beyond 16 MiB is the last one.
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [6, 6, 6, 2]);
    let length = |batch: &RecordBatch| batch.column(1).as_string_view().value(1).len();
    assert!(batches.iter().all(|batch| length(batch) == 3 << 20));
}

#[tokio::test]
async fn a_value_that_does_not_fit_ends_the_reading() {
    let database = Database::new().await;
    let table = table(&database).await;
    let batches: Vec<_> = scan(table.as_ref(), &[2], vec![]).await.collect().await;
    let error = batches.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(
        error.contains("a value of column n, declared as Decimal128(4, 0), has more digits"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_statement() {
    let database = Database::new().await;
    let table = table(&database).await;
    let mut batches = scan(table.as_ref(), &[0, 1], vec![]).await;
    assert_eq!(batches.next().await.unwrap().unwrap().num_rows(), 8192);
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'",
        database.schema
    );
    assert_eq!(database.number(&sql).await, 1);
    drop(batches);
    until("closed", async || database.number(&sql).await == 0).await;
}
