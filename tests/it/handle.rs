//! One execution is one scope, whatever its plan looks like; it ends with the streams of the plan's
//! root, also while somebody holds the plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect, execute_stream};
use datafusion::prelude::SessionConfig;
use farcall::FarcallSession;
use farcall::udf::CallOptions;
use farcall::udf::testing::{ScriptedFunction, Seen, Step};
use futures::StreamExt;

use crate::support::remote::{Remote, add_table, nothing_is_left, rows};
use crate::support::server::TestServer;
use crate::support::twins::lines;

/// Calls below a hash shuffle, whose tasks upstream keeps in the plan.
const SHUFFLED: &str = "SELECT PREDICT(m, id) AS v, count(*) AS c FROM big GROUP BY v";

/// A model that answers after 5 ms, 4 requests at a time, over 4 partitions of 20,000 rows.
async fn remote() -> Remote {
    let server = TestServer::builder().latency(Duration::from_millis(5), Duration::ZERO);
    let remote = Remote::with_partitions(4, server, "'buffer_capacity' = '4'").await;
    add_table(&remote.session, "big", 20_000, 4, 100);
    remote
}

async fn plan(session: &FarcallSession, sql: &str) -> (Arc<dyn ExecutionPlan>, Arc<TaskContext>) {
    let frame = session.sql(sql).await.unwrap();
    let context = Arc::new(frame.task_ctx());
    (frame.create_physical_plan().await.unwrap(), context)
}

/// A session over table `t` of 100 rows in 2 partitions, with `f(x) = x + 1` in requests of 5 rows.
fn session(step: Step) -> (FarcallSession, Arc<Seen>) {
    let config = SessionConfig::new().with_target_partitions(2);
    let session = FarcallSession::builder().with_config(config).build().unwrap();
    add_table(&session, "t", 100, 2, 10);
    let options = CallOptions::new().with_max_batch_size(5);
    let (function, seen) = ScriptedFunction::new("f")
        .with_usual(step)
        .with_declaration(|declaration| declaration.with_options(options))
        .build();
    session.register(function);
    (session, seen)
}

fn at_once() -> (FarcallSession, Arc<Seen>) {
    session(Step::Answer(Duration::ZERO))
}

/// Waits until the functions of so many executions are closed, without a further query.
async fn closed(seen: &Seen, times: usize) {
    for _ in 0..1_000 {
        if seen.opened_closed() == (times, times) && seen.in_flight() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("opened and closed {:?}, wanted {times}", seen.opened_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_dropped_above_a_shuffle_ends_the_calls_of_a_plan_that_is_held() {
    let remote = remote().await;
    let (plan, context) = plan(&remote.session, SHUFFLED).await;
    let mut stream = execute_stream(Arc::clone(&plan), context).unwrap();
    let read = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(read.is_err(), "the calls were too fast for this test");
    drop(stream);
    let dropped = remote.requests();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let after = remote.requests();
    assert!(dropped > 4 && after <= dropped + 4, "{dropped} requests became {after}");
    assert_eq!(remote.server.in_flight(), 0);
    nothing_is_left(&remote.session).await;
    drop(plan);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_reached_ends_the_calls_of_a_plan_that_is_held() {
    let remote = remote().await;
    let sql = "SELECT v FROM (SELECT DISTINCT id, PREDICT(m, id) AS v FROM big) q LIMIT 3";
    let (plan, context) = plan(&remote.session, sql).await;
    let batches = collect(Arc::clone(&plan), context).await.unwrap();
    assert_eq!(lines(&batches).len(), 3);
    nothing_is_left(&remote.session).await;
    let ended = remote.requests();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(remote.requests() <= ended + 4);
    drop(plan);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_close_with_the_last_stream_without_a_further_query() {
    for sql in ["SELECT f(id) AS v FROM t", "SELECT f(id) AS v, count(*) AS c FROM t GROUP BY v"] {
        let (session, seen) = at_once();
        let (held, context) = plan(&session, sql).await;
        let rows = lines(&collect(Arc::clone(&held), Arc::clone(&context)).await.unwrap());
        assert_eq!(rows.len(), 100, "{sql}");
        closed(&seen, 1).await;

        let (session, seen) = self::session(Step::Hang);
        let (held, context) = plan(&session, sql).await;
        let mut stream = execute_stream(Arc::clone(&held), Arc::clone(&context)).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), stream.next()).await.is_err());
        drop(stream);
        closed(&seen, 1).await;
        // Plan and context are held to the end.
        drop((held, context));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_iterations_of_a_recursive_query_are_one_execution() {
    let (session, seen) = at_once();
    let sql = "WITH RECURSIVE r AS (SELECT CAST(0 AS BIGINT) AS n UNION ALL \
               SELECT n + 1 FROM r WHERE n < 30 AND f(n % 3) > 0) SELECT count(*) FROM r";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|31|"]);
    let mut called: Vec<i64> = seen.attempts().concat();
    called.sort_unstable();
    assert_eq!(called, [0, 1, 2]);
    closed(&seen, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_branches_of_a_union_are_one_execution() {
    let (session, seen) = session(Step::Answer(Duration::from_millis(2)));
    let sql = "SELECT f(id % 10) AS v FROM t UNION ALL SELECT f(id % 10) AS v FROM t \
               UNION ALL SELECT v FROM (SELECT f(id % 10) AS v, count(*) FROM t GROUP BY v) q";
    assert_eq!(rows(&session, sql).await.unwrap().len(), 210);
    let mut called: Vec<i64> = seen.attempts().concat();
    called.sort_unstable();
    assert_eq!(called, (0..10).collect::<Vec<_>>());
    closed(&seen, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_runs_again_with_the_same_context_has_two_executions() {
    let (session, seen) = at_once();
    let (plan, context) = plan(&session, "SELECT f(id) AS v FROM t").await;
    for run in 1..=2 {
        let rows = lines(&collect(Arc::clone(&plan), Arc::clone(&context)).await.unwrap());
        assert_eq!((rows.len(), seen.attempts().concat().len()), (100, 100 * run));
        closed(&seen, run).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_executions_at_the_same_time_one_ends_without_the_other() {
    let (session, seen) = session(Step::Answer(Duration::from_millis(1)));
    let (plan, context) = plan(&session, "SELECT f(id) AS v FROM t").await;
    let mut first = execute_stream(Arc::clone(&plan), Arc::clone(&context)).unwrap();
    let mut second = execute_stream(Arc::clone(&plan), context).unwrap();
    let both = (first.next().await.unwrap().unwrap(), second.next().await.unwrap().unwrap());
    drop(first);
    let rest: Vec<_> = second.map(Result::unwrap).collect().await;
    assert_eq!(both.1.num_rows() + lines(&rest).len(), 100);
    closed(&seen, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_read_one_after_the_other_are_one_execution() {
    for sql in ["SELECT f(id % 5) AS v FROM t", "SELECT id, f(id % 5) AS v FROM t ORDER BY id"] {
        let (session, seen) = at_once();
        let (plan, context) = plan(&session, sql).await;
        let mut rows = 0;
        for partition in 0..plan.properties().partitioning.partition_count() {
            let stream = plan.execute(partition, Arc::clone(&context)).unwrap();
            let batches: Vec<_> = stream.map(Result::unwrap).collect().await;
            rows += lines(&batches).len();
        }
        assert_eq!((rows, seen.attempts().concat().len()), (100, 5), "{sql}");
        closed(&seen, 1).await;
    }
}

#[test]
fn a_codec_kept_in_the_configuration_does_not_keep_the_session_alive() {
    let session = FarcallSession::new().unwrap();
    let codec = Arc::new(session.codec());
    session.context().state_ref().write().config_mut().set_extension(codec);
    let runtime = Arc::downgrade(session.runtime());
    drop(session);
    assert!(runtime.upgrade().is_none());
}

/// Counts the plans that the planner it goes around makes.
#[derive(Debug)]
struct Counting(Arc<dyn QueryPlanner + Send + Sync>, Arc<AtomicUsize>);

#[async_trait]
impl QueryPlanner for Counting {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.1.fetch_add(1, SeqCst);
        self.0.create_physical_plan(plan, session).await
    }
}

#[tokio::test]
async fn a_query_planner_goes_around_farcalls() {
    let plans = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&plans);
    let builder = FarcallSession::builder();
    let builder = builder.with_query_planner_wrapper(|inner| Arc::new(Counting(inner, counted)));
    let session = builder.build().unwrap();
    session.register(ScriptedFunction::new("f").build().0);
    assert_eq!(rows(&session, "SELECT f(1)").await.unwrap(), ["|2|"]);
    assert_eq!(plans.load(SeqCst), 1);
}

#[tokio::test]
async fn a_plan_looks_as_if_it_had_no_root_of_its_own() {
    let (session, _) = at_once();
    let (plan, _) = plan(&session, "SELECT f(id) AS v FROM t").await;
    let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(text.starts_with(plan.name()) && !text.contains("QueryRoot"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}
