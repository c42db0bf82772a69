//! [`ScalarColumn`] and [`ScalarBuilder`], columns that are read and built value by value.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue};

use crate::adapt::typed_value::TypedValue;

macro_rules! scalar_columns {
    ($($variant:ident => $native:ty),+ $(,)?) => {
        /// A column that is read row by row; of a common type, without asking for the type each time.
        pub(crate) enum ScalarColumn {
            $(
                /// A column of this type.
                $variant(<$native as TypedValue>::Array),
            )+
            /// A column of any other type.
            Other(ArrayRef),
        }

        impl ScalarColumn {
            pub(crate) fn new(array: &ArrayRef) -> Self {
                let known = match array.data_type() {
                    $(DataType::$variant => <$native>::downcast(array).map(Self::$variant),)+
                    _ => None,
                };
                known.unwrap_or_else(|| Self::Other(Arc::clone(array)))
            }

            /// Appends the value of one row to `values`.
            #[inline]
            pub(crate) fn push_to(&self, row: usize, values: &mut Vec<ScalarValue>) -> Result<()> {
                match self {
                    $(Self::$variant(array) => {
                        let value = <$native as TypedValue>::read(array, row);
                        values.push(ScalarValue::$variant(value));
                    })+
                    Self::Other(array) => values.push(ScalarValue::try_from_array(array, row)?),
                }
                Ok(())
            }
        }

        enum Values {
            $($variant(<$native as TypedValue>::Builder),)+
            Other { null: ScalarValue, values: Vec<ScalarValue> },
        }

        impl Values {
            fn new(data_type: &DataType) -> Result<Self> {
                Ok(match data_type {
                    $(DataType::$variant => Self::$variant(<$native as TypedValue>::builder(0)),)+
                    _ => Self::Other { null: data_type.try_into()?, values: Vec::new() },
                })
            }

            /// Appends a value of the builder's type; gives any other back.
            #[inline]
            fn append(&mut self, value: ScalarValue) -> Result<(), Box<ScalarValue>> {
                match self {
                    $(Self::$variant(builder) => match value {
                        ScalarValue::$variant(value) => {
                            <$native as TypedValue>::append(builder, value);
                            Ok(())
                        }
                        other => Err(Box::new(other)),
                    },)+
                    Self::Other { null, values } if null.data_type() == value.data_type() => {
                        values.push(value);
                        Ok(())
                    }
                    Self::Other { .. } => Err(Box::new(value)),
                }
            }

            fn append_null(&mut self) {
                match self {
                    $(Self::$variant(builder) => <$native as TypedValue>::append(builder, None),)+
                    Self::Other { null, values } => values.push(null.clone()),
                }
            }

            fn finish(self) -> Result<ArrayRef> {
                match self {
                    $(Self::$variant(builder) => Ok(<$native as TypedValue>::finish(builder)),)+
                    Self::Other { null, values } if values.is_empty() => {
                        Ok(new_empty_array(&null.data_type()))
                    }
                    Self::Other { values, .. } => ScalarValue::iter_to_array(values),
                }
            }
        }
    };
}

scalar_columns! {
    Boolean => bool,
    Int8 => i8,
    Int16 => i16,
    Int32 => i32,
    Int64 => i64,
    UInt8 => u8,
    UInt16 => u16,
    UInt32 => u32,
    UInt64 => u64,
    Float32 => f32,
    Float64 => f64,
    Utf8 => String,
    Binary => Vec<u8>,
}

/// Builds a column of one type; takes no memory before its first value.
pub(crate) struct ScalarBuilder(Values);

impl ScalarBuilder {
    /// Makes a builder.
    ///
    /// Errors: for a type that scalar values do not have.
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        Ok(Self(Values::new(data_type)?))
    }

    /// Appends a value; an untyped NULL is a NULL of every type.
    ///
    /// Errors: a value of another type is given back, and nothing is appended.
    #[inline]
    pub(crate) fn append(&mut self, value: ScalarValue) -> Result<(), Box<ScalarValue>> {
        match self.0.append(value) {
            Err(other) if matches!(*other, ScalarValue::Null) => {
                self.append_null();
                Ok(())
            }
            appended => appended,
        }
    }

    pub(crate) fn append_null(&mut self) {
        self.0.append_null();
    }

    pub(crate) fn finish(self) -> Result<ArrayRef> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array,
        Int64Array, NullArray, StringArray, StringViewArray, TimestampMillisecondArray,
        UInt32Array, new_null_array,
    };

    use super::*;

    #[test]
    fn columns_of_every_type_are_built_from_what_is_read() {
        let decimals = Decimal128Array::from(vec![Some(125), None]).with_precision_and_scale(9, 2);
        let times = TimestampMillisecondArray::from(vec![Some(7), None]).with_timezone("+01:00");
        let columns: [ArrayRef; 12] = [
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)])),
            Arc::new(Float64Array::from(vec![Some(f64::MIN), None, Some(f64::INFINITY)])),
            Arc::new(StringArray::from(vec![Some("grün"), None, Some("")])),
            Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None, Some(&[])])),
            Arc::new(StringViewArray::from(vec![Some("a"), None])),
            Arc::new(Date32Array::from(vec![Some(1), None])),
            Arc::new(decimals.unwrap()),
            Arc::new(times),
            Arc::new(NullArray::new(2)),
        ];
        for column in columns {
            let mut builder = ScalarBuilder::new(column.data_type()).unwrap();
            let read = ScalarColumn::new(&column);
            for row in 0..column.len() {
                let mut values = vec![];
                read.push_to(row, &mut values).unwrap();
                builder.append(values.remove(0)).unwrap();
            }
            assert_eq!(builder.finish().unwrap().as_ref(), column.as_ref());
        }
    }

    #[test]
    fn untyped_nulls_fit_every_type_and_other_values_are_given_back() {
        for data_type in [DataType::Int64, DataType::Date32, DataType::Utf8] {
            let mut builder = ScalarBuilder::new(&data_type).unwrap();
            let other = ScalarValue::from(true);
            assert_eq!(builder.append(other.clone()), Err(Box::new(other)));
            builder.append(ScalarValue::Null).unwrap();
            builder.append_null();
            assert_eq!(&builder.finish().unwrap(), &new_null_array(&data_type, 2));
        }
    }

    #[test]
    fn a_column_without_values_has_its_type() {
        for data_type in [DataType::Int64, DataType::Date32, DataType::Utf8View] {
            let built = ScalarBuilder::new(&data_type).unwrap().finish().unwrap();
            assert_eq!((built.data_type(), built.len()), (&data_type, 0));
        }
    }
}
