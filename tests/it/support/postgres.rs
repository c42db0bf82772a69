//! [`Database`], a schema of a test's own in a real PostgreSQL, and sessions that look it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use tokio_postgres::{Client, NoTls};

use crate::support::remote::add_table;
use crate::support::store::Store;

/// A schema in a server, with a connection of the test's own.
pub struct Database {
    pub client: Client,
    pub schema: String,
    pub port: u16,
    pub password: String,
}

impl Database {
    /// Makes a schema in the server that all tests share.
    pub async fn new() -> Self {
        Self::of(Store::postgres()).await
    }

    /// Makes a schema in a server.
    pub async fn of(store: &Store) -> Self {
        static SCHEMAS: AtomicUsize = AtomicUsize::new(0);
        let schema = format!("s{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let client = connect(store).await;
        client
            .batch_execute(&format!("CREATE SCHEMA {schema}; SET search_path = {schema}"))
            .await
            .unwrap();
        Self { client, schema, port: store.port, password: store.password.clone() }
    }

    /// Runs statements at the server, in the schema.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    }

    /// Makes a table of numbers and texts; returns its columns as SQL
    /// declares them.
    pub async fn fill(&self, table: &str, rows: &RecordBatch) -> String {
        let schema = rows.schema();
        let column = |field: &Arc<Field>| match field.data_type() {
            DataType::Int64 => format!("{} BIGINT", field.name()),
            _ => format!("{} TEXT", field.name()),
        };
        let columns = schema.fields().iter().map(column).collect::<Vec<_>>().join(", ");
        let value = |column: &ArrayRef, row: usize| match column.is_null(row) {
            true => "NULL".to_owned(),
            false => format!("'{}'", array_value_to_string(column, row).unwrap()),
        };
        let row = |row: usize| {
            let values = rows.columns().iter().map(|column| value(column, row));
            format!("({})", values.collect::<Vec<_>>().join(", "))
        };
        let values = (0..rows.num_rows()).map(row).collect::<Vec<_>>().join(", ");
        self.run(&format!("CREATE TABLE {table} ({columns}); INSERT INTO {table} VALUES {values}"))
            .await;
        columns
    }

    /// Returns the first value of a query at the server.
    pub async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Returns the server's URL, without the password.
    pub fn url(&self) -> String {
        format!("postgres://farcall@127.0.0.1:{}/farcall", self.port)
    }

    /// Writes the options of a table of this schema.
    pub fn options(&self, table: &str, more: &str) -> String {
        let comma = if more.is_empty() { "" } else { ", " };
        format!(
            "'connector' 'postgres', 'url' '{}', 'password' '{}', 'table' '{}.{table}'{comma}{more}",
            self.url(),
            self.password,
            self.schema
        )
    }

    /// Makes a lookup table `name` of the table of the same name.
    pub async fn create(&self, session: &FarcallSession, name: &str, columns: &str, more: &str) {
        let options = self.options(name, more);
        create(session, name, columns, &options).await.unwrap();
    }
}

/// Waits until something is so at a server, at most ten seconds: its clock cannot be paused.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}");
}

/// Connects to a server as a test does.
pub async fn connect(store: &Store) -> Client {
    let config = format!(
        "host=127.0.0.1 port={} user=farcall dbname=farcall password={}",
        store.port, store.password
    );
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes a lookup table, or returns the message with which it is refused.
pub async fn create(
    session: &FarcallSession,
    name: &str,
    columns: &str,
    options: &str,
) -> Result<(), String> {
    let sql =
        format!("CREATE EXTERNAL TABLE {name} ({columns}) STORED AS LOOKUP OPTIONS ({options})");
    match session.sql(&sql).await {
        Ok(_) => Ok(()),
        Err(error) => Err(crate::support::remote::message(&error)),
    }
}

/// Makes a session whose table `t` has `id` from 0.
pub fn session(partitions: usize, rows: i64) -> FarcallSession {
    let config = SessionConfig::new().with_target_partitions(partitions);
    let session = FarcallSession::builder().with_config(config).build().unwrap();
    add_table(&session, "t", rows, partitions, 1000);
    session
}
