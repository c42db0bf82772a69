//! Plans for the tests of the physical rules: optimized, over table `t` with calls `f`, `g` and `p`.

use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::col;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use farcall_udf::{CallError, CallOptions, async_fn};

use crate::FarcallSession;

/// A session with tables `t` and `sorted` (by `x`), both of `x` and `k`, in two partitions.
fn session(target_partitions: usize) -> FarcallSession {
    let config = SessionConfig::new().with_target_partitions(target_partitions);
    let session = FarcallSession::builder().with_config(config).build().unwrap();
    session.register(async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }));
    session.register(async_fn("g", |x: i64| async move { Ok::<i64, CallError>(x + 2) }));
    session.register(async_fn("p", |x: i64| async move { Ok::<bool, CallError>(x > 2) }));
    let polite = async_fn("one_by_one", |x: i64| async move { Ok::<i64, CallError>(x) });
    let options = CallOptions::new().with_mode(farcall_udf::Mode::Sync);
    session.register(polite.with_options(options));
    let part = |from: i64| {
        let x = || Arc::new(Int64Array::from_iter_values(from..from + 50));
        vec![RecordBatch::try_from_iter([("x", x() as _), ("k", x() as _)]).unwrap()]
    };
    let table = || MemTable::try_new(part(0)[0].schema(), vec![part(0), part(50)]).unwrap();
    let sorted = table().with_sort_order(vec![vec![col("x").sort(true, false)]]);
    session.context().register_table("t", Arc::new(table())).unwrap();
    session.context().register_table("sorted", Arc::new(sorted)).unwrap();
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
