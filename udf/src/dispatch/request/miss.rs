//! Lookups that find nothing: tried again where `retry_predicate` says so, and a miss in the end.

use arrow::array::{Array, ArrayRef, AsArray};

use crate::contract::answer::BatchAnswer;
use crate::contract::kind::Kind;
use crate::contract::list_type::missing;
use crate::dispatch::query::site::CallSite;
use crate::error::CallError;
use crate::options::words::RetryPredicate;

/// Marks keys without a row as failed, if they are to be asked for again.
pub(crate) fn mark_misses(site: &CallSite, answer: BatchAnswer) -> BatchAnswer {
    let is_lookup = site.function().declaration().kind() == Kind::Lookup;
    if !is_lookup || site.options.retry_predicate() != RetryPredicate::LookupMiss {
        return answer;
    }
    let Some(lists) = answer.values().as_list_opt::<i32>() else { return answer };
    let mut errors = answer.errors().to_vec();
    for (row, length) in lists.offsets().lengths().enumerate() {
        if length == 0 && lists.is_valid(row) && !errors.iter().any(|(failed, _)| *failed == row) {
            let function = site.function().name().to_owned();
            errors.push((row, CallError::LookupMiss { function }));
        }
    }
    answer.with_errors(errors)
}

/// Returns the answers of keys that were asked for in vain until attempts or time were used up:
/// they are not there. `None` for any other error.
pub(crate) fn missed(site: &CallSite, error: &CallError, keys: usize) -> Option<ArrayRef> {
    if error.is_lookup_miss() { missing(site.data_type(), keys) } else { None }
}
