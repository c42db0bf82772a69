//! [`AsyncTableFunction`], a function with one row in and any number of rows out.

use std::fmt;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion_common::ScalarValue;

use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::declaration::Declaration;
use crate::contract::opened::Opened;
use crate::error::CallError;

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
    async fn open(&self, _ctx: &FunctionContext) -> Result<Opened, CallError> {
        Ok(Opened::nothing())
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
    async fn close(&self, _opened: Opened) -> Result<(), CallError> {
        Ok(())
    }
}
