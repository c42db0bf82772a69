//! Caches of lookups: what is asked for, how often a table is read, and what is said of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use farcall::FarcallSession;
use farcall::connect::MemoryLookup;
use farcall::udf::{
    AsyncBatchLookupFunction, CallError, FarcallRuntime, FunctionContext, LookupProvider,
    LookupQuery, LookupScan,
};
use futures::stream::BoxStream;

use crate::support::lookups::Stores;
use crate::support::plans::plan_text;
use crate::support::remote::rows;

/// Looks codes up; each has one row.
fn codes(codes: &str) -> String {
    format!("SELECT t.s, n.n FROM (VALUES {codes}) AS t (s) LEFT JOIN names n ON t.s = n.code")
}

#[tokio::test]
async fn the_least_recently_used_keys_are_asked_for_again_when_rows_are_too_many() {
    let stores = Stores::new(1);
    stores.set("cache", "partial").await;
    stores.set("cache_max_rows", "2").await;
    for (keys, asked) in [("('c1'), ('c2'), ('c3')", 3), ("('c3'), ('c2')", 0), ("('c1')", 1)] {
        stores.check(&codes(keys)).await;
        assert_eq!(stores.requests["names"].take_keys().len(), asked, "{keys}");
    }
    // c3 was used before c2.
    stores.check(&codes("('c2'), ('c3')")).await;
    assert_eq!(stores.requests["names"].take(), [["c3"]]);
}

#[tokio::test]
async fn nothing_is_kept_that_has_no_room() {
    let stores = Stores::new(1);
    stores.set("cache", "partial").await;
    stores.set("cache_max_bytes", "100").await;
    for _ in 0..2 {
        stores.check(&codes("('c1'), ('c2')")).await;
        assert_eq!(stores.requests["names"].take(), [["c1", "c2"]]);
    }
}

#[tokio::test]
async fn a_key_without_a_row_is_asked_for_once_unless_told_otherwise() {
    for (keeps, asked) in [("true", 0), ("false", 1)] {
        let stores = Stores::new(1);
        stores.set("cache", "partial").await;
        stores.set("cache_missing_keys", keeps).await;
        stores.check(&codes("('c1'), ('zz')")).await;
        assert_eq!(stores.requests["names"].take(), [["c1", "zz"]]);
        stores.check(&codes("('c1'), ('zz')")).await;
        assert_eq!(stores.requests["names"].take().len(), asked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_at_the_same_time_ask_for_each_key_once() {
    for cache in ["partial", "full"] {
        let stores = Stores::scanned(4);
        stores.set("cache", cache).await;
        stores.set("max_batch_size", "3").await;
        let sql = "SELECT t.id, u.name FROM t LEFT JOIN users u ON t.k = u.id";
        tokio::join!(stores.check(sql), stores.check(sql), stores.check(sql));
        let asked = stores.requests["users"].take_keys();
        assert!(asked.values().all(|times| *times == 1), "{asked:?}");
        let expected = if cache == "full" { (0, 1) } else { (40, 0) };
        assert_eq!((asked.len(), stores.requests["users"].scans()), expected);
    }
}

#[tokio::test]
async fn a_table_is_read_once_for_the_columns_that_queries_read() {
    let stores = Stores::scanned(2);
    stores.set("cache", "full").await;
    for (sql, scans) in [
        ("SELECT t.id, u.name FROM t JOIN users u ON t.k = u.id", 1),
        ("SELECT t.a, u.name FROM t LEFT JOIN users u ON t.a = u.id", 1),
        ("SELECT t.id, u.z FROM t JOIN users u ON t.k = u.id", 2),
        ("SELECT t.id, u.name FROM t JOIN users u ON t.k = u.id", 2),
    ] {
        stores.check(sql).await;
        assert_eq!(stores.requests["users"].scans(), scans, "{sql}");
    }
    assert!(stores.requests["users"].take().is_empty());
}

#[tokio::test]
async fn another_table_of_the_name_has_another_cache() {
    let runtime = Arc::new(FarcallRuntime::new());
    let session = || FarcallSession::builder().with_runtime(Arc::clone(&runtime)).build().unwrap();
    let (one, two) = (session(), session());
    for cache in ["partial", "full"] {
        for (session, z) in [(&one, 1), (&two, 2), (&one, 3)] {
            let set = format!("SET farcall.async_lookup.cache = '{cache}'");
            session.sql(&set).await.unwrap();
            session.context().deregister_table("y").unwrap();
            session
                .register_lookup_table(
                    "y",
                    Arc::new(MemoryLookup::try_new(pair(z), &["id"]).unwrap()),
                )
                .unwrap();
            assert_eq!(rows(session, JOIN).await.unwrap(), [format!("|{z}|")]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_sees_new_rows_and_a_failed_one_keeps_the_old() {
    let store = Changing::new(pair(1));
    let session = FarcallSession::new().unwrap();
    session.register_lookup_table("y", Arc::new(store.clone())).unwrap();
    for set in ["cache = 'full'", "cache_reload_interval = '10s'"] {
        session.sql(&format!("SET farcall.async_lookup.{set}")).await.unwrap();
    }
    let seen = async |wait: u64| {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        rows(&session, JOIN).await.unwrap()
    };
    assert_eq!(seen(0).await, ["|1|"]);
    *store.rows.lock().unwrap() = pair(2);
    assert_eq!(seen(9).await, ["|1|"]);
    // Too old now: the old row serves while the new one is read.
    assert_eq!(seen(2).await, ["|1|"]);
    assert_eq!(seen(1).await, ["|2|"]);
    *store.rows.lock().unwrap() = pair(3);
    store.fails.store(true, Ordering::Relaxed);
    assert_eq!([seen(9).await, seen(2).await, seen(2).await].concat(), ["|2|"; 3]);
    let failures = "SELECT value FROM farcall.metrics WHERE metric = 'cache_load_failures'";
    assert_eq!(rows(&session, failures).await.unwrap(), ["|1.0|"]);
}

#[tokio::test]
async fn a_table_that_has_no_room_in_the_pool_is_an_error_with_both_numbers() {
    let pool = Arc::new(GreedyMemoryPool::new(20_000));
    let env = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    let state = SessionStateBuilder::new().with_runtime_env(env).with_default_features().build();
    let session = FarcallSession::builder().with_state(state).build().unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let table = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), ("z", ids)]).unwrap();
    session
        .register_lookup_table("y", Arc::new(MemoryLookup::try_new(table, &["id"]).unwrap()))
        .unwrap();
    session.sql("SET farcall.async_lookup.cache = 'full'").await.unwrap();
    let said = rows(&session, JOIN).await.unwrap_err();
    assert!(
        said.contains(
            "y is not set up correctly: the table does not fit into its cache: it takes "
        )
    );
    assert!(
        said.contains(" bytes to read it, and the memory pool has ") && said.contains(" left"),
        "{said}"
    );
    session.sql("SET farcall.async_lookup.cache_max_rows = '9999'").await.unwrap();
    let said = rows(&session, JOIN).await.unwrap_err();
    assert!(said.contains("10000 rows were read and 9999 are allowed (cache_max_rows)"), "{said}");
}

#[tokio::test]
async fn a_table_that_cannot_be_read_as_a_whole_is_refused_when_planned() {
    let stores = Stores::new(1);
    let create = "CREATE TABLE far (id BIGINT PRIMARY KEY, v BIGINT) \
                  WITH ('connector' = 'http', 'endpoint' = 'http://h', 'cache' = 'full')";
    stores.farcall.sql(create).await.unwrap();
    let said = stores.refusal("SELECT t.id, f.v FROM t JOIN far f ON t.k = f.id").await;
    let expected = "lookup table far: option 'cache': 'full' reads the table as a whole, which connector \
                    'http' cannot do; accepted are 'none', 'partial'";
    assert_eq!(said, expected);
    let hint = "/*+ LOOKUP('table'='u', 'cache'='full') */";
    let said =
        stores.refusal(&format!("SELECT {hint} t.id FROM t JOIN users u ON t.k = u.id")).await;
    assert!(said.contains("lookup table users: option 'cache': 'full'"), "{said}");
    stores.farcall.sql("SET farcall.async_scalar.cache = 'full'").await.unwrap();
    let said = stores.refusal("SELECT f(t.a) FROM t").await;
    assert!(
        said.contains("f: option 'cache': 'full' is for lookup tables, accepted are"),
        "{said}"
    );
}

#[tokio::test]
async fn a_hint_sets_the_cache_of_its_table_and_explain_shows_it() {
    let stores = Stores::scanned(1);
    stores.set("cache", "partial").await;
    let hint = "/*+ LOOKUP('table'='u', 'cache'='full', 'cache-reload-interval'='5min') \
                LOOKUP('table'='n', 'cache-ttl'='1h', 'cache-ttl-after-access'='1min', \
                'cache-max-rows'='1000', 'cache-missing-keys'='false') */";
    let sql = format!(
        "SELECT {hint} t.id, u.name, n.n, c.v FROM t LEFT JOIN users u ON t.k = u.id \
         LEFT JOIN names n ON t.s = n.code LEFT JOIN cells c ON t.a = c.a AND c.b = 2"
    );
    let plan = plan_text(&stores.farcall, &sql).await;
    let shown = |table: &str| {
        let line = plan.lines().find(|line| line.contains(&format!("AsyncCalcExec: {table}[")));
        let line = line.unwrap_or_else(|| panic!("{plan}"));
        let cache = line.split("window=100, ").nth(1).unwrap().split(", timeout").next().unwrap();
        cache.to_owned()
    };
    assert_eq!(shown("users"), "cache=full, cache_reload_interval=5m");
    let names = "cache=partial, cache_ttl=1h, cache_ttl_after_access=1m, cache_max_rows=1000, \
                 cache_missing_keys=false";
    assert_eq!(shown("names"), names);
    assert_eq!(shown("cells"), "cache=partial");
    stores.rows(&sql).await;
    assert!(stores.requests["users"].take().is_empty());
}

#[tokio::test]
async fn flinks_words_are_accepted_where_a_table_is_created() {
    let stores = Stores::new(1);
    let create = "CREATE TABLE far (id BIGINT PRIMARY KEY, v BIGINT) WITH ('connector' = 'http', \
                  'endpoint' = 'http://h', 'lookup.cache' = 'PARTIAL', \
                  'lookup.partial-cache.max-rows' = '500', \
                  'lookup.partial-cache.expire-after-write' = '1h')";
    stores.farcall.sql(create).await.unwrap();
    let sql = "SELECT t.id, f.v FROM t JOIN far f ON t.k = f.id";
    let plan = plan_text(&stores.farcall, sql).await;
    assert!(plan.contains("cache=partial, cache_ttl=1h, cache_max_rows=500,"), "{plan}");
    let create = create.replace("'500'", "'-1'").replace("far", "farther");
    let said = stores.refusal(&create).await;
    let expected =
        "lookup table farther: option 'lookup.partial-cache.max-rows': value '-1' is not accepted";
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn what_a_cache_did_is_counted() {
    let stores = Stores::scanned(1);
    stores.set("cache", "partial").await;
    let analyzed = async || {
        let sql = format!("EXPLAIN ANALYZE {}", codes("('c1'), ('c2'), ('c1'), ('zz')"));
        let text = stores.rows(&sql).await.join("\n");
        text.lines().find(|line| line.contains("AsyncCalcExec: names")).unwrap().to_owned()
    };
    let line = analyzed().await;
    for metric in [" calls=3", "cache_misses=3", "cached_rows=3", "cached_bytes="] {
        assert!(line.contains(metric), "{metric} is not in {line}");
    }
    let line = analyzed().await;
    for metric in [" calls=0", "cache_hits=4", "cached_rows=3"] {
        assert!(line.contains(metric), "{metric} is not in {line}");
    }
    stores.set("cache", "full").await;
    let line = analyzed().await;
    for metric in [" calls=0", "cache_hits=4", "cache_loads=1", "cached_rows=10"] {
        assert!(line.contains(metric), "{metric} is not in {line}");
    }
    let sql = "SELECT metric, value FROM farcall.metrics WHERE function = 'names' AND label IS NULL \
               AND metric LIKE 'cache%' AND metric <> 'cached_bytes'";
    let expected = [
        "|cache_hits|8.0|",
        "|cache_misses|3.0|",
        "|cache_loads|1.0|",
        "|cache_load_failures|0.0|",
        "|cached_rows|13.0|",
    ];
    assert_eq!(stores.rows(sql).await, expected);
}

const JOIN: &str = "SELECT y.z FROM (VALUES (7)) AS t (k) JOIN y ON t.k = y.id";

/// The row with id 7.
fn pair(z: i64) -> RecordBatch {
    let column = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    RecordBatch::try_from_iter([("id", column(7)), ("z", column(z))]).unwrap()
}

/// A table whose rows change, and which can only be read as a whole.
#[derive(Debug, Clone)]
struct Changing {
    schema: SchemaRef,
    rows: Arc<Mutex<RecordBatch>>,
    fails: Arc<AtomicBool>,
}

impl Changing {
    fn new(rows: RecordBatch) -> Self {
        Self { schema: rows.schema(), rows: Arc::new(Mutex::new(rows)), fails: Arc::default() }
    }
}

impl LookupProvider for Changing {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn key(&self) -> &[usize] {
        &[0]
    }

    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        MemoryLookup::try_new(self.rows.lock().unwrap().clone(), &["id"])?.lookup(query)
    }

    fn scan(&self, query: &LookupQuery) -> Result<Option<Arc<dyn LookupScan>>> {
        Ok(Some(Arc::new(ChangingScan(self.clone(), query.clone()))))
    }
}

#[derive(Debug)]
struct ChangingScan(Changing, LookupQuery);

#[async_trait]
impl LookupScan for ChangingScan {
    async fn scan(
        &self,
        _: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError> {
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(CallError::configuration("y", "401"));
        }
        let rows = self.0.rows.lock().unwrap().project(&self.1.columns).unwrap();
        Ok(Box::pin(futures::stream::iter([Ok(rows)])))
    }
}
