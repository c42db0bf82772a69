//! [`Stores`], lookup tables beside the same rows in plain DataFusion, and what was looked up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{SessionConfig, SessionContext};
use farcall::FarcallSession;
use farcall::connect::MemoryLookup;
use farcall::udf::{
    ArgBatch, AsyncBatchLookupFunction, CallContext, CallError, FunctionContext, LookupAnswer,
    LookupProvider, LookupQuery, LookupScan,
};
use futures::stream::BoxStream;

use crate::support::postgres::Database;
use crate::support::redis::Redis;
use crate::support::twins::{Twins, lines};

/// The requests that a store got, each with its keys as text, and how often it was read as a whole.
#[derive(Debug, Default)]
pub struct Requests {
    keys: Mutex<Vec<Vec<String>>>,
    scans: AtomicUsize,
}

impl Requests {
    pub fn take(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.keys.lock().unwrap())
    }

    pub fn scans(&self) -> usize {
        self.scans.load(Ordering::Relaxed)
    }

    /// Returns how often each key was asked for, and forgets it.
    pub fn take_keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for key in self.take().into_iter().flatten() {
            *keys.entry(key).or_default() += 1;
        }
        keys
    }
}

/// A table in memory that counts, answers later, and takes filters only if told to.
#[derive(Debug, Clone)]
pub struct Store {
    rows: MemoryLookup,
    max_keys: usize,
    takes_filters: bool,
    can_be_scanned: bool,
    requests: Arc<Requests>,
}

impl Store {
    pub fn new(rows: RecordBatch, key: &[&str]) -> Self {
        let rows = MemoryLookup::try_new(rows, key).unwrap();
        Self {
            rows,
            max_keys: usize::MAX,
            takes_filters: false,
            can_be_scanned: false,
            requests: Arc::default(),
        }
    }

    pub fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    pub fn taking_filters(mut self) -> Self {
        self.takes_filters = true;
        self
    }

    pub fn scanned(mut self) -> Self {
        self.can_be_scanned = true;
        self
    }
}

impl LookupProvider for Store {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn key(&self) -> &[usize] {
        self.rows.key()
    }

    fn max_keys(&self) -> usize {
        self.max_keys
    }

    fn takes_filter(&self, filter: &Expr) -> bool {
        self.takes_filters && self.rows.takes_filter(filter)
    }

    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        let rows = self.rows.lookup(query)?;
        Ok(Arc::new(Counted { rows, requests: Arc::clone(&self.requests) }))
    }

    fn scan(&self, query: &LookupQuery) -> Result<Option<Arc<dyn LookupScan>>> {
        if !self.can_be_scanned {
            return Ok(None);
        }
        let requests = Arc::clone(&self.requests);
        let counted = |rows| Arc::new(CountedScan { rows, requests }) as Arc<dyn LookupScan>;
        Ok(self.rows.scan(query)?.map(counted))
    }
}

#[derive(Debug)]
struct CountedScan {
    rows: Arc<dyn LookupScan>,
    requests: Arc<Requests>,
}

#[async_trait]
impl LookupScan for CountedScan {
    async fn scan(
        &self,
        ctx: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        self.requests.scans.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.rows.scan(ctx).await
    }
}

#[derive(Debug)]
struct Counted {
    rows: Arc<dyn AsyncBatchLookupFunction>,
    requests: Arc<Requests>,
}

#[async_trait]
impl AsyncBatchLookupFunction for Counted {
    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        ctx: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        let text = |row: usize| {
            let parts = keys.columns().iter();
            let parts: Vec<String> =
                parts.map(|part| array_value_to_string(part, row).unwrap()).collect();
            parts.join(" ")
        };
        self.requests.keys.lock().unwrap().push((0..keys.num_rows()).map(text).collect());
        assert!(keys.columns().iter().all(|part| part.null_count() == 0));
        // Answers must come from another task, or nothing asynchronous would be tried.
        tokio::task::yield_now().await;
        self.rows.lookup_batch(keys, ctx).await
    }
}

/// Two sessions over the same rows: lookup tables in one, plain tables in the other.
pub struct Stores {
    pub farcall: FarcallSession,
    pub plain: SessionContext,
    pub requests: BTreeMap<&'static str, Arc<Requests>>,
}

impl Stores {
    /// Makes the sessions with their catalogue of functions, the table `t` and lookup tables in memory
    /// that are only found by key.
    pub fn new(partitions: usize) -> Self {
        Self::in_memory(partitions, |store| store)
    }

    /// Makes the sessions with lookup tables in memory that can be scanned, too.
    pub fn scanned(partitions: usize) -> Self {
        Self::in_memory(partitions, Store::scanned)
    }

    fn in_memory(partitions: usize, change: impl Fn(Store) -> Store) -> Self {
        let mut stores = Self::without_tables(partitions);
        stores.add("users", change(Store::new(users(), &["id"])), users());
        stores.add("cells", change(Store::new(cells(), &["a", "b"])), cells());
        stores.add("names", change(Store::new(codes(), &["code"]).taking_filters()), codes());
        stores
    }

    /// The same with lookup tables in a Redis: documents, strings and hashes.
    pub async fn in_redis(partitions: usize, redis: &Redis) -> Self {
        let stores = Self::without_tables(partitions);
        redis.fill_documents("users", &users(), "id").await;
        redis.fill_strings("cells", &cells(), ["a", "b"], "v").await;
        redis.fill_hashes("names", &codes(), "code").await;
        for (table, columns, options) in [
            ("users", "id BIGINT, name VARCHAR, z BIGINT, PRIMARY KEY (id)", ""),
            ("cells", "b BIGINT, v VARCHAR, a BIGINT, PRIMARY KEY (a, b)", "'value' 'string'"),
            ("names", "code VARCHAR, n BIGINT, PRIMARY KEY (code)", "'value' 'hash'"),
        ] {
            redis.create(&stores.farcall, table, columns, options).await;
        }
        for (table, rows) in [("users", users()), ("cells", cells()), ("names", codes())] {
            stores.add_plain(table, rows);
        }
        stores
    }

    /// The same with lookup tables that are tables of a PostgreSQL.
    pub async fn in_postgres(partitions: usize, database: &Database) -> Self {
        let stores = Self::without_tables(partitions);
        for (name, rows, key) in
            [("users", users(), "id"), ("cells", cells(), "a, b"), ("names", codes(), "code")]
        {
            let columns = database.fill(name, &rows).await;
            let columns = format!("{columns}, PRIMARY KEY ({key})");
            database.create(&stores.farcall, name, &columns, "'pool_size' '4'").await;
            stores.add_plain(name, rows);
        }
        stores
    }

    fn without_tables(partitions: usize) -> Self {
        let config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_batch_size(16)
            .with_information_schema(true);
        let Twins { farcall, plain, .. } = Twins::without_tables(config);
        let stores = Self { farcall, plain, requests: BTreeMap::new() };
        let t = rows_of_t();
        let (half, rows) = (t.num_rows() / 2, t.num_rows());
        for context in [stores.farcall.context(), &stores.plain] {
            let parts = vec![vec![t.slice(0, half)], vec![t.slice(half, rows - half)]];
            let table = MemTable::try_new(t.schema(), parts).unwrap();
            context.register_table("t", Arc::new(table)).unwrap();
        }
        stores
    }

    /// Adds a lookup table, and a plain one of the same rows.
    pub fn add(&mut self, name: &'static str, store: Store, rows: RecordBatch) {
        self.requests.insert(name, Arc::clone(&store.requests));
        self.farcall.register_lookup_table(name, Arc::new(store)).unwrap();
        self.add_plain(name, rows);
    }

    fn add_plain(&self, name: &str, rows: RecordBatch) {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
        self.plain.register_table(name, Arc::new(table)).unwrap();
    }

    pub async fn set(&self, option: &str, value: &str) {
        let sql = format!("SET farcall.async_lookup.{option} = '{value}'");
        self.farcall.sql(&sql).await.unwrap();
    }

    /// Returns the rows of a query that looks up, in the order in which they come.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let frame = self.farcall.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let rows = frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        lines(&rows)
    }

    /// Checks that a query has the rows of DataFusion's own joins.
    pub async fn check(&self, sql: &str) {
        let plain = self.plain.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let mut expected = lines(&plain.collect().await.unwrap());
        let mut got = self.rows(sql).await;
        expected.sort();
        got.sort();
        assert!(expected == got, "{sql}\nexpected {expected:.300?}\ngot {got:.300?}");
    }

    /// Returns the message with which a query is refused.
    pub async fn refusal(&self, sql: &str) -> String {
        let frame = self.farcall.sql(sql).await;
        let error = match frame {
            Err(error) => error,
            Ok(frame) => match frame.collect().await {
                Err(error) => error,
                Ok(_) => panic!("accepted: {sql}"),
            },
        };
        crate::support::remote::message(&error)
    }
}

fn numbers(rows: i64, value: impl Fn(i64) -> Option<i64>) -> ArrayRef {
    Arc::new((0..rows).map(value).collect::<Int64Array>())
}

fn texts(rows: i64, value: impl Fn(i64) -> Option<String>) -> ArrayRef {
    Arc::new((0..rows).map(value).collect::<StringArray>())
}

/// 120 rows: id, k of 0..40 or NULL, a of 0..6, s a code or NULL.
fn rows_of_t() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", numbers(120, Some), true),
        ("k", numbers(120, |id| (id % 7 != 3).then_some(id * 11 % 40)), true),
        ("a", numbers(120, |id| Some(id % 6)), true),
        ("s", texts(120, |id| (id % 5 != 1).then(|| format!("c{}", id % 13))), true),
    ])
    .unwrap()
}

/// Rows with id 0..30, as many of each as id % 4; z of -3..4 or NULL.
fn users() -> RecordBatch {
    let ids: Vec<i64> = (0..30).flat_map(|id| vec![id; (id % 4) as usize]).collect();
    let rows = ids.len() as i64;
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef, true),
        ("name", texts(rows, |row| Some(format!("n{}", row % 9))), true),
        ("z", numbers(rows, |row| (row % 6 != 2).then_some(row % 8 - 3)), true),
    ])
    .unwrap()
}

/// Rows with a 0..5 and b 0..4, one of each but where a = b.
fn cells() -> RecordBatch {
    let pairs: Vec<(i64, i64)> =
        (0..5).flat_map(|a| (0..4).map(move |b| (a, b))).filter(|(a, b)| a != b).collect();
    let rows = pairs.len() as i64;
    RecordBatch::try_from_iter_with_nullable([
        ("b", numbers(rows, |row| Some(pairs[row as usize].1)), true),
        ("v", texts(rows, |row| Some(format!("v{row}"))), true),
        ("a", numbers(rows, |row| Some(pairs[row as usize].0)), true),
    ])
    .unwrap()
}

/// Rows with code c0..c9, n of 0..10 or NULL.
fn codes() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("code", texts(10, |row| Some(format!("c{row}"))), true),
        ("n", numbers(10, |row| (row != 4).then_some(row)), true),
    ])
    .unwrap()
}
