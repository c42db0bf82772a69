//! What planning costs: plain queries with farcall's rules against plain DataFusion, and queries with calls.
//!
//! `cargo bench -p farcall-benches --bench planning`. Each plain query is planned by both in turn, who goes first changing;
//! what counts is the median of the ratios of such pairs, which should stay below 1.05.

#![allow(clippy::expect_used)]

#[path = "support/plain.rs"]
mod plain;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use datafusion::prelude::SessionContext;
use farcall::FarcallSession;
use farcall::udf::{CallError, async_fn};
use tokio::runtime::Runtime;

const CALLS: [(&str, &str); 3] = [
    ("one call", "SELECT f(x) AS v FROM t WHERE k < 10"),
    ("nested and guarded", "SELECT CASE WHEN k > 3 THEN f(f(x)) END AS v FROM t WHERE f(x) > 1"),
    ("aggregate", "SELECT f(k), sum(f(x)) FROM t GROUP BY f(k) HAVING f(sum(x)) > 1"),
];

/// Plans a query down to operators; returns how long it took.
fn plan(runtime: &Runtime, context: &SessionContext, sql: &str) -> Duration {
    let start = Instant::now();
    let plan = runtime.block_on(async {
        let frame = context.sql(sql).await.expect("a plan");
        frame.create_physical_plan().await.expect("a physical plan")
    });
    let elapsed = start.elapsed();
    black_box(plan);
    elapsed
}

fn planning(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let alone = SessionContext::new_with_config(plain::config());
    let builder = FarcallSession::builder().with_config(plain::config());
    let farcall = builder.build().expect("a session");
    farcall.register(async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }));
    runtime.block_on(async {
        plain::fill(&alone).await;
        plain::fill(farcall.context()).await;
    });
    let mut all = Vec::new();
    for (name, sql) in plain::QUERIES {
        let mut ratios = Vec::new();
        let mut group = criterion.benchmark_group("plain");
        group.measurement_time(Duration::from_secs(3));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|pairs| {
                let mut ours = Duration::ZERO;
                for pair in 0..pairs {
                    let farcall = || plan(&runtime, farcall.context(), sql);
                    let alone = || plan(&runtime, &alone, sql);
                    let (took, rival) = match pair % 2 {
                        0 => (farcall(), alone()),
                        _ => {
                            let rival = alone();
                            (farcall(), rival)
                        }
                    };
                    ours += took;
                    ratios.push(took.as_secs_f64() / rival.as_secs_f64());
                }
                ours
            });
        });
        group.finish();
        all.extend_from_slice(&ratios);
        report(name, ratios);
    }
    report("all plain queries", all);
    for (name, sql) in CALLS {
        criterion.bench_function(&format!("calls/{name}"), |bencher| {
            bencher.iter(|| plan(&runtime, farcall.context(), sql));
        });
    }
}

fn report(name: &str, mut ratios: Vec<f64>) {
    ratios.sort_by(f64::total_cmp);
    // A filter on the command line leaves some queries out.
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("{name}: farcall / DataFusion {median:.3} (median of {} pairs)\n", ratios.len());
    }
}

criterion_group!(benches, planning);
criterion_main!(benches);
