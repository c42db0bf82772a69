//! What the benchmarks share: tables, checks, the bare client, pairs of runs.

#![allow(dead_code, clippy::expect_used)]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use futures::stream::{Stream, StreamExt};
use serde_json::{Value, json};

/// Runs of each rival, in turn with the other one's.
pub const PAIRS: usize = 5;

/// Sorts the values and returns the one in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints what a rival took, in seconds.
pub fn report(name: &str, seconds: &mut [f64]) {
    let middle = median(seconds);
    println!(
        "  {name:<26} {middle:>8.3} s (median of {}, {:.3} to {:.3})",
        seconds.len(),
        seconds[0],
        seconds[seconds.len() - 1]
    );
}

/// Runs two rivals in turn; returns the seconds of both and their ratios, pair by pair.
///
/// Who goes first changes, so that neither always finds the machine as the other left it.
pub async fn in_pairs(
    pairs: usize,
    mut ours: impl AsyncFnMut(),
    mut theirs: impl AsyncFnMut(),
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut our_seconds, mut their_seconds) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        for turn in 0..2 {
            let start = Instant::now();
            if (pair + turn) % 2 == 0 {
                ours().await;
                our_seconds.push(start.elapsed().as_secs_f64());
            } else {
                theirs().await;
                their_seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let ratios = our_seconds.iter().zip(&their_seconds).map(|(ours, theirs)| ours / theirs);
    let ratios = ratios.collect();
    (our_seconds, their_seconds, ratios)
}

/// Two partitions, which is what the machines of the project have cores for.
pub fn config() -> SessionConfig {
    SessionConfig::new().with_target_partitions(2)
}

/// A table of `id` from 0, with so many rows in each partition.
pub fn table(partitions: &[usize]) -> Arc<MemTable> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let mut next = 0;
    let batches = partitions.iter().map(|rows| {
        let ids = next..next + *rows as i64;
        next = ids.end;
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
        vec![RecordBatch::try_new(Arc::clone(&schema), vec![ids]).expect("a batch")]
    });
    let batches = batches.collect();
    Arc::new(MemTable::try_new(schema, batches).expect("a table"))
}

/// A session with table `t` and model `m` at an endpoint; the options follow a comma.
pub async fn session(partitions: &[usize], endpoint: &str, options: &str) -> FarcallSession {
    let session = FarcallSession::builder().with_config(config()).build().expect("a session");
    session.context().register_table("t", table(partitions)).expect("a table");
    let create = format!(
        "CREATE MODEL m INPUT (x BIGINT) OUTPUT (y BIGINT) WITH ('provider' = 'http', \
         'endpoint' = '{endpoint}', {options})"
    );
    session.sql(&create).await.expect("a model");
    session
}

/// Checks that the rows hold i and 2 i + 1, for every i from 0, in whatever order.
pub fn check(batches: &[RecordBatch], rows: usize) {
    let mut found: Vec<(i64, i64)> = Vec::with_capacity(rows);
    for batch in batches {
        let [ids, values] = [0, 1].map(|column| batch.column(column).as_primitive::<Int64Type>());
        found.extend(ids.values().iter().copied().zip(values.values().iter().copied()));
    }
    found.sort_unstable();
    assert!(found.iter().copied().eq((0..rows as i64).map(|id| (id, 2 * id + 1))), "rows");
}

/// Checks that the rows hold i and 2 i + 1, for every i from 0, in their order.
pub fn check_in_order(batches: &[RecordBatch], rows: usize) {
    let ids = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
    assert!(ids.copied().eq(0..rows as i64), "order");
    check(batches, rows);
}

/// Sends the requests of a client that a careful programmer would write for this one job.
pub fn requests<'a>(
    client: &'a reqwest::Client,
    endpoint: &'a str,
    ids: &'a [i64],
    batch: usize,
) -> impl Stream<Item = impl Future<Output = Result<Vec<i64>>> + 'a> + 'a {
    futures::stream::iter(ids.chunks(batch)).map(move |ids| ask(client, endpoint, ids))
}

/// Posts one request of that client.
pub async fn ask(client: &reqwest::Client, endpoint: &str, ids: &[i64]) -> Result<Vec<i64>> {
    let failed = |error: &dyn std::fmt::Display| exec_datafusion_err!("{error}");
    let body = json!({ "inputs": ids }).to_string();
    let request = client.post(endpoint).header("content-type", "application/json").body(body);
    let response = request.send().await.map_err(|error| failed(&error))?;
    let body = response.bytes().await.map_err(|error| failed(&error))?;
    let answer: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    let outputs = answer["outputs"].as_array().ok_or_else(|| failed(&"no outputs"))?;
    outputs.iter().map(|value| value.as_i64().ok_or_else(|| failed(&"no number"))).collect()
}

/// Lets the bare client have what it wants once in a process, although it speaks no TLS here.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Makes a session with a table `t` of keys `k` from 0.
pub fn session_with_keys(keys: usize) -> FarcallSession {
    let session = FarcallSession::builder().with_config(config()).build().expect("a session");
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..keys as i64));
    let rows = RecordBatch::try_from_iter([("k", keys)]).expect("a batch");
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).expect("a table");
    session.context().register_table("t", Arc::new(table)).expect("a table");
    session
}

/// Joins `t` with the lookup table `u`, which answers `2 k + 1` to key `k`, and checks every row and
/// their order.
pub async fn join_all(session: &FarcallSession, keys: usize) {
    let frame = session.sql("SELECT t.k, u.v FROM t JOIN u ON t.k = u.id").await.expect("a plan");
    let mut next = 0_i64;
    for batch in frame.collect().await.expect("rows") {
        let (keys, values) = (batch.column(0), batch.column(1));
        let keys = keys.as_primitive::<Int64Type>().values();
        for (key, value) in keys.iter().zip(values.as_primitive::<Int64Type>().values()) {
            assert_eq!((*key, *value), (next, 2 * next + 1));
            next += 1;
        }
    }
    assert_eq!(next, keys as i64, "rows");
}
