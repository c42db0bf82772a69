//! [`Tables`], a table function beside a table of all that it gives, and the calls that were made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use farcall::FarcallSession;
use farcall::udf::{CallError, async_table_fn};

use crate::support::lookups::{Requests, Store};
use crate::support::remote::message;
use crate::support::twins::{Calls, Twins, lines};

/// The arguments for which table `given` holds rows: -1..80.
const ARGUMENTS: std::ops::Range<i64> = -1..80;

/// What `series(n)` gives: as many rows (a, b) as n % 4, a from n and b a text or NULL; for n % 7 = 5 a
/// row of NULLs alone; none for a negative number.
pub fn series(n: i64) -> Vec<(Option<i64>, Option<String>)> {
    if n.rem_euclid(7) == 5 {
        return vec![(None, None)];
    }
    let rows = if n < 0 { 0 } else { n % 4 };
    (0..rows).map(|row| (Some(n + row), (row != 1).then(|| format!("b{}", n + row)))).collect()
}

/// Two sessions over the same rows: `series` and `steps` are async table functions in one, and in the other
/// what they give is the table `given (n, a, b)`.
pub struct Tables {
    pub farcall: FarcallSession,
    pub plain: SessionContext,
    /// The calls of scalar functions.
    pub scalar: Arc<Calls>,
    arguments: Arc<Mutex<Vec<i64>>>,
}

impl Tables {
    /// Makes the sessions with their catalogue of functions and the tables `t` and `s`.
    pub fn new(partitions: usize) -> Self {
        let config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_batch_size(16)
            .with_information_schema(true);
        let Twins { farcall, plain, calls } = Twins::without_tables(config);
        for context in [farcall.context(), &plain] {
            for (name, rows) in [("t", rows_of_t()), ("s", rows_of_s()), ("given", given())] {
                let half = rows.num_rows() / 2;
                let parts = [rows.slice(0, half), rows.slice(half, rows.num_rows() - half)];
                let table = MemTable::try_new(rows.schema(), parts.map(|part| vec![part]).into());
                context.register_table(name, Arc::new(table.unwrap())).unwrap();
            }
        }
        let arguments: Arc<Mutex<Vec<i64>>> = Arc::default();
        for (name, volatile) in [("series", false), ("steps", true)] {
            let made = Arc::clone(&arguments);
            let function = async_table_fn(name, ["a", "b"], move |n: i64| {
                let made = Arc::clone(&made);
                async move {
                    made.lock().unwrap().push(n);
                    // Answers must come from another task, or nothing asynchronous would be tried.
                    tokio::task::yield_now().await;
                    Ok::<_, CallError>(series(n))
                }
            });
            farcall.register(if volatile { function.volatile() } else { function });
        }
        Self { farcall, plain, scalar: calls, arguments }
    }

    /// Adds the lookup table `users`: id of 5..15, name = id % 4.
    pub fn add_users(&self) -> Arc<Requests> {
        let users = RecordBatch::try_from_iter_with_nullable([
            ("id", numbers((5..15).map(Some)), true),
            ("name", numbers((5..15).map(|id| Some(id % 4))), true),
        ])
        .unwrap();
        let table = MemTable::try_new(users.schema(), vec![vec![users.clone()]]).unwrap();
        self.plain.register_table("users", Arc::new(table)).unwrap();
        let store = Store::new(users, &["id"]);
        let requests = store.requests();
        self.farcall.register_lookup_table("users", Arc::new(store)).unwrap();
        requests
    }

    /// Returns how often the functions were called on each argument, and forgets it.
    pub fn take_calls(&self) -> BTreeMap<i64, usize> {
        let mut calls = BTreeMap::new();
        for argument in std::mem::take(&mut *self.arguments.lock().unwrap()) {
            *calls.entry(argument).or_default() += 1;
        }
        calls
    }

    /// Returns the rows of a query, in the order in which they come.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let frame = self.farcall.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let rows = frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        lines(&rows)
    }

    /// Checks that a query has the rows that another has in plain DataFusion; says how many.
    pub async fn check(&self, sql: &str, plain: &str) -> usize {
        let frame = self.plain.sql(plain).await.unwrap_or_else(|error| panic!("{plain}\n{error}"));
        let mut expected = lines(&frame.collect().await.unwrap());
        let mut got = self.rows(sql).await;
        expected.sort();
        got.sort();
        assert!(expected == got, "{sql}\nexpected {expected:.300?}\ngot {got:.300?}");
        got.len()
    }

    /// Returns the message with which a query is refused.
    pub async fn refusal(&self, sql: &str) -> String {
        let error = match self.farcall.sql(sql).await {
            Err(error) => error,
            Ok(frame) => match frame.collect().await {
                Err(error) => error,
                Ok(_) => panic!("accepted: {sql}"),
            },
        };
        message(&error)
    }
}

fn numbers(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

/// 60 rows: id, x of 0..20 or NULL, k of 0..10, a of 0..3.
fn rows_of_t() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", numbers((0..60).map(Some)), true),
        ("x", numbers((0..60).map(|id| (id % 6 != 4).then_some(id * 7 % 20))), true),
        ("k", numbers((0..60).map(|id| Some(id % 10))), true),
        ("a", numbers((0..60).map(|id| Some(id % 3))), true),
    ])
    .unwrap()
}

/// 8 rows: k of 0..8, y = 3 k.
fn rows_of_s() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("k", numbers((0..8).map(Some)), true),
        ("y", numbers((0..8).map(|k| Some(3 * k))), true),
    ])
    .unwrap()
}

/// What `series` gives for every argument.
fn given() -> RecordBatch {
    let rows: Vec<(i64, Option<i64>, Option<String>)> =
        ARGUMENTS.flat_map(|n| series(n).into_iter().map(move |(a, b)| (n, a, b))).collect();
    let texts: StringArray = rows.iter().map(|(_, _, b)| b.clone()).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("n", numbers(rows.iter().map(|(n, _, _)| Some(*n))), true),
        ("a", numbers(rows.iter().map(|(_, a, _)| *a)), true),
        ("b", Arc::new(texts) as ArrayRef, true),
    ])
    .unwrap()
}
