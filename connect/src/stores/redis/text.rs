//! Texts as Redis holds them, to columns of the declared types and, for keys, back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryBuilder, StringArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::documents::convert_each;
use crate::json::{Mismatch, check, fits_decimal, fits_time, type_name};

/// How much of a wrong text a message shows, in characters.
const SHOWN_CHARS: usize = 40;

/// A column, and the positions of the texts that are none of its type, each with the reason.
pub(crate) type Converted = (ArrayRef, Vec<(usize, String)>);

/// Converts texts to a column of the field's type, by Arrow's parser and losing nothing.
///
/// Nulls: no text is NULL. Binary is taken as it is; lists and structs are JSON.
/// Errors: a text of another type is NULL and named.
pub(crate) fn to_column(
    values: &[Option<&[u8]>],
    field: &FieldRef,
) -> Result<Converted, ArrowError> {
    let data_type = field.data_type();
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let values: BinaryArray = values.iter().copied().collect();
            return Ok((cast(&values, data_type)?, Vec::new()));
        }
        DataType::FixedSizeBinary(length) => return fixed(values, *length),
        _ => {}
    }
    let mut refused = Vec::new();
    let mut texts = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let text = value.map(std::str::from_utf8).transpose();
        texts.push(text.unwrap_or_else(|_| {
            refused.push((row, format!("no UTF-8 where {} is declared", type_name(data_type))));
            None
        }));
    }
    let (column, more) = match data_type {
        DataType::Utf8 => (Arc::new(StringArray::from(texts)) as ArrayRef, Vec::new()),
        DataType::LargeUtf8 | DataType::Utf8View => {
            (cast(&StringArray::from(texts), data_type)?, Vec::new())
        }
        _ if data_type.is_nested() => nested(&texts, field)?,
        _ => scalars(&StringArray::from(texts), data_type)?,
    };
    refused.extend(more);
    Ok((column, refused))
}

fn fixed(values: &[Option<&[u8]>], length: i32) -> Result<Converted, ArrowError> {
    let mut refused = Vec::new();
    let mut column = FixedSizeBinaryBuilder::with_capacity(values.len(), length);
    for (row, value) in values.iter().enumerate() {
        match value {
            Some(value) if value.len() as i64 == i64::from(length) => column.append_value(value)?,
            Some(value) => {
                refused.push((row, format!("{} bytes where {length} are declared", value.len())));
                column.append_null();
            }
            None => column.append_null(),
        }
    }
    Ok((Arc::new(column.finish()), refused))
}

fn nested(texts: &[Option<&str>], field: &FieldRef) -> Result<Converted, ArrowError> {
    let mut refused = Vec::new();
    let mut rows = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let text = text.map_or("null", str::trim_ascii);
        let checked = serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| format!("no JSON ({error})"))
            .and_then(|_| check(text, field.data_type()).map_err(told));
        rows.push(match checked {
            Ok(()) => text,
            Err(message) => {
                refused.push((row, message));
                "null"
            }
        });
    }
    let (column, more) = convert_each(field, &mut rows)?;
    refused.extend(more);
    Ok((column, refused))
}

fn told(mismatch: Mismatch) -> String {
    let Mismatch { place, got, declared } = mismatch;
    format!("{got} where {declared} is declared{}", at(&place))
}

/// Names a place below a column.
fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" at {place}") }
}

fn scalars(texts: &StringArray, data_type: &DataType) -> Result<Converted, ArrowError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let column = cast_with_options(texts, data_type, &options)?;
    let wrong = |row: usize| {
        let text = texts.value(row);
        let why = if column.is_null(row) || loses(&column, row, text) {
            ""
        } else if !fits_time(text, data_type) {
            ", finer than its type,"
        } else {
            return None;
        };
        let shown: String = text.chars().take(SHOWN_CHARS).collect();
        Some((row, format!("'{shown}'{why} where {} is declared", type_name(data_type))))
    };
    let rows = (0..texts.len()).filter(|row| texts.is_valid(*row));
    let refused = rows.filter_map(wrong).collect();
    Ok((column, refused))
}

/// Says whether a parsed number lost digits or became infinite.
fn loses(column: &ArrayRef, row: usize, text: &str) -> bool {
    let is_overflow = |value: f64| value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit());
    match column.data_type() {
        DataType::Float32 => is_overflow(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => is_overflow(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => !fits_decimal(text, *precision, *scale),
        _ => false,
    }
}

/// Says why a column of this type cannot be part of a Redis key; `None` if it can.
pub(crate) fn no_key(data_type: &DataType) -> Option<String> {
    let why = match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            "the same number can be written in several ways"
        }
        _ if data_type.is_nested() => "it has several values",
        _ => return None,
    };
    Some(format!("{} cannot be part of a Redis key, {why}", type_name(data_type)))
}

/// Writes the values of a key column as they stand in Redis keys: text and binary as they are, all
/// others as Arrow shows them, which is one text for each value.
///
/// Nulls: NULL, and a value without a text (a date out of range), is NULL.
pub(crate) fn to_key_texts(column: &ArrayRef) -> Result<BinaryArray, ArrowError> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new();
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = cast(column, &DataType::Utf8)?;
            Ok(cast(&texts, &DataType::Binary)?.as_binary::<i32>().clone())
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            Ok(cast(column, &DataType::Binary)?.as_binary::<i32>().clone())
        }
        _ => {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &OPTIONS)?;
            let mut texts = BinaryBuilder::with_capacity(column.len(), column.len() * 8);
            for row in 0..column.len() {
                match formatter.value(row).try_to_string() {
                    Ok(text) if column.is_valid(row) => texts.append_value(text),
                    _ => texts.append_null(),
                }
            }
            Ok(texts.finish())
        }
    }
}

/// Reads a key column back; a text that no value has, like `007` for a number, is NULL.
pub(crate) fn from_key_texts(texts: &[&[u8]], field: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let values: Vec<Option<&[u8]>> = texts.iter().copied().map(Some).collect();
    let (column, _) = to_column(&values, field)?;
    let again = to_key_texts(&column)?;
    let same = again.iter().zip(texts).map(|(again, text)| Some(again == Some(*text)));
    arrow::compute::nullif(&column, &arrow::compute::not(&same.collect())?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Decimal128Array, Int64Array};
    use arrow::datatypes::{Field, Int64Type, TimeUnit};

    use super::*;

    fn field(data_type: &DataType) -> FieldRef {
        Arc::new(Field::new("x", data_type.clone(), true))
    }

    fn read(texts: &[&str], data_type: &DataType) -> Converted {
        let values: Vec<_> = texts.iter().map(|text| Some(text.as_bytes())).collect();
        to_column(&values, &field(data_type)).unwrap()
    }

    #[test]
    fn texts_become_values_of_every_type() {
        let timestamp = DataType::Timestamp(TimeUnit::Millisecond, None);
        for (data_type, text, shown) in [
            (DataType::Boolean, "true", "true"),
            (DataType::Boolean, "0", "false"),
            (DataType::Int8, "-128", "-128"),
            // As CAST has it.
            (DataType::Int64, " 7", "7"),
            (DataType::UInt64, "18446744073709551615", "18446744073709551615"),
            (DataType::Float64, "1e3", "1000.0"),
            (DataType::Float64, "NaN", "NaN"),
            (DataType::Float64, "inf", "inf"),
            (DataType::Decimal128(10, 2), "1.50", "1.50"),
            (DataType::Date32, "2024-02-29", "2024-02-29"),
            (DataType::Date32, "2024-02-29T00:00:00Z", "2024-02-29"),
            (timestamp, "2024-02-29T12:00:00.5", "2024-02-29T12:00:00.500"),
            (DataType::Utf8View, " a ", " a "),
            (DataType::Binary, "\u{1}a", "0161"),
            (DataType::FixedSizeBinary(2), "ab", "6162"),
            (DataType::new_list(DataType::Int32, true), " [1, null]", "[1, ]"),
        ] {
            let (column, refused) = read(&[text], &data_type);
            assert_eq!((column.data_type(), refused), (&data_type, vec![]));
            let options = FormatOptions::new();
            let formatter = ArrayFormatter::try_new(&column, &options).unwrap();
            assert_eq!(formatter.value(0).to_string(), shown, "{text} as {data_type}");
        }
    }

    #[test]
    fn a_text_of_another_type_is_refused_alone() {
        let (column, refused) = read(&["1", "x", "3"], &DataType::Int64);
        assert_eq!(
            column.as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(1), None, Some(3)])
        );
        assert_eq!(refused, [(1, "'x' where BIGINT is declared".to_owned())]);
    }

    #[test]
    fn nothing_is_cut_or_rounded() {
        for (data_type, text) in [
            (DataType::Int8, "128"),
            (DataType::Int64, "3.5"),
            (DataType::Int64, ""),
            (DataType::Float32, "1e39"),
            (DataType::Float64, "1e999"),
            (DataType::Decimal128(4, 2), "1.239"),
            (DataType::Decimal128(4, 2), "123.00"),
            (DataType::Date32, "yesterday"),
            (DataType::Date32, "2024-02-29T23:00:00-05:00"),
            (DataType::Date32, "2024-02-29T12:00:00"),
            (DataType::Timestamp(TimeUnit::Second, None), "2024-02-29T12:00:00.9"),
            (DataType::Time64(TimeUnit::Microsecond), "12:00:00.0000001"),
            (DataType::new_list(DataType::Date32, true), "[\"2024-02-29T23:00:00-05:00\"]"),
            (DataType::Boolean, "maybe"),
            (DataType::FixedSizeBinary(2), "abc"),
            (DataType::new_list(DataType::Int32, true), "[1.5]"),
            (DataType::new_list(DataType::Int32, true), "[1"),
            (DataType::new_list(DataType::Date32, true), "[\"soon\"]"),
        ] {
            let (_, refused) = read(&[text], &data_type);
            assert_eq!(refused.len(), 1, "{text} as {data_type}");
        }
    }

    #[test]
    fn a_time_that_would_be_cut_is_told_with_its_reason() {
        let (_, refused) =
            read(&["2024-02-29T12:00:00.9"], &DataType::Timestamp(TimeUnit::Second, None));
        let told = "'2024-02-29T12:00:00.9', finer than its type, where TIMESTAMP is declared";
        assert_eq!(refused, [(0, told.to_owned())]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_as_text_only() {
        let values = [Some(&b"\xff"[..])];
        let (_, refused) = to_column(&values, &field(&DataType::Utf8)).unwrap();
        assert_eq!(refused, [(0, "no UTF-8 where VARCHAR is declared".to_owned())]);
        let (_, refused) = to_column(&values, &field(&DataType::BinaryView)).unwrap();
        assert_eq!(refused, []);
    }

    #[test]
    fn a_key_is_read_back_from_the_one_text_it_has() {
        let columns: [ArrayRef; 4] = [
            Arc::new(Int64Array::from(vec![Some(-7), None, Some(i64::MIN)])),
            Arc::new(StringArray::from(vec!["", "a:b", "é"])),
            Arc::new(Date32Array::from(vec![0, 19_782, -1])),
            Arc::new(
                Decimal128Array::from(vec![150, 0, -1]).with_precision_and_scale(9, 2).unwrap(),
            ),
        ];
        for column in columns {
            let texts = to_key_texts(&column).unwrap();
            let values: Vec<&[u8]> = texts.iter().map(Option::unwrap_or_default).collect();
            let field = field(column.data_type());
            assert_eq!(&from_key_texts(&values, &field).unwrap(), &column);
        }
        for text in ["007", "+7", "7.0", "x", ""] {
            let column = from_key_texts(&[text.as_bytes()], &field(&DataType::Int64)).unwrap();
            assert!(column.is_null(0), "{text}");
        }
    }

    #[test]
    fn numbers_of_many_texts_and_nested_values_are_no_keys() {
        let why =
            "DOUBLE cannot be part of a Redis key, the same number can be written in several ways";
        assert_eq!(no_key(&DataType::Float64).as_deref(), Some(why));
        assert!(no_key(&DataType::new_list(DataType::Int32, true)).is_some());
        assert!(no_key(&DataType::Date32).is_none());
    }
}
