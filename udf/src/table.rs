//! [`AsyncTableFunction`], a function with one row in and any number of rows out.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::task::Context;

use arrow::array::{ArrayRef, BooleanArray, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use async_trait::async_trait;
use datafusion_common::ScalarValue;

use crate::context::{CallContext, FunctionContext};
use crate::declaration::Declaration;
use crate::error::CallError;
use crate::function::ArgBatch;
use crate::lookup::item;
use crate::rows::{EvalRow, EvaluatedRow, RowBurst, RowFunction, conversion, start_rows};

/// The group of session options that table functions listen to.
pub const TABLE_GROUP: &str = "async_table";

/// The field of each row that is TRUE: it tells a row of NULLs from the NULLs of an outer join.
const PRESENT: &str = "__async_present";

/// A function with one row in and 0..m rows out, called in FROM: `FROM t, LATERAL f(t.x) AS q (a)`.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, RecordBatch, StringArray};
/// use arrow::datatypes::{DataType, Field};
/// use async_trait::async_trait;
/// use datafusion_common::ScalarValue;
/// use farcall_udf::{AsyncTableFunction, CallContext, CallError, Declaration};
///
/// #[derive(Debug)]
/// struct Words(Declaration);
///
/// #[async_trait]
/// impl AsyncTableFunction for Words {
///     fn declaration(&self) -> &Declaration {
///         &self.0
///     }
///     async fn eval(&self, args: Vec<ScalarValue>, _: &CallContext) -> Result<RecordBatch, CallError> {
///         let text = args[0].try_as_str().flatten().unwrap_or_default();
///         let words: ArrayRef = Arc::new(StringArray::from_iter_values(text.split_whitespace()));
///         RecordBatch::try_from_iter([("word", words)]).map_err(|error| CallError::function("words", error))
///     }
/// }
/// let columns = vec![Field::new("word", DataType::Utf8, true)];
/// let words = Words(Declaration::table("words", vec![DataType::Utf8], columns));
/// assert!(words.declaration().returns_rows());
/// ```
#[async_trait]
pub trait AsyncTableFunction: fmt::Debug + Send + Sync + 'static {
    /// Returns what the function says about itself; the same value every time. It must be made by
    /// [`Declaration::table`] or [`Declaration::with_columns`].
    fn declaration(&self) -> &Declaration;

    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Calls the function on one row.
    ///
    /// Shape: `args` holds one value per argument, of the types of the signature; the answer has the
    /// declared columns in their order, of their types, under any names, and any number of rows.
    /// Nulls: a NULL argument arrives only if the function declares [`NullInput::Send`](crate::NullInput::Send);
    /// otherwise a row with one has no rows.
    /// Errors: classified by [`CallError::class`]; retried as the options say. A row that failed where
    /// `on_error` says NULL has no rows.
    /// Cancel: dropping the future abandons the attempt.
    /// Source: contract follows Flink's `AsyncTableFunction`, but an empty answer is final at once.
    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        ctx: &CallContext,
    ) -> Result<RecordBatch, CallError>;

    /// Releases what `open` took, once per query, after its last call, also on error or cancel.
    async fn close(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// Returns the columns of a table function's rows from the type of its calls.
pub fn rows_of(data_type: &DataType) -> Option<&[FieldRef]> {
    match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => match fields.split_last() {
                Some((present, columns)) if present.name() == PRESENT => Some(columns),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Returns the type of a call: a list of rows, each with its columns and the mark of its presence.
pub(crate) fn rows_type(columns: &Fields) -> DataType {
    let columns = columns.iter().map(|field| field.as_ref().clone().with_nullable(true));
    let present = Field::new(PRESENT, DataType::Boolean, true);
    DataType::List(item(columns.chain([present]).collect()))
}

/// A table function as a row function whose value is the list of its rows.
///
/// That makes it a call like any other: it is guarded, merged, cached, retried and put in order by the
/// same steps, and the join that reads the list pairs the rows.
#[derive(Debug)]
pub(crate) struct TableRows(pub(crate) Arc<dyn AsyncTableFunction>);

#[async_trait]
impl RowFunction for TableRows {
    fn declaration(&self) -> &Declaration {
        self.0.declaration()
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<(), CallError> {
        self.0.open(ctx).await
    }

    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError> {
        let name = self.declaration().name();
        let columns: Arc<[FieldRef]> = match rows_of(args.return_field().data_type()) {
            Some(columns) => columns.into(),
            None => {
                let message = "its declaration has no columns, make it by Declaration::table";
                return Err(CallError::configuration(name, message));
            }
        };
        start_rows(TableRow { function: Arc::clone(&self.0), columns }, args, rows, ctx, cx)
    }

    async fn close(&self) -> Result<(), CallError> {
        self.0.close().await
    }
}

/// One row's call of a table function.
struct TableRow {
    function: Arc<dyn AsyncTableFunction>,
    /// What the function answers with.
    columns: Arc<[FieldRef]>,
}

impl EvalRow for TableRow {
    fn name(&self) -> &str {
        self.function.declaration().name()
    }

    fn eval<'a>(&'a self, args: Vec<ScalarValue>, ctx: &'a CallContext) -> EvaluatedRow<'a> {
        Box::pin(async move {
            let rows = self.function.eval(args, ctx).await?;
            list(self.name(), &self.columns, rows)
        })
    }
}

/// Makes a list of the rows of one answer, after checking that it has the declared columns.
fn list(name: &str, columns: &[FieldRef], rows: RecordBatch) -> Result<ScalarValue, CallError> {
    if rows.num_columns() != columns.len() {
        let (got, declared) = (rows.num_columns(), columns.len());
        let message = format!("{got} columns where {declared} are declared");
        return Err(CallError::malformed(name, message));
    }
    for (column, declared) in rows.columns().iter().zip(columns) {
        if column.data_type() != declared.data_type() {
            return Err(CallError::WrongType {
                function: name.to_owned(),
                declared: format!("{} (column {})", declared.data_type(), declared.name()),
                got: column.data_type().to_string(),
            });
        }
    }
    let present: ArrayRef = Arc::new(BooleanArray::from(vec![true; rows.num_rows()]));
    let mark = Arc::new(Field::new(PRESENT, DataType::Boolean, true));
    let fields: Fields = columns.iter().cloned().chain([mark]).collect();
    let length = rows.num_rows();
    let arrays = rows.columns().iter().cloned().chain([present]).collect();
    let list = StructArray::try_new(fields.clone(), arrays, None).and_then(|rows| {
        let offsets = OffsetBuffer::from_lengths([length]);
        ListArray::try_new(item(fields), offsets, Arc::new(rows), None)
    });
    let list = list.map_err(|error| conversion(name, "an answer", error))?;
    Ok(ScalarValue::List(Arc::new(list)))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
