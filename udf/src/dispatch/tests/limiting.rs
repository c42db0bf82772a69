//! Limits that everything in a runtime shares: places, rates, and what is learned.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use tokio::time::Instant;

use super::{Partition, answers, batches, ms, new_scope, one, scope_in};
use crate::adapt::any::AsyncFunction;
use crate::contract::answer::{BatchAnswer, Usage};
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncBatchFunction;
use crate::dispatch::limits::queue::Priority;
use crate::dispatch::limits::{Limiter, Limits};
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::error::CallError;
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn rpm_spreads_requests_over_time() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(1).with_rpm(120));
    let begun = Instant::now();
    assert_eq!(partition.call(0..22).await.unwrap(), answers(0..22));
    // Two at once, then two a second.
    assert_eq!((begun.elapsed(), seen.attempts().len()), (ms(10_000), 22));
}

#[tokio::test(start_paused = true)]
async fn rpm_is_shared_by_queries_and_counts_retries() {
    let failure = Step::Fail(Duration::ZERO, CallError::transient("f", "503"));
    let (function, _) = ScriptedFunction::new("f").with_script([failure.clone(), failure]).build();
    let runtime = Arc::new(FarcallRuntime::new());
    let options = batches(1).with_rpm(60);
    let mut first = Partition::new(&scope_in(&runtime), 1, &function, options.clone());
    let mut second = Partition::new(&scope_in(&runtime), 1, &function, options);
    let begun = Instant::now();
    let (first, second) = tokio::join!(first.call([1]), second.call([2]));
    assert_eq!((first.unwrap(), second.unwrap()), (answers([1]), answers([2])));
    assert_eq!(begun.elapsed(), ms(3_000));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_rate_is_not_the_requests_time() {
    let (function, _) = ScriptedFunction::new("f").build();
    let options = batches(1).with_rpm(60).with_timeout(ms(100));
    assert_eq!(one(&function, options).call(0..5).await.unwrap(), answers(0..5));
}

#[tokio::test(start_paused = true)]
async fn tpm_charges_what_was_used() {
    let server = Server { tokens: 100, ..Server::new(f64::MAX) };
    let mut partition = one(&AsyncFunction::batch(server), batches(1).with_tpm(6_000));
    let begun = Instant::now();
    partition.call(0..51).await.unwrap();
    // 100 tokens a second are one request a second; the first one tells what a request costs.
    assert_eq!(begun.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_gives_up_waiting_leaves_nothing_reserved() {
    let (function, _) = ScriptedFunction::new("f").build();
    let runtime = Arc::new(FarcallRuntime::new());
    let options = batches(1).with_rpm(60);
    let mut first = Partition::new(&scope_in(&runtime), 1, &function, options.clone());
    first.push(0..100);
    first.run_for(ms(500)).await.unwrap();
    drop(first);
    let begun = Instant::now();
    let mut second = Partition::new(&scope_in(&runtime), 1, &function, options);
    assert_eq!(second.call([7]).await.unwrap(), answers([7]));
    assert_eq!(begun.elapsed(), ms(500));
}

#[tokio::test(start_paused = true)]
async fn every_place_is_free_after_failures_and_aborts() {
    let script = [Step::Panic, Step::Hang, Step::Fail(ms(1), CallError::transient("f", "503"))];
    let (function, _) =
        ScriptedFunction::new("f").with_script(script).with_usual(Step::Answer(ms(5))).build();
    let options =
        batches(1).with_max_concurrency(2).with_adaptive(true).with_attempt_timeout(ms(9));
    let options = options.with_on_error(crate::options::words::OnError::Null);
    let mut partition = one(&function, options);
    partition.push(0..20);
    partition.run_for(ms(20)).await.unwrap();
    let limiter = Arc::clone(&partition.site.limiter);
    assert_eq!(limiter.in_flight(), 2);
    drop(partition);
    tokio::task::yield_now().await;
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn permits_go_to_the_earlier_query_then_downstream_then_to_who_came_first() {
    let limits = Limits { max_concurrency: Some(1), ..Limits::default() };
    let limiter = Arc::new(Limiter::new(limits));
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = limiter.acquire(Priority::new(9, 0)).await;
    let mut tasks = datafusion_common_runtime::JoinSet::new();
    for (query, stage, number) in [(2, 1, 0), (1, 0, 1), (1, 0, 2), (1, 1, 3), (2, 0, 4)] {
        let (limiter, order) = (Arc::clone(&limiter), Arc::clone(&order));
        tasks.spawn(async move {
            let _permit = limiter.acquire(Priority::new(query, stage)).await;
            order.lock().unwrap().push(number);
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [3, 1, 2, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_a_turn_hands_it_on() {
    let limits = Limits { max_concurrency: Some(1), ..Limits::default() };
    let limiter = Arc::new(Limiter::new(limits));
    let held = limiter.acquire(Priority::new(0, 0)).await;
    let mut first = Box::pin(limiter.acquire(Priority::new(1, 0)));
    let mut second = Box::pin(limiter.acquire(Priority::new(2, 0)));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(held);
    drop(first);
    second.await;
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_operator_downstream_comes_before_the_one_that_feeds_it() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(10))).build();
    let scope = new_scope();
    let options = batches(1).with_max_concurrency(1);
    // The number of a call site is its stage here.
    let mut upstream = Partition::new(&scope, 1, &function, options.clone().with_dedup(false));
    let mut downstream = Partition::new(&scope, 2, &function, options.with_dedup(false));
    upstream.push([1, 2, 3]);
    downstream.push([7, 8]);
    upstream.dispatcher.finish();
    downstream.dispatcher.finish();
    let (up, down) = tokio::join!(upstream.run_until_ready(3), downstream.run_until_ready(2));
    up.unwrap();
    down.unwrap();
    assert_eq!(seen.attempts(), [[1], [7], [8], [2], [3]]);
}

#[tokio::test(start_paused = true)]
async fn a_limited_remote_side_is_used_up_and_rarely_refuses() {
    let bucket = |burst| Limit::Bucket { burst, level: Mutex::new((Instant::now(), burst)) };
    let window = |counts_refused| Limit::Window { counts_refused, counted: Mutex::default() };
    for limit in [bucket(5.0), bucket(50.0), bucket(500.0), window(false), window(true)] {
        let name = format!("{limit:?}");
        let server = Server { limit, ..Server::new(500.0) };
        let log = Arc::clone(&server.log);
        let mut partition = one(&AsyncFunction::batch(server), batches(1).with_adaptive(true));
        let rows = 500 * 25;
        assert_eq!(partition.call(0..rows).await.unwrap(), answers(0..rows));
        let log = log.lock().unwrap();
        let warm = Duration::from_secs(10);
        let log: Vec<_> = log.iter().filter(|(at, _)| *at >= warm).collect();
        let refused = log.iter().filter(|(_, accepted)| !accepted).count();
        let share = refused as f64 / log.len() as f64;
        let seconds = (log[log.len() - 1].0 - warm).as_secs_f64();
        let rate = (log.len() - refused) as f64 / seconds;
        assert!(share < 0.02, "{name}: {refused} of {} answers were refusals", log.len());
        assert!(rate > 0.9 * 500.0, "{name}: {rate:.0} a second of 500 were used");
    }
}

#[tokio::test(start_paused = true)]
async fn without_adaptive_nothing_is_learned() {
    let server = Server::new(500.0);
    let mut partition = Partition::new(&new_scope(), 1, &AsyncFunction::batch(server), batches(1));
    partition.call(0..2_000).await.unwrap();
    assert!(partition.site.limiter.is_unlimited());
}

#[tokio::test(start_paused = true)]
async fn a_function_may_declare_that_it_is_adaptive_and_options_win() {
    let (function, _) =
        ScriptedFunction::new("f").with_declaration(|d| d.with_adaptive(true)).build();
    let adaptive = |options| one(&function, options).site.limiter.limits().adaptive;
    assert!(adaptive(batches(1)));
    assert!(!adaptive(batches(1).with_adaptive(false)));
}

/// How a server says what is too much.
#[derive(Debug)]
enum Limit {
    /// More than the rate fills into a bucket, which holds a burst.
    Bucket { burst: f64, level: Mutex<(Instant, f64)> },
    /// More within any second, of what was answered or of what came.
    Window { counts_refused: bool, counted: Mutex<VecDeque<Instant>> },
}

impl Limit {
    fn admits(&self, rate: f64, now: Instant) -> bool {
        match self {
            Limit::Bucket { burst, level } => {
                let mut level = level.lock().unwrap();
                let filled = level.1 + (now - level.0).as_secs_f64() * rate;
                *level = (now, filled.min(*burst));
                let admitted = level.1 >= 1.0;
                if admitted {
                    level.1 -= 1.0;
                }
                admitted
            }
            Limit::Window { counts_refused, counted } => {
                let mut counted = counted.lock().unwrap();
                while counted.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
                    counted.pop_front();
                }
                let admitted = (counted.len() as f64) < rate;
                if admitted || *counts_refused {
                    counted.push_back(now);
                }
                admitted
            }
        }
    }
}

/// Adds one within 10 ms, and refuses what exceeds its limit.
#[derive(Debug)]
struct Server {
    declaration: Declaration,
    rate: f64,
    limit: Limit,
    tokens: u64,
    begun: Instant,
    log: Arc<Mutex<Vec<(Duration, bool)>>>,
}

impl Server {
    fn new(rate: f64) -> Self {
        Self {
            declaration: Declaration::new("f", vec![DataType::Int64], DataType::Int64),
            rate,
            limit: Limit::Bucket {
                burst: rate / 10.0,
                level: Mutex::new((Instant::now(), rate / 10.0)),
            },
            tokens: 0,
            begun: Instant::now(),
            log: Arc::default(),
        }
    }

    fn admits(&self) -> bool {
        let now = Instant::now();
        let admitted = self.limit.admits(self.rate, now);
        self.log.lock().unwrap().push((now - self.begun, admitted));
        admitted
    }
}

#[async_trait]
impl AsyncBatchFunction for Server {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        tokio::time::sleep(ms(10)).await;
        if !self.admits() {
            let (function, message) = ("f".to_owned(), "429".to_owned());
            let retry_after = Some(Duration::from_secs(1));
            return Err(CallError::Throttled { function, message, retry_after });
        }
        let x = super::read(args.column(0));
        let values: arrow::array::Int64Array = x.into_iter().map(|x| Some(x? + 1)).collect();
        let usage = Usage { input_tokens: self.tokens, ..Usage::default() };
        Ok(BatchAnswer::new(Arc::new(values)).with_usage(usage))
    }
}
