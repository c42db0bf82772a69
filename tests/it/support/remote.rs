//! Sessions whose model `m` is a test server's: `m(x) = 2 x + 1` over integers.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;

use crate::support::server::{ServerBuilder, TestServer};
use crate::support::twins::lines;

/// Rows of table `t`.
pub const ROWS: i64 = 100;
/// Options that keep a test with retries short.
pub const FAST: &str = "'retry_delay' = '1ms', 'max_retry_delay' = '5ms'";

/// A session with a model at a server.
pub struct Remote {
    pub server: TestServer,
    pub session: FarcallSession,
}

impl Remote {
    /// Starts a server and makes its model, in requests of 10 rows.
    pub async fn new(server: ServerBuilder, options: &str) -> Self {
        Self::with_partitions(1, server, options).await
    }

    /// Like [`Remote::new`], over a number of partitions.
    pub async fn with_partitions(partitions: usize, server: ServerBuilder, options: &str) -> Self {
        let server = server.start();
        let session = session(partitions);
        create(&session, &server.url(), options).await;
        Self { server, session }
    }

    /// Reads `id` and the model's value for all rows of `t`, in the order in which they come.
    pub async fn all(&self) -> Result<Vec<String>, String> {
        self.rows("SELECT id, PREDICT(m, id) AS v FROM t").await
    }

    /// Runs SQL and returns its rows, or the message as a user reads it without the server's port.
    pub async fn rows(&self, sql: &str) -> Result<Vec<String>, String> {
        let port = self.server.addr().to_string();
        rows(&self.session, sql).await.map_err(|message| message.replace(&port, "HOST"))
    }

    /// Returns how many requests the server got.
    pub fn requests(&self) -> usize {
        self.server.counts().requests
    }
}

/// Makes a session with table `t`: `id` 0 to 99, in 4 batches, in as many partitions as asked for.
pub fn session(partitions: usize) -> FarcallSession {
    let config =
        SessionConfig::new().with_target_partitions(partitions).with_information_schema(true);
    let session = FarcallSession::builder().with_config(config).build().unwrap();
    add_table(&session, "t", ROWS, partitions, 25);
    session
}

/// Adds a table with `id` from 0 in small batches.
pub fn add_table(session: &FarcallSession, name: &str, rows: i64, partitions: usize, batch: i64) {
    let mut parts: Vec<Vec<RecordBatch>> = vec![vec![]; partitions];
    let per_partition = (rows + partitions as i64 - 1) / partitions as i64;
    for (part, batches) in parts.iter_mut().enumerate() {
        let end = rows.min((part as i64 + 1) * per_partition);
        let mut start = part as i64 * per_partition;
        while start < end {
            let ids: Int64Array = (start..end.min(start + batch)).map(Some).collect();
            start += batch;
            batches.push(RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap());
        }
    }
    let table = MemTable::try_new(parts[0][0].schema(), parts).unwrap();
    session.context().register_table(name, Arc::new(table)).unwrap();
}

/// Makes model `m` at an endpoint; later options win over the size of a request, 10 rows.
pub async fn create(session: &FarcallSession, endpoint: &str, options: &str) {
    let batch = if options.contains("max_batch_size") { "" } else { ", 'max_batch_size' = '10'" };
    let comma = if options.is_empty() { "" } else { ", " };
    let sql = format!(
        "CREATE OR REPLACE MODEL m INPUT (x BIGINT) OUTPUT (y BIGINT) WITH \
         ('provider' = 'http', 'endpoint' = '{endpoint}'{batch}{comma}{options})"
    );
    session.sql(&sql).await.unwrap();
}

/// Runs SQL and returns its rows, or the message as a user reads it; checks that nothing is left of
/// the query, however it ended.
pub async fn rows(session: &FarcallSession, sql: &str) -> Result<Vec<String>, String> {
    let frame = session.sql(sql).await.map_err(|error| message(&error))?;
    let batches = frame.collect().await.map_err(|error| message(&error));
    nothing_is_left(session).await;
    Ok(lines(&batches?))
}

/// Returns what was counted of a function, over all queries of the session, also while one runs.
pub async fn counted(session: &FarcallSession, function: &str, metric: &str) -> i64 {
    let sql = format!(
        "SELECT CAST(sum(value) AS BIGINT) AS v FROM farcall.metrics \
         WHERE function = '{function}' AND metric = '{metric}'"
    );
    let frame = session.sql(&sql).await.unwrap();
    let rows = lines(&frame.collect().await.unwrap());
    rows[0].trim_matches('|').parse().unwrap_or_default()
}

/// Checks that no task, place, permit or row of any query is left.
pub async fn nothing_is_left(session: &FarcallSession) {
    let runtime = session.runtime();
    let idle = tokio::time::timeout(Duration::from_secs(20), runtime.idle());
    assert!(idle.await.is_ok(), "a query still runs");
    // What was aborted is gone when its task is run for the last time, which takes a moment.
    let mut left = left_over(session);
    for _ in 0..500 {
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        left = left_over(session);
    }
    assert!(left.is_empty(), "left: {left:?}");
}

/// Returns the permits that are taken, and the functions with requests, rows and batches.
fn left_over(session: &FarcallSession) -> Vec<String> {
    let runtime = session.runtime();
    let mut left = Vec::new();
    if runtime.attempts_in_flight() > 0 {
        left.push(format!("{} permits", runtime.attempts_in_flight()));
    }
    for (function, metrics) in runtime.totals() {
        let counts =
            (metrics.in_flight(), metrics.buffered_rows(), metrics.pending_ordered_batches());
        if counts != (0, 0, 0) {
            left.push(format!("{counts:?} requests, rows and batches of {function}"));
        }
    }
    left
}

/// Returns an error as the program prints it.
pub fn message(error: &datafusion::error::DataFusionError) -> String {
    farcall_cli::message_of(error)
}

/// Returns a line of `id` and value, the value being `2 x + 1` unless told otherwise.
pub fn line(id: i64, value: impl ToString) -> String {
    format!("|{id}|{}|", value.to_string())
}

/// Returns the lines of all rows in order, those of some rows with another value.
pub fn expected(others: &[(i64, &str)]) -> Vec<String> {
    let value = |id: i64| {
        let other = others.iter().find(|(other, _)| *other == id);
        other.map_or((2 * id + 1).to_string(), |(_, value)| (*value).to_owned())
    };
    (0..ROWS).map(|id| line(id, value(id))).collect()
}
