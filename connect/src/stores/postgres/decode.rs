//! [`Column`], which gathers the values of one column of an answer in the server's binary form.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanBuilder, GenericByteBuilder, GenericByteViewBuilder,
    ListArray, NullBufferBuilder, PrimitiveBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    BinaryViewType, ByteArrayType, ByteViewType, DataType, Date32Type, Decimal128Type,
    Decimal256Type, FieldRef, Float32Type, Float64Type, GenericBinaryType, GenericStringType,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    StringViewType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, i256,
};
use arrow::error::ArrowError;

use super::numeric;
use crate::stores::postgres::types::Misfit;

/// Days from 1970-01-01, where Arrow counts from, to 2000-01-01, where the server does.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;
const DAY_MICROS: i64 = 86_400_000_000;

/// Gathers the values of a column.
pub(crate) trait Column: Send {
    /// Takes a value in the server's binary form, `None` for NULL.
    ///
    /// # Errors
    /// A value that the declared type does not hold; NULL stands in its place.
    fn push(&mut self, raw: Option<&[u8]>) -> Result<(), Misfit>;

    /// Returns the values so far, and begins anew.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

/// Makes the column of a declared type; `None` for one that does not travel.
pub(crate) fn column(data_type: &DataType) -> Option<Box<dyn Column>> {
    Some(match data_type {
        DataType::Boolean => Box::new(Booleans(BooleanBuilder::new())),
        DataType::Int16 => fixed::<Int16Type>(data_type, |raw| Ok(i16::from_be_bytes(bytes(raw)?))),
        DataType::Int32 => fixed::<Int32Type>(data_type, int4),
        DataType::Int64 => fixed::<Int64Type>(data_type, int8),
        DataType::Float32 => {
            fixed::<Float32Type>(data_type, |raw| Ok(f32::from_be_bytes(bytes(raw)?)))
        }
        DataType::Float64 => {
            fixed::<Float64Type>(data_type, |raw| Ok(f64::from_be_bytes(bytes(raw)?)))
        }
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            fixed::<Decimal128Type>(data_type, move |raw| {
                numeric::decode::<Decimal128Type>(raw, precision, scale, i128::from)
            })
        }
        DataType::Decimal256(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            let digit = |digit: i16| i256::from_i128(digit.into());
            fixed::<Decimal256Type>(data_type, move |raw| {
                numeric::decode::<Decimal256Type>(raw, precision, scale, digit)
            })
        }
        DataType::Utf8 => texts::<GenericStringType<i32>>(text),
        DataType::LargeUtf8 => texts::<GenericStringType<i64>>(text),
        DataType::Utf8View => views::<StringViewType>(text),
        DataType::Binary => texts::<GenericBinaryType<i32>>(|raw| Ok(raw)),
        DataType::LargeBinary => texts::<GenericBinaryType<i64>>(|raw| Ok(raw)),
        DataType::BinaryView => views::<BinaryViewType>(|raw| Ok(raw)),
        DataType::Date32 => fixed::<Date32Type>(data_type, date),
        DataType::Time64(TimeUnit::Nanosecond) => {
            fixed::<Time64NanosecondType>(data_type, |raw| Ok(time(raw)? * 1000))
        }
        DataType::Time64(_) => fixed::<Time64MicrosecondType>(data_type, time),
        DataType::Timestamp(unit, _) => timestamps(*unit, data_type),
        DataType::Interval(_) => fixed::<IntervalMonthDayNanoType>(data_type, interval),
        DataType::List(item) => Box::new(Lists::new(item)?),
        _ => return None,
    })
}

fn timestamps(unit: TimeUnit, data_type: &DataType) -> Box<dyn Column> {
    match unit {
        TimeUnit::Second => {
            fixed::<TimestampSecondType>(data_type, |raw| whole(timestamp(raw)?, 1_000_000))
        }
        TimeUnit::Millisecond => {
            fixed::<TimestampMillisecondType>(data_type, |raw| whole(timestamp(raw)?, 1000))
        }
        TimeUnit::Microsecond => fixed::<TimestampMicrosecondType>(data_type, timestamp),
        TimeUnit::Nanosecond => fixed::<TimestampNanosecondType>(data_type, |raw| {
            timestamp(raw)?.checked_mul(1000).ok_or(Misfit("is out of range"))
        }),
    }
}

fn bytes<const N: usize>(raw: &[u8]) -> Result<[u8; N], Misfit> {
    raw.try_into().map_err(|_| Misfit::BROKEN)
}

fn int4(raw: &[u8]) -> Result<i32, Misfit> {
    Ok(i32::from_be_bytes(bytes(raw)?))
}

fn int8(raw: &[u8]) -> Result<i64, Misfit> {
    Ok(i64::from_be_bytes(bytes(raw)?))
}

fn text(raw: &[u8]) -> Result<&str, Misfit> {
    std::str::from_utf8(raw).map_err(|_| Misfit("is not UTF-8"))
}

fn date(raw: &[u8]) -> Result<i32, Misfit> {
    match int4(raw)? {
        i32::MIN | i32::MAX => Err(Misfit("is infinite")),
        days => days.checked_add(EPOCH_DAYS).ok_or(Misfit("is out of range")),
    }
}

fn time(raw: &[u8]) -> Result<i64, Misfit> {
    match int8(raw)? {
        micros if micros < DAY_MICROS => Ok(micros),
        _ => Err(Misfit("is 24:00, which is no time of a day")),
    }
}

/// Reads microseconds since 1970.
fn timestamp(raw: &[u8]) -> Result<i64, Misfit> {
    match int8(raw)? {
        i64::MIN | i64::MAX => Err(Misfit("is infinite")),
        micros => micros.checked_add(EPOCH_MICROS).ok_or(Misfit("is out of range")),
    }
}

/// Turns microseconds into a coarser unit, if that loses nothing.
fn whole(micros: i64, unit: i64) -> Result<i64, Misfit> {
    match micros.rem_euclid(unit) {
        0 => Ok(micros.div_euclid(unit)),
        _ => Err(Misfit("is finer than its type")),
    }
}

fn interval(raw: &[u8]) -> Result<IntervalMonthDayNano, Misfit> {
    let raw: [u8; 16] = bytes(raw)?;
    let nanos = int8(&raw[..8])?.checked_mul(1000).ok_or(Misfit("is out of range"))?;
    Ok(IntervalMonthDayNano::new(int4(&raw[12..])?, int4(&raw[8..12])?, nanos))
}

/// Puts a value, or NULL for one that does not fit, where `put` wants it.
fn put<T>(value: Option<Result<T, Misfit>>, put: impl FnOnce(Option<T>)) -> Result<(), Misfit> {
    match value.transpose() {
        Ok(value) => {
            put(value);
            Ok(())
        }
        Err(misfit) => {
            put(None);
            Err(misfit)
        }
    }
}

struct Booleans(BooleanBuilder);

impl Column for Booleans {
    fn push(&mut self, raw: Option<&[u8]>) -> Result<(), Misfit> {
        let value = raw.map(|raw| bytes(raw).map(|[byte]: [u8; 1]| byte != 0));
        put(value, |value| self.0.append_option(value))
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.0.finish()))
    }
}

/// Values of a fixed width.
struct Fixed<T: ArrowPrimitiveType, F> {
    values: PrimitiveBuilder<T>,
    read: F,
}

fn fixed<T: ArrowPrimitiveType>(
    data_type: &DataType,
    read: impl Fn(&[u8]) -> Result<T::Native, Misfit> + Send + 'static,
) -> Box<dyn Column> {
    let values = PrimitiveBuilder::<T>::new().with_data_type(data_type.clone());
    Box::new(Fixed { values, read })
}

impl<T: ArrowPrimitiveType, F> Column for Fixed<T, F>
where
    F: Fn(&[u8]) -> Result<T::Native, Misfit> + Send,
{
    fn push(&mut self, raw: Option<&[u8]>) -> Result<(), Misfit> {
        put(raw.map(&self.read), |value| self.values.append_option(value))
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.values.finish()))
    }
}

/// Reads a text or bytes where they stand.
type Read<T> = fn(&[u8]) -> Result<&T, Misfit>;

/// Texts or bytes, one behind the other.
struct Texts<T: ByteArrayType> {
    values: GenericByteBuilder<T>,
    read: Read<T::Native>,
}

fn texts<T: ByteArrayType>(read: Read<T::Native>) -> Box<dyn Column> {
    Box::new(Texts::<T> { values: GenericByteBuilder::new(), read })
}

impl<T: ByteArrayType> Column for Texts<T> {
    fn push(&mut self, raw: Option<&[u8]>) -> Result<(), Misfit> {
        put(raw.map(self.read), |value| self.values.append_option(value))
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.values.finish()))
    }
}

/// Texts or bytes as views.
struct Views<T: ByteViewType> {
    values: GenericByteViewBuilder<T>,
    read: Read<T::Native>,
}

fn views<T: ByteViewType>(read: Read<T::Native>) -> Box<dyn Column> {
    Box::new(Views::<T> { values: GenericByteViewBuilder::new(), read })
}

impl<T: ByteViewType> Column for Views<T> {
    fn push(&mut self, raw: Option<&[u8]>) -> Result<(), Misfit> {
        put(raw.map(self.read), |value| self.values.append_option(value))
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.values.finish()))
    }
}

/// Arrays of one dimension; where they begin to count is not kept.
struct Lists {
    item: FieldRef,
    values: Box<dyn Column>,
    lengths: Vec<usize>,
    valid: NullBufferBuilder,
}

impl Lists {
    fn new(item: &FieldRef) -> Option<Self> {
        let values = column(item.data_type())?;
        let valid = NullBufferBuilder::new(0);
        Some(Self { item: Arc::clone(item), values, lengths: Vec::new(), valid })
    }

    /// Takes the elements; returns how many were taken, also if one does not fit.
    fn elements(&mut self, mut rest: &[u8]) -> (usize, Result<(), Misfit>) {
        let mut taken = 0;
        let mut take = || {
            let dimensions = next_int(&mut rest)?;
            let (_has_nulls, _element) = (next_int(&mut rest)?, next_int(&mut rest)?);
            match dimensions {
                0 => return Ok(()),
                1 => {}
                _ => return Err(Misfit("has several dimensions")),
            }
            let (length, _first) = (next_int(&mut rest)?, next_int(&mut rest)?);
            let mut outcome = Ok(());
            for _ in 0..length {
                let raw = match usize::try_from(next_int(&mut rest)?) {
                    Err(_) => None,
                    Ok(length) => Some(next(&mut rest, length)?),
                };
                taken += 1;
                outcome = outcome.and(self.values.push(raw));
            }
            outcome
        };
        let outcome = take();
        (taken, outcome)
    }
}

fn next<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Misfit> {
    let (taken, behind) = rest.split_at_checked(length).ok_or(Misfit::BROKEN)?;
    *rest = behind;
    Ok(taken)
}

fn next_int(rest: &mut &[u8]) -> Result<i32, Misfit> {
    int4(next(rest, 4)?)
}

impl Column for Lists {
    fn push(&mut self, raw: Option<&[u8]>) -> Result<(), Misfit> {
        self.valid.append(raw.is_some());
        let (taken, outcome) = raw.map_or((0, Ok(())), |raw| self.elements(raw));
        self.lengths.push(taken);
        outcome
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let (item, values) = (Arc::clone(&self.item), self.values.finish()?);
        let lists = ListArray::try_new(item, offsets, values, self.valid.finish())?;
        Ok(Arc::new(lists))
    }
}
