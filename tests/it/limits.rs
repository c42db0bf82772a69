//! Below a limit a call is made for the rows that the limit wants, and for hardly more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::col;
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, Declaration,
    async_fn,
};

use crate::support::plans::plan_text;
use crate::support::remote::add_table;
use crate::support::twins::lines;

/// Target partitions and partitions of the table.
const PARTITIONS: [(usize, usize); 5] = [(1, 1), (1, 2), (4, 1), (4, 2), (4, 4)];

/// A session with functions that count how often they are called: `f` gives x + 1, `p` whether x is
/// even, `q` whether 3 divides x; `pb` is `p` in batches, `pi` is `p` answering at once.
struct Counted {
    session: FarcallSession,
    calls: Calls,
}

type Calls = Arc<[AtomicUsize; 3]>;

impl Counted {
    fn new(target: usize, source: usize) -> Self {
        let config = SessionConfig::new().with_target_partitions(target);
        let session = FarcallSession::builder().with_config(config).build().unwrap();
        add_table(&session, "t", 10_000, source, 1_000);
        let calls = Calls::default();
        let counting = |name: &str, index: usize, at_once: bool, divisor: i64| {
            let calls = Arc::clone(&calls);
            session.register(async_fn(name, move |x: i64| {
                let calls = Arc::clone(&calls);
                async move {
                    calls[index].fetch_add(1, Ordering::SeqCst);
                    if !at_once {
                        tokio::task::yield_now().await;
                    }
                    Ok::<bool, CallError>(x % divisor == 0)
                }
            }));
        };
        counting("p", 0, false, 2);
        counting("pi", 0, true, 2);
        counting("q", 1, false, 3);
        let (f, batches) = (Arc::clone(&calls), Arc::clone(&calls));
        session.register(async_fn("f", move |x: i64| {
            f[2].fetch_add(1, Ordering::SeqCst);
            async move { Ok::<i64, CallError>(x + 1) }
        }));
        let declaration = Declaration::new("pb", vec![DataType::Int64], DataType::Boolean);
        session.register(AsyncFunction::batch(Even { declaration, calls: batches }));
        Self { session, calls }
    }

    /// Returns the rows of a query and the calls of `p` (in any form), `q` and `f`.
    async fn run(&self, sql: &str) -> (Vec<String>, [usize; 3]) {
        let rows = self.session.sql(sql).await.unwrap().collect().await.unwrap();
        (lines(&rows), std::array::from_fn(|index| self.calls[index].swap(0, Ordering::SeqCst)))
    }
}

#[derive(Debug)]
struct Even {
    declaration: Declaration,
    calls: Calls,
}

#[async_trait]
impl AsyncBatchFunction for Even {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        self.calls[0].fetch_add(args.num_rows(), Ordering::SeqCst);
        tokio::task::yield_now().await;
        let x = args.column(0).as_primitive::<Int64Type>();
        let even: BooleanArray = x.iter().map(|x| x.map(|x| x % 2 == 0)).collect();
        Ok(BatchAnswer::new(Arc::new(even)))
    }
}

#[tokio::test]
async fn a_projected_call_is_made_for_the_rows_of_the_limit() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        for (sql, made) in [
            ("SELECT f(id) FROM t LIMIT 10", 10),
            ("SELECT f(id) FROM t LIMIT 10 OFFSET 5", 10),
            ("SELECT f(id) FROM t LIMIT 0", 0),
            ("SELECT id FROM t WHERE f(id) > 0 LIMIT 10", 10),
            ("SELECT id FROM t WHERE f(id) > 0 LIMIT 10 OFFSET 5", 15),
            ("SELECT id FROM t WHERE f(id) > 0 LIMIT 0", 0),
        ] {
            let (rows, [_, _, f]) = counted.run(sql).await;
            assert_eq!((rows.len(), f), (10.min(made), made), "{sql} over {target} and {source}");
        }
    }
}

#[tokio::test]
async fn a_condition_that_half_of_the_rows_pass_costs_twice_the_limit() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        for p in ["p", "pi", "pb"] {
            let sql = format!("SELECT id FROM t WHERE {p}(id) LIMIT 20");
            let (rows, [calls, ..]) = counted.run(&sql).await;
            assert_eq!((rows.len(), calls), (20, 40), "{sql} over {target} and {source}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_all_the_limit_wants_waits_for_no_company() {
    let counted = Counted::new(4, 2);
    let begun = tokio::time::Instant::now();
    let (rows, [calls, ..]) = counted.run("SELECT id FROM t WHERE pb(id) LIMIT 20").await;
    // Two requests of 20 rows, where 32 would fit, and not one `batch_timeout`.
    assert_eq!((rows.len(), calls, begun.elapsed()), (20, 40, std::time::Duration::ZERO));
}

#[tokio::test]
async fn an_offset_counts() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        let (rows, [calls, ..]) =
            counted.run("SELECT id FROM t WHERE p(id) LIMIT 20 OFFSET 10").await;
        assert_eq!((rows.len(), calls), (20, 60), "{target} and {source}");
    }
}

#[tokio::test]
async fn a_cheap_condition_before_the_call_keeps_the_bound() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        for sql in [
            "SELECT id FROM t WHERE id % 100 < 10 AND p(id) LIMIT 20",
            "SELECT id, p(id) FROM t WHERE p(id) AND id % 100 < 10 LIMIT 20",
            "SELECT p(id) AS v, id % 7 FROM t WHERE p(id) AND id % 100 < 10 LIMIT 20",
        ] {
            let (rows, [calls, ..]) = counted.run(sql).await;
            assert_eq!((rows.len(), calls), (20, 40), "{sql} over {target} and {source}");
        }
    }
}

#[tokio::test]
async fn two_calls_one_above_the_other_have_what_the_limit_wants_each() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        let sql = "SELECT id, f(id) FROM t WHERE p(id) AND q(id) LIMIT 20";
        let (rows, [p, q, f]) = counted.run(sql).await;
        assert_eq!((rows.len(), f), (20, 20));
        // One row in six passes both: p is needed for 120 rows, q for 60.
        assert!(p <= 240 && q <= 120, "p {p}, q {q} over {target} and {source}");
    }
}

#[tokio::test]
async fn a_demand_that_was_too_small_grows_until_there_are_no_rows_left() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        for (sql, rows, calls) in [
            ("SELECT id FROM t WHERE p(id) LIMIT 6000", 5_000, 10_000),
            ("SELECT id FROM t WHERE pb(id) AND id >= 9990 LIMIT 20", 5, 10),
            ("SELECT id FROM t WHERE pb(id % 10000) IS NULL LIMIT 1", 0, 10_000),
            ("SELECT id FROM t WHERE CASE WHEN id > 9000 THEN p(id) END LIMIT 20", 20, 40),
        ] {
            let (got, [made, ..]) = counted.run(sql).await;
            assert_eq!(got.len(), rows, "{sql} over {target} and {source}");
            assert!(made <= calls, "{made} calls of {calls}: {sql} over {target} and {source}");
        }
    }
}

#[tokio::test]
async fn the_order_of_a_sorted_table_is_kept_and_the_bound_too() {
    for target in [1, 4] {
        let counted = Counted::new(target, 1);
        // Four partitions that are sorted each, and whose rows alternate.
        let part = |part: i64| {
            let id: ArrayRef =
                Arc::new(Int64Array::from_iter_values((0..2_500).map(|x| 4 * x + part)));
            vec![arrow::array::RecordBatch::try_from_iter([("id", id)]).unwrap()]
        };
        let parts: Vec<_> = (0..4).map(part).collect();
        let table = MemTable::try_new(parts[0][0].schema(), parts).unwrap();
        let table = table.with_sort_order(vec![vec![col("id").sort(true, false)]]);
        counted.session.context().register_table("sorted", Arc::new(table)).unwrap();
        let sql = "SELECT id FROM sorted WHERE p(id) ORDER BY id LIMIT 20";
        let (rows, [calls, ..]) = counted.run(sql).await;
        let expected: Vec<String> = (0..20).map(|x| format!("|{}|", 2 * x)).collect();
        assert_eq!((rows, calls), (expected, 40));
        let plan = plan_text(&counted.session, sql).await;
        assert!(!plan.contains("SortExec"), "{plan}");
    }
}

#[tokio::test]
async fn rows_that_have_two_orders_come_in_the_one_that_was_asked_for() {
    let counted = Counted::new(2, 1);
    // Each partition is sorted by `a` and by `b`; merged by one of them, they are not by the other.
    let part = |a: i64, b: i64| {
        let column = |from| Arc::new(Int64Array::from_iter_values((0..50).map(|x| 2 * x + from)));
        let columns: [(&str, ArrayRef); 2] = [("a", column(a)), ("b", column(b))];
        vec![arrow::array::RecordBatch::try_from_iter(columns).unwrap()]
    };
    let parts = vec![part(0, 1_000), part(200, 0)];
    let table = MemTable::try_new(parts[0][0].schema(), parts).unwrap();
    let order = |name: &str| vec![col(name).sort(true, false)];
    let table = table.with_sort_order(vec![order("a"), order("b")]);
    counted.session.context().register_table("two", Arc::new(table)).unwrap();
    for (order, first) in [("a", "|0|1000|"), ("b", "|200|0|")] {
        let sql = format!("SELECT a, b FROM two WHERE p(b) ORDER BY {order} LIMIT 3");
        assert_eq!(counted.run(&sql).await.0[0], first, "{sql}");
    }
}

#[tokio::test]
async fn a_limit_over_a_join_whose_pairs_are_called_for_does_not_run_away() {
    for (target, source) in PARTITIONS {
        let counted = Counted::new(target, source);
        let sql =
            "SELECT a.id, b.id FROM t a LEFT JOIN t b ON a.id = b.id AND p(a.id + b.id) LIMIT 20";
        let (rows, [calls, ..]) = counted.run(sql).await;
        assert_eq!(rows.len(), 20);
        // The demand is that of each partition: numbered rows stay where they are.
        assert!(calls <= 40 * target, "{calls} calls over {target} and {source}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_threads_make_no_call_more() {
    let counted = Counted::new(4, 4);
    for _ in 0..50 {
        let (rows, [calls, ..]) = counted.run("SELECT id FROM t WHERE p(id) LIMIT 20").await;
        assert_eq!((rows.len(), calls), (20, 40));
    }
}
