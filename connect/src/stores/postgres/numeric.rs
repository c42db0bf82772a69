//! Numbers with all their digits, as the server sends and reads them: base 10,000, most significant first.

use arrow::datatypes::{ArrowNativeTypeOp, DecimalType};

use crate::stores::postgres::types::Misfit;

/// Bytes before the digits: their number, the weight of the first, the sign, the digits behind the point.
const HEAD: usize = 8;
const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0;
/// The base of the digits, as a power of ten.
const DIGIT: i32 = 4;

/// Where the number of digits behind the point stands, which says nothing about the value.
pub(crate) const SCALE: std::ops::Range<usize> = 6..8;

/// Reads a number as a decimal of a precision and a scale.
///
/// # Errors
/// A number that is none, or that has more digits than are declared, before or behind the point.
pub(crate) fn decode<T: DecimalType>(
    raw: &[u8],
    precision: u8,
    scale: i8,
    of_digit: impl Fn(i16) -> T::Native,
) -> Result<T::Native, Misfit> {
    let word = |at: usize| raw.get(at..at + 2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
    let (Some(count), Some(weight), Some(sign)) = (word(0), word(2), word(4)) else {
        return Err(Misfit::BROKEN);
    };
    let negative = match sign as u16 {
        POSITIVE => false,
        NEGATIVE => true,
        0xC000 => return Err(Misfit("is not a number")),
        _ => return Err(Misfit("is infinite")),
    };
    let Some(last) = (count as usize).checked_sub(1) else { return Ok(T::Native::ZERO) };
    let too_large = |_| Misfit("has more digits than are declared");
    let digit = |at: usize| word(HEAD + 2 * at).ok_or(Misfit::BROKEN);
    let shift = |value: T::Native, by: i32| {
        let factor = of_digit(10).pow_checked(by as u32).map_err(too_large)?;
        value.mul_checked(factor).map_err(too_large)
    };
    let mut value = T::Native::ZERO;
    for at in 0..last {
        value = shift(value, DIGIT)?.add_checked(of_digit(digit(at)?)).map_err(too_large)?;
    }
    let end = digit(last)?;
    // What power of ten the last digit stands for, in units of the scale.
    let place = DIGIT * (i32::from(weight) - last as i32) + i32::from(scale);
    value = if place >= 0 {
        let all = shift(value, DIGIT)?.add_checked(of_digit(end)).map_err(too_large)?;
        shift(all, place)?
    } else if place > -DIGIT && i32::from(end) % 10_i32.pow(-place as u32) == 0 {
        let end = i32::from(end) / 10_i32.pow(-place as u32);
        shift(value, DIGIT + place)?.add_checked(of_digit(end as i16)).map_err(too_large)?
    } else {
        return Err(Misfit("has more digits behind the point than are declared"));
    };
    let value = if negative { value.neg_checked().map_err(too_large)? } else { value };
    match T::validate_decimal_precision(value, precision, scale) {
        Ok(()) => Ok(value),
        Err(_) => Err(Misfit("has more digits than are declared")),
    }
}

/// Writes a number of a scale, given the digits of its unscaled value with a sign.
pub(crate) fn encode(unscaled: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (POSITIVE, unscaled),
    };
    let behind = scale.max(0) as usize;
    let mut digits = digits.to_owned() + &"0".repeat((-i32::from(scale)).max(0) as usize);
    digits.insert_str(0, &"0".repeat((behind + 1).saturating_sub(digits.len())));
    let (whole, fraction) = digits.split_at(digits.len() - behind);
    let (before, after) = (pad(whole.len()), pad(fraction.len()));
    let text = format!("{}{whole}{fraction}{}", "0".repeat(before), "0".repeat(after));
    let groups = text.as_bytes().chunks(DIGIT as usize);
    let groups = groups.map(|group| group.iter().fold(0, |all, c| 10 * all + i16::from(c - b'0')));
    let groups: Vec<i16> = groups.collect();
    let start = groups.iter().take_while(|group| **group == 0).count();
    let end = groups.iter().rposition(|group| *group != 0).map_or(start, |last| last + 1);
    let weight = (whole.len() + before) as i32 / DIGIT - 1 - start as i32;
    let (count, weight) = if start == end { (0, 0) } else { (end - start, weight) };
    out.extend((count as i16).to_be_bytes());
    out.extend((weight as i16).to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend((behind as i16).to_be_bytes());
    groups[start..end].iter().for_each(|group| out.extend(group.to_be_bytes()));
}

/// Returns the zeros that fill up a number of digits to whole ones of the base.
fn pad(digits: usize) -> usize {
    digits.next_multiple_of(DIGIT as usize) - digits
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Decimal128Type, Decimal256Type, i256};

    use super::*;

    fn written(value: i128, scale: i8) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&value.to_string(), scale, &mut out);
        out
    }

    fn read(raw: &[u8], precision: u8, scale: i8) -> Result<i128, Misfit> {
        decode::<Decimal128Type>(raw, precision, scale, i128::from)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let most = 10_i128.pow(38) - 1;
        for scale in [0, 1, 2, 3, 4, 5, 8, 17, 37, 38, -1, -4, -5] {
            for value in [0, 1, -1, 9_999, 10_000, -10_001, 123_456_789, most, -most] {
                let raw = written(value, scale);
                assert_eq!(read(&raw, 38, scale), Ok(value), "{value} of scale {scale}");
                let wide = decode::<Decimal256Type>(&raw, 76, scale, |d| i256::from_i128(d.into()));
                assert_eq!(wide, Ok(i256::from_i128(value)));
            }
        }
    }

    #[test]
    fn the_digits_are_those_of_the_protocol() {
        // 12345.678: the digits 1, 2345, 6780; the first stands for 10,000.
        let raw = [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124];
        assert_eq!(written(12_345_678, 3), raw);
        assert_eq!(read(&raw, 10, 3), Ok(12_345_678));
        assert_eq!(read(&raw, 10, 5), Ok(1_234_567_800));
    }

    #[test]
    fn numbers_that_do_not_fit_say_why() {
        let raw = written(12_345_678, 3);
        assert_eq!(
            read(&raw, 10, 2),
            Err(Misfit("has more digits behind the point than are declared"))
        );
        assert_eq!(read(&raw, 7, 3), Err(Misfit("has more digits than are declared")));
        assert_eq!(
            read(&written(1, 8), 10, 0),
            Err(Misfit("has more digits behind the point than are declared"))
        );
        assert_eq!(read(&[0, 0, 0, 0, 0xC0, 0, 0, 0], 10, 0), Err(Misfit("is not a number")));
        assert_eq!(read(&[0, 0, 0, 0, 0xF0, 0, 0, 0], 10, 0), Err(Misfit("is infinite")));
        assert_eq!(read(&[0, 1, 0], 10, 0), Err(Misfit::BROKEN));
        assert_eq!(
            read(&[0, 1, 127, 0, 0, 0, 0, 0, 0, 1], 38, 0),
            Err(Misfit("has more digits than are declared"))
        );
    }
}
