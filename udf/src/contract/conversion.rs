//! Errors of values that do not convert and of functions that panic.

use std::fmt;

use crate::error::CallError;

/// Turns a panic of user code into an error of the row that caused it.
pub(crate) fn catch_panic<T>(function: &str, run: impl FnOnce() -> T) -> Result<T, CallError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_err(|payload| panicked(function, payload))
}

/// Makes the error for a panic that was caught.
pub(crate) fn panicked(function: &str, payload: Box<dyn std::any::Any + Send>) -> CallError {
    let message = match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(message) => (*message).to_owned(),
            Err(_) => "no message".to_owned(),
        },
    };
    CallError::Panicked { function: function.to_owned(), message }
}

/// Makes the error for values that do not fit their types.
pub(crate) fn conversion(function: &str, what: &str, error: impl fmt::Display) -> CallError {
    CallError::Conversion {
        function: function.to_owned(),
        what: what.to_owned(),
        message: error.to_string(),
    }
}
