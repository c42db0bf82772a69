//! [`LookupSide`], the side of a join that reads a lookup table, and what stands above the table.

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, TableReference};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan, Projection, TableScan};
use farcall_udf::CallOptions;

use crate::calls::{any_part, is_outer, is_volatile};
use crate::hint::hint;
use crate::lookup::{LookupSource, LookupTables};

/// Qualifies the columns of the table itself while a join is taken apart.
const TABLE: &str = "__async_table";

/// One side of a join: a lookup table below aliases, columns and conditions.
#[derive(Debug)]
pub(crate) struct LookupSide {
    pub(crate) source: LookupSource,
    /// What each column of the side is, over the table's columns.
    pub(super) outputs: Vec<Expr>,
    /// The conditions on the way, over the table's columns.
    pub(super) conditions: Vec<Expr>,
    /// The options of a LOOKUP hint.
    pub(super) options: CallOptions,
    pub(super) schema: DFSchemaRef,
}

impl LookupSide {
    /// Reads a side; `None` if it is no lookup table, or something between changes its rows.
    pub(crate) fn find(plan: &LogicalPlan, tables: &dyn LookupTables) -> Result<Option<Self>> {
        let side = match plan {
            LogicalPlan::TableScan(scan) => return Self::scan(scan, tables),
            LogicalPlan::SubqueryAlias(alias) => Self::find(&alias.input, tables)?,
            LogicalPlan::Projection(projection) => match Self::find(&projection.input, tables)? {
                Some(side) => side.project(projection)?,
                None => None,
            },
            LogicalPlan::Filter(filter) => match Self::find(&filter.input, tables)? {
                Some(side) => Some(side.filter(&filter.predicate)?),
                None => None,
            },
            _ => None,
        };
        Ok(side.map(|side| Self { schema: std::sync::Arc::clone(plan.schema()), ..side }))
    }

    fn scan(scan: &TableScan, tables: &dyn LookupTables) -> Result<Option<Self>> {
        let Some(source) = LookupSource::of(scan, tables).filter(|_| scan.fetch.is_none()) else {
            return Ok(None);
        };
        let schema = source.table.schema();
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let columns = scan.projection.as_ref().unwrap_or(&all);
        let outputs = columns.iter().map(|column| table_column(schema.field(*column).name()));
        let outputs = outputs.collect();
        let by_name = |expr: Expr| match expr {
            Expr::Column(column) => Transformed::yes(table_column(&column.name)),
            expr => Transformed::no(expr),
        };
        let conditions = scan.filters.iter().cloned();
        let conditions = conditions
            .map(|condition| condition.transform_up(|expr| Ok(by_name(expr))).data())
            .collect::<Result<_>>()?;
        Ok(Some(Self {
            source,
            outputs,
            conditions,
            options: CallOptions::new(),
            schema: std::sync::Arc::clone(&scan.projected_schema),
        }))
    }

    fn project(self, projection: &Projection) -> Result<Option<Self>> {
        if projection.expr.iter().any(|expr| is_volatile(expr) || any_part(expr, is_outer)) {
            return Ok(None);
        }
        let outputs = projection.expr.iter().cloned();
        let outputs = outputs.map(|expr| self.over_table(unalias(expr))).collect::<Result<_>>()?;
        Ok(Some(Self { outputs, ..self }))
    }

    fn filter(mut self, predicate: &Expr) -> Result<Self> {
        for condition in split_conjunction(predicate) {
            match hint(condition) {
                Some(hint) => self.options = self.options.overlay(&hint.options()?),
                None => self.conditions.push(self.over_table(condition.clone())?),
            }
        }
        Ok(self)
    }

    /// Rewrites an expression over the side's columns.
    pub(super) fn over_table(&self, expr: Expr) -> Result<Expr> {
        self.rewrite(expr, |column| self.schema.maybe_index_of_column(column))
    }

    /// Rewrites an expression over the columns of both sides; those of the other side stay.
    pub(super) fn over_pairs(&self, expr: Expr, rows: &DFSchema) -> Result<Expr> {
        self.rewrite(expr, |column| {
            if position(rows, column).is_some() {
                return None;
            }
            let unknown = rows.maybe_index_of_column(column).is_none();
            position(&self.schema, column)
                .or_else(|| self.schema.maybe_index_of_column(column).filter(|_| unknown))
        })
    }

    fn rewrite(&self, expr: Expr, own: impl Fn(&Column) -> Option<usize>) -> Result<Expr> {
        let replace = |expr: Expr| match &expr {
            Expr::Column(column) => match own(column) {
                Some(index) => Transformed::yes(self.outputs[index].clone()),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        };
        expr.transform_up(|expr| Ok(replace(expr))).data()
    }
}

/// Returns the field that a column names exactly, qualifier included.
fn position(schema: &DFSchema, column: &Column) -> Option<usize> {
    schema.iter().position(|(qualifier, field)| {
        qualifier == column.relation.as_ref() && *field.name() == column.name
    })
}

/// Returns a column of the table itself.
pub(super) fn table_column(name: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(TABLE)), name))
}

/// Says whether a column is one of the table itself.
pub(super) fn is_table_column(column: &Column) -> bool {
    column.relation.as_ref().is_some_and(|relation| *relation == TableReference::bare(TABLE))
}

/// Replaces the columns of the table itself; `None` keeps one.
pub(super) fn replace_table_columns(
    expr: Expr,
    with: impl Fn(&str) -> Option<Expr>,
) -> Result<Expr> {
    let replace = |expr: Expr| match &expr {
        Expr::Column(column) if is_table_column(column) => match with(&column.name) {
            Some(new) => Transformed::yes(new),
            None => Transformed::no(expr),
        },
        _ => Transformed::no(expr),
    };
    expr.transform_up(|expr| Ok(replace(expr))).data()
}

/// Returns the names of the table's own columns that an expression reads.
pub(super) fn table_columns_of(expr: &Expr) -> Vec<String> {
    let columns = expr.column_refs().into_iter();
    let mut names: Vec<String> =
        columns.filter(|column| is_table_column(column)).map(|c| c.name.clone()).collect();
    // The set that they come from has no order.
    names.sort();
    names
}
