//! [`Answers`], where equal calls find each other's answers: in their query, or in the runtime.

use std::sync::Arc;

use arrow::array::ArrayRef;

use crate::dispatch::effort::Effort;
use crate::dispatch::stores::cache::PartialCache;
use crate::dispatch::stores::followers::{Found, Inbox, Lead};
use crate::dispatch::stores::memo::Memo;
use crate::error::CallError;

/// The answers that equal calls share; what the steps mean is said where they are done.
pub(crate) enum Answers {
    /// Those of the query.
    Memo(Arc<Memo>),
    /// Those of the runtime.
    Cache(Arc<PartialCache>),
}

macro_rules! done_there {
    ($($name:ident($($value:ident: $type:ty),+);)+) => {
        $(pub(crate) fn $name(&self, $($value: $type),+) {
            match self {
                Answers::Memo(memo) => memo.$name($($value),+),
                Answers::Cache(cache) => cache.$name($($value),+),
            }
        })+
    };
}

impl Answers {
    done_there! {
        complete(answers: impl Iterator<Item = (Lead, usize)>, array: &ArrayRef);
        hand_on(lead: Lead, array: &ArrayRef, row: usize);
        fail(lead: Lead, error: &CallError, effort: Effort);
        abandon(lead: Lead);
    }

    pub(crate) fn find<'a>(
        &self,
        keys: impl Iterator<Item = (u64, &'a [u8])>,
        inbox: &Arc<Inbox>,
        found: impl FnMut(u64, Found),
    ) {
        match self {
            Answers::Memo(memo) => memo.find(keys, inbox, found),
            Answers::Cache(cache) => cache.find(keys, inbox, found),
        }
    }

    /// Returns the cache, if these are not the answers of the query alone.
    pub(crate) fn cache(&self) -> Option<&PartialCache> {
        match self {
            Answers::Memo(_) => None,
            Answers::Cache(cache) => Some(cache),
        }
    }
}
