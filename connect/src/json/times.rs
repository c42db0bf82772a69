//! [`fits_time`], which says whether a date or a time holds all that a text says of it.

use arrow::datatypes::{DataType, TimeUnit};

/// Says whether a text that Arrow reads as a value of this type loses nothing in it.
///
/// Arrow's parsers cut what is finer than the type, and turn a time with an offset into the date
/// that it has in UTC.
pub(crate) fn fits_time(text: &str, data_type: &DataType) -> bool {
    match data_type {
        // Midnight in UTC is what a date alone means.
        DataType::Date32 | DataType::Date64 => {
            let time = match text.trim_ascii().split_once(['T', 't', ' ']) {
                Some((date, time)) if date.ends_with(|c: char| c.is_ascii_digit()) => time,
                // No date at all, which its parser says.
                _ => "",
            };
            time.bytes().all(|byte| b"0:.Zz+-".contains(&byte))
        }
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => {
            decimals(text) <= digits(*unit)
        }
        _ => true,
    }
}

/// Counts the decimals of the seconds, without zeros at the end.
fn decimals(text: &str) -> usize {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    fraction[..end].trim_end_matches('0').len()
}

fn digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finer_than_its_type_does_not_fit() {
        let timestamp = |unit| DataType::Timestamp(unit, None);
        for (text, data_type, fits) in [
            ("2024-02-29T12:00:00.9", timestamp(TimeUnit::Second), false),
            ("2024-02-29T12:00:00.9", timestamp(TimeUnit::Millisecond), true),
            ("2024-02-29T12:00:00.000Z", timestamp(TimeUnit::Second), true),
            ("2024-02-29T12:00:00.1234500+05:30", timestamp(TimeUnit::Microsecond), true),
            ("2024-02-29T12:00:00.1234567+05:30", timestamp(TimeUnit::Microsecond), false),
            ("2024-02-29T12:00:00.1234567891", timestamp(TimeUnit::Nanosecond), false),
            ("12:00:00.5", DataType::Time32(TimeUnit::Second), false),
            ("12:00:00.5 PM", DataType::Time32(TimeUnit::Millisecond), true),
            ("12:00:00.0000001", DataType::Time64(TimeUnit::Microsecond), false),
            ("2024-02-29", DataType::Date32, true),
            ("-0001-02-28", DataType::Date32, true),
            ("yesterday", DataType::Date32, true),
            ("2024-02-29 00:00:00.000", DataType::Date32, true),
            ("2024-02-29T00:00:00Z", DataType::Date32, true),
            ("2024-02-29T23:00:00-05:00", DataType::Date32, false),
            ("2024-02-29T00:00:00+05:00", DataType::Date32, false),
            ("2024-02-29T12:00:00", DataType::Date32, false),
        ] {
            assert_eq!(fits_time(text, &data_type), fits, "{text} as {data_type}");
        }
    }
}
