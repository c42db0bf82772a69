use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion_execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::*;
use crate::CallError;
use crate::adapt::lookup_table::LookupTable;
use crate::contract::context::FunctionContext;
use crate::contract::lookup::{AsyncBatchLookupFunction, LookupProvider, LookupQuery, LookupScan};
use crate::dispatch::Arc;
use crate::dispatch::meters::metrics::MetricsSnapshot;
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::dispatch::tests::lookups::look_up;
use crate::dispatch::tests::{new_scope, scope_with};
use crate::error::ErrorClass;
use crate::options::CallOptions;
use crate::options::words::{Cache, OnError};
use crate::settings::config::FarcallConfig;
use crate::settings::resolved::Resolved;
use crate::testing::ScriptedFunction;

#[tokio::test(start_paused = true)]
async fn the_table_is_read_once_and_no_key_is_asked_for() {
    let shop = Shop::default();
    for _ in 0..2 {
        let (rows, metrics) = shop.ask([Some(2), Some(0), Some(9), None, Some(1)], full()).await;
        assert_eq!(rows.unwrap(), ["2: 1.0 1.1", "0:", "9:", "NULL", "1: 1.0"]);
        assert_eq!((metrics.calls, metrics.requests, metrics.cache_hits), (0, 0, 4));
    }
    assert_eq!(shop.scans(), 1);
    let totals = shop.totals();
    let now = totals.snapshot();
    assert_eq!((now.cache_loads, now.cache_load_failures, now.cache_hits), (1, 0, 8));
    assert_eq!((totals.cached_rows(), totals.cache_load_duration().count), (10, 1));
    assert!(totals.cached_bytes() > 10 * 8);
}

#[tokio::test(start_paused = true)]
async fn queries_at_the_same_time_read_it_once() {
    let shop = Shop::default().then(Step::Slow(seconds(5)));
    let (one, two) = tokio::join!(shop.ask([Some(1)], full()), shop.ask([Some(2)], full()));
    assert_eq!((one.0.unwrap(), two.0.unwrap()), (text(["1: 1.0"]), text(["2: 1.0 1.1"])));
    assert_eq!(shop.scans(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_ends_leaves_the_reading_to_the_others() {
    let shop = Shop::default().then(Step::Slow(seconds(5)));
    let ends = tokio::time::timeout(seconds(1), shop.ask([Some(1)], full()));
    let (ended, other) = tokio::join!(ends, shop.ask([Some(1)], full()));
    assert!(ended.is_err());
    assert_eq!((other.0.unwrap(), shop.scans()), (text(["1: 1.0"]), 1));
}

#[tokio::test(start_paused = true)]
async fn the_reading_ends_with_the_last_who_waits_for_it() {
    let shop = Shop::default().then(Step::Hang);
    let ends = tokio::time::timeout(seconds(1), shop.ask([Some(1)], full()));
    assert!(ends.await.is_err());
    assert_eq!((shop.scans(), shop.reading.load(Ordering::Relaxed)), (1, 0));
    assert_eq!(shop.ask([Some(1)], full()).await.0.unwrap(), ["1: 2.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_may_pass_is_tried_again() {
    let gone = CallError::transient("users", "503");
    let shop = Shop::default().then(Step::Fail(gone.clone())).then(Step::Break(gone.clone()));
    let (rows, metrics) = shop.ask([Some(1)], full()).await;
    assert_eq!(rows.unwrap(), ["1: 3.0"]);
    assert_eq!((metrics.cache_loads, metrics.cache_load_failures), (1, 2));
    let shop = Shop::default().then(Step::Fail(gone.clone())).then(Step::Fail(gone));
    let options = full().with_max_attempts(2).with_on_error(OnError::Null);
    let error = shop.ask([Some(1)], options).await.0.unwrap_err();
    assert_eq!(error.to_string(), "users failed after 2 of 2 attempts: users failed: 503");
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[tokio::test(start_paused = true)]
async fn being_throttled_uses_up_no_attempt() {
    let gone = CallError::transient("users", "503");
    let shop = (0..3).fold(Shop::default(), |shop, _| shop.then(Step::Fail(throttled())));
    let shop = shop.then(Step::Fail(gone.clone()));
    let (rows, metrics) = shop.ask([Some(1)], full().with_max_attempts(2)).await;
    assert_eq!(rows.unwrap(), ["1: 5.0"]);
    assert_eq!((metrics.throttled, metrics.retries), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_stays_ends_the_query_at_once() {
    let shop = Shop::default().then(Step::Fail(CallError::configuration("users", "401")));
    let error = shop.ask([Some(1)], full()).await.0.unwrap_err();
    assert_eq!((error.class(), shop.scans()), (ErrorClass::Configuration, 1));
    // Nobody is stuck with it.
    assert_eq!(shop.ask([Some(1)], full()).await.0.unwrap(), ["1: 2.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_silent_is_given_up() {
    let shop = Shop::default().then(Step::Hang);
    let options = full().with_attempt_timeout(seconds(7)).with_max_attempts(1);
    let error = shop.ask([Some(1)], options).await.0.unwrap_err();
    assert_eq!(error.to_string(), "users timed out after 7s on attempt 1 (attempt_timeout)");
    // A table that takes longer than that is no silence, as long as its batches come.
    let shop = Shop::default().then(Step::Slow(seconds(6)));
    let options = full().with_attempt_timeout(seconds(7));
    assert_eq!(shop.ask([Some(1)], options).await.0.unwrap(), ["1: 1.0"]);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_when_the_time_is_up() {
    let shop = Shop::default();
    let shop = (0..9).fold(shop, |shop, _| shop.then(Step::Fail(throttled())));
    let error = shop.ask([Some(1)], full().with_timeout(seconds(25))).await.0.unwrap_err();
    assert!(error.to_string().contains("timed out after 25s and 3 attempts (timeout)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn old_rows_serve_until_the_new_ones_are_whole() {
    let shop = Shop::default().then(Step::Slow(seconds(0))).then(Step::Slow(seconds(3)));
    let options = full().with_cache_reload_interval(seconds(10));
    // Read at 0 s, too old at 10 s; the new rows are whole at 17 s, since they come in two parts.
    for (wait, scans, rows) in [(0, 1, "1: 1.0"), (9, 1, "1: 1.0"), (2, 2, "1: 1.0")] {
        tokio::time::sleep(seconds(wait)).await;
        assert_eq!(shop.ask([Some(1)], options.clone()).await.0.unwrap(), [rows]);
        tokio::task::yield_now().await;
        assert_eq!(shop.scans(), scans);
    }
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(shop.ask([Some(1)], options.clone()).await.0.unwrap(), ["1: 1.0"]);
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(shop.ask([Some(1)], options).await.0.unwrap(), ["1: 2.0"]);
    assert_eq!((shop.scans(), shop.totals().cached_rows()), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn rows_that_nobody_used_for_too_long_are_not_served() {
    let shop = Shop::default();
    let options = full().with_cache_reload_interval(seconds(10));
    shop.ask([Some(1)], options.clone()).await.0.unwrap();
    tokio::time::sleep(seconds(11)).await;
    assert_eq!(shop.ask([Some(1)], options).await.0.unwrap(), ["1: 2.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_reload_keeps_the_old_rows_and_is_counted() {
    let shop = Shop::default().then(Step::Slow(seconds(0)));
    let shop = shop.then(Step::Fail(CallError::configuration("users", "401")));
    let options = full().with_cache_reload_interval(seconds(10));
    for (wait, scans, rows) in [(0, 1, "1: 1.0"), (11, 2, "1: 1.0"), (9, 2, "1: 1.0"), (2, 3, "")] {
        tokio::time::sleep(seconds(wait)).await;
        let (got, _) = shop.ask([Some(1)], options.clone()).await;
        assert!(got.unwrap()[0].starts_with(rows));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(shop.scans(), scans);
    }
    assert_eq!(shop.ask([Some(1)], options).await.0.unwrap(), ["1: 3.0"]);
    let now = shop.totals().snapshot();
    assert_eq!((now.cache_loads, now.cache_load_failures), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_does_not_fit_is_an_error_with_both_numbers() {
    let shop = Shop::default();
    let message = async |options: CallOptions| {
        let error = shop.ask([Some(1)], options).await.0.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Configuration);
        error.to_string()
    };
    let said = message(full().with_cache_max_rows(9)).await;
    let head = "users is not set up correctly: the table does not fit into its cache: ";
    assert_eq!(said, format!("{head}10 rows were read and 9 are allowed (cache_max_rows)"));
    let said = message(full().with_cache_max_bytes(500)).await;
    assert!(said.starts_with(head) && said.contains("and 500 are allowed (cache_max_bytes)"));
    assert_eq!(shop.ask([Some(1)], full().with_cache_max_rows(10)).await.0.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_memory_pool_is_asked_and_gets_it_back() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
    let shop = Shop::default().within(&pool);
    let error = shop.ask([Some(1)], full()).await.0.unwrap_err().to_string();
    assert!(error.contains("the table does not fit into its cache: it takes "), "{error}");
    assert!(error.ends_with(" bytes to read it, and the memory pool has 1000 left"), "{error}");
    assert_eq!(pool.reserved(), 0);
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100_000));
    let shop = Shop::default().within(&pool);
    shop.ask([Some(1)], full()).await.0.unwrap();
    let cached = shop.totals().cached_bytes();
    assert_eq!(pool.reserved(), cached);
    drop(shop);
    assert_eq!(pool.reserved(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_scan_of_other_columns_is_malformed() {
    let shop = Shop::default().then(Step::OneColumn).then(Step::OneColumn);
    let error = shop.ask([Some(1)], full()).await.0.unwrap_err().to_string();
    assert!(error.contains("users answered something malformed: 1 columns where 2"), "{error}");
    assert_eq!(shop.scans(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_function_is_no_table() {
    let (function, _) = ScriptedFunction::new("f").build();
    let scope = new_scope();
    let field = Arc::new(Field::new("f", DataType::Int64, true));
    let options = Resolved::of_call(&full());
    let site = scope.site(1, 0, &function, &options, &field, &Arc::default());
    let error = FullLookup::new(&scope, &site, &[]).err().unwrap().to_string();
    let said = "bad option cache of f: 'full' is for lookup tables, accepted are 'none', 'partial'";
    assert_eq!(error, said);
}

#[test]
fn a_table_that_cannot_be_read_is_no_full_cache() {
    let shop = Shop { only_by_key: true, ..Shop::default() };
    let query = LookupQuery::new([1]);
    let said = |table: LookupTable| {
        let function = table.function(query.clone()).unwrap();
        FarcallConfig::default().resolve(&function, &full()).unwrap_err().strip_backtrace()
    };
    let tail = "cannot do; accepted are 'none', 'partial'";
    let by = "lookup table users: option 'cache': 'full' reads the table as a whole, which";
    assert!(said(shop.table()).ends_with(&format!("{by} its provider {tail}")));
    let made = shop.table().with_connector("http");
    assert!(said(made).ends_with(&format!("{by} connector 'http' {tail}")));
}

fn full() -> CallOptions {
    CallOptions::new().with_cache(Cache::Full)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn throttled() -> CallError {
    let retry_after = Some(seconds(10));
    CallError::Throttled { function: "users".into(), message: "429".into(), retry_after }
}

fn text<const N: usize>(rows: [&str; N]) -> Vec<String> {
    rows.map(str::to_owned).to_vec()
}

/// What a scan meets instead of the table.
#[derive(Debug, Clone)]
enum Step {
    /// Waits before each of two parts.
    Slow(Duration),
    Hang,
    Fail(CallError),
    /// Fails after the first part.
    Break(CallError),
    OneColumn,
}

/// A table with x rows for key x below 5, named after the number of the scan and of the row, and one
/// without a key; and the runtime of the queries that look up in it.
#[derive(Debug, Clone)]
struct Shop {
    schema: SchemaRef,
    only_by_key: bool,
    runtime: Arc<FarcallRuntime>,
    memory: Arc<dyn MemoryPool>,
    script: Arc<Mutex<VecDeque<Step>>>,
    scans: Arc<AtomicUsize>,
    /// Scans that are read.
    reading: Arc<AtomicUsize>,
}

impl Default for Shop {
    fn default() -> Self {
        let id = Field::new("id", DataType::Int64, true);
        let name = Field::new("name", DataType::Utf8, true);
        Self {
            schema: Arc::new(Schema::new(vec![id, name])),
            only_by_key: false,
            runtime: Arc::new(FarcallRuntime::new()),
            memory: Arc::new(UnboundedMemoryPool::default()),
            script: Arc::default(),
            scans: Arc::default(),
            reading: Arc::default(),
        }
    }
}

impl Shop {
    fn then(self, step: Step) -> Self {
        self.script.lock().unwrap().push_back(step);
        self
    }

    fn within(self, memory: &Arc<dyn MemoryPool>) -> Self {
        Self { memory: Arc::clone(memory), ..self }
    }

    fn scans(&self) -> usize {
        self.scans.load(Ordering::Relaxed)
    }

    fn totals(&self) -> Arc<crate::dispatch::meters::metrics::CallMetrics> {
        self.runtime.totals_of("users")
    }

    /// The table behind the shop; it must not own the runtime, which keeps the tables it caches.
    fn table(&self) -> LookupTable {
        let store = Self { runtime: Arc::new(FarcallRuntime::new()), ..self.clone() };
        LookupTable::try_new("users", Arc::new(store)).unwrap()
    }

    async fn ask(
        &self,
        keys: impl IntoIterator<Item = Option<i64>>,
        options: CallOptions,
    ) -> (Result<Vec<String>, CallError>, MetricsSnapshot) {
        let scope = scope_with(&self.runtime, Arc::clone(&self.memory));
        look_up(&scope, &self.table(), keys, options).await
    }

    fn part(&self, scan: usize, keys: std::ops::Range<i64>) -> RecordBatch {
        let rows = keys.clone().flat_map(|key| (0..key).map(move |row| (Some(key), row)));
        let rows = rows.chain((keys.start == 0).then_some((None, 0)));
        let (ids, names): (Vec<Option<i64>>, Vec<String>) =
            rows.map(|(key, row)| (key, format!("{scan}.{row}"))).unzip();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(names))];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).unwrap()
    }
}

impl LookupProvider for Shop {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn key(&self) -> &[usize] {
        &[0]
    }

    fn lookup(
        &self,
        _: &LookupQuery,
    ) -> datafusion_common::Result<Arc<dyn AsyncBatchLookupFunction>> {
        Ok(Arc::new(Nothing))
    }

    fn scan(&self, query: &LookupQuery) -> datafusion_common::Result<Option<Arc<dyn LookupScan>>> {
        assert!(query.columns.contains(&0));
        let scan: Arc<dyn LookupScan> = Arc::new(self.clone());
        Ok((!self.only_by_key).then_some(scan))
    }
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl AsyncBatchLookupFunction for Nothing {
    async fn lookup_batch(
        &self,
        _: crate::contract::args::ArgBatch,
        _: &crate::contract::context::CallContext,
    ) -> Result<crate::contract::lookup::LookupAnswer, CallError> {
        panic!("a key was asked for")
    }
}

/// Counts a scan as being read until it is dropped.
struct Reading(Arc<AtomicUsize>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl LookupScan for Shop {
    async fn scan(
        &self,
        _: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        let scan = 1 + self.scans.fetch_add(1, Ordering::Relaxed);
        let step = self.script.lock().unwrap().pop_front().unwrap_or(Step::Slow(Duration::ZERO));
        if let Step::Fail(error) = step {
            return Err(error);
        }
        let parts = [self.part(scan, 0..3), self.part(scan, 3..5)];
        self.reading.fetch_add(1, Ordering::Relaxed);
        let reading = Reading(Arc::clone(&self.reading));
        let parts =
            futures::stream::iter(parts.into_iter().enumerate()).then(move |(part, rows)| {
                let step = step.clone();
                let _ = &reading;
                async move {
                    match step {
                        Step::Slow(time) => tokio::time::sleep(time).await,
                        Step::Hang => std::future::pending().await,
                        Step::Break(error) if part == 1 => return Err(error),
                        Step::OneColumn => return Ok(rows.project(&[0]).unwrap()),
                        Step::Break(_) | Step::Fail(_) => {}
                    }
                    Ok(rows)
                }
            });
        Ok(parts.boxed())
    }
}
