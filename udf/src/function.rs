//! The kinds of asynchronous function, each behind a trait of its own.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::FieldRef;
use async_trait::async_trait;
use datafusion_common::{Result, ScalarValue};

use crate::answer::BatchAnswer;
use crate::context::{CallContext, FunctionContext};
use crate::declaration::Declaration;
use crate::dispatch::batch::estimate_tokens;
use crate::error::CallError;
use crate::rows::{RowFunction, ScalarRows};
use crate::table::{AsyncTableFunction, TableRows};
use crate::tried::TryFunction;

/// A function with one row in and one value out.
///
/// ```
/// use arrow::datatypes::DataType;
/// use async_trait::async_trait;
/// use datafusion_common::ScalarValue;
/// use farcall_udf::{AsyncScalarFunction, CallContext, CallError, Declaration};
///
/// #[derive(Debug)]
/// struct Double(Declaration);
///
/// #[async_trait]
/// impl AsyncScalarFunction for Double {
///     fn declaration(&self) -> &Declaration {
///         &self.0
///     }
///     async fn eval(&self, args: Vec<ScalarValue>, _: &CallContext) -> Result<ScalarValue, CallError> {
///         match &args[0] {
///             ScalarValue::Int64(Some(x)) => Ok(ScalarValue::Int64(Some(2 * x))),
///             _ => Ok(ScalarValue::Int64(None)),
///         }
///     }
/// }
/// let double = Double(Declaration::new("double", vec![DataType::Int64], DataType::Int64));
/// assert_eq!(double.declaration().name(), "double");
/// ```
#[async_trait]
pub trait AsyncScalarFunction: fmt::Debug + Send + Sync + 'static {
    /// Returns what the function says about itself; the same value every time.
    fn declaration(&self) -> &Declaration;

    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Calls the function on one row.
    ///
    /// Shape: `args` holds one value per argument, of the types of the signature.
    /// Nulls: a NULL argument arrives only if the function declares [`NullInput::Send`](crate::NullInput::Send).
    /// Errors: classified by [`CallError::class`]; retried as the options say.
    /// Cancel: dropping the future abandons the attempt.
    /// Source: contract follows Flink's `AsyncScalarFunction`.
    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        ctx: &CallContext,
    ) -> Result<ScalarValue, CallError>;

    /// Releases what `open` took, once per query, after its last call, also on error or cancel.
    async fn close(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// A function with n rows in and n values out, one request for all of them.
///
/// ```
/// use std::sync::Arc;
/// use arrow::{array::{AsArray, Int64Array}, datatypes::{DataType, Int64Type}};
/// use async_trait::async_trait;
/// use farcall_udf::{ArgBatch, AsyncBatchFunction, BatchAnswer, CallContext, CallError, Declaration};
///
/// #[derive(Debug)]
/// struct Double(Declaration);
///
/// #[async_trait]
/// impl AsyncBatchFunction for Double {
///     fn declaration(&self) -> &Declaration {
///         &self.0
///     }
///     async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
///         let x = args.column(0).as_primitive::<Int64Type>();
///         let doubled: Int64Array = x.iter().map(|x| x.map(|x| 2 * x)).collect();
///         Ok(BatchAnswer::new(Arc::new(doubled)))
///     }
/// }
/// let double = Double(Declaration::new("double", vec![DataType::Int64], DataType::Int64));
/// assert_eq!(double.declaration().name(), "double");
/// ```
#[async_trait]
pub trait AsyncBatchFunction: fmt::Debug + Send + Sync + 'static {
    /// Returns what the function says about itself; the same value every time.
    fn declaration(&self) -> &Declaration;

    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Sends one batch of arguments and returns one value or error per row.
    ///
    /// Shape: each column of `args` has n rows, `1 <= n <= max_batch_size`; row i of the answer
    /// answers row i.
    /// Nulls: a NULL argument arrives only if the function declares [`NullInput::Send`](crate::NullInput::Send).
    /// Errors: an `Err` fails the attempt for all rows; an error inside the answer fails its row.
    /// Cancel: dropping the future aborts the request and frees its permit.
    /// Source: contract follows Flink's FLINK-38825 series; per-row errors are ours.
    async fn eval_batch(&self, args: ArgBatch, ctx: &CallContext)
    -> Result<BatchAnswer, CallError>;

    /// Supplies fallback values for a request that timed out; `None` leaves it to the options.
    async fn timeout_batch(&self, _args: &ArgBatch, _ctx: &CallContext) -> Option<BatchAnswer> {
        None
    }

    /// Counts the tokens of each row, or estimates them: four bytes are a token unless this says
    /// otherwise.
    ///
    /// Asked only if the function declares [`Declaration::with_max_batch_tokens`], once per batch of
    /// input, before requests are formed.
    fn count_tokens(&self, args: &ArgBatch) -> Vec<usize> {
        estimate_tokens(args)
    }

    /// Releases what `open` took, once per query, after its last call, also on error or cancel.
    async fn close(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// One function of any kind, shared by plans, sessions and queries.
///
/// Equality and hash go by name, version and recipe, so that a function that travelled through a
/// codec equals the one that was sent.
#[derive(Clone)]
pub enum AsyncFunction {
    /// One row in, one value or list of rows out: typed closures ([`crate::async_fn`],
    /// [`crate::async_table_fn`]), [`AsyncScalarFunction`]s and [`AsyncTableFunction`]s.
    Rows(Arc<dyn RowFunction>),
    /// n rows in, n values out.
    Batch(Arc<dyn AsyncBatchFunction>),
    /// Either of them, with failures as values.
    Try(Arc<TryFunction>),
}

impl AsyncFunction {
    /// Wraps a row-wise function.
    pub fn scalar(function: impl AsyncScalarFunction) -> Self {
        AsyncFunction::Rows(Arc::new(ScalarRows(Arc::new(function))))
    }

    /// Wraps a table function.
    pub fn table(function: impl AsyncTableFunction) -> Self {
        AsyncFunction::Rows(Arc::new(TableRows(Arc::new(function))))
    }

    /// Wraps a batch function.
    pub fn batch(function: impl AsyncBatchFunction) -> Self {
        AsyncFunction::Batch(Arc::new(function))
    }

    /// Returns the form of the function whose failures are values, named `try_` and its name.
    pub fn with_try(self) -> Self {
        match self {
            AsyncFunction::Try(_) => self,
            _ => AsyncFunction::Try(Arc::new(TryFunction::new(self))),
        }
    }

    /// Returns the function that makes the calls, if this is its `try_` form.
    pub fn tried(&self) -> Option<&AsyncFunction> {
        match self {
            AsyncFunction::Try(function) => Some(function.inner()),
            AsyncFunction::Rows(_) | AsyncFunction::Batch(_) => None,
        }
    }

    /// Returns what the function says about itself.
    pub fn declaration(&self) -> &Declaration {
        match self {
            AsyncFunction::Rows(function) => function.declaration(),
            AsyncFunction::Batch(function) => function.declaration(),
            AsyncFunction::Try(function) => function.declaration(),
        }
    }

    /// Returns the name under which SQL finds the function.
    pub fn name(&self) -> &str {
        self.declaration().name()
    }

    /// Says whether a request carries one row unless told otherwise.
    pub fn is_row_wise(&self) -> bool {
        matches!(self.tried().unwrap_or(self), AsyncFunction::Rows(_))
    }

    /// Counts the tokens of each row, or estimates them.
    pub(crate) fn count_tokens(&self, args: &ArgBatch) -> Vec<usize> {
        match self {
            AsyncFunction::Rows(_) => estimate_tokens(args),
            AsyncFunction::Batch(function) => function.count_tokens(args),
            AsyncFunction::Try(function) => function.inner().count_tokens(args),
        }
    }

    /// Prepares the function for one query.
    pub async fn open(&self, ctx: &FunctionContext) -> Result<(), CallError> {
        match self {
            AsyncFunction::Rows(function) => function.open(ctx).await,
            AsyncFunction::Batch(function) => function.open(ctx).await,
            AsyncFunction::Try(function) => Box::pin(function.inner().open(ctx)).await,
        }
    }

    /// Releases what [`AsyncFunction::open`] took.
    pub async fn close(&self) -> Result<(), CallError> {
        match self {
            AsyncFunction::Rows(function) => function.close().await,
            AsyncFunction::Batch(function) => function.close().await,
            AsyncFunction::Try(function) => Box::pin(function.inner().close()).await,
        }
    }
}

impl fmt::Debug for AsyncFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.declaration().fmt(f)
    }
}

impl PartialEq for AsyncFunction {
    fn eq(&self, other: &Self) -> bool {
        self.declaration().identity() == other.declaration().identity()
    }
}

impl Eq for AsyncFunction {}

impl Hash for AsyncFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.declaration().identity().hash(state);
    }
}

/// The arguments of one request: columns of equal length, one row per call.
#[derive(Debug, Clone)]
pub struct ArgBatch {
    columns: Vec<ArrayRef>,
    fields: Arc<[FieldRef]>,
    return_field: FieldRef,
    num_rows: usize,
    distinct: bool,
}

impl ArgBatch {
    /// Puts argument columns together; `num_rows` matters when there are none.
    pub fn new(
        columns: Vec<ArrayRef>,
        fields: Arc<[FieldRef]>,
        return_field: FieldRef,
        num_rows: usize,
    ) -> Self {
        debug_assert!(columns.iter().all(|column| column.len() == num_rows));
        debug_assert_eq!(columns.len(), fields.len());
        Self { columns, fields, return_field, num_rows, distinct: false }
    }

    /// Says that no two rows are equal.
    pub(crate) fn with_distinct_rows(mut self) -> Self {
        self.distinct = true;
        self
    }

    /// Says whether no two rows are known to be equal.
    pub(crate) fn is_distinct(&self) -> bool {
        self.distinct
    }

    /// Returns the number of calls.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Returns the argument columns.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Returns one argument column.
    pub fn column(&self, index: usize) -> &ArrayRef {
        &self.columns[index]
    }

    /// Returns the fields of the arguments.
    pub fn fields(&self) -> &Arc<[FieldRef]> {
        &self.fields
    }

    /// Returns the field that the answer must have.
    pub fn return_field(&self) -> &FieldRef {
        &self.return_field
    }

    /// Returns the rows `offset .. offset + len` without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            columns: self.columns.iter().map(|column| column.slice(offset, len)).collect(),
            fields: Arc::clone(&self.fields),
            return_field: Arc::clone(&self.return_field),
            num_rows: len,
            distinct: self.distinct,
        }
    }

    /// Returns the rows at the given positions, copied.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let columns = self
            .columns
            .iter()
            .map(|column| Ok(arrow::compute::take(column, rows, None)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            columns,
            fields: Arc::clone(&self.fields),
            return_field: Arc::clone(&self.return_field),
            num_rows: rows.len(),
            // A position may stand there twice.
            distinct: false,
        })
    }

    /// Returns one row as scalar values.
    pub fn row(&self, row: usize) -> Result<Vec<ScalarValue>> {
        self.columns.iter().map(|column| ScalarValue::try_from_array(column, row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::declaration::Recipe;

    #[test]
    fn functions_are_equal_by_name_version_and_recipe() {
        let function = |change: fn(Declaration) -> Declaration| {
            AsyncFunction::scalar(Constant(change(declared("f"))))
        };
        let recipe = |bytes: u8| Recipe { kind: "model".into(), bytes: vec![bytes] };
        let plain = function(|d| d);
        assert_eq!(plain, function(|d| d.with_aliases(["g"])));
        assert_ne!(plain, function(|d| d.with_version("2")));
        let one = AsyncFunction::scalar(Constant(declared("f").with_recipe(recipe(1))));
        let two = AsyncFunction::scalar(Constant(declared("f").with_recipe(recipe(2))));
        assert!(one != two && one != plain && one == one.clone());
    }

    #[test]
    fn arguments_are_cut_and_picked_by_row() {
        let args = batch();
        assert_eq!(args.slice(1, 2).row(0).unwrap(), args.row(1).unwrap());
        let picked = args.take(&UInt32Array::from(vec![2, 0])).unwrap();
        assert_eq!(picked.num_rows(), 2);
        assert_eq!(picked.row(0).unwrap(), [ScalarValue::from(3_i64), ScalarValue::from("c")]);
    }

    #[test]
    fn arguments_without_columns_still_have_rows() {
        let field: FieldRef = Arc::new(Field::new("y", DataType::Int64, true));
        let args = ArgBatch::new(vec![], [].into(), field, 5);
        assert_eq!(args.slice(2, 3).num_rows(), 3);
        assert_eq!(args.take(&UInt32Array::from(vec![4])).unwrap().num_rows(), 1);
    }

    fn declared(name: &str) -> Declaration {
        Declaration::new(name, vec![DataType::Int64], DataType::Int64)
    }

    fn batch() -> ArgBatch {
        let fields: Arc<[FieldRef]> = [
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Field::new("t", DataType::Utf8, true)),
        ]
        .into();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec!["a", "b", "c"])),
        ];
        ArgBatch::new(columns, Arc::clone(&fields), Arc::clone(&fields[0]), 3)
    }

    #[derive(Debug)]
    struct Constant(Declaration);

    #[async_trait]
    impl AsyncScalarFunction for Constant {
        fn declaration(&self) -> &Declaration {
            &self.0
        }
        async fn eval(
            &self,
            _: Vec<ScalarValue>,
            _: &CallContext,
        ) -> Result<ScalarValue, CallError> {
            Ok(ScalarValue::from(1_i64))
        }
    }
}
