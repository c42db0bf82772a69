//! Plans for the tests of the physical rules: optimized, over table `t` with calls `f`, `g` and `p`.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::catalog::Session;
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{LogicalPlan, col};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use farcall_planner::SiteCounter;
use farcall_udf::{AsyncFunction, AsyncUdf, CallError, CallOptions, async_fn};

use crate::node_planner::NodePlanner;
use crate::session_ext::SessionExt;

/// Plans with farcall's nodes, without the checks that a farcall session makes before.
#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(NodePlanner)])
            .create_physical_plan(plan, session)
            .await
    }
}

/// A session with farcall's rules and operators, without tables and functions.
pub(super) fn bare_session(config: SessionConfig) -> SessionContext {
    let mut state = SessionStateBuilder::new().with_config(config).with_default_features();
    for rule in farcall_planner::analyzer_rules(Arc::new(SiteCounter::default())) {
        state = state.with_analyzer_rule(rule);
    }
    for rule in farcall_planner::optimizer_rules() {
        state = state.with_optimizer_rule(rule);
    }
    for rule in super::physical_optimizer_rules() {
        state = state.with_physical_optimizer_rule(rule);
    }
    SessionContext::new_with_state(state.with_query_planner(Arc::new(Planner)).build())
}

/// The context of a task in a session of farcall's.
pub(super) fn task_context() -> TaskContext {
    let ext = SessionExt::new(Arc::default(), Arc::default());
    TaskContext::default().with_session_config(SessionConfig::new().with_extension(Arc::new(ext)))
}

/// Registers an async function.
pub(super) fn register(session: &SessionContext, function: impl Into<AsyncFunction>) {
    session.register_udf(AsyncUdf::new(function).into_scalar_udf());
}

/// A session with tables `t` and `sorted` (by `x`), both of `x` and `k`, in two partitions.
fn session(target_partitions: usize) -> SessionContext {
    let session = bare_session(SessionConfig::new().with_target_partitions(target_partitions));
    register(&session, async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }));
    register(&session, async_fn("g", |x: i64| async move { Ok::<i64, CallError>(x + 2) }));
    register(&session, async_fn("p", |x: i64| async move { Ok::<bool, CallError>(x > 2) }));
    let polite = async_fn("one_by_one", |x: i64| async move { Ok::<i64, CallError>(x) });
    let options = CallOptions::new().with_mode(farcall_udf::Mode::Sync);
    register(&session, polite.with_options(options));
    let part = |from: i64| {
        let x = || Arc::new(Int64Array::from_iter_values(from..from + 50));
        vec![RecordBatch::try_from_iter([("x", x() as _), ("k", x() as _)]).unwrap()]
    };
    let table = || MemTable::try_new(part(0)[0].schema(), vec![part(0), part(50)]).unwrap();
    let sorted = table().with_sort_order(vec![vec![col("x").sort(true, false)]]);
    session.register_table("t", Arc::new(table())).unwrap();
    session.register_table("sorted", Arc::new(sorted)).unwrap();
    session
}

/// Plans a query at four target partitions, twice as many as the tables have.
pub(super) async fn plan(sql: &str) -> String {
    plan_at(4, sql).await
}

/// Plans a query, and checks that the plan would run and that no rule would change it further.
pub(super) async fn plan_at(target_partitions: usize, sql: &str) -> String {
    let plan =
        session(target_partitions).sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let config = ConfigOptions::new();
    SanityCheckPlan::new().optimize(Arc::clone(&plan), &config).unwrap();
    for rule in super::physical_optimizer_rules() {
        let again = rule.optimize(Arc::clone(&plan), &config).unwrap();
        assert_eq!(text(&again), text(&plan), "a second run of {}", rule.name());
    }
    text(&plan)
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}
