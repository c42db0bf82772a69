//! Conditions and keys with calls wait for all that is cheap: exact rows and exact calls.
//!
//! What is not right yet has the calls that are made today beside those that are needed, and the test
//! fails when it gets better, so that the entry is corrected.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionConfig;
use farcall::udf::{CallError, async_fn};

use crate::support::outcome::counts_text;
use crate::support::twins::{Twins, lines};

/// A query, the calls that its rows need, and those that are made today where they are more.
struct Waits {
    sql: &'static str,
    needed: &'static str,
    today: Option<&'static str>,
}

const fn waits(sql: &'static str, needed: &'static str) -> Waits {
    Waits { sql, needed, today: None }
}

const fn not_yet(sql: &'static str, needed: &'static str, today: &'static str) -> Waits {
    Waits { sql, needed, today: Some(today) }
}

/// `a` has 200 rows (id = k = s, g = id / 10, w = id % 7), `b` the ids 1 and 2, `d` all x but 3, `e` no row.
const QUERIES: &[Waits] = &[
    // The preserved side of outer joins.
    waits("SELECT a.id FROM a LEFT JOIN d ON a.k = d.x WHERE d.x IS NULL AND q(a.s)", "q 1"),
    waits(
        "SELECT a.id FROM a LEFT JOIN d ON a.k = d.x WHERE d.x IS NULL AND q(a.s) LIMIT 1",
        "q 1",
    ),
    waits("SELECT a.id FROM d RIGHT JOIN a ON a.k = d.x WHERE d.x IS NULL AND q(a.s)", "q 1"),
    waits(
        "SELECT a.id, b.id FROM a LEFT JOIN b ON a.k = b.k WHERE coalesce(b.k, 0) = 1 AND q(a.s)",
        "q 1",
    ),
    waits(
        "SELECT v.id FROM (SELECT id + 1 AS id, k FROM a WHERE q(s)) v LEFT JOIN d ON v.k = d.x WHERE d.x IS NULL",
        "q 1",
    ),
    waits("SELECT a.id FROM a LEFT JOIN d ON a.k = d.x JOIN b ON a.id = b.id WHERE q(a.s)", "q 2"),
    // Mark joins and scalar subqueries.
    waits("SELECT s FROM a WHERE (SELECT count(*) FROM b WHERE b.k = a.k) > 0 AND q(s)", "q 2"),
    waits(
        "SELECT s FROM a WHERE (EXISTS (SELECT 1 FROM b WHERE b.k = a.k) OR a.id = 7) AND q(s)",
        "q 3",
    ),
    // Aggregates and windows.
    waits("SELECT s, count(*) FROM a GROUP BY s HAVING count(*) > 1 AND q(s)", "none"),
    waits("SELECT g, sum(k) FROM a GROUP BY g HAVING min(id) = 20 AND q(g)", "q 1"),
    waits("SELECT v.s FROM (SELECT DISTINCT s FROM a WHERE q(s)) v JOIN b ON v.s = b.id", "q 2"),
    waits(
        "SELECT id FROM (SELECT id, g, row_number() OVER (PARTITION BY g ORDER BY id) AS n FROM a) v \
         WHERE n = 1 AND id > 185 AND q(g)",
        "q 1",
    ),
    // Keys.
    waits("SELECT a.id FROM a JOIN b ON a.k = b.k WHERE f(a.id) = b.k + 1000000", "f 2"),
    waits("SELECT a.id, b.id FROM a LEFT JOIN b ON a.k = b.k AND f(a.id) = b.k + 1000000", "f 2"),
    waits("SELECT a.id FROM a JOIN b ON a.k = b.k WHERE f(a.id) <= b.k + 1000000", "f 2"),
    waits("SELECT a.id FROM a JOIN b ON f(a.id) = b.k + 1000000", "f 200"),
    // Without an equality that is cheap there is one with a call, whatever stands around it.
    waits("SELECT a.id FROM a, b WHERE f(a.id) = b.k + 1000000 AND a.id < 50", "f 50"),
    waits(
        "SELECT c.id FROM b AS c, a AS o, a AS l WHERE h(o.k) = -c.id AND h(l.k) = -o.id \
         AND o.id IN (SELECT id FROM a GROUP BY id HAVING sum(k) > 0)",
        "h 200",
    ),
    waits("SELECT v.id FROM (SELECT a.id, b.k FROM a, b) v WHERE f(v.id) = v.k + 1000000", "f 200"),
    // What waits for nothing yet: branches of a UNION, a semi join of one side above a key.
    not_yet(
        "SELECT v.s FROM (SELECT s FROM a WHERE q(s) UNION ALL SELECT s FROM a WHERE q(s)) v JOIN b ON v.s = b.id",
        "q 2",
        "q 200",
    ),
    not_yet(
        "SELECT a.id FROM a, b WHERE f(a.id) = b.k + 1000000 AND a.id IN (SELECT id FROM b)",
        "f 2",
        "f 200",
    ),
];

/// Queries in which a condition that rose without care would give other rows.
const CARE: &[&str] = &[
    // The side that may be missing, either side of FULL, and a condition that reads the other side.
    "SELECT a.id FROM a LEFT JOIN (SELECT x FROM d WHERE p(x)) v ON a.k = v.x WHERE v.x IS NULL",
    "SELECT a.id FROM (SELECT x FROM d WHERE p(x)) v RIGHT JOIN a ON a.k = v.x WHERE v.x IS NULL",
    "SELECT v.id, w.x FROM (SELECT * FROM a WHERE p(s)) v FULL JOIN (SELECT x FROM d WHERE q(x)) w ON v.k = w.x \
     WHERE v.id IS NULL OR w.x IS NULL",
    "SELECT a.id FROM a LEFT JOIN b ON a.k = b.k AND p(a.s) WHERE b.k IS NULL AND a.id < 5",
    "SELECT id FROM a WHERE id < 9 AND (EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND p(b.id)) OR id = 7)",
    "SELECT id FROM a WHERE (id NOT IN (SELECT k FROM b WHERE p(id)) OR id = 7) AND q(s)",
    // Rows of a group, keys of some grouping sets, no keys.
    "SELECT g, count(*) FROM a WHERE p(s) GROUP BY g HAVING count(*) > 4",
    "SELECT g, c FROM (SELECT g, count(*) AS c FROM a WHERE p(g) GROUP BY ROLLUP (g)) v WHERE c > 9",
    "SELECT g, k, c FROM (SELECT g, k, count(*) AS c FROM a WHERE p(g) GROUP BY GROUPING SETS ((g, k), (k))) v WHERE c < 9",
    "SELECT c FROM (SELECT count(*) AS c FROM a WHERE p(1)) v WHERE c < 5",
    "SELECT g, c FROM (SELECT g, count(*) AS c FROM a WHERE p(1) GROUP BY g) v WHERE c < 50",
    "SELECT g, d, c FROM (SELECT g, z AS d, count(*) AS c FROM fl WHERE p(CASE WHEN 1 / z > 0 THEN 1 ELSE 2 END) GROUP BY g, z) v WHERE c > 0",
    // Other rows of a partition, windows with other partitions.
    "SELECT id, n FROM (SELECT id, row_number() OVER (PARTITION BY g ORDER BY id) AS n FROM a WHERE p(s)) v WHERE n = 2",
    "SELECT id, n FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM a WHERE p(g)) v WHERE n = 12",
    "SELECT id FROM (SELECT id, count(*) OVER (PARTITION BY g) AS n, count(*) OVER (PARTITION BY w) AS m FROM a \
     WHERE p(g)) v WHERE n + m > 24",
    // A row for each group, a limit, a list.
    "SELECT v.id FROM (SELECT id, s FROM a WHERE p(s) ORDER BY id LIMIT 5) v LEFT JOIN d ON v.id = d.x WHERE d.x IS NOT NULL OR v.id = 3",
    "SELECT v.id FROM (SELECT DISTINCT ON (g) g, id FROM a WHERE p(s) ORDER BY g, id DESC) v LEFT JOIN b ON v.g = b.id WHERE b.id IS NULL",
    "SELECT v.id FROM (SELECT id FROM a WHERE p(s) EXCEPT SELECT id FROM a WHERE q(s)) v LEFT JOIN b ON v.id = b.id WHERE b.id IS NULL",
    // What may fail on rows that the condition has dropped.
    "SELECT v.id FROM (SELECT id, k FROM a WHERE m(id) IS NOT NULL) v LEFT JOIN b ON v.id = b.id WHERE 10 / v.k > coalesce(b.y, 0) OR b.y = 10",
    "SELECT v.g FROM (SELECT g, k, 10 / k AS n FROM a WHERE m(k) IS NOT NULL) v LEFT JOIN b ON v.n = b.id WHERE b.id IS NULL AND v.g < 3",
    "SELECT k, n FROM (SELECT k, sum(10 / k) AS n FROM a WHERE m(k) IS NOT NULL GROUP BY k) v WHERE n > 0",
    "SELECT v.id FROM (SELECT id, k FROM a WHERE m(k) IS NOT NULL) v JOIN b ON 10 / v.k = b.y",
];

#[tokio::test]
async fn a_condition_rises_only_where_it_commutes() {
    for partitions in [1, 4] {
        let twins = twins(partitions);
        for sql in CARE {
            let (mut expected, mut got, _) = twins.rows(sql).await;
            expected.sort();
            got.sort();
            assert_eq!(got, expected, "{partitions} partitions: {sql}");
        }
    }
}

#[tokio::test]
async fn an_inferred_condition_is_no_second_call() {
    for partitions in [1, 4] {
        let twins = twins(partitions);
        let asked: Arc<Mutex<HashSet<i64>>> = Arc::default();
        let fresh = {
            let asked = Arc::clone(&asked);
            // TRUE when it is asked for the first time: a second answer would lose the row.
            async_fn("fresh", move |x: i64| {
                let fresh = asked.lock().unwrap().insert(x);
                async move { Ok::<bool, CallError>(fresh) }
            })
        };
        twins.farcall.register(fresh.volatile());
        for sql in [
            "SELECT d.x FROM d JOIN b ON d.x = b.id WHERE fresh(d.x) ORDER BY 1",
            "SELECT d.x FROM d JOIN b ON d.x = b.id WHERE fresh(b.id) ORDER BY 1",
            "SELECT d.x FROM d JOIN (SELECT id AS i FROM b) v ON d.x = v.i JOIN a ON v.i = a.id WHERE fresh(v.i) ORDER BY 1",
        ] {
            asked.lock().unwrap().clear();
            let frame = twins.farcall.sql(sql).await.unwrap();
            assert_eq!(lines(&frame.collect().await.unwrap()), ["|1|", "|2|"], "{sql}");
        }
    }
}

#[tokio::test]
async fn each_rewriting_has_a_switch() {
    let twins = twins(1);
    for (switch, sql, on, off) in [
        (
            "wait_for_conditions",
            "SELECT a.id FROM a LEFT JOIN d ON a.k = d.x WHERE d.x IS NULL AND q(a.s)",
            ("q", 1),
            ("q", 200),
        ),
        (
            "join_on_calls",
            "SELECT a.id FROM a JOIN b ON a.k = b.k WHERE f(a.id) = b.k + 1000000",
            ("f", 2),
            ("f", 200),
        ),
        (
            "drop_inferred",
            "SELECT a.id FROM a JOIN b ON a.k = b.k WHERE fv(a.k) > 0",
            ("fv", 200),
            ("fv", 202),
        ),
    ] {
        twins.check(sql, &[on]).await;
        let set = format!("SET farcall.planner.{switch} = false");
        twins.farcall.sql(&set).await.unwrap();
        twins.check(sql, &[off]).await;
    }
}

#[tokio::test]
async fn no_call_is_made_for_a_row_that_a_cheap_condition_drops() {
    let mut wrong = Vec::new();
    for Waits { sql, needed, today } in QUERIES {
        for partitions in [1, 4] {
            let (mut expected, mut got, calls) = twins(partitions).rows(sql).await;
            expected.sort();
            got.sort();
            if expected != got {
                wrong.push(format!(
                    "{partitions} partitions: {sql}\n  rows {got:?} for {expected:?}"
                ));
            }
            let (made, expected) = (counts_text(&calls), today.unwrap_or(needed));
            if made != expected {
                wrong
                    .push(format!("{partitions} partitions: {sql}\n  made {made}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sessions over the tables of [`QUERIES`].
fn twins(partitions: usize) -> Twins {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(64);
    let twins = Twins::without_tables(config);
    let ids = || 0..200_i64;
    for context in [twins.farcall.context(), &twins.plain] {
        let a = [("id", ids().collect()), ("k", ids().collect()), ("s", ids().collect())];
        let a = a.into_iter().chain([
            ("g", ids().map(|id| id / 10).collect()),
            ("w", ids().map(|id| id % 7).collect()),
        ]);
        let d = [("x", ids().filter(|x| *x != 3).collect())];
        let b = [("id", vec![1, 2]), ("k", vec![1, 2]), ("y", vec![10, 20])];
        let e = [("id", vec![]), ("k", vec![])];
        for (name, columns) in
            [("a", a.collect::<Vec<_>>()), ("d", d.into()), ("b", b.into()), ("e", e.into())]
        {
            context.register_table(name, Arc::new(table(columns))).unwrap();
        }
        // Equal keys that are not the same, and what no order holds.
        let z = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, 1.5, -0.0, 0.0];
        let fl = [
            ("g", Arc::new(Int64Array::from(vec![1, 1, 2, 2, 3, 3, 4, 4])) as ArrayRef),
            ("z", Arc::new(Float64Array::from(z.to_vec()))),
        ];
        let fl = RecordBatch::try_from_iter(fl).unwrap();
        let fl = MemTable::try_new(fl.schema(), vec![vec![fl]]).unwrap();
        context.register_table("fl", Arc::new(fl)).unwrap();
    }
    twins
}

fn table(columns: Vec<(&str, Vec<i64>)>) -> MemTable {
    let columns = columns
        .into_iter()
        .map(|(name, values)| (name, Arc::new(Int64Array::from(values)) as ArrayRef, true));
    let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let half = rows.num_rows() / 2;
    let parts = [rows.slice(0, half), rows.slice(half, rows.num_rows() - half)];
    MemTable::try_new(rows.schema(), parts.map(|part| vec![part]).into()).unwrap()
}

#[tokio::test]
async fn a_lateral_join_correlates_nothing_above_it() {
    // DataFusion folds the synchronous constant, so that the twin is no oracle for the first.
    let lateral = "FROM a z CROSS JOIN LATERAL (SELECT 1 FROM b r WHERE r.k = z.k) l";
    for (sql, rows) in [
        (format!("SELECT count(*) {lateral} HAVING q(1)"), vec![]),
        (format!("SELECT count(*) {lateral} HAVING q(3)"), vec!["|2|"]),
        (format!("SELECT (SELECT f(count(*)) {lateral}) AS v"), vec!["|1000002|"]),
    ] {
        for partitions in [1, 4] {
            let frame = twins(partitions).farcall.sql(&sql).await.unwrap();
            assert_eq!(lines(&frame.collect().await.unwrap()), rows, "{sql}");
        }
    }
}
