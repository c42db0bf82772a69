//! What the dispatcher costs: against a bare client where latency decides, against synchronous functions where the
//! processor does, and in memory.
//!
//! `cargo bench -p farcall-benches --bench dispatch [-- NAME ..]` runs everything, or the named parts, and prints medians of five pairs in
//! one run, the computed ideal beside them. Without `--bench`, as under `cargo test --benches`, each part runs once and
//! small, to see that it still works.

#![allow(clippy::expect_used, unused_imports)]

#[path = "../tests/it/support/server.rs"]
mod server;
mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, AsyncScalarFunction, BatchAnswer, CallContext,
    CallError, CallOptions, Declaration, async_fn,
};
use futures::{StreamExt, TryStreamExt};
use server::{ServerBuilder, TestServer};
use support::{PAIRS, check, config, in_pairs, install_tls, median, report, requests, session};

/// How much is run.
#[derive(Clone, Copy)]
struct Scale {
    pairs: usize,
    /// What all numbers of rows are divided by.
    rows: usize,
}

const PARTS: [&str; 7] =
    ["lognormal", "one_partition", "batch_function", "row_wise", "two_calls", "limited", "memory"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let [child, rows] = arguments.as_slice()
        && child == CHILD
    {
        runtime.block_on(child_run(rows.parse().expect("a number of rows")));
        return;
    }
    install_tls();
    let scale = match arguments.iter().any(|argument| argument == "--bench") {
        true => Scale { pairs: PAIRS, rows: 1 },
        false => Scale { pairs: 1, rows: 100 },
    };
    let named = |part: &str| arguments.iter().any(|argument| argument == part);
    for part in PARTS.into_iter().filter(|part| named(part) || !PARTS.into_iter().any(named)) {
        match part {
            "lognormal" => runtime.block_on(lognormal(scale)),
            "one_partition" => runtime.block_on(one_partition(scale)),
            "batch_function" => runtime.block_on(batch_function(scale)),
            "row_wise" => runtime.block_on(row_wise(scale)),
            "two_calls" => runtime.block_on(two_calls(scale)),
            "limited" => runtime.block_on(limited(scale)),
            _ => memory(scale),
        }
    }
}

fn ideal(seconds: f64) {
    println!("  ideal                      {seconds:>8.3} s");
}

fn ratio(name: &str, ratios: &mut [f64], target: f64) {
    let middle = median(ratios);
    println!(
        "  {name:<26} {middle:>8.3}   (median of {} pairs, the target is {target})",
        ratios.len()
    );
}

/// Latencies with a long tail, sigma 1: a straggler must not stop the window, whatever the order.
async fn lognormal(scale: Scale) {
    const WINDOW: usize = 100;
    let (rows, middle) = (10_000 / scale.rows, Duration::from_millis(20));
    println!(
        "\nlognormal latency: {rows} rows, one a request, median 20 ms, sigma 1, window {WINDOW}"
    );
    // The mean of a lognormal distribution is its median times e^(sigma² / 2).
    ideal(rows as f64 * middle.as_secs_f64() * 0.5_f64.exp() / WINDOW as f64);
    for mode in ["ordered", "allow_unordered"] {
        let (mut ours, mut bare, mut ratios, mut firsts) = (vec![], vec![], vec![], vec![]);
        for seed in 0..scale.pairs as u64 {
            let server = TestServer::builder().seed(seed).lognormal_latency(middle, 1.0).start();
            let options = format!(
                "'max_batch_size' = '1', 'buffer_capacity' = '{WINDOW}', 'output_mode' = '{mode}'"
            );
            let url = server.url();
            let (our, their, ratio) = in_pairs(
                1,
                async || firsts.push(first_row(rows, &server, &options).await),
                async || {
                    server.reset();
                    let (client, ids) =
                        (reqwest::Client::new(), (0..rows as i64).collect::<Vec<_>>());
                    let answers = requests(&client, &url, &ids, 1).buffer_unordered(WINDOW);
                    assert_eq!(answers.try_collect::<Vec<_>>().await.expect("answers").len(), rows);
                },
            )
            .await;
            ours.extend(our);
            bare.extend(their);
            ratios.extend(ratio);
        }
        report(&format!("farcall, {mode}"), &mut ours);
        report("bare client, unordered", &mut bare);
        ratio("farcall / bare", &mut ratios, 1.05);
        ratio("first row / all rows", &mut firsts, 0.1);
    }
}

/// Runs the query and returns the share of its time after which the first row was there.
async fn first_row(rows: usize, server: &TestServer, options: &str) -> f64 {
    server.reset();
    let session = session(&[rows], &server.url(), options).await;
    let start = Instant::now();
    let frame = session.sql("SELECT id, PREDICT(m, id) FROM t").await.expect("a plan");
    let mut stream = frame.execute_stream().await.expect("a stream");
    let mut batches = vec![stream.next().await.expect("a batch").expect("rows")];
    let first = start.elapsed();
    batches.extend(stream.try_collect::<Vec<_>>().await.expect("rows"));
    check(&batches, rows);
    first.as_secs_f64() / start.elapsed().as_secs_f64()
}

/// The window belongs to the call site: one full partition of two uses all of it.
async fn one_partition(scale: Scale) {
    const WINDOW: usize = 100;
    let rows = 10_000 / scale.rows;
    println!(
        "\nall rows in one of two partitions: {rows} rows, one a request, 50 ms, window {WINDOW}"
    );
    ideal(rows.div_ceil(WINDOW) as f64 * 0.05);
    let server = TestServer::builder().latency(Duration::from_millis(50), Duration::ZERO).start();
    let options = format!("'max_batch_size' = '1', 'buffer_capacity' = '{WINDOW}'");
    let url = server.url();
    let (mut ours, mut bare, mut ratios) = in_pairs(
        scale.pairs,
        async || {
            let session = session(&[rows, 0], &url, &options).await;
            let frame = session.sql("SELECT id, PREDICT(m, id) FROM t").await.expect("a plan");
            check(&frame.collect().await.expect("rows"), rows);
        },
        async || {
            let (client, ids) = (reqwest::Client::new(), (0..rows as i64).collect::<Vec<_>>());
            let answers = requests(&client, &url, &ids, 1).buffered(WINDOW);
            assert_eq!(answers.try_collect::<Vec<_>>().await.expect("answers").len(), rows);
        },
    )
    .await;
    report("farcall", &mut ours);
    report("bare client", &mut bare);
    ratio("farcall / bare", &mut ratios, 1.05);
}

/// A server that refuses what exceeds 500 requests a second: how much of that is used, and how much is refused, once the
/// limit is learned.
async fn limited(scale: Scale) {
    const LIMIT: usize = 500;
    const WARM_UP: Duration = Duration::from_secs(8);
    let rows = 20 * LIMIT / scale.rows;
    println!("\na server that takes {LIMIT} requests a second: {rows} rows, one a request");
    let server = TestServer::builder().max_requests_per_second(LIMIT).start();
    let session = session(&[rows], &server.url(), "'max_batch_size' = '1'").await;
    let frame = session.sql("SELECT id, PREDICT(m, id) FROM t").await.expect("a plan");
    check(&frame.collect().await.expect("rows"), rows);
    let counts = server.counts();
    let (first, last) = (counts.starts[0], counts.starts[counts.starts.len() - 1]);
    let warm = first + WARM_UP;
    if last <= warm {
        return println!("  done before the limit was learned");
    }
    let after = |times: &[Duration]| times.iter().filter(|time| **time >= warm).count();
    let (all, refused) = (after(&counts.starts), after(&counts.throttled));
    let used = (all - refused) as f64 / (last - warm).as_secs_f64() / LIMIT as f64;
    println!("  used of the limit          {used:>8.3}   (the target is 0.9 at least)");
    let share = refused as f64 / all as f64;
    println!("  refused of all             {share:>8.4}   (the target is 0.02 at most)");
}

/// A batch function without latency, against the same as a synchronous function.
async fn batch_function(scale: Scale) {
    let rows = 10_000_000 / scale.rows;
    println!("\nin-process batch function: {rows} rows, 8192 a request, dedup off");
    let ours = farcall_with([AsyncFunction::batch(Plus::new(8192, Duration::ZERO))]);
    compare(scale, rows, &ours, "plus", 1.3).await;
}

/// Row-wise functions that answer at once, against the same as a synchronous function.
async fn row_wise(scale: Scale) {
    let rows = 2_000_000 / scale.rows;
    println!("\nrow-wise functions that are ready at once: {rows} rows, dedup off");
    let closure = async_fn("plus_closure", |x: i64| async move { Ok::<i64, CallError>(x + 1) });
    let closure = closure.with_options(CallOptions::new().with_dedup(false)).build();
    let object = AsyncFunction::scalar(PlusRow(declaration("plus_object", 1)));
    let ours = farcall_with([closure, object]);
    compare(scale, rows, &ours, "plus_closure", 5.0).await;
    compare(scale, rows, &ours, "plus_object", 15.0).await;
}

/// Runs a function of ours and its synchronous twin over the same rows.
async fn compare(scale: Scale, rows: usize, ours: &FarcallSession, name: &str, target: f64) {
    let plain = plain_session();
    let sql =
        |name: &str| format!("SELECT value, {name}(value) AS v FROM generate_series(1, {rows})");
    let (ours_sql, plain_sql) = (sql(name), sql("plus"));
    let (mut ours, mut twin, mut ratios) = in_pairs(
        scale.pairs,
        async || drain(ours.context(), &ours_sql, rows).await,
        async || drain(&plain, &plain_sql, rows).await,
    )
    .await;
    report(name, &mut ours);
    report("synchronous twin", &mut twin);
    ratio("asynchronous / synchronous", &mut ratios, target);
}

/// Reads a query to its end, checks every row, and keeps none.
async fn drain(context: &SessionContext, sql: &str, rows: usize) {
    let mut stream = context.sql(sql).await.expect("a plan").execute_stream().await.expect("rows");
    let mut found = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.expect("rows");
        let [x, v] = [0, 1].map(|column| batch.column(column).as_primitive::<Int64Type>());
        assert!(x.values().iter().zip(v.values()).all(|(x, v)| x + 1 == *v), "values");
        found += batch.num_rows();
    }
    assert_eq!(found, rows, "rows");
}

/// Two calls that do not depend on each other, against one of them.
async fn two_calls(scale: Scale) {
    let latency = Duration::from_millis(200);
    println!("\ntwo independent calls: 1,000 rows in one request each, 200 ms");
    ideal(latency.as_secs_f64());
    let mut other = Plus::new(1_000, latency);
    other.0 = declaration("other", 1_000);
    let session = farcall_with([
        AsyncFunction::batch(Plus::new(1_000, latency)),
        AsyncFunction::batch(other),
    ]);
    let read = async |sql: &str| {
        let batches = session.sql(sql).await.expect("a plan").collect().await.expect("rows");
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_000);
    };
    let (mut two, mut one, mut ratios) = in_pairs(
        scale.pairs,
        async || {
            read("SELECT plus(value) AS a, other(value) AS b FROM generate_series(1, 1000)").await
        },
        async || read("SELECT plus(value) AS a FROM generate_series(1, 1000)").await,
    )
    .await;
    report("two calls", &mut two);
    report("one call", &mut one);
    ratio("two / one", &mut ratios, 1.05);
}

/// The argument that makes this program a child, which runs one query and tells its peak memory.
const CHILD: &str = "--child-with-rows";

/// Peak memory above that of a process whose query has no rows.
fn memory(scale: Scale) {
    println!("\npeak memory of a batch function, dedup off, small results");
    let idle = peak_of_child(0);
    println!("  idle                       {idle:>8} MB");
    for rows in [10_000_000, 20_000_000] {
        let rows = rows / scale.rows;
        let peak = peak_of_child(rows);
        println!(
            "  {rows:>10} rows            {peak:>8} MB, {} above idle, the target is 300",
            peak.saturating_sub(idle)
        );
    }
}

fn peak_of_child(rows: usize) -> usize {
    let program = std::env::current_exe().expect("the program's path");
    let child = Command::new(program).args([CHILD, &rows.to_string()]).output().expect("a child");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let answer = String::from_utf8(child.stdout).expect("text");
    answer.trim().parse().expect("a number of megabytes")
}

async fn child_run(rows: usize) {
    let session = farcall_with([AsyncFunction::batch(Plus::new(8192, Duration::ZERO))]);
    let sql = format!("SELECT value, plus(value) AS v FROM generate_series(1, {rows})");
    drain(session.context(), &sql, rows).await;
    // The kernel's word for the most memory that the process ever had, in kB.
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kilobytes: usize = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("{}", kilobytes / 1024);
}

fn farcall_with<const N: usize>(functions: [AsyncFunction; N]) -> FarcallSession {
    let session = FarcallSession::builder().with_config(config()).build().expect("a session");
    functions.into_iter().for_each(|function| session.register(function));
    session
}

fn plain_session() -> SessionContext {
    let context = SessionContext::new_with_config(config());
    let plus = |args: &[ColumnarValue]| {
        let x = args[0].to_array(1)?;
        Ok(ColumnarValue::Array(plus_one(&x)))
    };
    let volatility = Volatility::Volatile;
    let plus =
        create_udf("plus", vec![DataType::Int64], DataType::Int64, volatility, Arc::new(plus));
    context.register_udf(plus);
    context
}

fn plus_one(x: &ArrayRef) -> ArrayRef {
    Arc::new(x.as_primitive::<Int64Type>().unary::<_, Int64Type>(|x| x + 1))
}

fn declaration(name: &str, max_batch_size: usize) -> Declaration {
    let options = CallOptions::new().with_max_batch_size(max_batch_size).with_dedup(false);
    Declaration::new(name, vec![DataType::Int64], DataType::Int64).with_options(options)
}

/// x + 1 for many rows, after a while.
#[derive(Debug)]
struct Plus(Declaration, Duration);

impl Plus {
    fn new(max_batch_size: usize, latency: Duration) -> Self {
        Self(declaration("plus", max_batch_size), latency)
    }
}

#[async_trait]
impl AsyncBatchFunction for Plus {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        if !self.1.is_zero() {
            tokio::time::sleep(self.1).await;
        }
        Ok(BatchAnswer::new(plus_one(args.column(0))))
    }
}

/// x + 1 for one row, at once.
#[derive(Debug)]
struct PlusRow(Declaration);

#[async_trait]
impl AsyncScalarFunction for PlusRow {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        _: &CallContext,
    ) -> Result<ScalarValue, CallError> {
        match &args[0] {
            ScalarValue::Int64(x) => Ok(ScalarValue::Int64(x.map(|x| x + 1))),
            other => Err(CallError::function("plus_object", format!("no number: {other}"))),
        }
    }
}
