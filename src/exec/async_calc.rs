//! [`AsyncCalcExec`], the operator that makes calls: input columns in, input and result columns out.

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
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Gauge, Label, Metric, MetricValue, MetricsSet,
    RecordOutput, Time,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use farcall_udf::{
    AsyncFunction, Cache, CallMetrics, CallOptions, DEFAULT_BATCH_SIZE, Dispatcher, Mode,
    OutputMode, RetryPredicate,
};
use futures::{StreamExt, TryStreamExt};

use crate::exec::driver::{Driver, Lane, drive};
use crate::exec::scopes::ScopeRegistry;

/// One call of the operator: what is called, on which arguments, for which rows.
#[derive(Debug, Clone)]
pub struct PlannedCall {
    /// What is called.
    pub function: AsyncFunction,
    /// The call site's number within the session.
    pub site: u64,
    /// How it is called, all levels resolved.
    pub options: CallOptions,
    /// The arguments, evaluated on the rows that pass the guard.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    /// The rows that need the call are those for which this is true; `None` for all.
    pub guard: Option<Arc<dyn PhysicalExpr>>,
    /// The result column, always nullable.
    pub field: FieldRef,
}

impl PlannedCall {
    /// Returns the rows in a request at most.
    pub fn max_batch_size(&self) -> usize {
        if self.function.is_row_wise() { 1 } else { self.options.batch_size_or(DEFAULT_BATCH_SIZE) }
    }
}

impl fmt::Display for PlannedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        match self.function.declaration().display() {
            Some(display) => f.write_str(&display(&args))?,
            None => write!(f, "{}({})", self.function.name(), args.join(", "))?,
        }
        write!(f, " AS {}", self.field.name())?;
        if let Some(guard) = &self.guard {
            write!(f, " WHEN {guard}")?;
        }
        Ok(())
    }
}

/// Makes calls and appends their results to the rows of its input.
///
/// Calls in one operator do not depend on each other and run at the same time, so that k of them
/// cost one latency. Rows come out in the order in which they went in; those of a single call whose
/// `output_mode` is `allow_unordered` come out as their answers come.
///
/// Metrics per call: `requests`, `calls`, `rows`, `attempts`, `retries`, `timeouts`, `failures`,
/// `dedup_hits`, `cache_hits` (then `calls` are the misses of the cache), `in_flight_max`,
/// `request_time`.
#[derive(Debug)]
pub struct AsyncCalcExec {
    calls: Vec<PlannedCall>,
    scopes: Arc<ScopeRegistry>,
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
    pub fn try_new(
        calls: Vec<PlannedCall>,
        scopes: Arc<ScopeRegistry>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        if calls.is_empty() {
            return internal_err!("AsyncCalcExec without a call");
        }
        let input_schema = input.schema();
        let results = calls
            .iter()
            .map(|call| Arc::new(Field::clone(&call.field).with_nullable(true)) as FieldRef);
        let fields: Vec<FieldRef> = input_schema.fields().iter().cloned().chain(results).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, input_schema.metadata().clone()));
        let cache = Arc::new(Self::properties(&calls, &input, schema)?);
        let counters = calls.iter().map(|_| Arc::default()).collect();
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { calls, scopes, counters, metrics, input, cache })
    }

    /// Partitioning, boundedness and the *whole* equivalence properties are the input's: rows stay
    /// in their partition and in their order, and orderings known through `x = y` must survive.
    /// Unordered output loses the orderings and nothing else.
    fn properties(
        calls: &[PlannedCall],
        input: &Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
    ) -> Result<PlanProperties> {
        let input_schema = input.schema();
        let indices: Vec<usize> = (0..input_schema.fields().len()).collect();
        let mapping = ProjectionMapping::from_indices(&indices, &input_schema)?;
        let mut equivalences = input.equivalence_properties().project(&mapping, schema);
        if is_unordered(calls) {
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

    /// Returns the input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Returns the registry of query scopes that all operators of the plan share.
    pub fn scopes(&self) -> &Arc<ScopeRegistry> {
        &self.scopes
    }

    /// Returns what each call counted, over all partitions.
    pub fn counters(&self) -> &[Arc<CallMetrics>] {
        &self.counters
    }

    fn driver(&self, partition: usize, context: &Arc<TaskContext>) -> Result<Driver> {
        let input = self.input.execute(partition, Arc::clone(context))?;
        let scope = self.scopes.scope(context);
        let input_schema = self.input.schema();
        let mut max_buffered_rows = usize::MAX;
        let mut lanes = Vec::with_capacity(self.calls.len());
        for (call, counters) in self.calls.iter().zip(&self.counters) {
            let fields: Vec<FieldRef> = call
                .args
                .iter()
                .map(|arg| arg.return_field(&input_schema))
                .collect::<Result<_>>()?;
            let site = scope.site(call.site, &call.function, &call.options, &call.field, counters);
            max_buffered_rows = max_buffered_rows.min(call.options.max_buffered_rows());
            lanes.push(Lane {
                dispatcher: Dispatcher::new(Arc::clone(&scope), site, fields.into())?,
                args: call.args.clone(),
                guard: call.guard.clone(),
            });
        }
        let batch_size = context.session_config().batch_size();
        let driver = Driver::new(input, lanes, self.schema(), max_buffered_rows, batch_size);
        Ok(if is_unordered(&self.calls) { driver.unordered() } else { driver })
    }
}

/// Says whether rows come out as their answers come.
///
/// Calls that run beside each other keep the order: rows wait for the slowest of them anyway.
fn is_unordered(calls: &[PlannedCall]) -> bool {
    matches!(calls, [call] if call.options.output_mode() == OutputMode::AllowUnordered)
}

impl DisplayAs for AsyncCalcExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |call: &PlannedCall| {
            let mode = call.options.mode_or(call.function.declaration().has_side_effects());
            let mut words = vec![
                mode.to_string(),
                call.options.output_mode().to_string(),
                format!("batch={}", call.max_batch_size()),
                format!(
                    "window={}",
                    match mode {
                        Mode::Async => call.options.buffer_capacity(),
                        Mode::Sync => 1,
                    }
                ),
            ];
            if let Some(limit) = call.options.concurrency_limit() {
                words.push(format!("max_concurrency={limit}"));
            }
            if call.options.cache() == Cache::Memory {
                words.push("cache=memory".to_owned());
            }
            if call.options.retry_predicate() == RetryPredicate::LookupMiss {
                words.push("retry_predicate=lookup_miss".to_owned());
            }
            format!("{call} [{}]", words.join(", "))
        };
        let calls: Vec<String> = self.calls.iter().map(line).collect();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "AsyncCalcExec: {}", calls.join(", "))
            }
            DisplayFormatType::TreeRender => {
                for call in &self.calls {
                    writeln!(f, "{call}")?;
                }
                Ok(())
            }
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
        vec![!is_unordered(&self.calls)]
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
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("AsyncCalcExec has one child");
        };
        let Self { calls, scopes, counters, metrics: _, input: _, cache } = self.as_ref();
        match options.children_properties {
            ChildrenPropertiesMode::Keep => Ok(Arc::new(Self {
                calls: calls.clone(),
                scopes: Arc::clone(scopes),
                counters: counters.iter().map(|_| Arc::default()).collect(),
                metrics: ExecutionPlanMetricsSet::new(),
                input,
                cache: Arc::clone(cache),
            })),
            ChildrenPropertiesMode::Recompute => {
                Ok(Arc::new(Self::try_new(calls.clone(), Arc::clone(scopes), input)?))
            }
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
        let driver = self.driver(partition, &context)?;
        let scope = self.scopes.scope(&context);
        let schema = self.schema();
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let stream_schema = Arc::clone(&schema);
        // The task starts with the first poll: a stream that nobody reads makes no call.
        let stream = futures::stream::once(async move {
            let mut builder = RecordBatchReceiverStream::builder(stream_schema, 1);
            let output = builder.tx();
            // The context lives as long as the stream, and with it the scope's place.
            builder.spawn(async move {
                let _context = context;
                drive(driver, scope, output).await
            });
            Ok::<_, datafusion::error::DataFusionError>(builder.build())
        })
        .try_flatten()
        .map(move |batch| batch.map(|batch| batch.record_output(&baseline)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut set = self.metrics.clone_inner();
        for (call, counters) in self.calls.iter().zip(&self.counters) {
            let label = Label::new("call", call.field.name().clone());
            let mut push = |value: MetricValue| {
                set.push(Arc::new(Metric::new_with_labels(value, None, vec![label.clone()])));
            };
            let now = counters.snapshot();
            for (name, number) in [
                ("requests", now.requests),
                ("calls", now.calls),
                ("rows", now.rows),
                ("attempts", now.attempts),
                ("retries", now.retries),
                ("timeouts", now.timeouts),
                ("failures", now.failures),
                ("dedup_hits", now.dedup_hits),
                ("cache_hits", now.cache_hits),
            ] {
                let count = Count::new();
                count.add(number);
                push(MetricValue::Count { name: name.into(), count });
            }
            let gauge = Gauge::new();
            gauge.add(now.in_flight_max);
            push(MetricValue::Gauge { name: "in_flight_max".into(), gauge });
            let time = Time::new();
            time.add_duration(now.request_time);
            push(MetricValue::Time { name: "request_time".into(), time });
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
