//! [`async_table_fn`], which turns a typed closure into a table function.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion_common::ScalarValue;

use crate::adapt::any::AsyncFunction;
use crate::adapt::typed::{TypedArgs, TypedClosure};
use crate::adapt::typed_value::TypedValue;
use crate::contract::context::CallContext;
use crate::contract::conversion::conversion;
use crate::contract::declaration::{Declaration, Determinism};
use crate::contract::table::AsyncTableFunction;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::NullInput;

/// Turns an async closure that gives rows into a table function, called in FROM.
///
/// Shape: one to six arguments as [`async_fn`](crate::async_fn) takes them; the answer is a `Vec` of
/// tuples with a value for each of `columns`, one to six.
/// Nulls: a row with a NULL in an argument that is no `Option` has no rows, without a call.
/// Errors: a [`CallError`]; its class decides about retries.
///
/// ```
/// use farcall_udf::{CallError, async_table_fn};
///
/// let words = async_table_fn("words", ["position", "word"], |text: String| async move {
///     let words = text.split_whitespace().map(String::from);
///     Ok::<Vec<(i64, String)>, CallError>((0..).zip(words).collect())
/// });
/// assert!(words.build().declaration().returns_rows());
/// ```
pub fn async_table_fn<F, A, R>(
    name: impl Into<String>,
    columns: R::Names,
    function: F,
) -> TypedTableFunction<F, A>
where
    F: TypedClosure<A, Value = Vec<R>>,
    A: TypedArgs,
    R: TypedRow,
{
    let null_input = if A::ANY_NULLABLE { NullInput::Send } else { NullInput::Skip };
    let fields = columns.into_iter().zip(R::data_types());
    let fields: Fields =
        fields.map(|(name, data_type)| Field::new(name, data_type, true)).collect();
    let declaration = Declaration::table(name, A::data_types(), fields.clone());
    let declaration = declaration.with_null_input(null_input);
    let schema = Arc::new(Schema::new(fields));
    TypedTableFunction { declaration, schema, function: Arc::new(function), args: PhantomData }
}

/// A typed closure that gives rows, with its declaration; made by [`async_table_fn`].
pub struct TypedTableFunction<F, A> {
    declaration: Declaration,
    schema: SchemaRef,
    function: Arc<F>,
    args: PhantomData<fn(A)>,
}

impl<F, A, R> TypedTableFunction<F, A>
where
    F: TypedClosure<A, Value = Vec<R>>,
    A: TypedArgs,
    R: TypedRow,
{
    /// Says that equal arguments do not give a reusable answer.
    pub fn volatile(self) -> Self {
        self.with_declaration(|declaration| declaration.with_determinism(Determinism::Volatile))
    }

    /// Declares the function's own call options.
    pub fn with_options(self, options: CallOptions) -> Self {
        self.with_declaration(|declaration| declaration.with_options(options))
    }

    /// Changes what the function says about itself; the columns stay the closure's.
    pub fn with_declaration(mut self, change: impl FnOnce(Declaration) -> Declaration) -> Self {
        self.declaration = change(self.declaration);
        self
    }

    /// Finishes the function.
    pub fn build(self) -> AsyncFunction {
        AsyncFunction::table(self)
    }
}

impl<F, A, R> From<TypedTableFunction<F, A>> for AsyncFunction
where
    F: TypedClosure<A, Value = Vec<R>>,
    A: TypedArgs,
    R: TypedRow,
{
    fn from(function: TypedTableFunction<F, A>) -> Self {
        function.build()
    }
}

impl<F, A> fmt::Debug for TypedTableFunction<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.declaration.fmt(f)
    }
}

#[async_trait]
impl<F, A, R> AsyncTableFunction for TypedTableFunction<F, A>
where
    F: TypedClosure<A, Value = Vec<R>>,
    A: TypedArgs,
    R: TypedRow,
{
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        _: &CallContext,
    ) -> Result<RecordBatch, CallError> {
        let name = self.declaration.name();
        // Arguments need not be `Send`: they are gone before the closure waits.
        let pending = {
            let arrays = args.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>, _>>();
            let arrays = arrays.map_err(|error| conversion(name, "an argument", error))?;
            let columns = A::columns(&arrays)
                .ok_or_else(|| conversion(name, "an argument", "unexpected array type"))?;
            A::get(&columns, 0).map(|values| self.function.call(values))
        };
        let rows = match pending {
            Some(pending) => pending.await?,
            None => vec![],
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), R::into_columns(rows), &options)
            .map_err(|error| conversion(name, "an answer", error))
    }
}

/// A tuple of values: one row of a table function's answer.
pub trait TypedRow: Sized + Send + 'static {
    /// A name for each value.
    type Names: IntoIterator<Item = &'static str>;

    /// Returns the types of the columns.
    fn data_types() -> Vec<DataType>;
    /// Puts rows into columns.
    fn into_columns(rows: Vec<Self>) -> Vec<ArrayRef>;
}

macro_rules! rows {
    ($width:literal, $($value:ident $index:tt),+) => {
        impl<$($value: TypedValue),+> TypedRow for ($($value,)+) {
            type Names = [&'static str; $width];

            fn data_types() -> Vec<DataType> {
                vec![$($value::data_type()),+]
            }
            fn into_columns(rows: Vec<Self>) -> Vec<ArrayRef> {
                let mut builders = ($($value::builder(rows.len()),)+);
                for row in rows {
                    $($value::append(&mut builders.$index, Some(row.$index));)+
                }
                vec![$($value::finish(builders.$index)),+]
            }
        }
    };
}

rows!(1, A 0);
rows!(2, A 0, B 1);
rows!(3, A 0, B 1, C 2);
rows!(4, A 0, B 1, C 2, D 3);
rows!(5, A 0, B 1, C 2, D 3, E 4);
rows!(6, A 0, B 1, C 2, D 3, E 4, G 5);

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use datafusion_expr::{ReturnFieldArgs, TypeSignature};

    use super::*;
    use crate::contract::list_type::rows_of;

    #[test]
    fn the_declaration_follows_the_closure() {
        let function = async_table_fn("f", ["n", "t"], |_: String, _: Option<i64>| async move {
            Ok::<Vec<(i32, Option<String>)>, CallError>(vec![])
        });
        let options = CallOptions::new().with_buffer_capacity(3);
        let function = function.volatile().with_options(options.clone()).build();
        let declaration = function.declaration();
        let types = vec![DataType::Utf8, DataType::Int64];
        assert_eq!(declaration.signature().type_signature, TypeSignature::Exact(types));
        assert_eq!(declaration.null_input(), NullInput::Send);
        assert_eq!(declaration.determinism(), Determinism::Volatile);
        assert_eq!(declaration.options(), &options);
        let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
        let field = declaration.return_field(&args).unwrap();
        let columns: Vec<String> = rows_of(field.data_type())
            .unwrap()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect();
        assert_eq!(columns, ["n Int32", "t Utf8"]);
    }

    #[test]
    fn rows_become_columns() {
        let columns = <(i64, Option<String>)>::into_columns(vec![(1, None), (2, Some("b".into()))]);
        assert_eq!(columns[0].as_primitive::<Int64Type>().values(), &[1, 2]);
        assert!(columns[1].is_null(0) && columns[1].as_string::<i32>().value(1) == "b");
    }
}
