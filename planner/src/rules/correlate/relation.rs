//! [`Relation`], what the nodes between LATERAL and a table function make of the function's rows.

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan, Subquery};

use crate::calls::{any_part, has_call, is_volatile};
use crate::free::free_references;

/// A query around a relation, and what its columns are.
pub(super) struct Scope {
    pub(super) schema: DFSchemaRef,
    pub(super) outputs: Vec<Expr>,
}

impl Scope {
    fn find(scopes: &[Scope], column: &Column) -> Option<Expr> {
        scopes.iter().rev().find_map(|scope| scope.output(column).cloned())
    }

    fn output(&self, column: &Column) -> Option<&Expr> {
        self.outputs.get(self.schema.maybe_index_of_column(column)?)
    }

    /// Says whether a plan reads columns of the query.
    pub(super) fn is_read_by(&self, plan: &LogicalPlan) -> bool {
        free_references(plan).iter().any(|column| self.output(column).is_some())
    }

    /// Writes an expression that reads no column of its own relation.
    pub(super) fn resolve(scopes: &[Scope], expr: &Expr) -> Result<Expr> {
        Relation::over(expr, &DFSchema::empty(), &[], scopes)
    }
}

/// The columns and conditions of a relation, over the rows that it is applied to.
pub(super) struct Relation {
    pub(super) outputs: Vec<Expr>,
    pub(super) conditions: Vec<Expr>,
}

impl Relation {
    /// Goes down to what gives the rows; returns the nodes on the way, the lowest first.
    pub(super) fn leaf(plan: &LogicalPlan) -> (&LogicalPlan, Vec<&LogicalPlan>) {
        let (mut leaf, mut path) = (plan, Vec::new());
        loop {
            let input = match leaf {
                LogicalPlan::Subquery(node) => &node.subquery,
                LogicalPlan::SubqueryAlias(node) => &node.input,
                LogicalPlan::Projection(node) => &node.input,
                LogicalPlan::Filter(node) => &node.input,
                // The rows of a relation have no order that a join would keep.
                LogicalPlan::Sort(node) if node.fetch.is_none() => &node.input,
                _ => break,
            };
            path.push(leaf);
            leaf = input;
        }
        path.reverse();
        (leaf, path)
    }

    /// Reads the nodes above a leaf that gives `outputs`.
    pub(super) fn read(
        mut outputs: Vec<Expr>,
        leaf: &DFSchemaRef,
        path: &[&LogicalPlan],
        scopes: &[Scope],
    ) -> Result<Self> {
        let (mut schema, mut conditions) = (leaf, Vec::new());
        for node in path {
            match node {
                LogicalPlan::Projection(node) => {
                    let over = |expr: &Expr| match unalias(expr.clone()) {
                        Expr::Column(column) => {
                            Ok(outputs[schema.index_of_column(&column)?].clone())
                        }
                        expr => Self::over(&expr, schema, &outputs, scopes),
                    };
                    let columns = node.expr.iter().map(over).collect::<Result<Vec<_>>>()?;
                    check_copies(&outputs, &columns, &node.expr)?;
                    outputs = columns;
                }
                LogicalPlan::Filter(node) => {
                    for condition in split_conjunction(&node.predicate) {
                        conditions.push(Self::over(condition, schema, &outputs, scopes)?);
                    }
                }
                _ => {}
            }
            schema = node.schema();
        }
        Ok(Self { outputs, conditions })
    }

    /// Writes an expression over the rows: its columns are `outputs`, those of outer queries are what
    /// the scopes say. Columns of queries further out stay.
    pub(super) fn over(
        expr: &Expr,
        schema: &DFSchema,
        outputs: &[Expr],
        scopes: &[Scope],
    ) -> Result<Expr> {
        let own = |column: &Column| outputs.get(schema.maybe_index_of_column(column)?);
        let written = expr.clone().transform_down(|part| {
            let replaced = match &part {
                Expr::Column(column) => own(column).cloned(),
                Expr::OuterReferenceColumn(_, column) => Scope::find(scopes, column),
                part => {
                    if let Some(subquery) = subquery_of(part) {
                        check_subquery(subquery, |column| {
                            own(column).is_some() || Scope::find(scopes, column).is_some()
                        })?;
                    }
                    None
                }
            };
            Ok(match replaced {
                Some(output) if is_made_once(&output) => return reads_call(expr),
                Some(output) => Transformed::new(output, true, TreeNodeRecursion::Jump),
                None => Transformed::no(part),
            })
        });
        written.data()
    }
}

/// Says whether an expression must not be copied.
pub(super) fn is_made_once(expr: &Expr) -> bool {
    has_call(expr) || is_volatile(expr)
}

/// Checks that no call becomes two by being named twice.
fn check_copies(outputs: &[Expr], columns: &[Expr], written: &[Expr]) -> Result<()> {
    for output in outputs.iter().filter(|output| is_made_once(output)) {
        let mut copies = columns.iter().zip(written).filter(|(column, _)| *column == output);
        if let (Some(_), Some((_, copy))) = (copies.next(), copies.next()) {
            return reads_call(copy);
        }
    }
    Ok(())
}

fn reads_call<T>(expr: &Expr) -> Result<T> {
    plan_err!(
        "{expr} reads what a call or volatile expression inside of LATERAL around a table function \
         gives; select the function's columns alone there, and compute it in the outer query"
    )
}

fn check_subquery(subquery: &Subquery, reads: impl Fn(&Column) -> bool) -> Result<()> {
    for outer in &subquery.outer_ref_columns {
        if let Expr::OuterReferenceColumn(_, column) = outer
            && reads(column)
        {
            return plan_err!(
                "a subquery inside of LATERAL around a table function reads column {column}; join the \
                 function's rows alone, and compare the joined rows with the subquery"
            );
        }
    }
    Ok(())
}

fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

/// Says whether an expression holds a subquery.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    any_part(expr, |part| subquery_of(part).is_some())
}

/// Names a node as its user knows it.
pub(super) fn kind_of(plan: &LogicalPlan) -> String {
    let kind = match plan {
        LogicalPlan::Aggregate(_) => "an aggregate",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => "LIMIT",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Union(_) => "UNION",
        LogicalPlan::Unnest(_) => "UNNEST",
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::TableScan(_) => "a table",
        plan => return plan.display().to_string(),
    };
    kind.to_owned()
}
