//! Which column types can travel as JSON, and the names that messages give them.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// Says why a column of this type cannot travel as JSON; `None` if it can.
pub(crate) fn unsupported(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond)
        | DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond)
        | DataType::Timestamp(_, _)
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => None,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            unsupported(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().find_map(|field| unsupported(field.data_type())),
        other => Some(format!("{} has no JSON form", type_name(other))),
    }
}

/// Returns a type as SQL writes it, as far as SQL has a word for it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA",
        DataType::Date32 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(_) => "INTERVAL",
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => return format!("DECIMAL({p}, {s})"),
        DataType::List(field) | DataType::LargeList(field) => {
            return format!("{}[]", type_name(field.data_type()));
        }
        DataType::FixedSizeList(field, length) => {
            return format!("{}[{length}]", type_name(field.data_type()));
        }
        DataType::Struct(fields) => {
            let member =
                |field: &Field| format!("{} {}", field.name(), type_name(field.data_type()));
            let members: Vec<String> = fields.iter().map(|field| member(field)).collect();
            return format!("STRUCT<{}>", members.join(", "));
        }
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::IntervalUnit;

    use super::*;

    #[test]
    fn a_type_without_json_form_is_found_inside_lists_and_structs() {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let list = DataType::List(Arc::new(Field::new("item", interval, true)));
        let nested = DataType::Struct(vec![Field::new("spans", list, true)].into());
        assert_eq!(unsupported(&nested).as_deref(), Some("INTERVAL has no JSON form"));
    }

    #[test]
    fn names_are_those_of_sql() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Float32, true)));
        let nested = DataType::Struct(
            vec![Field::new("v", list, true), Field::new("s", DataType::Utf8View, true)].into(),
        );
        assert_eq!(type_name(&nested), "STRUCT<v FLOAT[], s VARCHAR>");
    }
}
