//! [`RowIdExec`], the operator that numbers the rows of its input.
//!
//! ```text
//!   input            ┌───────────── RowIdExec ─────────────┐        input rows ++ number
//!   partition 0 ────▶│ 0, 1, 2, ..                         │──────▶
//!   partition 1 ────▶│ 1 << 40, (1 << 40) + 1, ..          │──────▶ grows in a partition
//!                    └──────────────────▲──────────────────┘
//!                        task << 56     │
//!                        SessionExt of the session or of the cluster's task
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::equivalence::ProjectionMapping;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    validate_child_count,
};
use futures::StreamExt;

use crate::session_ext::SessionExt;

/// Rows that a partition can number before it reaches the next partition's numbers: 2^40.
const PARTITION_SHIFT: u32 = 40;
/// Above the row's 40 bits stand 16 for the partition and 8 for the task.
const TASK_SHIFT: u32 = 56;

/// Appends a column of 64-bit numbers, different in every row.
///
/// A number is `task << 56 | partition << 40 | row`: it grows within a partition, and equal numbers
/// stand in one partition, so that the operator declares both and neither a sort nor a shuffle is
/// added above. Where a plan is cut into tasks, each numbers with the slot that its
/// [`SessionExt`] says; rows of two tasks that shared a number would be taken for one.
#[derive(Debug)]
pub struct RowIdExec {
    column: String,
    input: Arc<dyn ExecutionPlan>,
    cache: Arc<PlanProperties>,
}

impl RowIdExec {
    /// Makes the operator; `column` names the numbers.
    ///
    /// # Errors
    /// A planning error if the input has more partitions than numbers have room for.
    pub fn try_new(column: impl Into<String>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let column = column.into();
        let cache = Arc::new(Self::properties(&column, &input)?);
        Ok(Self { column, input, cache })
    }

    fn properties(column: &str, input: &Arc<dyn ExecutionPlan>) -> Result<PlanProperties> {
        let input_schema = input.schema();
        let width = input_schema.fields().len();
        let id: FieldRef = Arc::new(Field::new(column, DataType::UInt64, false));
        let fields: Vec<FieldRef> = input_schema.fields().iter().cloned().chain([id]).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, input_schema.metadata().clone()));
        let indices: Vec<usize> = (0..width).collect();
        let mapping = ProjectionMapping::from_indices(&indices, &input_schema)?;
        let mut equivalences = input.equivalence_properties().project(&mapping, schema);
        let id: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column, width));
        equivalences.add_ordering([PhysicalSortExpr::new_default(Arc::clone(&id))]);
        let partitions = input.output_partitioning().partition_count();
        Ok(PlanProperties::new(
            equivalences,
            Partitioning::Hash(vec![id], partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        ))
    }

    /// Returns the name of the numbers' column.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// Returns the input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for RowIdExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowIdExec: {}", self.column)
    }
}

impl ExecutionPlan for RowIdExec {
    fn name(&self) -> &str {
        "RowIdExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.cache
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Counting needs no processor of its own.
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
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        Ok(Arc::new(Self::try_new(&self.column, input)?))
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
        let task = SessionExt::find(&context)?.task_slot(&context)?;
        let mut next = first_number(task, partition)?;
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let stream_schema = Arc::clone(&schema);
        let stream = input.map(move |batch| number(batch?, &mut next, &stream_schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Returns the number of a partition's first row.
fn first_number(task: u8, partition: usize) -> Result<u64> {
    match u16::try_from(partition) {
        Ok(partition) => {
            Ok(u64::from(task) << TASK_SHIFT | u64::from(partition) << PARTITION_SHIFT)
        }
        Err(_) => {
            exec_err!("the rows of partition {partition} cannot be numbered, there are 65536")
        }
    }
}

fn number(batch: RecordBatch, next: &mut u64, schema: &SchemaRef) -> Result<RecordBatch> {
    let end = *next + batch.num_rows() as u64;
    if end >> PARTITION_SHIFT != *next >> PARTITION_SHIFT {
        return internal_err!("a partition has more than 2^{PARTITION_SHIFT} rows to number");
    }
    let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(*next..end));
    *next = end;
    let columns = batch.columns().iter().cloned().chain([ids]).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::UInt64Type;
    use datafusion::physical_plan::{collect, displayable};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::testing::task_context;

    #[test]
    fn numbers_are_different_over_tasks_and_end_before_the_next() {
        let first = |task, partition| first_number(task, partition).unwrap();
        assert_eq!((first(0, 0), first(0, 1)), (0, 1 << 40));
        assert!(first(0, 65_535) + ((1 << 40) - 1) < first(1, 0));
        assert_eq!(first(255, 65_535), u64::MAX << 40);
        let error = first_number(0, 65_536).unwrap_err().to_string();
        assert!(error.contains("the rows of partition 65536"), "{error}");
    }

    #[tokio::test]
    async fn numbers_are_different_over_batches_and_partitions() {
        let context = SessionContext::new();
        let frame = context.sql("SELECT value FROM generate_series(1, 20000) AS s (value)").await;
        let input = frame.unwrap().create_physical_plan().await.unwrap();
        let plan = Arc::new(RowIdExec::try_new("__async_0", input).unwrap());
        let batches = collect(plan, Arc::new(task_context())).await.unwrap();
        let mut ids: Vec<u64> = Vec::new();
        for batch in &batches {
            ids.extend(batch.column(1).as_primitive::<UInt64Type>().values());
        }
        let distinct: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
        assert_eq!((ids.len(), distinct.len()), (20_000, 20_000));
    }

    #[tokio::test]
    async fn declares_order_and_partitioning_of_its_numbers() {
        let context = SessionContext::new();
        let input = context.sql("SELECT 1 AS x").await.unwrap().create_physical_plan().await;
        let plan = RowIdExec::try_new("__async_0", input.unwrap()).unwrap();
        let ordering = plan.properties().output_ordering().map(ToString::to_string);
        assert_eq!(ordering.as_deref(), Some("__async_0@1 ASC"));
        assert_eq!(plan.properties().partitioning.to_string(), "Hash([__async_0@1], 1)");
        assert!(displayable(&plan).one_line().to_string().starts_with("RowIdExec: __async_0"));
    }
}
