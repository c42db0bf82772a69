//! [`AsyncLookupJoin`], the node that joins rows with what a lookup found for them.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{
    Column, DFSchema, DFSchemaRef, Result, TableReference, internal_datafusion_err, internal_err,
};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::calls::has_call;

/// Which rows a lookup join gives; the other side is always a lookup table or a table function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum LookupJoinType {
    /// Each row with each of its matches.
    Inner,
    /// Each row with each of its matches; without one, once, with NULL for the table's columns.
    Left,
    /// Each row that has a match, once.
    Semi,
    /// Each row that has none, once.
    Anti,
}

impl LookupJoinType {
    /// Says whether the table's columns come out.
    pub fn gives_columns(self) -> bool {
        matches!(self, LookupJoinType::Inner | LookupJoinType::Left)
    }
}

impl fmt::Display for LookupJoinType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LookupJoinType::Inner => "Inner",
            LookupJoinType::Left => "Left",
            LookupJoinType::Semi => "Semi",
            LookupJoinType::Anti => "Anti",
        })
    }
}

/// The name under which a column of the lookup table, or of the function's rows, comes out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct LookupColumn {
    /// The table or its alias.
    pub qualifier: Option<TableReference>,
    /// The column.
    pub name: String,
}

impl LookupColumn {
    /// Returns the column as an expression.
    pub fn to_expr(&self) -> Expr {
        Expr::Column(Column::new(self.qualifier.clone(), &self.name))
    }
}

/// Joins rows with the lists of rows that a lookup or a table function found for them.
///
/// The lookup or function itself is a call in an [`AsyncCalc`](super::AsyncCalc) below; its result, a list of
/// structs, is one of the input's columns, and does not come out. An empty list and NULL are a miss.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsyncLookupJoin {
    join_type: LookupJoinType,
    table: String,
    found: Column,
    columns: Vec<LookupColumn>,
    condition: Option<Expr>,
    /// Rows of the input, the lists left out, with each row that was found for them.
    pairs: DFSchemaRef,
    schema: DFSchemaRef,
    input: Arc<LogicalPlan>,
}

impl AsyncLookupJoin {
    /// Makes the node: `found` holds the lists, whose structs have one field for each of `columns`,
    /// and may have more behind them.
    ///
    /// `condition` says which of the found rows match, over the input and `columns`; `table` is for
    /// EXPLAIN.
    ///
    /// # Errors
    /// An internal error if `found` holds no lists of such rows.
    pub fn try_new(
        input: Arc<LogicalPlan>,
        join_type: LookupJoinType,
        table: impl Into<String>,
        found: Column,
        columns: Vec<LookupColumn>,
        condition: Option<Expr>,
    ) -> Result<Self> {
        let table = table.into();
        let rows = input.schema();
        let list = rows.index_of_column(&found)?;
        let Some(fields) = row_fields(rows.field(list).data_type()) else {
            return internal_err!("AsyncLookupJoin column {found} is no list of rows");
        };
        if fields.len() < columns.len() {
            let (got, named) = (fields.len(), columns.len());
            return internal_err!("AsyncLookupJoin of {table} finds {got} columns, {named} named");
        }
        let mut kept: Vec<(Option<TableReference>, FieldRef)> =
            rows.iter().map(|(q, field)| (q.cloned(), Arc::clone(field))).collect();
        kept.remove(list);
        let named = columns.iter().zip(fields.iter()).map(|(column, field)| {
            let field = Field::new(&column.name, field.data_type().clone(), true);
            (column.qualifier.clone(), Arc::new(field))
        });
        let pairs = kept.iter().cloned().chain(named).collect();
        let pairs = Arc::new(DFSchema::new_with_metadata(pairs, rows.metadata().clone())?);
        if let Some(condition) = &condition {
            if has_call(condition) {
                return internal_err!("AsyncLookupJoin of {table} calls in its condition");
            }
            if condition.get_type(&pairs)? != DataType::Boolean {
                return internal_err!("AsyncLookupJoin condition {condition} is not boolean");
            }
        }
        let schema = match join_type.gives_columns() {
            true => Arc::clone(&pairs),
            false => Arc::new(DFSchema::new_with_metadata(kept, rows.metadata().clone())?),
        };
        Ok(Self { join_type, table, found, columns, condition, pairs, schema, input })
    }

    /// Returns which rows come out.
    pub fn join_type(&self) -> LookupJoinType {
        self.join_type
    }

    /// Returns the table's name, for EXPLAIN.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Returns the column of lists.
    pub fn found(&self) -> &Column {
        &self.found
    }

    /// Returns the columns of a found row.
    pub fn columns(&self) -> &[LookupColumn] {
        &self.columns
    }

    /// Returns which of the found rows match, `None` for all.
    pub fn condition(&self) -> Option<&Expr> {
        self.condition.as_ref()
    }

    /// Returns the schema that the condition is over.
    pub fn pairs(&self) -> &DFSchemaRef {
        &self.pairs
    }

    /// Returns the plan whose rows are joined.
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

    /// Returns the columns of the input that the condition reads, each once.
    fn read_columns(&self) -> Vec<Column> {
        let mut read: Vec<Column> = Vec::new();
        let columns = self.condition.iter().flat_map(|condition| condition.column_refs());
        for column in columns {
            if !self.columns.iter().any(|own| own.to_expr() == Expr::Column(column.clone()))
                && !read.contains(column)
            {
                read.push(column.clone());
            }
        }
        // The set that they come from has no order.
        read.sort();
        read
    }
}

/// Returns the fields of the rows in a list.
fn row_fields(data_type: &DataType) -> Option<&Fields> {
    match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => Some(fields),
            _ => None,
        },
        _ => None,
    }
}

impl PartialOrd for AsyncLookupJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // The schemas follow from the rest.
        let Self { join_type, table, found, columns, condition, pairs: _, schema: _, input } = self;
        (join_type, table, found, columns, condition, input).partial_cmp(&(
            &other.join_type,
            &other.table,
            &other.found,
            &other.columns,
            &other.condition,
            &other.input,
        ))
    }
}

impl UserDefinedLogicalNodeCore for AsyncLookupJoin {
    fn name(&self) -> &str {
        "AsyncLookupJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// What is read of the input: upstream rules resolve expressions against it alone, and would not
    /// find the table's columns in a condition.
    fn expressions(&self) -> Vec<Expr> {
        let read = self.read_columns().into_iter();
        [self.found.clone()].into_iter().chain(read).map(Expr::Column).collect()
    }

    /// Conditions on the table's columns are about rows that are not there yet; all others hold for
    /// a row of the input as well as for what comes of it.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        match self.join_type.gives_columns() {
            true => self.columns.iter().map(|column| column.name.clone()).collect(),
            false => HashSet::new(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AsyncLookupJoin: {} {} found={}", self.join_type, self.table, self.found)?;
        if self.join_type.gives_columns() {
            let columns: Vec<String> =
                self.columns.iter().map(|column| column.to_expr().to_string()).collect();
            write!(f, " columns=[{}]", columns.join(", "))?;
        }
        match &self.condition {
            Some(condition) => write!(f, " filter={condition}"),
            None => Ok(()),
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let read = self.read_columns();
        let number = exprs.len();
        let mut exprs = exprs.into_iter().map(unalias);
        let (Some(Expr::Column(found)), true) = (exprs.next(), number == read.len() + 1) else {
            return internal_err!("AsyncLookupJoin got {number} expressions that do not fit");
        };
        let new: Vec<Expr> = exprs.collect();
        let replace = |expr: Expr| match &expr {
            Expr::Column(column) if let Some(index) = read.iter().position(|old| old == column) => {
                Transformed::yes(new[index].clone())
            }
            _ => Transformed::no(expr),
        };
        let condition = self.condition.clone();
        let condition =
            condition.map(|c| c.transform_up(|expr| Ok(replace(expr))).data()).transpose()?;
        let mut inputs = inputs.into_iter();
        let input = inputs
            .next()
            .filter(|_| inputs.len() == 0)
            .ok_or_else(|| internal_datafusion_err!("AsyncLookupJoin takes exactly one input"))?;
        Self::try_new(
            Arc::new(input),
            self.join_type,
            &self.table,
            found,
            self.columns.clone(),
            condition,
        )
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What the node itself reads is added by the caller, from `expressions`.
        let list = self.input.schema().maybe_index_of_column(&self.found)?;
        let width = self.input.schema().fields().len() - 1;
        let kept = output_columns.iter().copied().filter(|index| *index < width);
        Some(vec![kept.map(|index| if index < list { index } else { index + 1 }).collect()])
    }
}
