//! A model called over HTTP: farcall against a bare client, DataFusion's own async functions and the ideal.
//!
//! `cargo bench -p farcall-benches --bench model_calls` runs everything (about four minutes) and prints a table. Ratios
//! are taken pair by pair within this run: farcall and the bare client in turn, five times, and the
//! median is what counts. The server runs in the same process, on a thread of its own.

#![allow(clippy::expect_used, unused_imports)]

#[path = "../tests/it/support/server.rs"]
mod server;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};
use server::TestServer;
use support::{
    PAIRS, ask, check_in_order, config, in_pairs, install_tls, median, report, requests, session,
    table,
};

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
    install_tls();
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
    let mut in_flight = 0;
    let (mut ours, mut bare, mut ratios) = in_pairs(
        PAIRS,
        async || {
            server.reset();
            run_farcall(&workload, &server.url()).await;
            in_flight = in_flight.max(server.counts().in_flight_max);
            assert_eq!(server.counts().rows, workload.rows, "rows that reached the server");
        },
        async || {
            server.reset();
            run_bare(&workload, &server.url()).await;
            assert_eq!(server.counts().rows, workload.rows, "rows that reached the server");
        },
    )
    .await;
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

async fn run_farcall(workload: &Workload, endpoint: &str) {
    let Workload { rows, batch, window, .. } = *workload;
    let options = format!("'max_batch_size' = '{batch}', 'buffer_capacity' = '{window}'");
    let session = session(&[rows], endpoint, &options).await;
    let frame = session.sql("SELECT id, PREDICT(m, id) FROM t").await.expect("a plan");
    check_in_order(&frame.collect().await.expect("rows"), rows);
}

async fn run_bare(workload: &Workload, endpoint: &str) {
    let client = reqwest::Client::new();
    let ids: Vec<i64> = (0..workload.rows as i64).collect();
    let answers: Vec<Vec<i64>> = requests(&client, endpoint, &ids, workload.batch)
        .buffered(workload.window)
        .try_collect()
        .await
        .expect("answers");
    for (id, value) in answers.concat().into_iter().enumerate() {
        assert_eq!(value, 2 * id as i64 + 1);
    }
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
    context.register_table("t", table(&[rows])).expect("a table");
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
