//! [`misfit`], options that mean nothing to a kind of function.

use crate::contract::kind::Kind;
use crate::options::CallOptions;
use crate::options::words::{NullInput, RetryPredicate};

/// Returns the first option that means nothing to any function of a kind, and why.
pub(super) fn misfit(kind: Kind, options: &CallOptions) -> Option<(&'static str, String)> {
    if kind == Kind::Lookup {
        let why = "value 'send' is not accepted, a key with NULL equals none; accepted is 'skip'";
        let sends = options.null_input() == Some(NullInput::Send);
        return sends.then(|| ("null_input", why.to_owned()));
    }
    let of_lookups = [
        ("retry_predicate", options.retry_predicate() == Some(RetryPredicate::LookupMiss)),
        ("cache_missing_keys", options.cache_missing_keys() == Some(false)),
        ("cache_reload_interval", options.cache_reload_interval().flatten().is_some()),
    ];
    let (option, _) = of_lookups.into_iter().find(|(_, is_set)| *is_set)?;
    let value = options.get(option).unwrap_or_default();
    Some((option, format!("value '{value}' is for lookup tables")))
}
