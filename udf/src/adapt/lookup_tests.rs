use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_expr::{col, lit};
use tokio::time::Instant;

use super::*;
use crate::adapt::lookup_table::LookupTable;
use crate::contract::lookup::LookupProvider;
use crate::dispatch::meters::metrics::MetricsSnapshot;
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::dispatch::tests::lookups::look_up;
use crate::dispatch::tests::scope_in;
use crate::options::CallOptions;
use crate::options::words::{Cache, OnError, RetryPredicate};

#[tokio::test(start_paused = true)]
async fn a_key_has_no_row_one_or_several() {
    let table = Table::default();
    let (rows, _) = table.ask([Some(3), Some(0), Some(1), Some(2)], CallOptions::new()).await;
    assert_eq!(rows.unwrap(), ["3: r0 r1 r2", "0:", "1: r0", "2: r0 r1"]);
    assert_eq!(table.requests(), [vec![3, 0, 1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn a_null_key_is_missing_and_never_asked_for() {
    let table = Table::default();
    let (rows, _) = table.ask([None, Some(1), None], CallOptions::new()).await;
    assert_eq!(rows.unwrap(), ["NULL", "1: r0", "NULL"]);
    assert_eq!(table.requests(), [vec![1]]);
}

#[tokio::test(start_paused = true)]
async fn equal_keys_are_asked_for_once_a_query() {
    let table = Table::default();
    let options = CallOptions::new().with_max_batch_size(2);
    let keys = [1, 2, 1, 1, 2, 0, 0].map(Some);
    let (rows, metrics) = table.ask(keys, options).await;
    assert_eq!(rows.unwrap().len(), 7);
    assert_eq!(table.requests(), [vec![1, 2], vec![0]]);
    assert_eq!((metrics.calls, metrics.dedup_hits), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn equal_keys_are_asked_for_once_a_request_without_dedup() {
    let table = Table::default();
    let options = CallOptions::new().with_max_batch_size(4).with_dedup(false);
    let (rows, _) = table.ask([1, 2, 1, 1, 2, 0, 0, 2].map(Some), options).await;
    let expected = ["1: r0", "2: r0 r1", "1: r0", "1: r0", "2: r0 r1", "0:", "0:", "2: r0 r1"];
    assert_eq!(rows.unwrap(), expected);
    assert_eq!(table.requests(), [vec![1, 2], vec![2, 0]]);
}

#[tokio::test(start_paused = true)]
async fn equal_keys_are_asked_for_one_after_the_other_where_order_matters() {
    let table = Table { ordering_key: Some(0), ..Table::default() };
    let options = CallOptions::new().with_dedup(false);
    let (rows, metrics) = table.ask([1, 2, 1, 1].map(Some), options).await;
    assert_eq!(rows.unwrap(), ["1: r0", "2: r0 r1", "1: r0", "1: r0"]);
    assert_eq!(table.requests(), [vec![1, 2], vec![1], vec![1]]);
    assert_eq!(metrics.in_flight_max, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_holds_no_more_keys_than_the_provider_takes() {
    let table = Table { max_keys: 3, ..Table::default() };
    table.ask((0..8).map(Some), CallOptions::new()).await.0.unwrap();
    let sizes: Vec<usize> = table.requests().iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn rows_may_come_in_any_order() {
    let table = Table { reversed: true, ..Table::default() };
    let (rows, _) = table.ask([Some(2), Some(0), Some(3)], CallOptions::new()).await;
    assert_eq!(rows.unwrap(), ["2: r1 r0", "0:", "3: r2 r1 r0"]);
}

#[tokio::test(start_paused = true)]
async fn a_miss_is_tried_again_if_told_and_is_a_miss_in_the_end() {
    // Key 1 comes late; key 9 never does.
    let table = Table::default().then(Step::Without(vec![1, 9])).then(Step::Without(vec![1, 9]));
    let table = table.then(Step::Without(vec![9]));
    let options = CallOptions::new()
        .with_retry_predicate(RetryPredicate::LookupMiss)
        .with_retry_delay(Duration::from_secs(1))
        .with_max_attempts(3);
    let begun = Instant::now();
    let (rows, metrics) = table.ask([1, 2, 9, 9].map(Some), options).await;
    assert_eq!(rows.unwrap(), ["1: r0", "2: r0 r1", "9:", "9:"]);
    assert_eq!(table.requests(), [vec![1, 2, 9], vec![1, 9], vec![1, 9]]);
    assert_eq!((metrics.retries, metrics.failures), (2, 0));
    assert!(begun.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_miss_is_not_tried_again_unless_told() {
    let table = Table::default();
    table.ask([Some(0)], CallOptions::new()).await.0.unwrap();
    assert_eq!(table.requests(), [vec![0]]);
}

#[tokio::test(start_paused = true)]
async fn a_miss_whose_time_is_up_is_a_miss() {
    let table = Table::default();
    let options = CallOptions::new()
        .with_retry_predicate(RetryPredicate::LookupMiss)
        .with_retry_delay(Duration::from_secs(60))
        .with_retry_strategy(crate::options::words::RetryStrategy::FixedDelay)
        .with_timeout(Duration::from_secs(5));
    assert_eq!(table.ask([Some(0)], options).await.0.unwrap(), ["0:"]);
    assert_eq!(table.requests(), [vec![0]]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_beside_a_miss_stays_a_failure() {
    let table = Table { fails: Some(4), ..Table::default() };
    let options = CallOptions::new()
        .with_retry_predicate(RetryPredicate::LookupMiss)
        .with_retry_delay(Duration::from_secs(60))
        .with_retry_strategy(crate::options::words::RetryStrategy::FixedDelay)
        .with_timeout(Duration::from_secs(5));
    let error = table.ask([0, 4].map(Some), options).await.0.unwrap_err();
    assert!(error.to_string().contains("key 4 is locked"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_bad_key_fails_alone() {
    let table = Table { fails: Some(2), ..Table::default() };
    let options = CallOptions::new().with_on_error(OnError::Null).with_max_attempts(1);
    let (rows, metrics) = table.ask([1, 2, 3, 2].map(Some), options.clone()).await;
    assert_eq!(rows.unwrap(), ["1: r0", "NULL", "3: r0 r1 r2", "NULL"]);
    assert_eq!((metrics.failures, table.requests().len()), (2, 1));
    let without = Table { fails: Some(2), ..Table::default() };
    let (rows, _) = without.ask([1, 2, 3, 2].map(Some), options.with_dedup(false)).await;
    assert_eq!(rows.unwrap(), ["1: r0", "NULL", "3: r0 r1 r2", "NULL"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_is_made_again() {
    let table = Table::default().then(Step::Fail);
    let (rows, metrics) = table.ask([1, 2].map(Some), CallOptions::new()).await;
    assert_eq!(rows.unwrap(), ["1: r0", "2: r0 r1"]);
    assert_eq!((table.requests().len(), metrics.retries), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn malformed_answers_say_what_is_wrong() {
    for (wrong, message) in [
        (Step::KeyOutOfRange, "a row of key 1, counted from 0, of 1"),
        (Step::MoreKeysThanRows, "1 rows with 2 keys"),
        (Step::NoColumns, "0 columns where 1 are asked for"),
        (Step::WrongType, "Int64 where Utf8 (column name) is declared"),
    ] {
        let table = Table { usual: Some(wrong), ..Table::default() };
        let error = table.ask([Some(1)], CallOptions::new()).await.0.unwrap_err().to_string();
        assert!(error.contains("users") && error.contains(message), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_knows_missing_keys_too_until_they_are_old() {
    let table = Table::default();
    let runtime = Arc::new(FarcallRuntime::new());
    let options =
        CallOptions::new().with_cache(Cache::Partial).with_cache_ttl(Duration::from_secs(60));
    for (wait, requests) in [(0, 1), (59, 1), (1, 2)] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let (rows, _) = table.ask_in(&runtime, [1, 0].map(Some), options.clone()).await;
        assert_eq!(rows.unwrap(), ["1: r0", "0:"]);
        assert_eq!(table.requests().len(), requests);
    }
}

#[test]
fn other_columns_and_filters_are_other_functions() {
    let table = LookupTable::try_new("users", Arc::new(Table::default())).unwrap();
    let function = |columns: &[usize], filters: Vec<datafusion_expr::Expr>| {
        table.function(LookupQuery::new(columns.iter().copied()).with_filters(filters)).unwrap()
    };
    assert_eq!(function(&[0, 1], vec![]), function(&[0, 1], vec![]));
    assert_ne!(function(&[0, 1], vec![]), function(&[1], vec![]));
    assert_ne!(function(&[1], vec![]), function(&[1], vec![col("name").eq(lit("a"))]));
    let none = function(&[], vec![]);
    let display = none.declaration().display().unwrap();
    assert_eq!(display(&["t.x".into()]), "users[id](id = t.x)");
}

#[test]
fn a_key_that_cannot_be_one_is_refused() {
    for (key, message) in [
        (vec![], "users needs a key of at least one column"),
        (vec![2], "key column 2 of 2 columns"),
        (vec![0, 0], "id is given twice in the key"),
    ] {
        let table = Table { key, ..Table::default() };
        let error = LookupTable::try_new("users", Arc::new(table)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// What a request meets instead of the table.
#[derive(Debug, Clone)]
enum Step {
    Fail,
    Without(Vec<i64>),
    KeyOutOfRange,
    MoreKeysThanRows,
    NoColumns,
    WrongType,
}

/// A table (id BIGINT, name VARCHAR) with x rows for key x below 9, named r0 and so on.
#[derive(Debug, Clone)]
struct Table {
    schema: SchemaRef,
    key: Vec<usize>,
    max_keys: usize,
    ordering_key: Option<usize>,
    reversed: bool,
    /// A key whose lookup fails.
    fails: Option<i64>,
    usual: Option<Step>,
    script: Arc<Mutex<VecDeque<Step>>>,
    requests: Arc<Mutex<Vec<Vec<i64>>>>,
}

impl Default for Table {
    fn default() -> Self {
        let fields = vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ];
        Self {
            schema: Arc::new(Schema::new(fields)),
            key: vec![0],
            max_keys: usize::MAX,
            ordering_key: None,
            reversed: false,
            fails: None,
            usual: None,
            script: Arc::default(),
            requests: Arc::default(),
        }
    }
}

impl Table {
    fn then(self, step: Step) -> Self {
        self.script.lock().unwrap().push_back(step);
        self
    }

    fn requests(&self) -> Vec<Vec<i64>> {
        self.requests.lock().unwrap().clone()
    }

    async fn ask(
        &self,
        keys: impl IntoIterator<Item = Option<i64>>,
        options: CallOptions,
    ) -> (Result<Vec<String>, CallError>, MetricsSnapshot) {
        self.ask_in(&Arc::new(FarcallRuntime::new()), keys, options).await
    }

    async fn ask_in(
        &self,
        runtime: &Arc<FarcallRuntime>,
        keys: impl IntoIterator<Item = Option<i64>>,
        options: CallOptions,
    ) -> (Result<Vec<String>, CallError>, MetricsSnapshot) {
        let table = LookupTable::try_new("users", Arc::new(self.clone())).unwrap();
        look_up(&scope_in(runtime), &table, keys, options).await
    }
}

impl LookupProvider for Table {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn key(&self) -> &[usize] {
        &self.key
    }

    fn max_keys(&self) -> usize {
        self.max_keys
    }

    fn ordering_key(&self) -> Option<usize> {
        self.ordering_key
    }

    fn lookup(
        &self,
        _: &LookupQuery,
    ) -> datafusion_common::Result<Arc<dyn AsyncBatchLookupFunction>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl AsyncBatchLookupFunction for Table {
    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        _: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        let ids = keys.column(0).as_primitive::<Int64Type>().values().to_vec();
        self.requests.lock().unwrap().push(ids.clone());
        tokio::task::yield_now().await;
        let step = self.script.lock().unwrap().pop_front().or_else(|| self.usual.clone());
        let hidden = match &step {
            Some(Step::Fail) => return Err(CallError::transient("users", "503")),
            Some(Step::Without(hidden)) => hidden.clone(),
            _ => vec![],
        };
        let mut found: Vec<(u32, String)> = Vec::new();
        for (key, id) in ids.iter().enumerate() {
            if *id < 9 && !hidden.contains(id) {
                found.extend((0..*id).map(|row| (key as u32, format!("r{row}"))));
            }
        }
        if self.reversed {
            found.reverse();
        }
        let (mut of_row, names): (Vec<u32>, Vec<String>) = found.into_iter().unzip();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0; names.len()]));
        let names: ArrayRef = Arc::new(StringArray::from(names));
        let mut columns = vec![names];
        match step {
            Some(Step::KeyOutOfRange) => of_row = of_row.iter().map(|key| key + 1).collect(),
            Some(Step::MoreKeysThanRows) => of_row.push(0),
            Some(Step::NoColumns) => columns.clear(),
            Some(Step::WrongType) => columns = vec![numbers],
            _ => {}
        }
        let failed = ids.iter().position(|id| Some(*id) == self.fails);
        let failed = failed.map(|key| (key, CallError::transient("users", "key 4 is locked")));
        Ok(LookupAnswer::new(columns, of_row).with_errors(failed.into_iter().collect()))
    }
}
