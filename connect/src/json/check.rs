//! [`check`], which compares a JSON value with a declared type before arrow-json converts it.
//!
//! arrow-json is lenient where an answer would lose something in silence (it cuts `3.7` to 3, an
//! odd hex digit to a byte, and tenths off a time in seconds), and its errors name neither row nor
//! place; this walk is strict and names both.

use arrow::datatypes::{DataType, Field, FieldRef};

use super::scan::{Kind, elements, key_is, members, text_of};
use super::times::fits_time;
use super::types::type_name;

/// How much of a wrong value a message shows, in characters.
const SHOWN_CHARS: usize = 40;
/// The longest number that is read as a decimal; the largest declared one has 76 digits.
const MAX_NUMBER_LEN: usize = 200;

/// A value that does not fit the declared type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Where below the row's value, `.score` or `[3].x`; empty for the value itself.
    pub(crate) place: String,
    /// What was found.
    pub(crate) got: String,
    /// What is declared.
    pub(crate) declared: String,
}

impl Mismatch {
    fn new(value: &str, data_type: &DataType) -> Self {
        Self { place: String::new(), got: describe(value), declared: type_name(data_type) }
    }

    fn below(mut self, step: &str) -> Self {
        self.place.insert_str(0, step);
        self
    }
}

/// Describes a value: its kind, and its text if that is short enough to help.
fn describe(value: &str) -> String {
    let kind = Kind::of(value);
    match kind {
        Kind::Null => kind.name().to_owned(),
        _ if value.chars().nth(SHOWN_CHARS).is_none() => format!("{} ({value})", kind.name()),
        _ => kind.name().to_owned(),
    }
}

/// Checks that a value's text fits a declared type without losing anything.
pub(crate) fn check(value: &str, data_type: &DataType) -> Result<(), Mismatch> {
    let kind = Kind::of(value);
    if kind == Kind::Null {
        return Ok(());
    }
    let fits = match data_type {
        DataType::Boolean => kind == Kind::Boolean,
        DataType::Int8 => integer(value, i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => integer(value, i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => integer(value, i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => integer(value, i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => integer(value, 0, u8::MAX.into()),
        DataType::UInt16 => integer(value, 0, u16::MAX.into()),
        DataType::UInt32 => integer(value, 0, u32::MAX.into()),
        DataType::UInt64 => integer(value, 0, u64::MAX.into()),
        // 38 and 308 digits always fit; only longer texts and exponents need to be read.
        DataType::Float32 => float(value, 38, |text| text.parse::<f32>().is_ok_and(f32::is_finite)),
        DataType::Float64 => {
            float(value, 308, |text| text.parse::<f64>().is_ok_and(f64::is_finite))
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal(value, *precision, *scale),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => kind == Kind::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => hex(value, None),
        DataType::FixedSizeBinary(bytes) => hex(value, usize::try_from(*bytes).ok()),
        DataType::Date32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _) => match kind {
            Kind::String => is_whole_time(value, data_type)?,
            _ => integer(value, i64::MIN.into(), i64::MAX.into()),
        },
        DataType::List(field) | DataType::LargeList(field) if kind == Kind::Array => {
            list(value, field)?;
            true
        }
        DataType::FixedSizeList(field, length) if kind == Kind::Array => {
            let got = list(value, field)?;
            if usize::try_from(*length).ok() != Some(got) {
                let got = format!("an array of {got} elements");
                return Err(Mismatch { place: String::new(), got, declared: type_name(data_type) });
            }
            true
        }
        DataType::Struct(fields) if kind == Kind::Object => {
            for (key, member) in members(value) {
                if let Some(field) = fields.iter().find(|field| key_is(key, field.name())) {
                    check_member(member, field)?;
                }
            }
            true
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(Mismatch::new(value, data_type)) }
}

/// Checks a value against a field, whose name becomes part of the place.
pub(crate) fn check_member(value: &str, field: &Field) -> Result<(), Mismatch> {
    let step = || format!(".{}", field.name());
    if !field.is_nullable() && Kind::of(value) == Kind::Null {
        let declared = format!("{} NOT NULL", type_name(field.data_type()));
        return Err(Mismatch { place: step(), got: "null".to_owned(), declared });
    }
    check(value, field.data_type()).map_err(|mismatch| mismatch.below(&step()))
}

/// Checks the elements of an array and returns their number.
fn list(value: &str, field: &FieldRef) -> Result<usize, Mismatch> {
    let mut count = 0;
    for element in elements(value) {
        check(element, field.data_type())
            .map_err(|mismatch| mismatch.below(&format!("[{count}]")))?;
        count += 1;
    }
    Ok(count)
}

/// Returns the text of a number, also of one in quotes as 64-bit numbers often come.
fn number_text(value: &str) -> Option<&str> {
    match Kind::of(value) {
        Kind::Number => Some(value),
        Kind::String => Some(value.trim_matches('"')),
        _ => None,
    }
}

fn integer(value: &str, min: i128, max: i128) -> bool {
    let Some(text) = number_text(value) else { return false };
    if let Ok(number) = text.parse::<i128>() {
        return (min..=max).contains(&number);
    }
    // `3.0` and `1e3` are integers too, as far as a double is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    Kind::of(value) == Kind::Number
        && text.parse::<f64>().is_ok_and(|number| {
            number.fract() == 0.0
                && number.abs() <= EXACT
                && (min..=max).contains(&(number as i128))
        })
}

fn float(value: &str, safe_len: usize, is_finite: impl Fn(&str) -> bool) -> bool {
    let Some(text) = number_text(value) else { return false };
    let is_plain = Kind::of(value) == Kind::Number
        && text.len() <= safe_len
        && !text.bytes().any(|b| matches!(b, b'e' | b'E'));
    is_plain || is_finite(text)
}

fn decimal(value: &str, precision: u8, scale: i8) -> bool {
    number_text(value).is_some_and(|text| fits_decimal(text, precision, scale))
}

/// Says whether a decimal of this type holds every digit of a number's text.
pub(crate) fn fits_decimal(text: &str, precision: u8, scale: i8) -> bool {
    if text.len() > MAX_NUMBER_LEN {
        return false;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()),
        None => (text, Some(0)),
    };
    let Some(exponent) = exponent.filter(|exponent| exponent.unsigned_abs() <= 100) else {
        return false;
    };
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = !(whole.is_empty() && fraction.is_empty())
        && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let digits = format!("{whole}{}", fraction.trim_end_matches('0'));
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if !is_number || significant.is_empty() {
        return is_number;
    }
    // The number is 0.DIGITS times ten to the power `point`.
    let leading_zeros = digits.len() - digits.trim_start_matches('0').len();
    let point = whole.len() as i32 - leading_zeros as i32 + i32::from(exponent);
    let decimals = significant.len() as i32 - point;
    decimals <= i32::from(scale) && point <= i32::from(precision) - i32::from(scale)
}

/// Lets a text through that is a time or none at all; one that would be cut is told as such.
fn is_whole_time(value: &str, data_type: &DataType) -> Result<bool, Mismatch> {
    let fits = match value.contains('\\') {
        true => text_of(value).is_none_or(|text| fits_time(&text, data_type)),
        false => fits_time(value.trim_matches('"'), data_type),
    };
    match fits {
        true => Ok(true),
        false => {
            let mut mismatch = Mismatch::new(value, data_type);
            mismatch.got.push_str(", finer than its type,");
            Err(mismatch)
        }
    }
}

fn hex(value: &str, bytes: Option<usize>) -> bool {
    if Kind::of(value) != Kind::String {
        return false;
    }
    let digits = value.trim_matches('"').as_bytes();
    digits.len().is_multiple_of(2)
        && bytes.is_none_or(|bytes| digits.len() == 2 * bytes)
        && digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::*;

    fn fits(value: &str, data_type: &DataType) -> bool {
        check(value, data_type).is_ok()
    }

    #[test]
    fn integers_are_never_cut_or_rounded() {
        for good in ["7", "-7", "3.0", "1e3", "\"9223372036854775807\"", "-9223372036854775808"] {
            assert!(fits(good, &DataType::Int64), "{good}");
        }
        for bad in
            ["3.7", "1e19", "9223372036854775808", "-9223372036854775809", "\"five\"", "true"]
        {
            assert!(!fits(bad, &DataType::Int64), "{bad}");
        }
        assert!(!fits("128", &DataType::Int8));
        assert!(!fits("-1", &DataType::UInt64));
    }

    #[test]
    fn floats_outside_the_type_do_not_become_infinite() {
        assert!(fits("1e308", &DataType::Float64));
        assert!(!fits("1e309", &DataType::Float64));
        assert!(!fits("1e39", &DataType::Float32));
        assert!(!fits("\"NaN\"", &DataType::Float64));
    }

    #[test]
    fn decimals_must_hold_every_digit() {
        let money = DataType::Decimal128(10, 2);
        for good in ["1.5", "1.50", "1.500", "-12345678.99", "\"0.01\"", "0", "1e2", "15e-1", "100"]
        {
            assert!(fits(good, &money), "{good}");
        }
        for bad in ["1.239", "123456789.00", "1e99", "\"x\"", "\"\"", "\".\"", "1e-3"] {
            assert!(!fits(bad, &money), "{bad}");
        }
        assert!(!fits(&"9".repeat(300), &DataType::Decimal256(76, 0)));
    }

    #[test]
    fn binary_is_whole_bytes_in_hex() {
        assert!(fits("\"0aFF\"", &DataType::Binary));
        assert!(!fits("\"0aF\"", &DataType::Binary));
        assert!(!fits("\"zz\"", &DataType::Binary));
        assert!(!fits("\"0aff\"", &DataType::FixedSizeBinary(3)));
    }

    #[test]
    fn times_are_texts_or_whole_numbers() {
        let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert!(fits("\"2024-01-01T00:00:00Z\"", &timestamp));
        assert!(fits("12", &timestamp));
        assert!(!fits("[1]", &timestamp));
    }

    #[test]
    fn times_are_not_cut_to_their_type() {
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        assert!(fits(r#""2024-02-29T12:00:00.000\u002B02:00""#, &seconds));
        let mismatch = check(r#""2024-02-29T12:00:00\u002E9""#, &seconds).unwrap_err();
        assert!(mismatch.got.ends_with(", finer than its type,"), "{mismatch:?}");
        assert!(!fits(r#""2024-02-29T12:00:00.9""#, &seconds));
        assert!(!fits(r#""2024-02-29T23:00:00-05:00""#, &DataType::Date32));
        assert!(fits(r#""2024-02-29""#, &DataType::Date32));
    }

    #[test]
    fn the_place_of_a_nested_value_is_named() {
        let item = Arc::new(Field::new("item", DataType::Int32, true));
        let fields = vec![Field::new("counts", DataType::List(item), true)];
        let mismatch = check(r#"{"counts": [1, 2, "x"]}"#, &DataType::Struct(fields.into()));
        assert_eq!(
            mismatch,
            Err(Mismatch {
                place: ".counts[2]".into(),
                got: "a string (\"x\")".into(),
                declared: "INT".into(),
            })
        );
    }

    #[test]
    fn a_vector_of_another_length_is_told_with_both_numbers() {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let mismatch = check("[1, 2]", &DataType::FixedSizeList(item, 3)).unwrap_err();
        assert_eq!(
            (mismatch.got.as_str(), mismatch.declared.as_str()),
            ("an array of 2 elements", "FLOAT[3]")
        );
    }

    #[test]
    fn a_deeply_nested_answer_is_refused_without_recursion() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(!fits(&deep, &DataType::Int64));
    }
}
