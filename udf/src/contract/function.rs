//! The kinds of asynchronous function, each behind a trait of its own.

use std::fmt;

use async_trait::async_trait;
use datafusion_common::{Result, ScalarValue};

use crate::ArgBatch;
use crate::contract::answer::BatchAnswer;
use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::declaration::Declaration;
use crate::contract::opened::Opened;
use crate::contract::sizes::estimate_tokens;
use crate::error::CallError;

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
    async fn open(&self, _ctx: &FunctionContext) -> Result<Opened, CallError> {
        Ok(Opened::nothing())
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
    async fn close(&self, _opened: Opened) -> Result<(), CallError> {
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
    async fn open(&self, _ctx: &FunctionContext) -> Result<Opened, CallError> {
        Ok(Opened::nothing())
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
    async fn close(&self, _opened: Opened) -> Result<(), CallError> {
        Ok(())
    }
}
