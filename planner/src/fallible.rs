//! [`may_fail`], whether an expression may end a query on rows that a condition would have dropped.

use arrow::datatypes::DataType;
use datafusion_common::DFSchema;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use crate::calls::any_part;

/// Functions that have a value, or NULL, for all arguments of their types.
const TOTAL_FUNCTIONS: &[&str] = &[
    "btrim",
    "character_length",
    "coalesce",
    "concat",
    "get_field",
    "length",
    "lower",
    "ltrim",
    "make_array",
    "named_struct",
    "nullif",
    "nvl",
    "rtrim",
    "struct",
    "trim",
    "upper",
];

/// Aggregate and window functions that have a value, or NULL, for all rows.
const TOTAL_AGGREGATES: &[&str] = &[
    "array_agg",
    "bool_and",
    "bool_or",
    "count",
    "cume_dist",
    "dense_rank",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "min",
    "percent_rank",
    "rank",
    "row_number",
    "sum",
];

/// Says whether evaluating an expression may fail for some row, `schema` being that of the rows.
///
/// It is asked before a condition is tested later than such an expression: what it has kept from a row may
/// fail there. Whatever is not known to have a value always is taken to fail.
pub(crate) fn may_fail(expr: &Expr, schema: &DFSchema) -> bool {
    any_part(expr, |part| !is_total(part, schema))
}

fn is_total(part: &Expr, schema: &DFSchema) -> bool {
    match part {
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::Literal(..)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::TryCast(_) => true,
        Expr::BinaryExpr(binary) => is_total_operator(binary, schema),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema);
            from.is_ok_and(|from| is_widening(&from, cast.field.data_type()))
        }
        Expr::ScalarFunction(function) => TOTAL_FUNCTIONS.contains(&function.name()),
        Expr::AggregateFunction(function) => TOTAL_AGGREGATES.contains(&function.func.name()),
        Expr::WindowFunction(function) => TOTAL_AGGREGATES.contains(&function.fun.name()),
        _ => false,
    }
}

fn is_total_operator(binary: &BinaryExpr, schema: &DFSchema) -> bool {
    match binary.op {
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::And
        | Operator::Or
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => true,
        // Numbers of a fixed width wrap around, decimals and dates do not.
        Operator::Plus | Operator::Minus | Operator::Multiply => [&binary.left, &binary.right]
            .into_iter()
            .all(|side| side.get_type(schema).is_ok_and(|of| of.is_integer() || of.is_floating())),
        _ => false,
    }
}

/// Says whether each value of a type has one in another type.
fn is_widening(from: &DataType, to: &DataType) -> bool {
    let texts = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
    from == to
        || *from == DataType::Null
        || (texts.contains(from) && texts.contains(to))
        || (from.is_integer() && to.is_floating())
        || (from.is_signed_integer() && to.is_signed_integer() && width(from) <= width(to))
        || (from.is_unsigned_integer() && to.is_integer() && width(from) < width(to))
        || ((from.is_integer() || *from == DataType::Boolean) && texts.contains(to))
}

fn width(of: &DataType) -> Option<usize> {
    of.primitive_width()
}

#[cfg(test)]
mod tests {
    use datafusion_expr::{cast, col, lit};

    use super::*;
    use crate::testing::table;

    #[test]
    fn what_has_a_value_for_every_row_cannot_fail() {
        let table = table("t");
        let schema = table.schema();
        for expr in [
            col("t.x").gt(lit(3_i64)).and(col("t.txt").is_null()),
            (col("t.x") + lit(1_i64)).eq(col("t.k")),
            cast(col("t.x"), DataType::Utf8).eq(col("t.txt")),
            cast(col("t.x"), DataType::Float64).gt(lit(0.5)),
        ] {
            assert!(!may_fail(&expr, schema), "{expr}");
        }
        for expr in [
            (lit(1_i64) / col("t.x")).gt(lit(0_i64)),
            cast(col("t.txt"), DataType::Int64).eq(col("t.k")),
            cast(col("t.x"), DataType::Int8).eq(lit(1_i8)),
        ] {
            assert!(may_fail(&expr, schema), "{expr}");
        }
    }
}
