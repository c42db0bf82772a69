//! Rows that come slowly go on at once: nothing waits for thousands of them to be together.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use farcall::udf::testing::{ScriptedFunction, Step};
use farcall::udf::{CallError, async_fn};
use futures::StreamExt;
use tokio::time::Instant;

use crate::support::plans::plan_text;
use crate::support::remote::add_table;

/// Time from one row of `ticks` to the next.
const TICK: Duration = Duration::from_secs(1);
/// How long a call takes.
const CALL: Duration = Duration::from_millis(50);
/// How long a row waits for company in a request.
const LINGER: Duration = Duration::from_millis(100);

/// A source without an end: row `id` comes after `id` ticks.
#[derive(Debug)]
struct Ticks(SchemaRef);

impl PartitionStream for Ticks {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.0);
        let start = Instant::now();
        let rows = futures::stream::unfold(1_i64, move |id| {
            let schema = Arc::clone(&schema);
            async move {
                tokio::time::sleep_until(start + TICK * id as u32).await;
                let batch =
                    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![id]))]);
                Some((Ok(batch.unwrap()), id + 1))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0), rows))
    }
}

/// A session over `ticks`, with `f` and `g` in batches (x + 1) and `p` row by row (x is odd), each
/// taking [`CALL`].
fn session(target_partitions: usize) -> FarcallSession {
    let config = SessionConfig::new().with_target_partitions(target_partitions);
    let session = FarcallSession::builder().with_config(config).build().unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let ticks = Arc::new(Ticks(Arc::clone(&schema)));
    let table = StreamingTable::try_new(schema, vec![ticks]).unwrap().with_infinite_table(true);
    session.context().register_table("ticks", Arc::new(table)).unwrap();
    for name in ["f", "g"] {
        session.register(ScriptedFunction::new(name).with_usual(Step::Answer(CALL)).build().0);
    }
    session.register(async_fn("p", |x: i64| async move {
        tokio::time::sleep(CALL).await;
        Ok::<bool, CallError>(x % 2 == 1)
    }));
    session
}

/// Reads the first rows of a query: the first column, and the time since the row of that number
/// came into being.
async fn first_rows(session: &FarcallSession, sql: &str, rows: usize) -> Vec<(i64, Duration)> {
    let mut stream = session.sql(sql).await.unwrap().execute_stream().await.unwrap();
    let start = Instant::now();
    let mut read = Vec::new();
    while read.len() < rows {
        let batch = stream.next().await.unwrap().unwrap();
        for id in batch.column(0).as_primitive::<Int64Type>().values() {
            read.push((*id, start.elapsed() - TICK * *id as u32));
        }
    }
    read
}

#[tokio::test(start_paused = true)]
async fn each_row_of_an_endless_source_is_answered_when_its_call_is() {
    for target in [1, 4] {
        let session = session(target);
        for (sql, ids, delay) in [
            ("SELECT id, f(id) FROM ticks", [1, 2, 3], LINGER + CALL),
            ("SELECT id FROM ticks WHERE p(id)", [1, 3, 5], CALL),
            ("SELECT id, f(id) FROM ticks WHERE id % 2 = 0", [2, 4, 6], LINGER + CALL),
            ("SELECT id FROM ticks WHERE id % 2 = 0 AND f(id) % 4 = 1", [4, 8, 12], LINGER + CALL),
            (
                "SELECT id, g(id) FROM ticks WHERE id > 2 AND f(id) > 4 AND p(id)",
                [5, 7, 9],
                LINGER + CALL + CALL + LINGER + CALL,
            ),
        ] {
            let expected: Vec<_> = ids.into_iter().map(|id| (id, delay)).collect();
            assert_eq!(first_rows(&session, sql, 3).await, expected, "{sql} over {target}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_source_below_a_limit_is_answered_as_well() {
    let session = session(4);
    let sql = "SELECT id FROM ticks WHERE id % 2 = 1 AND f(id) > 2 LIMIT 3";
    let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(crate::support::twins::lines(&rows), ["|3|", "|5|", "|7|"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_row_behind_a_condition_on_a_call_does_not_wait_for_the_last() {
    for target in [1, 4] {
        let session = session(target);
        add_table(&session, "t", 10_000, 1, 1_000);
        let begun = Instant::now();
        let sql = "SELECT id, g(id) FROM t WHERE p(id)";
        let mut stream = session.sql(sql).await.unwrap().execute_stream().await.unwrap();
        stream.next().await.unwrap().unwrap();
        // 100 rows at a time: the first 32 that pass are together after the first round.
        assert_eq!(begun.elapsed(), CALL + CALL, "{target}");
    }
}

#[tokio::test]
async fn nothing_in_an_endless_plan_gathers_or_spreads_rows() {
    let sql = "SELECT id, g(id) FROM ticks WHERE id > 2 AND f(id) > 4";
    insta::assert_snapshot!(plan_text(&session(4), sql).await, @r"
    Projection: ticks.id, __async_1 AS g(ticks.id)
      AsyncCalc: g(ticks.id) AS __async_1
        Projection: ticks.id
          Filter: __async_0 > Int64(4)
            AsyncCalc: f(ticks.id) AS __async_0
              Filter: ticks.id > Int64(2)
                TableScan: ticks projection=[id]
    ProjectionExec: expr=[id@0 as id, __async_1@1 as g(ticks.id)]
      AsyncCalcExec: g(id@0) AS __async_1 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
        StreamingFilterExec: __async_0@1 > 4, projection=[id@0]
          AsyncCalcExec: f(id@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
            StreamingFilterExec: id@0 > 2
              StreamingTableExec: partition_sizes=1, projection=[id], infinite_source=true
    ");
}
