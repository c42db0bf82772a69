//! [`Keys`], the keys of a request in the server's binary form, and where each of them stands.

use std::error::Error;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericByteArray, GenericByteViewArray,
};
use arrow::datatypes::{
    BinaryViewType, ByteArrayType, ByteViewType, DataType, Date32Type, Decimal128Type,
    Decimal256Type, Float32Type, Float64Type, GenericBinaryType, GenericStringType, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, StringViewType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use bytes::{BufMut, BytesMut};
use hashbrown::HashMap;
use smallvec::SmallVec;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};
use super::numeric;
use super::statement::{KeyPart, KeyText};
use super::types::Wire;

/// One column of keys as values of the server.
#[derive(Debug, Default)]
struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    fn value(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }
}

/// The keys of a request.
///
/// A key that no value of the server can be equal to, a text with a zero byte for instance, is not
/// sent.
#[derive(Debug)]
pub(super) struct Keys {
    columns: Vec<Encoded>,
    wires: Vec<Wire>,
    sent: Vec<usize>,
}

impl Keys {
    /// Writes the keys; `None` if a column is of a type that does not travel.
    pub(super) fn of(columns: &[ArrayRef], parts: &[KeyPart], rows: usize) -> Option<Self> {
        let mut sent = vec![true; rows];
        let mut encoded = Vec::with_capacity(columns.len());
        for (column, part) in columns.iter().zip(parts) {
            encoded.push(encode(column, part, &mut sent)?);
        }
        let sent = (0..rows).filter(|row| sent[*row]).collect();
        let wires = parts.iter().map(|part| part.wire).collect();
        Some(Self { columns: encoded, wires, sent })
    }

    /// Says whether no key needs to be asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns the keys as parameters, one array for each column.
    pub(super) fn parameters(&self) -> Vec<KeyArray<'_>> {
        let column = |column| KeyArray { column, sent: &self.sent };
        self.columns.iter().map(column).collect()
    }

    /// Returns where each key stands in the request, by what the server answers for it.
    pub(super) fn positions(&self) -> HashMap<Identity, u32> {
        let position = |row: &usize| {
            let mut key = Identity::new();
            let values = self.columns.iter().map(|column| column.value(*row));
            identify(&self.wires, values, &mut key);
            (key, *row as u32)
        };
        self.sent.iter().map(position).collect()
    }

    /// Returns what the columns of the key travel as.
    pub(super) fn wires(&self) -> &[Wire] {
        &self.wires
    }
}

/// What equal keys have in common, and no others; short ones need no memory of their own.
pub(super) type Identity = SmallVec<[u8; 24]>;

/// Writes the identity of a key.
pub(super) fn identify<'a>(
    wires: &[Wire],
    values: impl Iterator<Item = &'a [u8]>,
    out: &mut Identity,
) {
    out.clear();
    for (wire, value) in wires.iter().zip(values) {
        if wires.len() > 1 {
            out.extend((value.len() as u32).to_be_bytes());
        }
        match wire {
            // 1.5 and 1.50 are one number.
            Wire::Numeric if value.len() >= numeric::SCALE.end => {
                out.extend_from_slice(&value[..numeric::SCALE.start]);
                out.extend_from_slice(&value[numeric::SCALE.end..]);
            }
            _ => out.extend_from_slice(value),
        }
    }
}

/// One column of keys as an array of the server.
#[derive(Debug)]
pub(super) struct KeyArray<'a> {
    column: &'a Encoded,
    sent: &'a [usize],
}

impl ToSql for KeyArray<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let tokio_postgres::types::Kind::Array(element) = ty.kind() else {
            return Err(format!("keys are an array, not {ty}").into());
        };
        out.put_i32(1); // dimensions
        out.put_i32(0); // no NULLs
        out.put_u32(element.oid());
        out.put_i32(i32::try_from(self.sent.len())?);
        out.put_i32(1); // the first index
        for row in self.sent {
            let value = self.column.value(*row);
            out.put_i32(i32::try_from(value.len())?);
            out.put_slice(value);
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Writes a column; rows that cannot be equal to any value are taken out of `sent`.
fn encode(column: &ArrayRef, part: &KeyPart, sent: &mut [bool]) -> Option<Encoded> {
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            Some(each(sent, |row, out| {
                out.push(u8::from(values.value(row)));
                true
            }))
        }
        DataType::Int16 => Some(fixed::<Int16Type, 2>(column, sent, |v| Some(v.to_be_bytes()))),
        DataType::Int32 => Some(fixed::<Int32Type, 4>(column, sent, |v| Some(v.to_be_bytes()))),
        DataType::Int64 => Some(fixed::<Int64Type, 8>(column, sent, |v| Some(v.to_be_bytes()))),
        DataType::Float32 => Some(fixed::<Float32Type, 4>(column, sent, |v| Some(v.to_be_bytes()))),
        DataType::Float64 => Some(fixed::<Float64Type, 8>(column, sent, |v| Some(v.to_be_bytes()))),
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (column.as_primitive::<Decimal128Type>(), *scale);
            Some(each(sent, |row, out| {
                numeric::encode(&values.value(row).to_string(), scale, out);
                true
            }))
        }
        DataType::Decimal256(_, scale) => {
            let (values, scale) = (column.as_primitive::<Decimal256Type>(), *scale);
            Some(each(sent, |row, out| {
                numeric::encode(&values.value(row).to_string(), scale, out);
                true
            }))
        }
        DataType::Utf8 => Some(texts::<GenericStringType<i32>>(column, part, sent)),
        DataType::LargeUtf8 => Some(texts::<GenericStringType<i64>>(column, part, sent)),
        DataType::Utf8View => Some(views::<StringViewType>(column, part, sent)),
        DataType::Binary => Some(texts::<GenericBinaryType<i32>>(column, part, sent)),
        DataType::LargeBinary => Some(texts::<GenericBinaryType<i64>>(column, part, sent)),
        DataType::BinaryView => Some(views::<BinaryViewType>(column, part, sent)),
        DataType::Date32 => Some(fixed::<Date32Type, 4>(column, sent, |days| {
            days.checked_sub(EPOCH_DAYS).map(i32::to_be_bytes)
        })),
        DataType::Time64(TimeUnit::Nanosecond) => {
            Some(fixed::<Time64NanosecondType, 8>(column, sent, |nanos| {
                (nanos % 1000 == 0).then(|| (nanos / 1000).to_be_bytes())
            }))
        }
        DataType::Time64(_) => {
            Some(fixed::<Time64MicrosecondType, 8>(column, sent, |v| Some(v.to_be_bytes())))
        }
        DataType::Timestamp(unit, _) => Some(timestamps(*unit, column, sent)),
        DataType::Interval(_) => Some(fixed::<IntervalMonthDayNanoType, 16>(column, sent, |v| {
            let whole = v.nanoseconds % 1000 == 0;
            let micros = (v.nanoseconds / 1000).to_be_bytes();
            let mut raw = [0; 16];
            raw[..8].copy_from_slice(&micros);
            raw[8..12].copy_from_slice(&v.days.to_be_bytes());
            raw[12..].copy_from_slice(&v.months.to_be_bytes());
            whole.then_some(raw)
        })),
        _ => None,
    }
}

fn timestamps(unit: TimeUnit, column: &ArrayRef, sent: &mut [bool]) -> Encoded {
    // The ends of the range stand for infinity, which no key is.
    let write = |micros: Option<i64>| {
        let micros = micros?.checked_sub(EPOCH_MICROS)?;
        (micros > i64::MIN).then(|| micros.to_be_bytes())
    };
    match unit {
        TimeUnit::Second => {
            fixed::<TimestampSecondType, 8>(column, sent, |v| write(v.checked_mul(1_000_000)))
        }
        TimeUnit::Millisecond => {
            fixed::<TimestampMillisecondType, 8>(column, sent, |v| write(v.checked_mul(1000)))
        }
        TimeUnit::Microsecond => {
            fixed::<TimestampMicrosecondType, 8>(column, sent, |v| write(Some(v)))
        }
        TimeUnit::Nanosecond => fixed::<TimestampNanosecondType, 8>(column, sent, |v| {
            write((v % 1000 == 0).then_some(v / 1000))
        }),
    }
}

/// Writes each row; those that `write` refuses are not sent.
fn each(sent: &mut [bool], mut write: impl FnMut(usize, &mut Vec<u8>) -> bool) -> Encoded {
    let mut encoded = Encoded::default();
    for (row, sent) in sent.iter_mut().enumerate() {
        *sent &= write(row, &mut encoded.bytes);
        encoded.ends.push(encoded.bytes.len());
    }
    encoded
}

fn fixed<T: ArrowPrimitiveType, const N: usize>(
    column: &ArrayRef,
    sent: &mut [bool],
    write: impl Fn(T::Native) -> Option<[u8; N]>,
) -> Encoded {
    let values = column.as_primitive::<T>();
    each(sent, |row, out| match write(values.value(row)) {
        Some(raw) => {
            out.extend(raw);
            true
        }
        None => false,
    })
}

fn texts<T: ByteArrayType>(column: &ArrayRef, part: &KeyPart, sent: &mut [bool]) -> Encoded {
    let values: &GenericByteArray<T> = column.as_bytes();
    each(sent, |row, out| text(part, values.value(row).as_ref(), out))
}

fn views<T: ByteViewType>(column: &ArrayRef, part: &KeyPart, sent: &mut [bool]) -> Encoded {
    let values: &GenericByteViewArray<T> = column.as_byte_view();
    each(sent, |row, out| text(part, values.value(row).as_ref(), out))
}

fn text(part: &KeyPart, value: &[u8], out: &mut Vec<u8>) -> bool {
    out.extend(value);
    part.wire == Wire::Bytea
        || !value.contains(&0)
            && match part.text {
                KeyText::Any => true,
                // The server ignores blanks at the end, and does not give them back.
                KeyText::Padded => !value.ends_with(b" "),
                KeyText::Uuid => is_uuid(value),
            }
}

/// Says whether a text is an UUID as the server writes it; it reads others, which are other texts.
fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, c): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *c == b'-',
        _ => matches!(c, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.iter().enumerate().all(fits)
}
