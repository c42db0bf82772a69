//! [`TypedValue`], a Rust type as an argument or answer.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder,
    PrimitiveArray, PrimitiveBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::{self, DataType};

/// A Rust type with an Arrow type: an argument or a result.
pub trait TypedValue: Sized + Send + 'static {
    /// The Arrow array that holds it.
    type Array: Clone;
    /// The builder of such an array.
    type Builder;
    /// Whether it takes NULL.
    const NULLABLE: bool;

    /// Returns the Arrow type.
    fn data_type() -> DataType;
    /// Downcasts an array; `None` if it has another type.
    fn downcast(array: &ArrayRef) -> Option<Self::Array>;
    /// Reads one row; `None` if a NULL stands where none is taken.
    fn read(array: &Self::Array, row: usize) -> Option<Self>;
    /// Makes a builder for about `capacity` values.
    fn builder(capacity: usize) -> Self::Builder;
    /// Appends one value, or NULL.
    fn append(builder: &mut Self::Builder, value: Option<Self>);
    /// Finishes the array.
    fn finish(builder: Self::Builder) -> ArrayRef;
}

macro_rules! primitive_values {
    ($($native:ty => $arrow:ty),+ $(,)?) => {$(
        impl TypedValue for $native {
            type Array = PrimitiveArray<$arrow>;
            type Builder = PrimitiveBuilder<$arrow>;
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                <$arrow as datatypes::ArrowPrimitiveType>::DATA_TYPE
            }
            fn downcast(array: &ArrayRef) -> Option<Self::Array> {
                array.as_primitive_opt::<$arrow>().cloned()
            }
            fn read(array: &Self::Array, row: usize) -> Option<Self> {
                array.is_valid(row).then(|| array.value(row))
            }
            fn builder(capacity: usize) -> Self::Builder {
                PrimitiveBuilder::with_capacity(capacity)
            }
            fn append(builder: &mut Self::Builder, value: Option<Self>) {
                builder.append_option(value);
            }
            fn finish(mut builder: Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    )+};
}

primitive_values! {
    i8 => datatypes::Int8Type,
    i16 => datatypes::Int16Type,
    i32 => datatypes::Int32Type,
    i64 => datatypes::Int64Type,
    u8 => datatypes::UInt8Type,
    u16 => datatypes::UInt16Type,
    u32 => datatypes::UInt32Type,
    u64 => datatypes::UInt64Type,
    f32 => datatypes::Float32Type,
    f64 => datatypes::Float64Type,
}

macro_rules! other_values {
    ($($native:ty => $array:ty, $builder:ty, $data_type:expr, |$capacity:ident| $make:expr;)+) => {$(
        impl TypedValue for $native {
            type Array = $array;
            type Builder = $builder;
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                $data_type
            }
            fn downcast(array: &ArrayRef) -> Option<Self::Array> {
                array.as_any().downcast_ref::<$array>().cloned()
            }
            fn read(array: &Self::Array, row: usize) -> Option<Self> {
                array.is_valid(row).then(|| array.value(row).into())
            }
            fn builder($capacity: usize) -> Self::Builder {
                $make
            }
            fn append(builder: &mut Self::Builder, value: Option<Self>) {
                builder.append_option(value);
            }
            fn finish(mut builder: Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
        }
    )+};
}

other_values! {
    bool => BooleanArray, BooleanBuilder, DataType::Boolean, |capacity| BooleanBuilder::with_capacity(capacity);
    String => StringArray, StringBuilder, DataType::Utf8, |capacity| StringBuilder::with_capacity(capacity, 0);
    Vec<u8> => BinaryArray, BinaryBuilder, DataType::Binary, |capacity| BinaryBuilder::with_capacity(capacity, 0);
}

impl<T: TypedValue> TypedValue for Option<T>
where
    T::Array: Clone,
{
    type Array = T::Array;
    type Builder = T::Builder;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }
    fn downcast(array: &ArrayRef) -> Option<Self::Array> {
        T::downcast(array)
    }
    fn read(array: &Self::Array, row: usize) -> Option<Self> {
        Some(T::read(array, row))
    }
    fn builder(capacity: usize) -> Self::Builder {
        T::builder(capacity)
    }
    fn append(builder: &mut Self::Builder, value: Option<Self>) {
        T::append(builder, value.flatten());
    }
    fn finish(builder: Self::Builder) -> ArrayRef {
        T::finish(builder)
    }
}
