//! A model called over HTTP: farcall against a bare client, DataFusion's own async functions and the ideal.
//!
//! `cargo bench -p farcall-benches --bench model_calls` runs everything (about four minutes) and prints a table. Ratios
//! are taken pair by pair within this run: farcall and the bare client in turn, five times, and the
//! median is what counts. The server runs in the same process, on a thread of its own.

#![allow(clippy::expect_used, unused_imports)]

#[path = "../tests/it/support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use async_trait::async_trait;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use farcall::FarcallSession;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use server::TestServer;

const PAIRS: usize = 5;

/// One row of the comparison.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    rows: usize,
    batch: usize,
    window: usize,
    base: Duration,
    per_row: Duration,
    /// The share of rows that the naive rival is run on; its time is scaled up.
    naive_share: usize,
}

impl Workload {
    fn requests(&self) -> usize {
        self.rows.div_ceil(self.batch)
    }

    /// Waves of full windows, each taking what the server takes for a full request.
    fn ideal(&self) -> Duration {
        let waves = self.requests().div_ceil(self.window) as u32;
        waves * (self.base + self.batch as u32 * self.per_row)
    }
}

fn main() {
    // The bare client wants one for the whole process, although it speaks no TLS here.
    rustls::crypto::ring::default_provider().install_default().expect("the first provider");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for workload in [
        Workload {
            name: "one row a request: 10,000 rows, 50 ms, window 100",
            rows: 10_000,
            batch: 1,
            window: 100,
            base: Duration::from_millis(50),
            per_row: Duration::ZERO,
            naive_share: 50,
        },
        Workload {
            name: "batches of 64: 100,000 rows, 20 ms + 0.2 ms a row, window 16",
            rows: 100_000,
            batch: 64,
            window: 16,
            base: Duration::from_millis(20),
            per_row: Duration::from_micros(200),
            naive_share: 10,
        },
    ] {
        runtime.block_on(compare(workload));
    }
}

async fn compare(workload: Workload) {
    println!("\n{}", workload.name);
    println!("  ideal                      {:>8.3} s", workload.ideal().as_secs_f64());
    let server = TestServer::builder().latency(workload.base, workload.per_row).start();
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut in_flight = 0;
    for pair in 0..PAIRS {
        // Who goes first changes, so that neither always finds the machine as the other left it.
        let mut seconds = [0.0; 2];
        for turn in 0..2 {
            let farcall = (pair + turn) % 2 == 0;
            server.reset();
            let start = Instant::now();
            if farcall {
                run_farcall(&workload, &server.url()).await;
                in_flight = in_flight.max(server.counts().in_flight_max);
            } else {
                run_bare(&workload, &server.url()).await;
            }
            assert_eq!(server.counts().rows, workload.rows, "rows that reached the server");
            seconds[usize::from(!farcall)] = start.elapsed().as_secs_f64();
        }
        ours.push(seconds[0]);
        bare.push(seconds[1]);
        ratios.push(seconds[0] / seconds[1]);
    }
    report("farcall", &mut ours);
    report("bare reqwest client", &mut bare);
    println!(
        "  farcall / bare             {:>8.3}   (median of {PAIRS} pairs)",
        median(&mut ratios)
    );
    println!("  most requests in flight    {in_flight:>8}   of {}", workload.window);
    let mut joined = Vec::new();
    for _ in 0..3 {
        joined.push(run_builtin(&workload, &server.url(), workload.window, workload.rows).await);
    }
    report("DataFusion, joined inside", &mut joined);
    let rows = workload.rows / workload.naive_share;
    let naive = run_builtin(&workload, &server.url(), 1, rows).await;
    println!(
        "  DataFusion, naive          {:>8.3} s (measured on {rows} rows, scaled by {})",
        naive * workload.naive_share as f64,
        workload.naive_share
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(name: &str, seconds: &mut [f64]) {
    let middle = median(seconds);
    println!(
        "  {name:<26} {middle:>8.3} s (median of {}, {:.3} to {:.3})",
        seconds.len(),
        seconds[0],
        seconds[seconds.len() - 1]
    );
}

fn table(rows: usize) -> Arc<MemTable> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids]).expect("a batch");
    Arc::new(MemTable::try_new(schema, vec![vec![batch]]).expect("a table"))
}

/// Checks that row i holds i and 2 i + 1, for every i.
fn check(batches: &[RecordBatch], rows: usize) {
    let mut next = 0_i64;
    for batch in batches {
        let (ids, values) = (
            batch.column(0).as_primitive::<Int64Type>(),
            batch.column(1).as_primitive::<Int64Type>(),
        );
        for row in 0..batch.num_rows() {
            assert_eq!((ids.value(row), values.value(row)), (next, 2 * next + 1));
            next += 1;
        }
    }
    assert_eq!(next, rows as i64, "rows");
}

async fn run_farcall(workload: &Workload, endpoint: &str) {
    let session = FarcallSession::builder().with_config(config()).build().expect("a session");
    session.context().register_table("t", table(workload.rows)).expect("a table");
    let Workload { batch, window, .. } = workload;
    let create = format!(
        "CREATE MODEL m INPUT (x BIGINT) OUTPUT (y BIGINT) WITH ('provider' = 'http', \
         'endpoint' = '{endpoint}', 'max_batch_size' = '{batch}', 'buffer_capacity' = '{window}')"
    );
    session.sql(&create).await.expect("a model");
    let frame = session.sql("SELECT id, PREDICT(m, id) FROM t").await.expect("a plan");
    check(&frame.collect().await.expect("rows"), workload.rows);
}

fn config() -> SessionConfig {
    SessionConfig::new().with_target_partitions(2)
}

/// The client that a careful programmer would write for this one job.
async fn run_bare(workload: &Workload, endpoint: &str) {
    let client = reqwest::Client::new();
    let ids: Vec<i64> = (0..workload.rows as i64).collect();
    let answers: Vec<Vec<i64>> = futures::stream::iter(ids.chunks(workload.batch))
        .map(|ids| ask(&client, endpoint, ids))
        .buffered(workload.window)
        .try_collect()
        .await
        .expect("answers");
    for (id, value) in answers.concat().into_iter().enumerate() {
        assert_eq!(value, 2 * id as i64 + 1);
    }
}

async fn ask(client: &reqwest::Client, endpoint: &str, ids: &[i64]) -> Result<Vec<i64>> {
    let failed = |error: &dyn std::fmt::Display| exec_datafusion_err!("{error}");
    let body = json!({ "inputs": ids }).to_string();
    let request = client.post(endpoint).header("content-type", "application/json").body(body);
    let response = request.send().await.map_err(|error| failed(&error))?;
    let body = response.bytes().await.map_err(|error| failed(&error))?;
    let answer: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    let outputs = answer["outputs"].as_array().ok_or_else(|| failed(&"no outputs"))?;
    outputs.iter().map(|value| value.as_i64().ok_or_else(|| failed(&"no number"))).collect()
}

/// DataFusion's own async function, which sends `width` requests at a time within an invocation.
#[derive(Debug)]
struct Builtin {
    client: reqwest::Client,
    endpoint: String,
    batch: usize,
    width: usize,
    signature: Signature,
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }
}

impl Eq for Builtin {}

impl std::hash::Hash for Builtin {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.endpoint.hash(state);
    }
}

impl ScalarUDFImpl for Builtin {
    fn name(&self) -> &str {
        "predict_builtin"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(exec_datafusion_err!("async only"))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Builtin {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ids = args.args[0].to_array(args.number_rows)?;
        let ids: Vec<i64> = ids.as_primitive::<Int64Type>().values().to_vec();
        let chunks: Vec<Vec<i64>> = ids.chunks(self.batch).map(<[i64]>::to_vec).collect();
        let answers: Vec<Vec<i64>> = futures::stream::iter(chunks)
            .map(|ids| async move { ask(&self.client, &self.endpoint, &ids).await })
            .buffered(self.width)
            .try_collect()
            .await?;
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(answers.concat()))))
    }
}

async fn run_builtin(workload: &Workload, endpoint: &str, width: usize, rows: usize) -> f64 {
    let context = SessionContext::new_with_config(config());
    context.register_table("t", table(rows)).expect("a table");
    let function = Builtin {
        client: reqwest::Client::new(),
        endpoint: endpoint.to_owned(),
        batch: workload.batch,
        width,
        signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable),
    };
    context.register_udf(AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf());
    let start = Instant::now();
    let frame = context.sql("SELECT id, predict_builtin(id) FROM t").await.expect("a plan");
    let batches = frame.collect().await.expect("rows");
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows);
    seconds
}
