//! A lookup join over HTTP: farcall against a bare client that asks for the same keys.
//!
//! `cargo bench -p farcall-benches --bench lookup_joins` runs five pairs (about two minutes) and prints a table; the
//! median of the pairs' ratios is what counts. The server runs in the same process, on a thread of
//! its own.

#![allow(clippy::expect_used, unused_imports)]

#[path = "../tests/it/support/server.rs"]
mod server;
mod support;

use std::time::Duration;

use datafusion::common::{Result, exec_datafusion_err};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use server::TestServer;
use support::{PAIRS, in_pairs, join_all, median, report, session_with_keys};

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
    let asked_for_each = |rival: &str| {
        assert_eq!(server.counts().rows, KEYS, "keys that reached the server from {rival}");
        server.reset();
    };
    let (mut ours, mut theirs, mut ratios) = in_pairs(
        PAIRS,
        async || {
            run_farcall(&server.url()).await;
            asked_for_each("farcall");
        },
        async || {
            run_bare(&server.url()).await;
            asked_for_each("the bare client");
        },
    )
    .await;
    report("farcall", &mut ours);
    report("bare client", &mut theirs);
    println!("  farcall / bare {:>8.3}", median(&mut ratios));
}

async fn run_farcall(endpoint: &str) {
    let session = session_with_keys(KEYS);
    let create = format!(
        "CREATE TABLE u (id BIGINT PRIMARY KEY, v BIGINT) WITH ('connector' = 'http', \
         'endpoint' = '{endpoint}', 'max_batch_size' = '{BATCH}', 'buffer_capacity' = '{WINDOW}')"
    );
    session.sql(&create).await.expect("a lookup table");
    join_all(&session, KEYS).await;
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
