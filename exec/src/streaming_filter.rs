//! [`StreamingFilterExec`], the filter that gives rows out as they come.
//!
//! ```text
//!    input            FilterExec                    StreamingFilterExec
//!
//!   ┌───────┐        ┌──────────────────┐          ┌──────────────────┐
//!   │ 3 of 9├───────▶│ 3 ..             │          │                  ├──▶ 3 rows, at once
//!   └───────┘        │                  │          │ condition, limit,│
//!   ┌───────┐        │ 3 + 2 ..         │          │ columns          │
//!   │ 2 of 9├───────▶│                  ├──▶ 8192  │                  ├──▶ 2 rows, at once
//!   └───────┘        └──────────────────┘          └──────────────────┘
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, validate_child_count,
};
use futures::{Stream, StreamExt};

/// Keeps the rows for which a condition is true, and gives those of each input batch out at once.
///
/// DataFusion's `FilterExec` holds rows back until a batch of 8192 is full, or the input ends: right
/// where rows come as fast as they can be filtered. Behind a call, or a source that never ends, it
/// would be the place where everything waits. All else is `FilterExec`'s: the columns it passes,
/// its limit, what it knows about order, partitions and statistics.
#[derive(Debug)]
pub struct StreamingFilterExec {
    /// What is done, and what is known about its rows; never executed.
    filter: Arc<FilterExec>,
    metrics: ExecutionPlanMetricsSet,
}

impl StreamingFilterExec {
    /// Makes the operator do what `filter` does.
    pub fn new(filter: Arc<FilterExec>) -> Self {
        Self { filter, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// Returns the filter that this one stands for.
    pub fn filter(&self) -> &Arc<FilterExec> {
        &self.filter
    }
}

impl DisplayAs for StreamingFilterExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The same words behind another name, but for the tree, which writes names itself.
        if t != DisplayFormatType::TreeRender {
            f.write_str("Streaming")?;
        }
        self.filter.fmt_as(t, f)
    }
}

impl ExecutionPlan for StreamingFilterExec {
    fn name(&self) -> &str {
        "StreamingFilterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.filter.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.filter.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.filter.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.filter.maintains_input_order()
    }

    /// Spreading rows over partitions first would hold them back as well.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn fetch(&self) -> Option<usize> {
        self.filter.fetch()
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let filter = FilterExecBuilder::from(self.filter.as_ref()).with_fetch(limit).build();
        Some(Arc::new(Self::new(Arc::new(filter.ok()?))))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        let filter = FilterExecBuilder::from(self.filter.as_ref()).with_input(input).build()?;
        Ok(Arc::new(Self::new(Arc::new(filter))))
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
        let schema = self.schema();
        let rows = Rows {
            input: self.filter.input().execute(partition, context)?,
            predicate: Arc::clone(self.filter.predicate()),
            projection: self.filter.projection().as_ref().map(|projection| projection.to_vec()),
            schema: Arc::clone(&schema),
            left: self.filter.fetch().unwrap_or(usize::MAX),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.into_stream())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.filter.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.filter.statistics_from_inputs(input_stats, args)
    }
}

/// One partition's rows on their way through the filter.
struct Rows {
    input: SendableRecordBatchStream,
    predicate: Arc<dyn PhysicalExpr>,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
    /// Rows that may still be given out.
    left: usize,
    baseline: BaselineMetrics,
}

impl Rows {
    /// Ends with the last row that the limit allows: then the input is dropped, and with it all
    /// calls below.
    fn into_stream(self) -> impl Stream<Item = Result<RecordBatch>> {
        futures::stream::unfold(Some(self), |rows| async move {
            let mut rows = rows?;
            while rows.left > 0 {
                let passed = match rows.input.next().await? {
                    Ok(batch) => rows.filter(&batch),
                    Err(error) => Err(error),
                };
                match passed {
                    Ok(batch) if batch.num_rows() == 0 => {}
                    Ok(batch) => {
                        rows.left -= batch.num_rows();
                        return Some((Ok(batch), Some(rows).filter(|rows| rows.left > 0)));
                    }
                    Err(error) => return Some((Err(error), None)),
                }
            }
            None
        })
    }

    fn filter(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let _timer = self.baseline.elapsed_compute().timer();
        let passes = self.predicate.evaluate(batch)?.into_array(batch.num_rows())?;
        let passes = as_boolean_array(&passes)?;
        let batch = match &self.projection {
            Some(projection) => batch.project(projection)?,
            None => batch.clone(),
        };
        let passed = filter_record_batch(&batch, passes)?;
        let rows = passed.num_rows().min(self.left);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = passed.slice(0, rows).columns().to_vec();
        let schema = Arc::clone(&self.schema);
        let passed = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(passed.record_output(&self.baseline))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use datafusion::arrow::array::{AsArray, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::physical_expr::expressions::{binary, col, lit};
    use datafusion::physical_plan::displayable;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
    use futures::channel::mpsc;

    use super::*;

    #[test]
    fn passes_each_batch_on_before_the_next_comes() {
        let (source, mut filtered) = over_threshold(None);
        source.unbounded_send(numbers([1, 7, 9])).unwrap();
        assert_eq!(next(&mut filtered), Poll::Ready(Some(vec![7, 9])));
        source.unbounded_send(numbers([2, 3])).unwrap();
        assert_eq!(next(&mut filtered), Poll::Pending);
        source.unbounded_send(numbers([8])).unwrap();
        assert_eq!(next(&mut filtered), Poll::Ready(Some(vec![8])));
        drop(source);
        assert_eq!(next(&mut filtered), Poll::Ready(None));
    }

    #[test]
    fn ends_with_the_last_row_of_its_limit_and_lets_go_of_the_input() {
        let (source, mut filtered) = over_threshold(Some(3));
        source.unbounded_send(numbers([6, 7])).unwrap();
        assert_eq!(next(&mut filtered), Poll::Ready(Some(vec![6, 7])));
        source.unbounded_send(numbers([1, 8, 9])).unwrap();
        assert_eq!(next(&mut filtered), Poll::Ready(Some(vec![8])));
        assert!(source.is_closed());
        assert_eq!(next(&mut filtered), Poll::Ready(None));
    }

    #[test]
    fn gives_nothing_out_after_an_error() {
        let (source, mut filtered) = over_threshold(None);
        let error = datafusion::error::DataFusionError::Execution("broken".into());
        source.unbounded_send(Err(error)).unwrap();
        source.unbounded_send(numbers([8])).unwrap();
        assert!(matches!(poll(&mut filtered), Poll::Ready(Some(Err(_)))));
        assert_eq!(next(&mut filtered), Poll::Ready(None));
    }

    #[test]
    fn is_shown_as_the_filter_it_stands_for() {
        let (_, plan) = plan_over_threshold(Some(3));
        insta::assert_snapshot!(displayable(plan.as_ref()).indent(false).to_string(), @r"
        StreamingFilterExec: x@0 > 5, fetch=3
          StreamingTableExec: partition_sizes=1, projection=[x], infinite_source=true
        ");
    }

    type Source = mpsc::UnboundedSender<Result<RecordBatch>>;

    fn over_threshold(fetch: Option<usize>) -> (Source, SendableRecordBatchStream) {
        let (source, plan) = plan_over_threshold(fetch);
        (source, plan.execute(0, Arc::default()).unwrap())
    }

    /// `x > 5` over what the sender sends.
    fn plan_over_threshold(fetch: Option<usize>) -> (Source, Arc<dyn ExecutionPlan>) {
        let (sender, receiver) = mpsc::unbounded();
        let channel = Channel(schema(), std::sync::Mutex::new(Some(receiver)));
        let channel: Arc<dyn PartitionStream> = Arc::new(channel);
        let input = StreamingTableExec::try_new(schema(), vec![channel], None, [], true, None);
        let x = col("x", &schema()).unwrap();
        let predicate =
            binary(x, datafusion::logical_expr::Operator::Gt, lit(5_i64), &schema()).unwrap();
        let filter = FilterExecBuilder::new(predicate, Arc::new(input.unwrap())).with_fetch(fetch);
        (sender, Arc::new(StreamingFilterExec::new(Arc::new(filter.build().unwrap()))))
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]))
    }

    fn numbers<const N: usize>(x: [i64; N]) -> Result<RecordBatch> {
        let x = Arc::new(Int64Array::from(x.to_vec()));
        Ok(RecordBatch::try_new(schema(), vec![x])?)
    }

    fn poll(rows: &mut SendableRecordBatchStream) -> Poll<Option<Result<RecordBatch>>> {
        rows.poll_next_unpin(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }

    fn next(rows: &mut SendableRecordBatchStream) -> Poll<Option<Vec<i64>>> {
        poll(rows).map(|batch| {
            batch
                .map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec())
        })
    }

    #[derive(Debug)]
    struct Channel(
        SchemaRef,
        std::sync::Mutex<Option<mpsc::UnboundedReceiver<Result<RecordBatch>>>>,
    );

    impl PartitionStream for Channel {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let rows = self.1.lock().unwrap().take().unwrap();
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0), rows))
        }
    }
}
