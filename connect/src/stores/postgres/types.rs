//! [`ColumnType`], what a declared column travels as, and which of the server's types become it.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use tokio_postgres::types::{Kind, Type};

/// What values of one Arrow type travel as; the server casts its own to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
}

impl Wire {
    /// Returns the type's name in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Wire::Bool => "bool",
            Wire::Int2 => "int2",
            Wire::Int4 => "int4",
            Wire::Int8 => "int8",
            Wire::Float4 => "float4",
            Wire::Float8 => "float8",
            Wire::Numeric => "numeric",
            Wire::Text => "text",
            Wire::Bytea => "bytea",
            Wire::Date => "date",
            Wire::Time => "time",
            Wire::Timestamp => "timestamp",
            Wire::Timestamptz => "timestamptz",
            Wire::Interval => "interval",
        }
    }

    /// Says whether values of a type of the server are sent as they are.
    pub(crate) fn is_of(self, server: &Type) -> bool {
        match self {
            Wire::Text => [Type::TEXT, Type::VARCHAR].contains(server),
            _ => server.name() == self.name() && server.schema() == "pg_catalog",
        }
    }

    /// Says whether every value of a type of the server has this form, so that its cast loses nothing.
    fn holds(self, server: &Type) -> bool {
        let others: &[Type] = match self {
            Wire::Int4 | Wire::Float4 => &[Type::INT2],
            Wire::Int8 => &[Type::INT2, Type::INT4],
            Wire::Float8 => &[Type::INT2, Type::INT4, Type::FLOAT4],
            Wire::Numeric => &[Type::INT2, Type::INT4, Type::INT8],
            Wire::Timestamp => &[Type::DATE],
            Wire::Text => return is_text(server),
            _ => &[],
        };
        self.is_of(server) || others.contains(server)
    }
}

/// Says whether a type's values are texts, or are written as one text each.
fn is_text(server: &Type) -> bool {
    const TEXTS: [Type; 12] = [
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::NAME,
        Type::CHAR,
        Type::UUID,
        Type::JSON,
        Type::JSONB,
        Type::XML,
        Type::INET,
        Type::CIDR,
        Type::MACADDR,
    ];
    TEXTS.contains(server) || matches!(server.kind(), Kind::Enum(_)) || server.name() == "citext"
}

/// What a declared column travels as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) wire: Wire,
    /// Whether it is an array of such values.
    pub(crate) is_list: bool,
}

impl ColumnType {
    /// Finds out what a declared type travels as.
    ///
    /// # Errors
    /// A text that says why it cannot, and what to declare.
    pub(crate) fn of(data_type: &DataType) -> Result<Self, String> {
        match data_type {
            DataType::List(item) => match Self::of(item.data_type())? {
                Self { is_list: true, .. } => {
                    Err("arrays of arrays are not read; declare VARCHAR over a view".to_owned())
                }
                item => Ok(Self { is_list: true, ..item }),
            },
            other => Ok(Self { wire: scalar(other)?, is_list: false }),
        }
    }

    /// Returns the type's name in SQL.
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.wire.name(), if self.is_list { "[]" } else { "" })
    }

    /// Says whether values of a type of the server are sent as they are.
    pub(crate) fn is_of(self, server: &Type) -> bool {
        match server.kind() {
            Kind::Array(element) => self.is_list && self.wire.is_of(element),
            _ => !self.is_list && self.wire.is_of(server),
        }
    }

    /// Returns what values of a type of the server travel as; `None` if they would lose something.
    ///
    /// Numbers, dates and times that do not fit are found one by one, when they are read.
    pub(crate) fn from(self, server: &Type) -> Option<Self> {
        let (value, is_list) = match server.kind() {
            Kind::Array(element) => (element, true),
            _ => (server, false),
        };
        if is_list != self.is_list {
            return None;
        }
        // Only a cast turns the elements of an array into texts, and that of inet adds a mask.
        if is_list && *value == Type::INET {
            return None;
        }
        // Without a session time zone SQL's TIMESTAMP WITH TIME ZONE has none here: it is UTC, as
        // the server sends it.
        if self.wire == Wire::Timestamp && *value == Type::TIMESTAMPTZ {
            return Some(Self { wire: Wire::Timestamptz, ..self });
        }
        self.wire.holds(value).then_some(self)
    }
}

fn scalar(data_type: &DataType) -> Result<Wire, String> {
    let declare = |other: &str| Err(format!("PostgreSQL has no type {data_type}; declare {other}"));
    match data_type {
        DataType::Boolean => Ok(Wire::Bool),
        DataType::Int16 => Ok(Wire::Int2),
        DataType::Int32 => Ok(Wire::Int4),
        DataType::Int64 => Ok(Wire::Int8),
        DataType::Float32 => Ok(Wire::Float4),
        DataType::Float64 => Ok(Wire::Float8),
        DataType::Decimal128(..) | DataType::Decimal256(..) => Ok(Wire::Numeric),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Wire::Text),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Ok(Wire::Bytea),
        DataType::Date32 => Ok(Wire::Date),
        DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond) => Ok(Wire::Time),
        DataType::Timestamp(_, None) => Ok(Wire::Timestamp),
        DataType::Timestamp(_, Some(_)) => Ok(Wire::Timestamptz),
        DataType::Interval(IntervalUnit::MonthDayNano) => Ok(Wire::Interval),
        DataType::Int8 | DataType::UInt8 => declare("SMALLINT"),
        DataType::UInt16 => declare("INT"),
        DataType::UInt32 => declare("BIGINT"),
        DataType::UInt64 => declare("DECIMAL(20, 0)"),
        DataType::Float16 => declare("REAL"),
        DataType::Struct(_) | DataType::Map(..) => declare("VARCHAR"),
        _ => declare("another"),
    }
}

/// What is wrong with a value: it cannot be one of the declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misfit(pub(crate) &'static str);

impl Misfit {
    /// Bytes that are no value of the type.
    pub(crate) const BROKEN: Misfit = Misfit("has another form than its type");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_casts_without_loss_are_made() {
        for (declared, server, is_read) in [
            (DataType::Int64, Type::INT4, true),
            (DataType::Int32, Type::INT8, false),
            (DataType::Float64, Type::FLOAT4, true),
            (DataType::Float64, Type::NUMERIC, false),
            (DataType::Float32, Type::INT4, false),
            (DataType::Decimal128(10, 2), Type::INT8, true),
            (DataType::Utf8View, Type::UUID, true),
            (DataType::Utf8View, Type::INT4, false),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), Type::DATE, true),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), Type::TIMESTAMPTZ, true),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), Type::TIME, false),
            (DataType::new_list(DataType::Int64, true), Type::INT4_ARRAY, true),
            (DataType::new_list(DataType::Int64, true), Type::INT4, false),
            (DataType::Int64, Type::INT8_ARRAY, false),
            (DataType::new_list(DataType::Utf8, true), Type::CIDR_ARRAY, true),
            (DataType::new_list(DataType::Utf8, true), Type::INET_ARRAY, false),
        ] {
            let column = ColumnType::of(&declared).unwrap();
            assert_eq!(column.from(&server).is_some(), is_read, "{declared} of {server}");
        }
    }

    #[test]
    fn a_type_that_does_not_exist_there_names_one_that_does() {
        for (declared, other) in [
            (DataType::Int8, "SMALLINT"),
            (DataType::UInt64, "DECIMAL(20, 0)"),
            (DataType::new_list(DataType::UInt32, true), "BIGINT"),
            (DataType::Struct(Default::default()), "VARCHAR"),
        ] {
            let error = ColumnType::of(&declared).unwrap_err();
            assert!(error.ends_with(&format!("; declare {other}")), "{error}");
        }
    }
}
