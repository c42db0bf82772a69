//! Conditions that the server evaluates itself: those that mean there exactly what they mean here.

use arrow::datatypes::{DataType, SchemaRef, i256};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::InList;
use datafusion_expr::{BinaryExpr, Expr, Like, Operator};

use super::types::{ColumnType, Wire};
use crate::stores::postgres::columns::ServerColumn;
use crate::stores::postgres::epoch::{date, timestamp};

/// Items of an IN list at most; a longer one is tested here.
const MAX_ITEMS: usize = 1000;

/// Says whether a condition over columns of the table means the same to the server.
///
/// Taken: comparisons of a column with a constant of its type, IN lists of constants, LIKE, IS NULL,
/// boolean columns, and AND, OR, NOT of those. Not taken: whatever holds a floating-point number
/// (the server calls 0 and -0 equal), intervals (it calls a month and 30 days equal), lists, LIKE
/// with a backslash or without regard to case, functions, casts, comparisons of two columns.
pub(crate) fn is_taken(filter: &Expr, schema: &SchemaRef) -> bool {
    let find = |name: &str| {
        let declared = schema.field_with_name(name).ok()?.data_type().clone();
        let travels = ColumnType::of(&declared).ok()?;
        let server = tokio_postgres::types::Type::UNKNOWN;
        Some(ServerColumn { name: name.to_owned(), declared, travels, server })
    };
    write(filter, &find).is_some()
}

/// Writes a condition as SQL; `None` if it is not taken.
pub(crate) fn write(filter: &Expr, find: &dyn Fn(&str) -> Option<ServerColumn>) -> Option<String> {
    let all = |expr: &Expr| write(expr, find);
    let text = match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            format!("{} {op} {}", all(left)?, all(right)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => {
                comparison(&find(&column.name)?, *op, value)?
            }
            (Expr::Literal(value, _), Expr::Column(column)) => {
                comparison(&find(&column.name)?, op.swap()?, value)?
            }
            _ => return None,
        },
        Expr::Not(inner) => format!("NOT {}", all(inner)?),
        Expr::IsNull(inner) => format!("{} IS NULL", operand(inner, find)?),
        Expr::IsNotNull(inner) => format!("{} IS NOT NULL", operand(inner, find)?),
        Expr::IsTrue(inner) => format!("{} IS TRUE", all(inner)?),
        Expr::IsFalse(inner) => format!("{} IS FALSE", all(inner)?),
        Expr::IsNotTrue(inner) => format!("{} IS NOT TRUE", all(inner)?),
        Expr::IsNotFalse(inner) => format!("{} IS NOT FALSE", all(inner)?),
        Expr::Column(column) => {
            let column = find(&column.name)?;
            if column.declared != DataType::Boolean {
                return None;
            }
            column.value()
        }
        Expr::InList(list) => in_list(list, find)?,
        Expr::Like(like) => pattern(like, find)?,
        _ => return None,
    };
    Some(format!("({text})"))
}

/// Writes what is tested for NULL: any column, or a condition.
fn operand(expr: &Expr, find: &dyn Fn(&str) -> Option<ServerColumn>) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(find(&column.name)?.value()),
        other => write(other, find),
    }
}

fn comparison(column: &ServerColumn, op: Operator, value: &ScalarValue) -> Option<String> {
    let is_order = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    let op = match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        Operator::IsDistinctFrom => "IS DISTINCT FROM",
        Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
        _ => return None,
    };
    let value = constant(column, value)?;
    match is_order && column.travels.wire == Wire::Text {
        // Bytes are compared here, whatever the server's collation and encoding are.
        true => {
            Some(format!("convert_to({}, 'UTF8') {op} convert_to({value}, 'UTF8')", column.value()))
        }
        false => Some(format!("{} {op} {value}", compared(column))),
    }
}

/// Writes a column so that texts are equal only if their bytes are.
fn compared(column: &ServerColumn) -> String {
    match column.travels.wire {
        Wire::Text => format!("{} COLLATE \"C\"", column.value()),
        _ => column.value(),
    }
}

fn in_list(list: &InList, find: &dyn Fn(&str) -> Option<ServerColumn>) -> Option<String> {
    let InList { expr, list, negated } = list;
    let Expr::Column(column) = expr.as_ref() else { return None };
    if list.is_empty() || list.len() > MAX_ITEMS {
        return None;
    }
    let column = find(&column.name)?;
    let item = |item: &Expr| match item {
        Expr::Literal(value, _) => constant(&column, value),
        _ => None,
    };
    let items: Vec<String> = list.iter().map(item).collect::<Option<_>>()?;
    let not = if *negated { "NOT " } else { "" };
    Some(format!("{} {not}IN ({})", compared(&column), items.join(", ")))
}

fn pattern(like: &Like, find: &dyn Fn(&str) -> Option<ServerColumn>) -> Option<String> {
    let Like { negated, expr, pattern, escape_char: None, case_insensitive: false } = like else {
        return None;
    };
    let (Expr::Column(column), Expr::Literal(value, _)) = (expr.as_ref(), pattern.as_ref()) else {
        return None;
    };
    let column = find(&column.name)?;
    if column.travels.wire != Wire::Text || value.try_as_str()??.contains('\\') {
        return None;
    }
    let not = if *negated { "NOT " } else { "" };
    Some(format!("{} {not}LIKE {}", compared(&column), constant(&column, value)?))
}

/// Writes a constant of a column's own type.
fn constant(column: &ServerColumn, value: &ScalarValue) -> Option<String> {
    if column.travels.is_list || value.is_null() {
        return None;
    }
    let wire = column.travels.wire;
    if wire != Wire::Text && value.data_type() != column.declared {
        return None;
    }
    match (wire, value) {
        (Wire::Bool, ScalarValue::Boolean(Some(value))) => Some(value.to_string()),
        (Wire::Int2 | Wire::Int4 | Wire::Int8, value) => {
            Some(format!("({value})::{}", wire.name()))
        }
        (Wire::Numeric, ScalarValue::Decimal128(Some(value), _, scale)) => {
            Some(decimal(i256::from_i128(*value), *scale))
        }
        (Wire::Numeric, ScalarValue::Decimal256(Some(value), _, scale)) => {
            Some(decimal(*value, *scale))
        }
        (Wire::Text, value) => text(value.try_as_str()??),
        (Wire::Bytea, _) => bytes(value),
        (Wire::Date, ScalarValue::Date32(Some(days))) => {
            Some(format!("('2000-01-01'::date + ({}))", date(*days)?))
        }
        (Wire::Timestamp | Wire::Timestamptz, value) => {
            let micros = timestamp(micros(value)?)?;
            // The server multiplies intervals as floating-point numbers.
            (micros.unsigned_abs() < 1 << f64::MANTISSA_DIGITS).then_some(())?;
            let start = match wire {
                Wire::Timestamp => "'2000-01-01'::timestamp",
                _ => "'2000-01-01 00:00:00+00'::timestamptz",
            };
            Some(format!("({start} + ({micros}) * '1 microsecond'::interval)"))
        }
        _ => None,
    }
}

fn decimal(unscaled: i256, scale: i8) -> String {
    match scale {
        ..=0 => format!("'{unscaled}{}'::numeric", "0".repeat(usize::from(scale.unsigned_abs()))),
        _ => format!("('{unscaled}'::numeric * '1e-{scale}'::numeric)"),
    }
}

/// Writes a text, the same whatever `standard_conforming_strings` is; a zero byte has no form.
fn text(value: &str) -> Option<String> {
    if value.contains('\0') {
        return None;
    }
    let quoted = value.replace('\'', "''");
    Some(match value.contains('\\') {
        true => format!("E'{}'::text", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'::text"),
    })
}

fn bytes(value: &ScalarValue) -> Option<String> {
    let (ScalarValue::Binary(Some(bytes))
    | ScalarValue::LargeBinary(Some(bytes))
    | ScalarValue::BinaryView(Some(bytes))) = value
    else {
        return None;
    };
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("decode('{digits}', 'hex')"))
}

/// Returns a time's microseconds since 1970, if it is a whole number of them.
fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampSecond(value, _) => (*value)?.checked_mul(1_000_000),
        ScalarValue::TimestampMillisecond(value, _) => (*value)?.checked_mul(1000),
        ScalarValue::TimestampMicrosecond(value, _) => *value,
        ScalarValue::TimestampNanosecond(value, _) => {
            let nanos = (*value)?;
            (nanos % 1000 == 0).then_some(nanos / 1000)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema, TimeUnit};
    use datafusion_expr::{cast, col, lit};

    use super::*;

    fn schema() -> SchemaRef {
        let columns = [
            ("b", DataType::Boolean),
            ("i", DataType::Int32),
            ("x", DataType::Float64),
            ("n", DataType::Decimal128(10, 2)),
            ("s", DataType::Utf8View),
            ("y", DataType::Binary),
            ("d", DataType::Date32),
            ("ts", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            ("tz", DataType::Timestamp(TimeUnit::Second, Some("+00:00".into()))),
        ];
        let columns = columns.map(|(name, data_type)| Field::new(name, data_type, true));
        Arc::new(Schema::new(columns.to_vec()))
    }

    fn written(filter: &Expr) -> Option<String> {
        let schema = schema();
        let find = |name: &str| {
            let declared = schema.field_with_name(name).ok()?.data_type().clone();
            let travels = ColumnType::of(&declared).ok()?;
            let server = match travels.wire {
                Wire::Text => tokio_postgres::types::Type::TEXT,
                _ => tokio_postgres::types::Type::UNKNOWN,
            };
            Some(ServerColumn { name: name.to_owned(), declared, travels, server })
        };
        write(filter, &find)
    }

    #[test]
    fn conditions_are_written_with_their_constants() {
        let nanos = ScalarValue::TimestampNanosecond(Some(946_684_800_000_001_000), None);
        let seconds = ScalarValue::TimestampSecond(Some(0), Some("+00:00".into()));
        for (filter, sql) in [
            (col("i").lt_eq(lit(-7_i32)), r#"(t."i"::int4 <= (-7)::int4)"#),
            (lit(7_i32).lt(col("i")), r#"(t."i"::int4 > (7)::int4)"#),
            (col("s").eq(lit("it's")), r#"(t."s" COLLATE "C" = 'it''s'::text)"#),
            (
                col("s").gt(lit("a\\")),
                r#"(convert_to(t."s", 'UTF8') > convert_to(E'a\\'::text, 'UTF8'))"#,
            ),
            (
                col("s").in_list(vec![lit("a"), lit("b")], true),
                r#"(t."s" COLLATE "C" NOT IN ('a'::text, 'b'::text))"#,
            ),
            (col("s").like(lit("a%")), r#"(t."s" COLLATE "C" LIKE 'a%'::text)"#),
            (col("b").and(!col("b")), r#"((t."b"::bool) AND (NOT (t."b"::bool)))"#),
            (col("x").is_null(), r#"(t."x"::float8 IS NULL)"#),
            (col("b").is_not_true(), r#"((t."b"::bool) IS NOT TRUE)"#),
            (
                col("n").eq(lit(ScalarValue::Decimal128(Some(-150), 10, 2))),
                r#"(t."n"::numeric = ('-150'::numeric * '1e-2'::numeric))"#,
            ),
            (
                col("y").eq(lit(ScalarValue::Binary(Some(vec![0, 255])))),
                r#"(t."y"::bytea = decode('00ff', 'hex'))"#,
            ),
            (
                col("d").eq(lit(ScalarValue::Date32(Some(10_956)))),
                r#"(t."d"::date = ('2000-01-01'::date + (-1)))"#,
            ),
            (
                col("ts").eq(lit(nanos)),
                r#"(t."ts"::timestamp = ('2000-01-01'::timestamp + (1) * '1 microsecond'::interval))"#,
            ),
            (
                col("tz").eq(lit(seconds)),
                r#"(t."tz"::timestamptz = ('2000-01-01 00:00:00+00'::timestamptz + (-946684800000000) * '1 microsecond'::interval))"#,
            ),
        ] {
            assert_eq!(written(&filter).as_deref(), Some(sql), "{filter}");
            assert!(is_taken(&filter, &schema()), "{filter}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_not_taken() {
        let null = ScalarValue::Int32(None);
        let fine = ScalarValue::TimestampNanosecond(Some(1), None);
        let ilike =
            Expr::Like(Like::new(false, Box::new(col("s")), Box::new(lit("a%")), None, true));
        for filter in [
            col("x").gt(lit(1.0_f64)),
            col("i").gt(lit(1_i64)),
            cast(col("i"), DataType::Int64).gt(lit(1_i64)),
            col("i").eq(col("i")),
            col("i").eq(lit(null)),
            (col("i") + lit(1_i32)).eq(lit(2_i32)),
            col("s").eq(lit("a\0")),
            col("s").like(lit("a\\%")),
            ilike,
            col("ts").eq(lit(fine)),
            col("i"),
            col("i").gt(lit(1_i32)).or(col("x").gt(lit(1.0_f64))),
            col("none").eq(lit(1_i32)),
            col("i").in_list(vec![lit(1_i32); MAX_ITEMS + 1], false),
        ] {
            assert!(!is_taken(&filter, &schema()), "{filter}");
        }
    }
}
