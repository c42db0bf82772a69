//! [`Resolve`], the node that makes one answer per row out of the candidates that a join found.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{
    Column, DFSchema, DFSchemaRef, Result, TableReference, internal_datafusion_err, internal_err,
};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

/// What becomes of the candidates of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub enum ResolveKind {
    /// The candidates that match; if none does, the row once, with NULL for the other side.
    Outer,
    /// The row once if a candidate matches.
    Semi,
    /// The row once if no candidate matches.
    Anti,
    /// The row once, and whether a candidate matches in a last column of this name.
    Mark(Option<TableReference>, String),
    /// As `Outer`, and each candidate that does not match once more, with NULL for the row itself: a
    /// witness of the other side, which a further `Outer` by that side's number keeps or drops.
    Full,
}

/// A column that passes, and whether a row without a match has NULL there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct ResolveOutput {
    /// The column of the input; it keeps its name.
    pub column: Column,
    /// Whether it belongs to the side that may be missing.
    pub nulled: bool,
}

/// Reads candidate pairs, grouped by the number of the row they belong to, and keeps what matches.
///
/// Every numbered row has at least one candidate; one that found no partner has a candidate that
/// does not match. Rows of one number are neighbours, or are brought together by the operator. A
/// candidate without a number is a row of the other side alone and passes, in `Outer` and `Full` only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resolve {
    kind: ResolveKind,
    row_id: Column,
    matched: Column,
    outputs: Vec<ResolveOutput>,
    schema: DFSchemaRef,
    input: Arc<LogicalPlan>,
}

impl Resolve {
    /// Makes the node: `row_id` numbers the rows, `matched` says whether a candidate matches.
    ///
    /// Nulls: `matched` is NULL for a row that found no partner at all, or FALSE where it makes no
    /// difference (in `Full` a candidate that is FALSE becomes a witness).
    ///
    /// # Errors
    /// An internal error if a column is missing or has another type.
    pub fn try_new(
        input: Arc<LogicalPlan>,
        kind: ResolveKind,
        row_id: Column,
        matched: Column,
        outputs: Vec<ResolveOutput>,
    ) -> Result<Self> {
        let columns = input.schema();
        if Expr::Column(matched.clone()).get_type(columns)? != DataType::Boolean {
            return internal_err!("Resolve column {matched} is not boolean");
        }
        let mut fields: Vec<(Option<TableReference>, FieldRef)> = Vec::new();
        for ResolveOutput { column, nulled } in &outputs {
            let (qualifier, field) = columns.qualified_field_from_column(column)?;
            let nullable = field.is_nullable() || *nulled || kind == ResolveKind::Full;
            let field = field.as_ref().clone().with_nullable(nullable);
            fields.push((qualifier.cloned(), Arc::new(field)));
        }
        if let ResolveKind::Mark(qualifier, name) = &kind {
            let mark = Field::new(name, DataType::Boolean, false);
            fields.push((qualifier.clone(), Arc::new(mark)));
        }
        let schema = DFSchema::new_with_metadata(fields, columns.metadata().clone())?;
        Ok(Self { kind, row_id, matched, outputs, schema: Arc::new(schema), input })
    }

    /// Returns what becomes of the candidates.
    pub fn kind(&self) -> &ResolveKind {
        &self.kind
    }

    /// Returns the column that numbers the rows.
    pub fn row_id(&self) -> &Column {
        &self.row_id
    }

    /// Returns the column that says whether a candidate matches.
    pub fn matched(&self) -> &Column {
        &self.matched
    }

    /// Returns the columns that pass.
    pub fn outputs(&self) -> &[ResolveOutput] {
        &self.outputs
    }

    /// Returns the plan that finds the candidates.
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

impl PartialOrd for Resolve {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // The schema follows from the rest.
        let Self { kind, row_id, matched, outputs, schema: _, input } = self;
        (kind, row_id, matched, outputs, input).partial_cmp(&(
            &other.kind,
            &other.row_id,
            &other.matched,
            &other.outputs,
            &other.input,
        ))
    }
}

impl UserDefinedLogicalNodeCore for Resolve {
    fn name(&self) -> &str {
        "Resolve"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let outputs = self.outputs.iter().map(|output| &output.column);
        [&self.row_id, &self.matched]
            .into_iter()
            .chain(outputs)
            .cloned()
            .map(Expr::Column)
            .collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // A condition on a side that may be missing must see the NULLs made here.
        let both = self.kind == ResolveKind::Full;
        let nulled = self.outputs.iter().filter(|output| output.nulled || both);
        let mut held: HashSet<String> = nulled.map(|output| output.column.name.clone()).collect();
        if let ResolveKind::Mark(_, name) = &self.kind {
            held.insert(name.clone());
        }
        held
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = match &self.kind {
            ResolveKind::Outer => "Outer",
            ResolveKind::Semi => "Semi",
            ResolveKind::Anti => "Anti",
            ResolveKind::Mark(..) => "Mark",
            ResolveKind::Full => "Full",
        };
        write!(f, "Resolve: {kind} rows {} where {}", self.row_id, self.matched)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if exprs.len() != self.outputs.len() + 2 {
            let (got, needs) = (exprs.len(), self.outputs.len() + 2);
            return internal_err!("Resolve got {got} expressions and takes {needs}");
        }
        let mut columns = exprs.into_iter().map(|expr| match unalias(expr) {
            Expr::Column(column) => Ok(column),
            expr => internal_err!("Resolve takes columns, not {expr}"),
        });
        let mut next = || {
            columns
                .next()
                .unwrap_or_else(|| Err(internal_datafusion_err!("Resolve lacks a column")))
        };
        let (row_id, matched) = (next()?, next()?);
        let outputs = self
            .outputs
            .iter()
            .map(|output| Ok(ResolveOutput { column: next()?, nulled: output.nulled }))
            .collect::<Result<_>>()?;
        let mut inputs = inputs.into_iter();
        match (inputs.next(), inputs.next()) {
            (Some(input), None) => {
                Self::try_new(Arc::new(input), self.kind.clone(), row_id, matched, outputs)
            }
            _ => internal_err!("Resolve takes exactly one input"),
        }
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // All that is read stands in `expressions`.
        Some(vec![Vec::new()])
    }
}
