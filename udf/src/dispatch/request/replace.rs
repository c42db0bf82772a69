//! [`replacement`], the value of a call that failed for good, as the options want it.

use std::panic::AssertUnwindSafe;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use futures::FutureExt;

use crate::adapt::any::AsyncFunction;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::conversion::{conversion, panicked};
use crate::dispatch::query::site::CallSite;
use crate::error::CallError;
use crate::options::words::{OnError, TimeoutPolicy};

/// Returns the values that the options give to `rows` calls that failed for good, or the error.
pub(crate) fn replacement(
    site: &CallSite,
    error: &CallError,
    rows: usize,
) -> Result<ArrayRef, CallError> {
    let data_type = site.data_type();
    site.metrics.add_failures(error, rows);
    if error.class().ends_query() {
        return Err(error.clone());
    }
    if is_timeout(error) && site.options.timeout_policy() == TimeoutPolicy::AllowPartial {
        return Ok(new_null_array(data_type, rows));
    }
    match site.options.on_error() {
        OnError::Fail if site.tries.is_some() => Ok(new_null_array(data_type, rows)),
        OnError::Fail => Err(error.clone()),
        OnError::Null => Ok(new_null_array(data_type, rows)),
        OnError::Default(text) => default_value(&text, data_type)?
            .to_array_of_size(rows)
            .map_err(|error| conversion(site.function().name(), "a default value", error)),
    }
}

/// Checks the value of `on_error = 'default:VALUE'` at planning time.
///
/// # Errors
/// [`CallError::BadOption`] if the text is not a value of the type.
pub fn check_default(text: &str, data_type: &DataType) -> Result<(), CallError> {
    default_value(text, data_type).map(|_| ())
}

/// Reads the value of `on_error = 'default:VALUE'`.
fn default_value(text: &str, data_type: &DataType) -> Result<ScalarValue, CallError> {
    ScalarValue::try_from_string(text.to_owned(), data_type).map_err(|_| CallError::BadOption {
        option: "on_error".into(),
        message: format!("default '{text}' is not a value of type {data_type}"),
    })
}

/// Asks the function for values of a request that timed out; `None` leaves it to the options.
pub(crate) async fn fallback(
    site: &CallSite,
    args: &ArgBatch,
    ctx: &CallContext,
) -> Option<Result<BatchAnswer, CallError>> {
    let AsyncFunction::Batch(function) = site.function() else { return None };
    let answer = AssertUnwindSafe(function.timeout_batch(args, ctx)).catch_unwind();
    // A fallback that hangs as well is none.
    match tokio::time::timeout(site.options.attempt_timeout(), answer).await {
        Err(_) => None,
        Ok(Err(payload)) => Some(Err(panicked(function.declaration().name(), payload))),
        Ok(Ok(answer)) => Some(fit(site, answer?, args.num_rows())),
    }
}

/// Checks that an answer has the rows that were sent and the type that was declared.
pub(crate) fn fit(
    site: &CallSite,
    answer: BatchAnswer,
    sent: usize,
) -> Result<BatchAnswer, CallError> {
    let (function, declared) = (site.function().name(), site.data_type());
    let values = answer.values();
    if values.len() != sent {
        let got = values.len();
        return Err(CallError::RowCount { function: function.to_owned(), sent, got });
    }
    if values.data_type() == declared {
        return Ok(answer);
    }
    // Types that differ only in the names of nested fields hold the same values.
    if values.data_type().equals_datatype(declared)
        && let Ok(values) = cast(values, declared)
    {
        return Ok(answer.with_values(values));
    }
    Err(CallError::WrongType {
        function: function.to_owned(),
        declared: declared.to_string(),
        got: values.data_type().to_string(),
    })
}

/// Says whether calls failed because time ran out.
pub(crate) fn is_timeout(error: &CallError) -> bool {
    match error {
        CallError::Timeout { .. } | CallError::AttemptTimeout { .. } => true,
        CallError::AttemptsExhausted { last, .. } => is_timeout(last),
        _ => false,
    }
}
