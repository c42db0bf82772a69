//! [`ResolveExec`], the operator that makes one answer per row out of the candidates a join found.
//!
//! ```text
//!  input: candidates, those of a        ┌────── ResolveExec ──────┐      Outer
//!  row are neighbours                   │                         │
//!  ┌────┬───┬─────────┐                 │ one group at a time;    │      ┌───┬────┐
//!  │ id │ y │ matched │                 │ besides the batch at    │      │ x │ y  │
//!  ├────┼───┼─────────┤                 │ hand the first row of   │      ├───┼────┤
//!  │ 1  │ 7 │ false   │ ───────────────▶│ the group that goes on  │─────▶│ a │ 8  │
//!  │ 1  │ 8 │ true    │                 │ in the next batch       │      │ b │ -  │
//!  │ 2  │ 7 │ false   │                 │                         │      └───┴────┘
//!  └────┴───┴─────────┘                 └─────────────────────────┘
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt64Type};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, Partitioning,
    PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ReplaceChildrenOptions, apply_expression_roots,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    validate_child_count,
};
use futures::StreamExt;

/// What becomes of the candidates of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The candidates that match; if none does, the row once, with NULL for the other side.
    Outer,
    /// The row once if a candidate matches.
    Semi,
    /// The row once if no candidate matches.
    Anti,
    /// The row once, and whether a candidate matches in a last column of this name.
    Mark(String),
    /// As `Outer`, and each candidate that does not match once more, with NULL for the row itself.
    Full,
}

/// Reads candidate pairs, grouped by the number of their row, and keeps what matches.
///
/// A candidate without a number is a row of the other side alone: it passes in `Outer` and `Full`, and
/// may not come in the others. It streams: besides the batch at hand it holds one row, the first of a
/// group that goes on in the next batch.
#[derive(Debug)]
pub struct ResolveExec {
    resolution: Resolution,
    row_id: usize,
    matched: usize,
    /// Input columns that pass, and whether a row without a match has NULL there.
    outputs: Vec<(usize, bool)>,
    input: Arc<dyn ExecutionPlan>,
    cache: Arc<PlanProperties>,
}

impl ResolveExec {
    /// Makes the operator over the positions of its columns in `input`.
    ///
    /// # Errors
    /// An internal error for a position or a type that the input does not have.
    pub fn try_new(
        resolution: Resolution,
        row_id: usize,
        matched: usize,
        outputs: Vec<(usize, bool)>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let input_schema = input.schema();
        let mut fields: Vec<FieldRef> = Vec::with_capacity(outputs.len() + 1);
        for (column, nulled) in &outputs {
            let field = input_schema.field(*column);
            let nullable = field.is_nullable() || *nulled || resolution == Resolution::Full;
            fields.push(Arc::new(field.clone().with_nullable(nullable)));
        }
        if let Resolution::Mark(name) = &resolution {
            fields.push(Arc::new(Field::new(name, DataType::Boolean, false)));
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, input_schema.metadata().clone()));
        // What is known of the pairs need not hold for rows that lost their partner, and the row
        // numbers are gone: nothing is claimed.
        let cache = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Ok(Self { resolution, row_id, matched, outputs, input, cache })
    }

    /// Returns what becomes of the candidates.
    pub fn resolution(&self) -> &Resolution {
        &self.resolution
    }

    /// Returns the position of the row numbers in the input.
    pub fn row_id(&self) -> usize {
        self.row_id
    }

    /// Returns the position of the column that says whether a candidate matches.
    pub fn matched(&self) -> usize {
        self.matched
    }

    /// Returns the input columns that pass, and whether a row without a match has NULL there.
    pub fn outputs(&self) -> &[(usize, bool)] {
        &self.outputs
    }

    /// Returns the input.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    fn column(&self, index: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.input.schema().field(index).name(), index))
    }
}

impl DisplayAs for ResolveExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resolution = match &self.resolution {
            Resolution::Outer => "Outer",
            Resolution::Semi => "Semi",
            Resolution::Anti => "Anti",
            Resolution::Mark(_) => "Mark",
            Resolution::Full => "Full",
        };
        let (row_id, matched) = (self.column(self.row_id), self.column(self.matched));
        write!(f, "ResolveExec: {resolution} rows {row_id} where {matched}")
    }
}

impl ExecutionPlan for ResolveExec {
    fn name(&self) -> &str {
        "ResolveExec"
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
        apply_expression_roots([self.column(self.row_id), self.column(self.matched)].iter(), f)
    }

    /// All candidates of a row must meet in one partition.
    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::KeyPartitioned(vec![self.column(self.row_id)])]
    }

    /// All candidates of a row must be neighbours.
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let id = PhysicalSortExpr::new_default(self.column(self.row_id));
        vec![LexOrdering::new([id]).map(OrderingRequirements::from)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        let Self { resolution, row_id, matched, outputs, input: _, cache: _ } = self.as_ref();
        let resolved = Self::try_new(resolution.clone(), *row_id, *matched, outputs.clone(), input);
        Ok(Arc::new(resolved?))
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
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let mut resolver = Resolver {
            resolution: self.resolution.clone(),
            row_id: self.row_id,
            matched: self.matched,
            outputs: self.outputs.clone(),
            schema: Arc::clone(&schema),
            group: None,
        };
        let stream = input.map(Some).chain(futures::stream::iter([None])).flat_map(move |batch| {
            let resolved = match batch {
                Some(Ok(batch)) => resolver.resolve(&batch),
                Some(Err(error)) => Err(error),
                None => resolver.finish(),
            };
            futures::stream::iter(match resolved {
                Ok(batches) => batches.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The candidates of one row, as far as they were read.
struct Group {
    id: u64,
    matched: bool,
    first: First,
}

/// Where a group's first candidate is.
enum First {
    /// In the batch at hand.
    Here(u32),
    /// Kept from an earlier batch.
    Held(RecordBatch),
}

/// One row to give out.
struct Chosen {
    row: u32,
    shown: Shown,
    /// Whether a candidate matched.
    mark: bool,
}

/// What is shown of a candidate; the rest is NULL.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Pair,
    /// The numbered row without its partner.
    Row,
    /// The partner without the numbered row.
    Partner,
}

struct Resolver {
    resolution: Resolution,
    row_id: usize,
    matched: usize,
    outputs: Vec<(usize, bool)>,
    schema: SchemaRef,
    group: Option<Group>,
}

impl Resolver {
    fn resolve(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let ids = batch.column(self.row_id).as_primitive::<UInt64Type>().clone();
        let matches = batch.column(self.matched).as_boolean().clone();
        let (mut given, mut chosen) = (Vec::new(), Vec::new());
        for (row, (id, matched)) in ids.iter().zip(matches.iter()).enumerate() {
            let row = row as u32;
            if id.is_none() || self.group.as_ref().is_none_or(|group| Some(group.id) != id) {
                self.close(&mut chosen, &mut given)?;
                self.group = id.map(|id| Group { id, matched: false, first: First::Here(row) });
            }
            if let Some(shown) = self.show(matched)? {
                chosen.push(Chosen { row, shown, mark: matched == Some(true) });
            }
        }
        if let Some(Group { first, .. }) = &mut self.group
            && let First::Here(row) = first
        {
            // A copy of one row: a slice would keep the whole batch.
            let row = UInt32Array::from(vec![*row]);
            let columns = batch
                .columns()
                .iter()
                .map(|column| Ok(take(column, &row, None)?))
                .collect::<Result<_>>()?;
            *first = First::Held(RecordBatch::try_new(batch.schema(), columns)?);
        }
        if !chosen.is_empty() {
            given.push(self.give_out(batch, &chosen)?);
        }
        Ok(given)
    }

    /// Says what is shown of a candidate of the open group, or of one that belongs to no group.
    fn show(&mut self, matched: Option<bool>) -> Result<Option<Shown>> {
        let Some(group) = &mut self.group else {
            return match &self.resolution {
                Resolution::Outer => Ok(Some(Shown::Pair)),
                Resolution::Full => Ok(Some(Shown::Partner)),
                Resolution::Semi | Resolution::Anti | Resolution::Mark(_) => {
                    internal_err!("a candidate without a row came to a {:?}", self.resolution)
                }
            };
        };
        if matched != Some(true) {
            // NULL: there was no partner that could be a witness.
            let witness = self.resolution == Resolution::Full && matched == Some(false);
            return Ok(witness.then_some(Shown::Partner));
        }
        let first_match = !std::mem::replace(&mut group.matched, true);
        let shown = match &self.resolution {
            Resolution::Outer | Resolution::Full => true,
            Resolution::Semi => first_match,
            Resolution::Anti | Resolution::Mark(_) => false,
        };
        Ok(shown.then_some(Shown::Pair))
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let mut given = Vec::new();
        self.close(&mut Vec::new(), &mut given)?;
        Ok(given)
    }

    /// Ends a group; a row that was held from an earlier batch comes before all of this one.
    fn close(&mut self, chosen: &mut Vec<Chosen>, given: &mut Vec<RecordBatch>) -> Result<()> {
        let Some(Group { id: _, matched, first }) = self.group.take() else { return Ok(()) };
        let shown = match &self.resolution {
            Resolution::Outer | Resolution::Anti | Resolution::Full => !matched,
            Resolution::Mark(_) => true,
            Resolution::Semi => false,
        };
        if !shown {
            return Ok(());
        }
        match first {
            First::Here(row) => chosen.push(Chosen { row, shown: Shown::Row, mark: matched }),
            First::Held(batch) => {
                let row = Chosen { row: 0, shown: Shown::Row, mark: matched };
                given.push(self.give_out(&batch, &[row])?);
            }
        }
        Ok(())
    }

    fn give_out(&self, batch: &RecordBatch, chosen: &[Chosen]) -> Result<RecordBatch> {
        let without = |lost: Shown| -> UInt32Array {
            chosen.iter().map(|chosen| (chosen.shown != lost).then_some(chosen.row)).collect()
        };
        let (rows, partners) = (without(Shown::Partner), without(Shown::Row));
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.outputs.len() + 1);
        for (column, nulled) in &self.outputs {
            let rows = if *nulled { &partners } else { &rows };
            columns.push(take(batch.column(*column), rows, None)?);
        }
        if let Resolution::Mark(_) = &self.resolution {
            let marks: BooleanArray = chosen.iter().map(|chosen| Some(chosen.mark)).collect();
            columns.push(Arc::new(marks));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(chosen.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, UInt64Array};
    use datafusion::arrow::util::display::FormatOptions;
    use datafusion::arrow::util::pretty::pretty_format_batches_with_options;

    use super::*;

    #[test]
    fn outer_keeps_matches_and_rows_without_one() {
        // Row 1 matches twice, row 2 never, row 3 in the second batch only.
        let text = resolve(
            Resolution::Outer,
            &[(1, true), (1, true), (2, false), (3, false)],
            &[(3, true)],
        );
        assert_eq!(text, ["1 0", "1 1", "2 NULL", "3 0"]);
    }

    #[test]
    fn semi_gives_a_row_once() {
        let text = resolve(
            Resolution::Semi,
            &[(1, false), (1, true), (1, true)],
            &[(1, true), (2, false)],
        );
        assert_eq!(text, ["1 1"]);
    }

    #[test]
    fn anti_gives_rows_without_a_match() {
        let text = resolve(Resolution::Anti, &[(1, true), (2, false)], &[(2, false), (3, true)]);
        assert_eq!(text, ["2 NULL"]);
    }

    #[test]
    fn mark_says_whether_a_candidate_matched() {
        let mark = Resolution::Mark("mark".into());
        let text = resolve(mark, &[(1, false), (2, false)], &[(2, true), (3, false)]);
        assert_eq!(text, ["1 NULL false", "2 NULL true", "3 NULL false"]);
    }

    #[test]
    fn full_lets_partners_pass_as_witnesses() {
        // The first partner has no row; row 1 meets two, of which one matches; row 2 meets one that
        // does not; row 3 meets none.
        let text = candidates(
            Resolution::Full,
            &[(None, Some(false)), (Some(1), Some(true)), (Some(1), Some(false))],
            &[(Some(2), Some(false)), (Some(3), None)],
        );
        assert_eq!(text, ["NULL 0", "1 1", "NULL 2", "NULL 0", "2 NULL", "3 NULL"]);
    }

    #[test]
    fn outer_lets_candidates_without_a_number_pass() {
        let text = candidates(
            Resolution::Outer,
            &[(None, Some(false)), (Some(1), Some(false))],
            &[(None, Some(false)), (Some(2), Some(true))],
        );
        assert_eq!(text, ["NULL 0", "1 NULL", "NULL 0", "2 1"]);
    }

    /// Resolves candidates that all have a number and a partner.
    fn resolve(
        resolution: Resolution,
        first: &[(u64, bool)],
        second: &[(u64, bool)],
    ) -> Vec<String> {
        let full = |rows: &[(u64, bool)]| -> Vec<_> {
            rows.iter().map(|(id, matched)| (Some(*id), Some(*matched))).collect()
        };
        candidates(resolution, &full(first), &full(second))
    }

    /// Resolves two batches of candidates: the number of the row, whether it matches, and as the
    /// other side the candidate's place in its batch.
    fn candidates(
        resolution: Resolution,
        first: &[(Option<u64>, Option<bool>)],
        second: &[(Option<u64>, Option<bool>)],
    ) -> Vec<String> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::UInt64, true),
            Field::new("matched", DataType::Boolean, true),
            Field::new("other", DataType::Int64, true),
        ]));
        let batch = |rows: &[(Option<u64>, Option<bool>)]| {
            let ids: UInt64Array = rows.iter().map(|row| row.0).collect();
            let matched: BooleanArray = rows.iter().map(|row| row.1).collect();
            let other = Int64Array::from_iter_values(0..rows.len() as i64);
            let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(matched), Arc::new(other)];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        };
        let mut fields = vec![
            Field::new("id", DataType::UInt64, true),
            Field::new("other", DataType::Int64, true),
        ];
        if let Resolution::Mark(name) = &resolution {
            fields.push(Field::new(name, DataType::Boolean, false));
        }
        let mut resolver = Resolver {
            resolution,
            row_id: 0,
            matched: 1,
            outputs: vec![(0, false), (2, true)],
            schema: Arc::new(Schema::new(fields)),
            group: None,
        };
        let mut given = resolver.resolve(&batch(first)).unwrap();
        given.extend(resolver.resolve(&batch(second)).unwrap());
        given.extend(resolver.finish().unwrap());
        let options = FormatOptions::new().with_null("NULL");
        let text = pretty_format_batches_with_options(&given, &options);
        let text = text.unwrap().to_string();
        let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
        rows.map(|line| {
            line.split('|')
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
    }
}
