//! [`async_fn`], which turns a typed closure into a function.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use async_trait::async_trait;

use crate::adapt::any::AsyncFunction;
use crate::adapt::rows::{PendingRow, RowBurst, RowFunction};
use crate::adapt::typed_value::TypedValue;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::conversion::{catch_panic, conversion};
use crate::contract::declaration::{Declaration, Determinism};
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::NullInput;

/// Turns an async closure into a function that SQL can call, row by row.
///
/// Shape: one to six arguments and a result, each `bool`, an integer, a float, `String`,
/// `Vec<u8>`, or an `Option` of one of these.
/// Nulls: a NULL in an argument that is no `Option` gives NULL without a call.
/// Errors: a [`CallError`]; its class decides about retries.
///
/// ```
/// use farcall_udf::{CallError, async_fn};
///
/// let shout = async_fn("shout", |text: String, times: Option<i64>| async move {
///     Ok::<String, CallError>(text.to_uppercase() + &"!".repeat(times.unwrap_or(1) as usize))
/// });
/// assert_eq!(shout.build().name(), "shout");
/// ```
pub fn async_fn<F, A>(name: impl Into<String>, function: F) -> TypedFunction<F, A>
where
    F: TypedClosure<A, Value: TypedValue>,
    A: TypedArgs,
{
    let null_input = if A::ANY_NULLABLE { NullInput::Send } else { NullInput::Skip };
    let declaration =
        Declaration::new(name, A::data_types(), F::Value::data_type()).with_null_input(null_input);
    TypedFunction { declaration, function: Arc::new(function), args: PhantomData }
}

/// A typed closure with its declaration, made by [`async_fn`].
pub struct TypedFunction<F, A> {
    declaration: Declaration,
    function: Arc<F>,
    args: PhantomData<fn(A)>,
}

impl<F, A> TypedFunction<F, A>
where
    F: TypedClosure<A, Value: TypedValue>,
    A: TypedArgs,
{
    /// Says that equal arguments do not give a reusable answer.
    pub fn volatile(mut self) -> Self {
        self.declaration = self.declaration.with_determinism(Determinism::Volatile);
        self
    }

    /// Declares the function's own call options.
    pub fn with_options(mut self, options: CallOptions) -> Self {
        self.declaration = self.declaration.with_options(options);
        self
    }

    /// Changes what the function says about itself.
    pub fn with_declaration(mut self, change: impl FnOnce(Declaration) -> Declaration) -> Self {
        self.declaration = change(self.declaration);
        self
    }

    /// Finishes the function.
    pub fn build(self) -> AsyncFunction {
        AsyncFunction::Rows(Arc::new(self))
    }
}

impl<F, A> From<TypedFunction<F, A>> for AsyncFunction
where
    F: TypedClosure<A, Value: TypedValue>,
    A: TypedArgs,
{
    fn from(function: TypedFunction<F, A>) -> Self {
        function.build()
    }
}

impl<F, A> fmt::Debug for TypedFunction<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.declaration.fmt(f)
    }
}

#[async_trait]
impl<F, A> RowFunction for TypedFunction<F, A>
where
    F: TypedClosure<A, Value: TypedValue>,
    A: TypedArgs,
{
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        _ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError> {
        let columns = A::columns(args.columns()).ok_or_else(|| {
            conversion(self.declaration.name(), "an argument", "unexpected array type")
        })?;
        // A function that waits in its first row, as remote ones do, never needs the builder.
        let mut builder: Option<<F::Value as TypedValue>::Builder> = None;
        let capacity = rows.len();
        let mut append = |value: Option<F::Value>| {
            let builder = builder.get_or_insert_with(|| F::Value::builder(capacity));
            F::Value::append(builder, value);
        };
        let mut errors = Vec::new();
        // One heap slot serves all rows that are ready at once; a row that waits takes it along.
        let mut slot: Pin<Box<Option<F::Future>>> = Box::pin(None);
        let mut pending = None;
        for (index, row) in rows.enumerate() {
            let Some(values) = A::get(&columns, row) else {
                append(None);
                continue;
            };
            let polled = catch_panic(self.declaration.name(), || {
                slot.set(Some(self.function.call(values)));
                poll_slot(slot.as_mut(), cx)
            });
            match polled {
                Ok(Poll::Ready(Ok(value))) => append(Some(value)),
                Ok(Poll::Ready(Err(error))) | Err(error) => {
                    append(None);
                    errors.push((index, error));
                }
                Ok(Poll::Pending) => {
                    pending = Some(Box::pin(async move {
                        let value = std::future::poll_fn(|cx| poll_slot(slot.as_mut(), cx)).await?;
                        let mut builder = <F::Value as TypedValue>::builder(1);
                        F::Value::append(&mut builder, Some(value));
                        Ok(F::Value::finish(builder))
                    }) as PendingRow);
                    break;
                }
            }
        }
        let builder = builder.unwrap_or_else(|| F::Value::builder(0));
        let answered = BatchAnswer::new(F::Value::finish(builder)).with_errors(errors);
        Ok(RowBurst { answered, pending })
    }
}

fn poll_slot<F: Future>(slot: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    match slot.as_pin_mut() {
        Some(future) => future.poll(cx),
        None => Poll::Pending,
    }
}

/// A closure over typed arguments; implemented for every fitting `Fn`.
pub trait TypedClosure<A>: Send + Sync + 'static {
    /// What a call gives: a value for [`async_fn`], rows for [`async_table_fn`](crate::async_table_fn).
    type Value: Send + 'static;
    /// What the closure returns.
    type Future: Future<Output = Result<Self::Value, CallError>> + Send + 'static;

    /// Calls the closure on one row.
    fn call(&self, args: A) -> Self::Future;
}

/// A tuple of argument types.
pub trait TypedArgs: Sized + 'static {
    /// The argument columns, downcast once per request.
    type Columns;
    /// Whether an argument is an `Option`.
    const ANY_NULLABLE: bool;

    /// Returns the types of the arguments.
    fn data_types() -> Vec<DataType>;
    /// Downcasts the columns; `None` if one has another type.
    fn columns(args: &[ArrayRef]) -> Option<Self::Columns>;
    /// Reads one row; `None` if a NULL stands where none is taken.
    fn get(columns: &Self::Columns, row: usize) -> Option<Self>;
}

macro_rules! closures {
    ($($arg:ident $index:tt),+) => {
        impl<$($arg: TypedValue),+> TypedArgs for ($($arg,)+) {
            type Columns = ($($arg::Array,)+);
            const ANY_NULLABLE: bool = $($arg::NULLABLE)||+;

            fn data_types() -> Vec<DataType> {
                vec![$($arg::data_type()),+]
            }
            fn columns(args: &[ArrayRef]) -> Option<Self::Columns> {
                Some(($($arg::downcast(args.get($index)?)?,)+))
            }
            fn get(columns: &Self::Columns, row: usize) -> Option<Self> {
                Some(($($arg::read(&columns.$index, row)?,)+))
            }
        }

        impl<Function, Value, Fut, $($arg: TypedValue),+> TypedClosure<($($arg,)+)> for Function
        where
            Function: Fn($($arg),+) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Value, CallError>> + Send + 'static,
            Value: Send + 'static,
        {
            type Value = Value;
            type Future = Fut;

            #[allow(non_snake_case)]
            fn call(&self, ($($arg,)+): ($($arg,)+)) -> Fut {
                self($($arg),+)
            }
        }
    };
}

closures!(A 0);
closures!(A 0, B 1);
closures!(A 0, B 1, C 2);
closures!(A 0, B 1, C 2, D 3);
closures!(A 0, B 1, C 2, D 3, E 4);
closures!(A 0, B 1, C 2, D 3, E 4, G 5);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use arrow::array::Int64Array;
    use datafusion_expr::TypeSignature;

    use super::*;

    #[test]
    fn the_signature_follows_the_closure() {
        let function = async_fn("f", |_: String, _: Option<f64>, _: bool| async move {
            Ok::<Vec<u8>, CallError>(vec![])
        })
        .build();
        let types = vec![DataType::Utf8, DataType::Float64, DataType::Boolean];
        let signature = &function.declaration().signature().type_signature;
        assert_eq!(*signature, TypeSignature::Exact(types));
        assert_eq!(function.declaration().null_input(), NullInput::Send);
        assert!(function.is_row_wise());
    }

    #[test]
    fn a_closure_without_options_skips_nulls() {
        let function = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) }).build();
        assert_eq!(function.declaration().null_input(), NullInput::Skip);
    }

    #[test]
    fn a_closure_can_be_volatile_and_have_options() {
        let options = CallOptions::new().with_buffer_capacity(3);
        let function = async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) })
            .volatile()
            .with_options(options.clone())
            .with_declaration(|declaration| declaration.with_version("2"))
            .build();
        let declaration = function.declaration();
        assert_eq!(declaration.determinism(), Determinism::Volatile);
        assert_eq!((declaration.options(), declaration.version()), (&options, "2"));
    }

    #[test]
    fn every_type_survives_the_way_through_arrow() {
        keeps([true, false]);
        keeps([i8::MIN, i8::MAX]);
        keeps([i16::MIN, i16::MAX]);
        keeps([i32::MIN, i32::MAX]);
        keeps([i64::MIN, i64::MAX]);
        keeps([u8::MIN, u8::MAX]);
        keeps([u16::MIN, u16::MAX]);
        keeps([u32::MIN, u32::MAX]);
        keeps([u64::MIN, u64::MAX]);
        keeps([f32::MIN, f32::INFINITY]);
        keeps([f64::MIN, f64::MIN_POSITIVE]);
        keeps(["", "grün"].map(String::from));
        keeps([vec![], vec![0_u8, 255]]);
    }

    #[test]
    fn a_null_is_none_for_an_option_and_no_value_at_all_otherwise() {
        let mut builder = <Option<i64> as TypedValue>::builder(2);
        <Option<i64> as TypedValue>::append(&mut builder, Some(None));
        <Option<i64> as TypedValue>::append(&mut builder, None);
        let array = <Option<i64> as TypedValue>::finish(builder);
        assert_eq!(array.null_count(), 2);
        let optional = <Option<i64> as TypedValue>::downcast(&array).unwrap();
        assert_eq!(<Option<i64> as TypedValue>::read(&optional, 0), Some(None));
        assert_eq!(i64::read(&optional, 0), None);
    }

    #[test]
    fn columns_of_another_type_are_not_read() {
        let args: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![1]))];
        assert!(<(i64,)>::columns(&args).is_some());
        assert!(<(String,)>::columns(&args).is_none());
        assert!(<(i64, i64)>::columns(&args).is_none());
    }

    /// Writes values into an array and reads them back, as they are and as options.
    fn keeps<T: TypedValue + Clone + PartialEq + Debug, const N: usize>(values: [T; N]) {
        let mut builder = T::builder(N);
        values.iter().for_each(|value| T::append(&mut builder, Some(value.clone())));
        let array = T::finish(builder);
        assert_eq!(*array.data_type(), T::data_type());
        let read = T::downcast(&array).unwrap();
        let values_again: Vec<T> = (0..N).filter_map(|row| T::read(&read, row)).collect();
        assert_eq!(values_again, values);
        let optional = <Option<T>>::downcast(&array).unwrap();
        assert_eq!(<Option<T>>::read(&optional, 0), Some(Some(values[0].clone())));
    }
}
