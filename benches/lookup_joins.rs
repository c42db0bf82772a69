//! A lookup join over HTTP: farcall against a bare client that asks for the same keys.
//!
//! `cargo bench -p farcall-benches --bench lookup_joins` runs five pairs (about two minutes) and prints a table; the
//! median of the pairs' ratios is what counts. The server runs in the same process, on a thread of
//! its own.

#![allow(clippy::expect_used, unused_imports)]

#[path = "../tests/it/support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use server::TestServer;

const PAIRS: usize = 5;
const KEYS: usize = 500_000;
const BATCH: usize = 128;
const WINDOW: usize = 8;
const BASE: Duration = Duration::from_millis(10);
const PER_KEY: Duration = Duration::from_micros(50);

fn main() {
    // The bare client wants one for the whole process, although it speaks no TLS here.
    rustls::crypto::ring::default_provider().install_default().expect("the first provider");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let ideal = KEYS.div_ceil(BATCH).div_ceil(WINDOW) as u32 * (BASE + BATCH as u32 * PER_KEY);
    println!("{KEYS} distinct keys, {BATCH} in a request, {WINDOW} requests in flight");
    println!("  ideal          {:>8.3} s", ideal.as_secs_f64());
    let found = |key: &Value| json!({"id": key, "v": key.as_i64().map(|key| 2 * key + 1)});
    let server = TestServer::builder().answer(found).latency(BASE, PER_KEY).start();
    let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
    for pair in 0..PAIRS {
        let mut times = [0.0; 2];
        for turn in 0..2 {
            // Who goes first changes, so that neither always finds the machine as the other left it.
            let farcall = (pair + turn) % 2 == 0;
            server.reset();
            let start = Instant::now();
            match farcall {
                true => run_farcall(&server.url()).await,
                false => run_bare(&server.url()).await,
            }
            assert_eq!(server.counts().rows, KEYS, "keys that reached the server");
            times[usize::from(!farcall)] = start.elapsed().as_secs_f64();
        }
        for (all, value) in seconds.iter_mut().zip([times[0], times[1], times[0] / times[1]]) {
            all.push(value);
        }
    }
    for (name, values) in ["farcall", "bare client", "farcall / bare"].iter().zip(&mut seconds) {
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[PAIRS - 1]);
        println!("  {name:<14} {:>8.3}   ({least:.3} to {most:.3})", values[PAIRS / 2]);
    }
}

async fn run_farcall(endpoint: &str) {
    let config = SessionConfig::new().with_target_partitions(2);
    let session = FarcallSession::builder().with_config(config).build().expect("a session");
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..KEYS as i64));
    let rows = RecordBatch::try_from_iter([("k", keys)]).expect("a batch");
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).expect("a table");
    session.context().register_table("t", Arc::new(table)).expect("a table");
    let create = format!(
        "CREATE TABLE u (id BIGINT PRIMARY KEY, v BIGINT) WITH ('connector' = 'http', \
         'endpoint' = '{endpoint}', 'max_batch_size' = '{BATCH}', 'buffer_capacity' = '{WINDOW}')"
    );
    session.sql(&create).await.expect("a lookup table");
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
    assert_eq!(next, KEYS as i64, "rows");
}

/// The client that a careful programmer would write for this one job.
async fn run_bare(endpoint: &str) {
    let client = reqwest::Client::new();
    let keys: Vec<i64> = (0..KEYS as i64).collect();
    let found: Vec<Vec<i64>> = futures::stream::iter(keys.chunks(BATCH))
        .map(|keys| ask(&client, endpoint, keys))
        .buffered(WINDOW)
        .try_collect()
        .await
        .expect("answers");
    for (key, value) in found.concat().into_iter().enumerate() {
        assert_eq!(value, 2 * key as i64 + 1);
    }
}

async fn ask(client: &reqwest::Client, endpoint: &str, keys: &[i64]) -> Result<Vec<i64>> {
    let failed = |error: &dyn std::fmt::Display| exec_datafusion_err!("{error}");
    let body = json!({ "keys": keys }).to_string();
    let request = client.post(endpoint).header("content-type", "application/json").body(body);
    let response = request.send().await.map_err(|error| failed(&error))?;
    let body = response.bytes().await.map_err(|error| failed(&error))?;
    let answer: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    let rows = answer["rows"].as_array().ok_or_else(|| failed(&"no rows"))?;
    rows.iter().map(|row| row["v"].as_i64().ok_or_else(|| failed(&"no number"))).collect()
}
