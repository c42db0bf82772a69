//! [`QueryRootExec`], the invisible root of a plan with calls: it makes an execution, and ends it.
//!
//! ```text
//!   reader                       QueryRootExec                        the plan
//!                ┌───────────────────────────────────────────┐
//!  partition 0 ◀─┼─ stream ─┐                                │   ┌─────────────────┐
//!                │          ├─ open streams ─▶ handle ───────┼──▶│ TaskContext of  │
//!  partition 1 ◀─┼─ stream ─┘   0: ends it    │    ▲         │   │ the execution   │
//!                └────────────────────────────┼────┼─────────┘   └────────┬────────┘
//!                                             ▼    └── find ── AsyncCalcExec ..
//!                                       QueryScope (until the end)
//! ```

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, InvariantLevel, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties,
};
use futures::{Stream, StreamExt};

use crate::execution::{Entry, ExecutionHandle};
use crate::plans::has_call;

/// Gives each execution of a plan its [`ExecutionHandle`], and ends it with the last of the streams
/// that are read from the plan's root.
///
/// A plan may outlive its streams: whoever shows metrics holds it, and DataFusion's RepartitionExec
/// keeps its tasks in it, which would go on calling. Dropping the streams ends those calls, too.
///
/// It is not seen: its name, its text, its children and its metrics are those of the operator it
/// stands for, which is also what a codec writes. So each `execute` of that operator's partitions with
/// one `TaskContext` is a part of one execution. A partition that is executed once more with the same
/// context begins another; of two that run at the same time, each partition belongs to the first that
/// lacks it. A `TaskContext` that brings a handle keeps it, unless that one has ended.
#[derive(Debug)]
pub struct QueryRootExec {
    executions: Arc<Executions>,
    plan: Arc<dyn ExecutionPlan>,
}

/// The executions of a root that have not ended.
#[derive(Default)]
struct Executions(Mutex<Vec<Execution>>);

struct Execution {
    /// The context that the root is given.
    given: Weak<TaskContext>,
    /// The context that the root gives.
    own: Arc<TaskContext>,
    handle: Arc<ExecutionHandle>,
}

impl QueryRootExec {
    /// Makes a plan that makes calls end with its streams; any other plan is given back as it is.
    pub fn over(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        // `is` would ask the plan for which a root stands.
        let is_root = (plan.as_ref() as &dyn Any).is::<Self>();
        if is_root || !has_call(&plan) { plan } else { Self::around(plan) }
    }

    fn around(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { executions: Arc::default(), plan })
    }

    /// Finds the execution that reading a partition belongs to, or begins one.
    fn enter(&self, partition: usize, given: &Arc<TaskContext>) -> (Arc<TaskContext>, Open) {
        let root = Arc::as_ptr(&self.executions) as usize;
        let partitions = self.plan.output_partitioning().partition_count();
        let open = |handle: &Arc<ExecutionHandle>, executions: Option<&Arc<Executions>>| Open {
            handle: Some(Arc::clone(handle)),
            executions: executions.map(Arc::downgrade),
        };
        if let Some(handle) = given.session_config().get_extension::<ExecutionHandle>() {
            match handle.enter(root, partition, partitions) {
                Entry::Open => return (Arc::clone(given), open(&handle, None)),
                Entry::Nested => return (Arc::clone(given), Open::default()),
                Entry::Other => {}
            }
        }
        let mut executions = self.executions.0.lock().unwrap_or_else(PoisonError::into_inner);
        executions.retain(Execution::may_go_on);
        for Execution { given: theirs, own, handle } in executions.iter() {
            if std::ptr::eq(theirs.as_ptr(), Arc::as_ptr(given))
                && let Entry::Open = handle.enter(root, partition, partitions)
            {
                return (Arc::clone(own), open(handle, Some(&self.executions)));
            }
        }
        let handle = Arc::new(ExecutionHandle::new());
        handle.enter(root, partition, partitions);
        let own = with_handle(given, &handle);
        let opened = open(&handle, Some(&self.executions));
        executions.push(Execution { given: Arc::downgrade(given), own: Arc::clone(&own), handle });
        (own, opened)
    }
}

/// Copies a context, with the handle of an execution.
fn with_handle(given: &TaskContext, handle: &Arc<ExecutionHandle>) -> Arc<TaskContext> {
    let config = given.session_config().clone().with_extension(Arc::clone(handle));
    Arc::new(TaskContext::new(
        given.task_id(),
        given.session_id(),
        config,
        given.scalar_functions().clone(),
        given.higher_order_functions().clone(),
        given.aggregate_functions().clone(),
        given.window_functions().clone(),
        given.runtime_env(),
    ))
}

impl Execution {
    /// Says whether further partitions may be read: nobody can without the context.
    fn may_go_on(&self) -> bool {
        !self.handle.is_ended() && (self.handle.is_open() || self.given.strong_count() > 0)
    }
}

impl fmt::Debug for Executions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executions").finish_non_exhaustive()
    }
}

/// A stream that is open in its execution; counts nowhere without a handle.
#[derive(Default)]
struct Open {
    handle: Option<Arc<ExecutionHandle>>,
    executions: Option<Weak<Executions>>,
}

impl Open {
    fn leave(&mut self, drained: bool) {
        let Some(handle) = self.handle.take() else { return };
        if handle.leave(drained)
            && let Some(executions) = self.executions.take().and_then(|all| all.upgrade())
        {
            let mut executions = executions.0.lock().unwrap_or_else(PoisonError::into_inner);
            executions.retain(|execution| !Arc::ptr_eq(&execution.handle, &handle));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl DisplayAs for QueryRootExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt_as(t, f)
    }
}

impl ExecutionPlan for QueryRootExec {
    /// The name of the operator it stands for: it is not seen.
    fn name(&self) -> &str {
        self.plan.name()
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.plan.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn check_invariants(&self, check: InvariantLevel) -> Result<()> {
        self.plan.check_invariants(check)
    }

    fn dynamic_expressions_produced(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.plan.dynamic_expressions_produced()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.plan.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.plan.required_input_ordering()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.plan.maintains_input_order()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.plan.benefits_from_input_partitioning()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.plan.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.plan.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = Arc::clone(&self.plan).replace_children(children, options);
        replaced.map(Self::around)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Arc::clone(&self.plan).reset_state().map(Self::around)
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(self.plan.repartitioned(target_partitions, config)?.map(Self::around))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (context, open) = self.enter(partition, &context);
        let rows = self.plan.execute(partition, context)?;
        Ok(Box::pin(RootStream { schema: self.schema(), rows: Some(rows), open }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.plan.metrics()
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.plan.statistics_from_inputs(input_stats, args)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.plan.child_stats_requests(partition)
    }

    fn supports_limit_pushdown(&self) -> bool {
        self.plan.supports_limit_pushdown()
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        self.plan.with_fetch(limit).map(Self::around)
    }

    fn fetch(&self) -> Option<usize> {
        self.plan.fetch()
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        self.plan.cardinality_effect()
    }

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        self.plan.with_new_state(state).map(Self::around)
    }

    fn with_preserve_order(&self, preserve_order: bool) -> Option<Arc<dyn ExecutionPlan>> {
        self.plan.with_preserve_order(preserve_order).map(Self::around)
    }
}

/// The rows of one partition of the root; they are let go of before the execution is left.
struct RootStream {
    schema: SchemaRef,
    rows: Option<SendableRecordBatchStream>,
    open: Open,
}

impl Stream for RootStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        let next = rows.poll_next_unpin(cx);
        if let Poll::Ready(None) = next {
            self.rows = None;
            self.open.leave(true);
        }
        next
    }
}

impl RecordBatchStream for RootStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
