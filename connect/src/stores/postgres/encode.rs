//! [`Keys`], the keys of a request in the server's binary form, and where each of them stands.

use std::error::Error;
use std::hash::{BuildHasher, Hash, Hasher};

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
use hashbrown::{DefaultHashBuilder, HashTable};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::numeric;
use super::types::Wire;
use crate::stores::postgres::columns::{KeyPart, KeyText};
use crate::stores::postgres::epoch::{date, timestamp};

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
pub(crate) struct Keys {
    columns: Vec<Encoded>,
    wires: Vec<Wire>,
    sent: Vec<usize>,
}

impl Keys {
    /// Writes the keys; `None` if a column is of a type that does not travel.
    pub(crate) fn of(columns: &[ArrayRef], parts: &[KeyPart], rows: usize) -> Option<Self> {
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
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns how many keys are asked for.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Returns the keys as parameters, one array for each column.
    pub(crate) fn parameters(&self) -> Vec<KeyArray<'_>> {
        let column = |column| KeyArray { column, sent: &self.sent };
        self.columns.iter().map(column).collect()
    }

    /// Finds keys by what the server answers for them.
    pub(crate) fn positions(&self) -> Positions<'_> {
        Positions { keys: self, next: 0, places: None, hasher: DefaultHashBuilder::default() }
    }

    fn hash<'v>(&self, hasher: &DefaultHashBuilder, values: impl Iterator<Item = &'v [u8]>) -> u64 {
        let mut state = hasher.build_hasher();
        self.wires.iter().zip(values).for_each(|(wire, value)| wire.hash(value, &mut state));
        state.finish()
    }

    /// Says whether a key, counted among those that are sent, has these values.
    fn is(&self, sent: usize, values: &[&[u8]]) -> bool {
        let Some(row) = self.sent.get(sent) else { return false };
        let mut parts = self.wires.iter().zip(&self.columns).zip(values);
        parts.all(|((wire, column), value)| wire.equal(column.value(*row), value))
    }
}

/// Where a key stands among those that are sent.
#[derive(Debug)]
struct Place {
    hash: u64,
    sent: usize,
}

/// Finds keys by what the server answers for them.
///
/// A server that goes along an index answers sorted keys in their order: then the next one is the
/// right one, and nothing has to be found.
#[derive(Debug)]
pub(crate) struct Positions<'a> {
    keys: &'a Keys,
    /// The key that the next row may be of, or the one before it.
    next: usize,
    /// All keys, once they are asked for in another order.
    places: Option<HashTable<Place>>,
    hasher: DefaultHashBuilder,
}

impl Positions<'_> {
    /// Returns the position of the key that has these values, `None` if it was not asked for.
    pub(crate) fn find(&mut self, values: &[&[u8]]) -> Option<usize> {
        let near = [Some(self.next), self.next.checked_sub(1)];
        let sent = match near.into_iter().flatten().find(|sent| self.keys.is(*sent, values)) {
            Some(sent) => sent,
            None => self.search(values)?,
        };
        self.next = sent + 1;
        Some(self.keys.sent[sent])
    }

    fn search(&mut self, values: &[&[u8]]) -> Option<usize> {
        let Self { keys, hasher, .. } = self;
        let places = self.places.get_or_insert_with(|| {
            let mut places = HashTable::with_capacity(keys.sent.len());
            for (sent, row) in keys.sent.iter().enumerate() {
                let values = keys.columns.iter().map(|column| column.value(*row));
                let hash = keys.hash(hasher, values);
                places.insert_unique(hash, Place { hash, sent }, |place| place.hash);
            }
            places
        });
        let hash = keys.hash(hasher, values.iter().copied());
        let equal = |place: &Place| place.hash == hash && keys.is(place.sent, values);
        places.find(hash, equal).map(|place| place.sent)
    }
}

impl Wire {
    /// Says whether two values are equal.
    fn equal(self, one: &[u8], other: &[u8]) -> bool {
        one == other
            || self.is_scaled(one) && self.is_scaled(other) && unscaled(one) == unscaled(other)
    }

    /// Writes what equal values have in common.
    fn hash(self, value: &[u8], state: &mut impl Hasher) {
        match self.is_scaled(value) {
            true => unscaled(value).hash(state),
            false => value.hash(state),
        }
    }

    /// Says whether a value names a number of digits, which makes no difference to it: 1.5 and 1.50
    /// are one number.
    fn is_scaled(self, value: &[u8]) -> bool {
        self == Wire::Numeric && value.len() >= numeric::SCALE.end
    }
}

/// Returns a number without how many of its digits are shown.
fn unscaled(number: &[u8]) -> (&[u8], &[u8]) {
    (&number[..numeric::SCALE.start], &number[numeric::SCALE.end..])
}

/// One column of keys as an array of the server.
#[derive(Debug)]
pub(crate) struct KeyArray<'a> {
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
        DataType::Date32 => {
            Some(fixed::<Date32Type, 4>(column, sent, |days| date(days).map(i32::to_be_bytes)))
        }
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
    let write = |micros: Option<i64>| Some(timestamp(micros?)?.to_be_bytes());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Decimal128Array, Int64Array, TimestampMicrosecondArray};

    use super::*;
    use crate::stores::postgres::decode::EPOCH_MICROS;

    #[test]
    fn keys_are_found_in_any_order_and_again() {
        let keys = keys(Arc::new(Int64Array::from(vec![5, 7, 6, 9])), Wire::Int8);
        let mut positions = keys.positions();
        let asked = [5, 5, 7, 9, 6, 6, 8, 5];
        let found = asked.map(|key: i64| positions.find(&[&key.to_be_bytes()]));
        let expected = [Some(0), Some(0), Some(1), Some(3), Some(2), Some(2), None, Some(0)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_number_is_found_however_many_digits_it_shows() {
        let decimals = Decimal128Array::from(vec![150, 200]).with_precision_and_scale(9, 2);
        let keys = keys(Arc::new(decimals.unwrap()), Wire::Numeric);
        let encoded = |text: &str, scale| {
            let mut raw = Vec::new();
            numeric::encode(text, scale, &mut raw);
            raw
        };
        for (text, scale, position) in [("15", 1, 0), ("1500", 3, 0), ("2", 0, 1), ("20", 1, 1)] {
            // In turn and, with another key before, by search.
            assert_eq!(keys.positions().find(&[&encoded(text, scale)]), Some(position), "{text}");
            let mut positions = keys.positions();
            assert_eq!(positions.find(&[&encoded("7", 0)]), None);
            assert_eq!(positions.find(&[&encoded(text, scale)]), Some(position), "{text}");
        }
    }

    #[test]
    fn what_the_server_has_no_date_or_time_for_is_not_sent() {
        let days = Date32Array::from(vec![0, i32::MIN, -2_440_588, -2_440_589, i32::MAX]);
        assert_eq!(keys(Arc::new(days), Wire::Date).sent, [0, 2]);
        let first = -210_866_803_200_000_000;
        let micros = TimestampMicrosecondArray::from(vec![first - 1, first, 0, i64::MAX, i64::MIN]);
        assert_eq!(keys(Arc::new(micros), Wire::Timestamp).sent, [1, 2, 3]);
        // Arrow's last microsecond is in 294247, the server's in 294276.
        assert_eq!(timestamp(i64::MAX), Some(i64::MAX - EPOCH_MICROS));
    }

    fn keys(column: ArrayRef, wire: Wire) -> Keys {
        let rows = column.len();
        Keys::of(&[column], &[KeyPart { wire, text: KeyText::Any }], rows).unwrap()
    }
}
