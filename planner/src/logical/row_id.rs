//! [`RowId`], the node that numbers the rows of its input.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::calls::GENERATED_PREFIX;

/// Adds a column that is different in every row; it orders and partitions the rows.
///
/// The numbers grow within a partition and need not be dense. A join that multiplies rows keeps
/// the number, by which [`Resolve`](super::Resolve) finds the copies of a row again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowId {
    name: String,
    schema: DFSchemaRef,
    input: Arc<LogicalPlan>,
}

impl RowId {
    /// Makes the node; its schema is the input's followed by the number, an unsigned 64-bit integer.
    ///
    /// # Errors
    /// An internal error if the name is not one that farcall generates.
    pub fn try_new(input: Arc<LogicalPlan>, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if !name.starts_with(GENERATED_PREFIX) {
            return internal_err!("RowId column {name} does not start with {GENERATED_PREFIX}");
        }
        let id = Field::new(&name, DataType::UInt64, false);
        let fields = input
            .schema()
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .chain([(None, Arc::new(id))])
            .collect();
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?
            .with_functional_dependencies(input.schema().functional_dependencies().clone())?;
        Ok(Self { name, schema: Arc::new(schema), input })
    }

    /// Returns the name of the number's column.
    pub fn column(&self) -> &str {
        &self.name
    }

    /// Returns the plan whose rows are numbered.
    pub fn input(&self) -> &Arc<LogicalPlan> {
        &self.input
    }

    /// Finds the node in a plan.
    pub fn find(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Self>(),
            _ => None,
        }
    }

    /// Turns the node into a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl PartialOrd for RowId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // The schema follows from the other two.
        (&self.name, &self.input).partial_cmp(&(&other.name, &other.input))
    }
}

impl UserDefinedLogicalNodeCore for RowId {
    fn name(&self) -> &str {
        "RowId"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.name.clone()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "RowId: {}", self.name)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        match (exprs.len(), inputs.next(), inputs.next()) {
            (0, Some(input), None) => Self::try_new(Arc::new(input), &self.name),
            _ => internal_err!("RowId takes one input and no expression"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|index| *index < width).collect()])
    }
}
