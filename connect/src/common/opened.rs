//! [`opened`], what a query opened, as a call finds it.

use std::any::Any;

use farcall_udf::{CallContext, CallError};

/// Returns what the query opened when it began.
///
/// # Errors
/// A configuration error that names the function if it is called before it is opened.
pub(crate) fn opened<'a, T: Any + Send + Sync>(
    ctx: &'a CallContext,
    function: &str,
) -> Result<&'a T, CallError> {
    ctx.opened
        .get()
        .ok_or_else(|| CallError::configuration(function, "it is called before it is opened"))
}
