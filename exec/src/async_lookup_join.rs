//! [`AsyncLookupJoinExec`], the operator that joins rows with what a lookup found for them.
//!
//! ```text
//!  input: rows with the list of         ┌── AsyncLookupJoinExec ──┐      pairs, at most
//!  what was found for each              │                         │      batch_size at once
//!  ┌───┬──────────────────┐             │ one row of the input,   │      ┌───┬────┬────┐
//!  │ x │ found            │             │ each row of its list:   │      │ x │ id │ n  │
//!  ├───┼──────────────────┤             │ condition?              │      ├───┼────┼────┤
//!  │ 1 │ [(1, a), (1, b)] │ ───────────▶│ none left, and LEFT:    │─────▶│ 1 │ 1  │ a  │
//!  │ 2 │ []               │             │ the row with NULL       │      │ 1 │ 1  │ b  │
//!  └───┴──────────────────┘             └─────────────────────────┘      │ 2 │ -  │ -  │
//!                                                                        └───┴────┴────┘
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
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
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    validate_child_count,
};
use farcall_planner::LookupJoinType;
use futures::StreamExt;

use crate::pairing::Pairing;

/// Joins each row of its input with the list of rows that a lookup or a table function found for it.
///
/// The lookup or function itself is a call of the [`AsyncCalcExec`](crate::AsyncCalcExec) below, with all
/// its options; its result is one of the input's columns, which does not come out. Rows keep their
/// order, and the matches of a row that in which they were found.
#[derive(Debug)]
pub struct AsyncLookupJoinExec {
    join_type: LookupJoinType,
    table: String,
    found: usize,
    columns: Vec<String>,
    condition: Option<Arc<dyn PhysicalExpr>>,
    pairs: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
    input: Arc<dyn ExecutionPlan>,
    cache: Arc<PlanProperties>,
}

impl AsyncLookupJoinExec {
    /// Makes the operator: column `found` of the input holds lists of structs with one field for
    /// each of `columns`, and maybe more behind them; `condition` is over [`AsyncLookupJoinExec::pairs_of`].
    ///
    /// # Errors
    /// An internal error if the input has no such column.
    pub fn try_new(
        join_type: LookupJoinType,
        table: impl Into<String>,
        found: usize,
        columns: Vec<String>,
        condition: Option<Arc<dyn PhysicalExpr>>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let table = table.into();
        let pairs = Self::pairs_of(&input.schema(), found, &columns)?;
        let kept: Vec<usize> =
            (0..input.schema().fields().len()).filter(|column| *column != found).collect();
        let schema = match join_type.gives_columns() {
            true => Arc::clone(&pairs),
            false => Arc::new(input.schema().project(&kept)?),
        };
        let cache = Arc::new(Self::properties(&input, &kept, schema)?);
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { join_type, table, found, columns, condition, pairs, metrics, input, cache })
    }

    /// Returns the schema of a row with a row that was found for it.
    ///
    /// # Errors
    /// An internal error if the column holds no list of rows with so many columns.
    pub fn pairs_of(input: &SchemaRef, found: usize, columns: &[String]) -> Result<SchemaRef> {
        let fields = input.fields().get(found).and_then(|field| match field.data_type() {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(fields) if fields.len() >= columns.len() => Some(fields),
                _ => None,
            },
            _ => None,
        });
        let Some(fields) = fields else {
            return internal_err!(
                "AsyncLookupJoinExec finds no rows of {} columns in column {found}",
                columns.len()
            );
        };
        let mut pair: Vec<FieldRef> = input.fields().iter().cloned().collect();
        pair.remove(found);
        pair.extend(columns.iter().zip(fields).map(|(name, field)| {
            Arc::new(Field::new(name, field.data_type().clone(), true)) as FieldRef
        }));
        Ok(Arc::new(Schema::new_with_metadata(pair, input.metadata().clone())))
    }

    /// Rows stay in their partition and in their order; one row may become several neighbours, or
    /// none, which breaks no ordering.
    fn properties(
        input: &Arc<dyn ExecutionPlan>,
        kept: &[usize],
        schema: SchemaRef,
    ) -> Result<PlanProperties> {
        let mapping = ProjectionMapping::from_indices(kept, &input.schema())?;
        let equivalences = input.equivalence_properties();
        Ok(PlanProperties::new(
            equivalences.project(&mapping, schema),
            input.output_partitioning().project(&mapping, equivalences),
            input.pipeline_behavior(),
            input.boundedness(),
        ))
    }

    /// Returns which rows come out.
    pub fn join_type(&self) -> LookupJoinType {
        self.join_type
    }

    /// Returns the table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Returns the input's column of lists.
    pub fn found(&self) -> usize {
        self.found
    }

    /// Returns the names of the columns of a found row.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns which of the found rows match, `None` for all.
    pub fn condition(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.condition.as_ref()
    }

    /// Returns the input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

/// Says whether a part of a batch has no row, none of its rows having a match.
fn is_empty(batch: &Result<RecordBatch>) -> bool {
    matches!(batch, Ok(batch) if batch.num_rows() == 0)
}

impl DisplayAs for AsyncLookupJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncLookupJoinExec: {} {}", self.join_type, self.table)?;
        let found = self.input.schema();
        write!(f, " found={}@{}", found.field(self.found).name(), self.found)?;
        if self.join_type.gives_columns() {
            write!(f, " columns=[{}]", self.columns.join(", "))?;
        }
        match &self.condition {
            Some(condition) => write!(f, " filter={condition}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for AsyncLookupJoinExec {
    fn name(&self) -> &str {
        "AsyncLookupJoinExec"
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
        apply_expression_roots(self.condition.iter(), f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Pairing is a copy; what takes time is the call below, which more partitions do not hasten.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        match self.join_type {
            LookupJoinType::Inner => CardinalityEffect::Unknown,
            LookupJoinType::Left => CardinalityEffect::GreaterEqual,
            LookupJoinType::Semi | LookupJoinType::Anti => CardinalityEffect::LowerEqual,
        }
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        let (columns, condition) = (self.columns.clone(), self.condition.clone());
        let join =
            Self::try_new(self.join_type, &self.table, self.found, columns, condition, input)?;
        Ok(Arc::new(join))
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
        let pairing = Arc::new(Pairing {
            join_type: self.join_type,
            found: self.found,
            condition: self.condition.clone(),
            pairs: Arc::clone(&self.pairs),
            schema: self.schema(),
            max_pairs: context.session_config().batch_size(),
        });
        let input = self.input.execute(partition, context)?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let stream = input
            .flat_map(move |batch| futures::stream::iter(pairing.join(batch)))
            .filter(|batch| std::future::ready(!is_empty(batch)))
            .map(move |batch| batch.map(|batch| batch.record_output(&baseline)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
