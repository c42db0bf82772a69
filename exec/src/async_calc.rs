//! [`AsyncCalcExec`], the operator that makes calls: input columns in, input and result columns out.
//!
//! ```text
//!              ┌──────────────── one partition of AsyncCalcExec ────────────────┐
//!              │                                                                │
//!     input    │ ┌───────────┐  args  ┌──── Lane: f ────┐  answers               │
//!  ───────────▶│ │   rows    ├───────▶│   Dispatcher    ├─────────┐              │  input rows
//!   a batch,   │ │ held back │        └───────┬─────────┘         ├─ in order, ──┼──▶ ++
//!   when there │ │           │  args  ┌────── │ Lane: g ┐         │  or as they  │  answers
//!   is room    │ │ ≤ max_    ├───────▶│   Dispatcher    ├─────────┘  come        │
//!              │ │ buffered_ │        └───────┬─────────┘                        │
//!              │ │ rows      │                │ requests: ≤ buffer_capacity      │
//!              │ └───────────┘                │ over all partitions              │
//!              └──────────────────────────────┼──────────────────────────────────┘
//!                                             ▼
//!                                 QueryScope of the execution
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::stats::ColumnStatistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::equivalence::ProjectionMapping;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions, apply_expression_roots,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    validate_child_count,
};
use farcall_udf::{CallError, CallMetrics, Dispatcher, OutputMode};
use futures::{StreamExt, TryStreamExt};

use crate::call_line::{CallLine, Shown};
use crate::call_metrics::push_call;
use crate::credit::Credit;
use crate::driver::{Driver, Lane};
use crate::planned_call::PlannedCall;
use crate::session_ext::SessionExt;

/// Makes calls and appends their results to the rows of its input.
///
/// Calls in one operator do not depend on each other and run at the same time, so that k of them
/// cost one latency. Rows come out in the order in which they went in; those of a single call whose
/// `output_mode` is `allow_unordered`, or whose order nobody can see, come out as their answers come.
///
/// With a demand, each partition calls for that many rows first, and for twice as many each time
/// more are wanted.
///
/// Metrics per call: `requests`, `calls`, `rows`, `attempts`, `retries`, `timeouts`, `failures`,
/// `dedup_hits`, `in_flight_max`, `request_time`; the distributions `batch_size`, `batch_latency`
/// and `call_duration`; and if there were any, `failures_CLASS`, `throttled`, `cache_hits`,
/// `cache_misses`, `cache_loads`, `cache_load_failures`, `cache_load_duration`, `cached_rows`,
/// `cached_bytes`, `input_tokens` and `output_tokens`.
///
/// Memory: rows held back and their answers are accounted in the pool of the task. When it refuses,
/// no further input is read until some of them are given out; a pool that has no room for a single
/// batch while the query holds none is an error.
#[derive(Debug)]
pub struct AsyncCalcExec {
    calls: Vec<PlannedCall>,
    demand: Option<usize>,
    output_mode: OutputMode,
    counters: Vec<Arc<CallMetrics>>,
    metrics: ExecutionPlanMetricsSet,
    input: Arc<dyn ExecutionPlan>,
    cache: Arc<PlanProperties>,
}

impl AsyncCalcExec {
    /// Makes the operator; all calls see the columns of `input` only.
    ///
    /// # Errors
    /// An internal error if there is no call, or a call's argument or guard does not fit the input.
    pub fn try_new(calls: Vec<PlannedCall>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        // Calls that run beside each other keep the order: rows wait for the slowest of them anyway.
        let output_mode = match calls.as_slice() {
            [] => return internal_err!("AsyncCalcExec without a call"),
            [call] => call.options.output_mode(),
            _ => OutputMode::Ordered,
        };
        let cache = Arc::new(Self::properties(&calls, output_mode, &input)?);
        let counters = calls.iter().map(|_| Arc::default()).collect();
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { calls, demand: None, output_mode, counters, metrics, input, cache })
    }

    /// Says how many rows a limit above wants from each partition; it is where calls begin, not
    /// where they end.
    pub fn with_demand(mut self, rows: Option<usize>) -> Self {
        self.demand = rows;
        self
    }

    /// Lets rows come out as their answers come, whatever the options say: nobody sees their order.
    ///
    /// Several calls in one operator keep the order.
    ///
    /// # Errors
    /// An internal error if the properties of the input cannot be kept.
    pub fn with_unordered_output(mut self) -> Result<Self> {
        if self.calls.len() == 1 {
            self.output_mode = OutputMode::AllowUnordered;
            self.cache = Arc::new(Self::properties(&self.calls, self.output_mode, &self.input)?);
        }
        Ok(self)
    }

    /// Makes the same operator over another input, with nothing counted yet.
    ///
    /// # Errors
    /// An internal error if a call does not suit the input.
    pub fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let made = Self::try_new(self.calls.clone(), input)?;
        let made = made.with_demand(self.demand);
        match self.output_mode {
            OutputMode::Ordered => Ok(made),
            OutputMode::AllowUnordered => made.with_unordered_output(),
        }
    }

    /// Partitioning, boundedness and the *whole* equivalence properties are the input's: rows stay
    /// in their partition and in their order, and orderings known through `x = y` must survive.
    /// Unordered output loses the orderings and nothing else.
    fn properties(
        calls: &[PlannedCall],
        output_mode: OutputMode,
        input: &Arc<dyn ExecutionPlan>,
    ) -> Result<PlanProperties> {
        let input_schema = input.schema();
        let results = calls
            .iter()
            .map(|call| Arc::new(Field::clone(&call.field).with_nullable(true)) as FieldRef);
        let fields: Vec<FieldRef> = input_schema.fields().iter().cloned().chain(results).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, input_schema.metadata().clone()));
        let indices: Vec<usize> = (0..input_schema.fields().len()).collect();
        let mapping = ProjectionMapping::from_indices(&indices, &input_schema)?;
        let mut equivalences = input.equivalence_properties().project(&mapping, schema);
        if output_mode == OutputMode::AllowUnordered {
            equivalences.clear_orderings();
        }
        Ok(PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ))
    }

    /// Returns the calls, in the order of their result columns.
    pub fn calls(&self) -> &[PlannedCall] {
        &self.calls
    }

    /// Returns how many rows a limit above wants from each partition.
    pub fn demand(&self) -> Option<usize> {
        self.demand
    }

    /// Returns the order in which rows come out.
    pub fn output_mode(&self) -> OutputMode {
        self.output_mode
    }

    fn is_unordered(&self) -> bool {
        self.output_mode == OutputMode::AllowUnordered
    }

    /// Returns the input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Returns what each call counted, over all partitions.
    pub fn counters(&self) -> &[Arc<CallMetrics>] {
        &self.counters
    }
}

/// One partition of the operator, before anybody reads it.
struct Calling {
    input: SendableRecordBatchStream,
    calls: Vec<(PlannedCall, Arc<CallMetrics>)>,
    /// The operators with calls below this one.
    stage: usize,
    schema: SchemaRef,
    demand: Option<usize>,
    unordered: bool,
}

impl Calling {
    /// Enters the execution that `context` belongs to, and gives the rows with their answers.
    fn start(
        self,
        session: &SessionExt,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Self { input, calls, stage, schema, demand, unordered } = self;
        let (scope, place) = session.enter(context)?;
        let input_schema = input.schema();
        let mut lanes = Vec::with_capacity(calls.len());
        for (call, counters) in calls {
            let PlannedCall { function, site, options, estimate: _, args, guard, field } = call;
            let fields = args.iter().map(|arg| arg.return_field(&input_schema));
            let fields: Vec<FieldRef> = fields.collect::<Result<_>>()?;
            let site = scope.site(site, stage, &function, &options, &field, &counters);
            let dispatcher = Dispatcher::new(Arc::clone(&scope), site, fields.into())?;
            lanes.push(Lane { dispatcher, args, guard });
        }
        let batch_size = context.session_config().batch_size();
        let driver = Driver::new(scope, input, lanes, schema, batch_size, Credit::new(demand));
        let driver = if unordered { driver.unordered() } else { driver };
        Ok(driver.into_stream(place))
    }
}

/// Counts the operators with calls that rows pass on the longest way to the plan's top.
fn calls_below(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below = plan.children().into_iter().map(calls_below).max().unwrap_or_default();
    below + usize::from(plan.downcast_ref::<AsyncCalcExec>().is_some())
}

impl DisplayAs for AsyncCalcExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbose = matches!(t, DisplayFormatType::Verbose);
        let shown =
            Shown { output_mode: self.output_mode, demand: self.demand, input: &self.input };
        let calls = self.calls.iter().map(|call| CallLine::new(shown, call, verbose).to_string());
        let calls: Vec<String> = calls.collect();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "AsyncCalcExec: {}", calls.join(", "))
            }
            DisplayFormatType::TreeRender => f.write_str(&calls.join("\n")),
        }
    }
}

impl ExecutionPlan for AsyncCalcExec {
    fn name(&self) -> &str {
        "AsyncCalcExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.cache
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(
            self.calls.iter().flat_map(|call| call.args.iter().chain(&call.guard)),
            f,
        )
    }

    /// Result columns are appended to rows that keep their place, unless that was given up.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![!self.is_unordered()]
    }

    /// The window belongs to the call site, not to a partition: more partitions give no more calls.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        let Self { calls, demand, output_mode, counters, metrics: _, input: _, cache } =
            self.as_ref();
        match options.children_properties {
            ChildrenPropertiesMode::Keep => Ok(Arc::new(Self {
                calls: calls.clone(),
                demand: *demand,
                output_mode: *output_mode,
                counters: counters.iter().map(|_| Arc::default()).collect(),
                metrics: ExecutionPlanMetricsSet::new(),
                input,
                cache: Arc::clone(cache),
            })),
            ChildrenPropertiesMode::Recompute => Ok(Arc::new(self.with_input(input)?)),
        }
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

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let session = SessionExt::find(&context)?;
        let in_task = session.is_task();
        let calling = Calling {
            input: self.input.execute(partition, Arc::clone(&context))?,
            calls: self.calls.iter().cloned().zip(self.counters.iter().cloned()).collect(),
            stage: calls_below(&self.input),
            schema: self.schema(),
            demand: self.demand,
            unordered: self.is_unordered(),
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        // Not before the first poll: a plan may keep streams that nobody ever reads, and they must
        // not keep the scope from its end.
        let stream = futures::stream::once(async move { calling.start(&session, &context) })
            .try_flatten()
            .map(move |batch| match batch {
                Ok(batch) => Ok(batch.record_output(&baseline)),
                Err(error) if in_task => Err(CallError::in_text(error)),
                Err(error) => Err(error),
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut set = self.metrics.clone_inner();
        for (call, counters) in self.calls.iter().zip(&self.counters) {
            push_call(&mut set, call.field.name(), counters);
        }
        Some(set)
    }

    /// Rows are the input's; nothing is known about results.
    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let [input] = input_stats else { return internal_err!("AsyncCalcExec has one child") };
        let mut statistics = input.as_ref().clone();
        let results = self.calls.iter().map(|_| ColumnStatistics::new_unknown());
        statistics.column_statistics.extend(results);
        Ok(Arc::new(statistics))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }
}
