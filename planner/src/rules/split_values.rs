//! [`SplitValues`] turns calls in VALUES into calls over VALUES.
//!
//! ```text
//! Before:                              After:
//! Values: (1, f(5)), (2, f(6))         Projection: column1, f(__async_0) AS column2
//!                                        Values: (1, 5), (2, 6)
//!
//! Values: (f(5)), (7)                  Projection: CASE __async_0 WHEN 0 THEN f(5) ELSE 7 END AS column1
//!                                        Values: (0), (1)
//! ```
//! Safe: a row of VALUES reads no other row, so what it computes may be computed one node above; a
//! column that calls one function in every row becomes one call over columns of arguments, any other
//! column chooses its expression by the number of the row. Declines: no call in the rows.
//! Needs: runs before `split_project`, which takes the calls out of the projection.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::expr::{Case, ScalarFunction};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, Projection, Values, ident};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, find_call, has_call};
use crate::rewrite::{Order, rewrite_nodes};

/// Moves calls from the rows of VALUES into a projection.
#[derive(Debug, Default)]
pub struct SplitValues;

impl OptimizerRule for SplitValues {
    fn name(&self) -> &str {
        "split_values"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        rewrite_nodes(plan, Order::TopDown, |node, names| match node {
            LogicalPlan::Values(values) if values.values.iter().flatten().any(has_call) => {
                Ok(Transformed::yes(split(values, names)?))
            }
            node => Ok(Transformed::no(node)),
        })
    }
}

/// The columns of the new VALUES, as they come up.
#[derive(Default)]
struct Below {
    fields: Vec<Field>,
    columns: Vec<Vec<Expr>>,
}

impl Below {
    fn add(&mut self, name: &str, data_type: DataType, column: Vec<Expr>) -> Expr {
        self.fields.push(Field::new(name, data_type, true));
        self.columns.push(column);
        ident(name)
    }
}

fn split(values: Values, names: &mut Names) -> Result<LogicalPlan> {
    let Values { schema, values: rows } = values;
    let number = rows.len();
    let mut below = Below::default();
    let mut exprs = Vec::new();
    for (index, (_, field)) in schema.iter().enumerate() {
        let column: Vec<Expr> = rows.iter().map(|row| row[index].clone()).collect();
        let expr = if !column.iter().any(has_call) {
            below.add(field.name(), field.data_type().clone(), column)
        } else if let Some(argument_types) = one_call(&column)? {
            over_arguments(column, argument_types, &mut below, names)
        } else {
            by_row(column, &mut below, names)
        };
        exprs.push(match &expr {
            Expr::Column(column) if column.name == *field.name() => expr,
            _ => expr.alias(field.name()),
        });
    }
    if below.fields.is_empty() {
        // Calls without arguments: the rows are still to be counted.
        let numbers = (0..number).map(row_number).collect();
        below.add(&names.next(), DataType::Int64, numbers);
    }
    let rows = (0..number)
        .map(|row| below.columns.iter().map(|column| column[row].clone()).collect())
        .collect();
    let fields = below.fields.into_iter().map(|field| (None, Arc::new(field))).collect();
    let below = DFSchema::new_with_metadata(fields, schema.metadata().clone())?;
    let values = LogicalPlan::Values(Values { schema: Arc::new(below), values: rows });
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(values), schema)?))
}

/// Returns the argument types if every row calls the same function with arguments of these types.
fn one_call(column: &[Expr]) -> Result<Option<Vec<DataType>>> {
    let empty = DFSchema::empty();
    let mut types: Option<Vec<DataType>> = None;
    for expr in column {
        let (Some(udf), Expr::ScalarFunction(call)) = (find_call(expr), expr) else {
            return Ok(None);
        };
        let row = call.args.iter().map(|arg| arg.get_type(&empty)).collect::<Result<Vec<_>>>()?;
        if types.get_or_insert_with(|| row.clone()) != &row || find_call(&column[0]) != Some(udf) {
            return Ok(None);
        }
    }
    Ok(types)
}

fn over_arguments(
    column: Vec<Expr>,
    argument_types: Vec<DataType>,
    below: &mut Below,
    names: &mut Names,
) -> Expr {
    let mut arguments: Vec<Vec<Expr>> = argument_types.iter().map(|_| Vec::new()).collect();
    let mut function = None;
    for expr in column {
        if let Expr::ScalarFunction(ScalarFunction { func, args }) = expr {
            function.get_or_insert(func);
            for (column, arg) in arguments.iter_mut().zip(args) {
                column.push(arg);
            }
        }
    }
    let args = arguments
        .into_iter()
        .zip(argument_types)
        .map(|(column, data_type)| below.add(&names.next(), data_type, column))
        .collect();
    match function {
        Some(function) => Expr::ScalarFunction(ScalarFunction::new_udf(function, args)),
        None => Expr::Literal(ScalarValue::Null, None),
    }
}

fn by_row(column: Vec<Expr>, below: &mut Below, names: &mut Names) -> Expr {
    let numbers = (0..column.len()).map(row_number).collect();
    let row = below.add(&names.next(), DataType::Int64, numbers);
    let branches = column
        .into_iter()
        .enumerate()
        .map(|(index, expr)| (Box::new(row_number(index)), Box::new(expr)))
        .collect();
    Expr::Case(Case::new(Some(Box::new(row)), branches, None))
}

fn row_number(index: usize) -> Expr {
    Expr::Literal(ScalarValue::Int64(Some(index as i64)), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_rule;

    #[test]
    fn one_function_in_every_row_is_one_call() {
        assert_rule!(SplitValues, fires, "VALUES (1, f(5)), (2, f(6))", @r"
        Projection: column1, f(__async_0) AS column2
          Values: (Int64(1), Int64(5)), (Int64(2), Int64(6))
        ");
    }

    #[test]
    fn other_columns_choose_by_row() {
        assert_rule!(SplitValues, fires, "VALUES (f(5)), (7), (g(8) + 1)", @r"
        Projection: CASE __async_0 WHEN Int64(0) THEN f(Int64(5)) WHEN Int64(1) THEN Int64(7) WHEN Int64(2) THEN g(Int64(8)) + Int64(1) END AS column1
          Values: (Int64(0)), (Int64(1)), (Int64(2))
        ");
    }

    #[test]
    fn nested_calls_are_moved_one_by_one() {
        assert_rule!(SplitValues, fires, "VALUES (f(g(1))), (f(g(2)))", @r"
        Projection: f(__async_0) AS column1
          Projection: g(__async_1) AS __async_0
            Values: (Int64(1)), (Int64(2))
        ");
    }

    #[test]
    fn declines_without_a_call() {
        assert_rule!(SplitValues, declines, "SELECT f(v) FROM (VALUES (1), (2)) AS q(v)");
    }
}
