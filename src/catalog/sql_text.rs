//! Writes names, texts and Arrow types as SQL, so that the parser reads the same again.

use datafusion::arrow::datatypes::{DataType, FieldRef, IntervalUnit, TimeUnit};

/// Writes a text literal.
pub(crate) fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes a dotted name, quoted where it must be.
pub(crate) fn sql_name(name: &str) -> String {
    name.split('.').map(sql_ident).collect::<Vec<_>>().join(".")
}

/// Writes columns as INPUT and OUTPUT list them.
pub(crate) fn sql_columns(columns: &[FieldRef]) -> String {
    let column =
        |field: &FieldRef| format!("{} {}", sql_ident(field.name()), sql_type(field.data_type()));
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Writes a type; one that SQL cannot name is written as Arrow names it.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time64(TimeUnit::Nanosecond) => "TIME".into(),
        DataType::Timestamp(unit, zone) => {
            let precision = match unit {
                TimeUnit::Second => "(0)",
                TimeUnit::Millisecond => "(3)",
                TimeUnit::Microsecond => "(6)",
                TimeUnit::Nanosecond => "",
            };
            let zone = if zone.is_some() { " WITH TIME ZONE" } else { "" };
            format!("TIMESTAMP{precision}{zone}")
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL".into(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::List(item) | DataType::LargeList(item) => {
            format!("ARRAY<{}>", sql_type(item.data_type()))
        }
        DataType::FixedSizeList(item, length) => {
            format!("{}[{length}]", sql_type(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<FieldRef> = fields.iter().cloned().collect();
            format!("STRUCT<{}>", sql_columns(&fields))
        }
        other => other.to_string(),
    }
}

fn sql_ident(name: &str) -> String {
    let mut letters = name.chars();
    let starts = letters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    if starts && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_where_they_must_be() {
        for (name, sql) in [
            ("m", "m"),
            ("cat.m_1", "cat.m_1"),
            ("M", "\"M\""),
            ("1m", "\"1m\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
        ] {
            assert_eq!(sql_name(name), sql);
        }
    }

    #[test]
    fn texts_are_escaped() {
        assert_eq!(sql_text("it's"), "'it''s'");
    }
}
