//! [`ExecutionHandle`], by which the parts of one execution of a plan find their scope and are ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farcall_udf::{CallError, QueryScope};

/// One execution of a plan: its scope while it runs, and its end.
///
/// It travels as an extension of the task's `SessionConfig`, so that every operator and every
/// partition finds it, also where an engine copies the `TaskContext` on the way. The root of a plan
/// makes one for each execution. Whoever runs parts of a plan without its root (a worker) puts one
/// there, usually that of [`SessionExt::execution`](crate::SessionExt::execution).
///
/// Ended, it makes no further call: scopes are not given out any more, and what runs is cancelled.
#[derive(Default)]
pub struct ExecutionHandle {
    query_id: Option<Arc<str>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    root: Option<Root>,
}

#[derive(Default)]
enum Stage {
    /// No call operator was read yet.
    #[default]
    New,
    Running(Arc<QueryScope>),
    /// The calls that were made.
    Ended(BTreeMap<String, usize>),
}

/// How the root of the plan is read.
struct Root {
    /// Which root it is.
    id: usize,
    partitions: usize,
    executed: BTreeSet<usize>,
    open: usize,
    /// Whether somebody dropped a stream before its end.
    dropped: bool,
}

/// What became of the wish to read a partition of a plan's root within an execution.
pub(crate) enum Entry {
    /// The stream belongs to the execution, which counts it as open.
    Open,
    /// The plan is a part of a larger one, whose root counts.
    Nested,
    /// The execution has ended, or the partition is read in it already: this is another one.
    Other,
}

impl ExecutionHandle {
    /// Makes the handle of an execution that gets a query id of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the handle of an execution that belongs to a query of this id.
    pub fn of_query(query_id: impl Into<Arc<str>>) -> Self {
        Self { query_id: Some(query_id.into()), state: Mutex::default() }
    }

    /// Returns the id of the query, if it was given.
    pub fn query_id(&self) -> Option<&Arc<str>> {
        self.query_id.as_ref()
    }

    /// Ends the execution: what is in flight is aborted, functions are closed, no call is made any more.
    pub fn end(&self) {
        self.state().end();
    }

    /// Returns the calls sent so far by function; see [`QueryScope::calls`].
    pub fn calls(&self) -> BTreeMap<String, usize> {
        match &self.state().stage {
            Stage::New => BTreeMap::new(),
            Stage::Running(scope) => scope.calls(),
            Stage::Ended(calls) => calls.clone(),
        }
    }

    /// Returns the scope, made at its first use.
    pub(crate) fn scope(
        &self,
        make: impl FnOnce() -> Arc<QueryScope>,
    ) -> Result<Arc<QueryScope>, CallError> {
        let mut state = self.state();
        match &state.stage {
            Stage::Running(scope) => Ok(Arc::clone(scope)),
            Stage::Ended(_) => Err(CallError::Cancelled { function: "the query".into() }),
            Stage::New => {
                let scope = make();
                state.stage = Stage::Running(Arc::clone(&scope));
                Ok(scope)
            }
        }
    }

    /// Counts a stream of a plan's root as open.
    pub(crate) fn enter(&self, id: usize, partition: usize, partitions: usize) -> Entry {
        let mut state = self.state();
        let ended = state.is_ended();
        let root = state.root.get_or_insert_with(|| Root {
            id,
            partitions,
            executed: BTreeSet::new(),
            open: 0,
            dropped: false,
        });
        if root.id != id {
            return Entry::Nested;
        }
        if ended || !root.executed.insert(partition) {
            return Entry::Other;
        }
        root.open += 1;
        Entry::Open
    }

    /// Counts a stream of the plan's root as gone; says whether that ended the execution.
    ///
    /// It does with the last stream, unless all were read to their ends and further partitions are
    /// still to be read: somebody may read them one after the other.
    pub(crate) fn leave(&self, drained: bool) -> bool {
        let mut state = self.state();
        let Some(root) = &mut state.root else { return false };
        root.open -= 1;
        root.dropped |= !drained;
        let ends = root.open == 0 && (root.dropped || root.executed.len() == root.partitions);
        if ends {
            state.end();
        }
        ends
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.state().is_ended()
    }

    /// Says whether streams of the plan's root are open.
    pub(crate) fn is_open(&self) -> bool {
        self.state().root.as_ref().is_some_and(|root| root.open > 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    fn end(&mut self) {
        let calls = match &self.stage {
            Stage::New => BTreeMap::new(),
            Stage::Running(scope) => {
                scope.cancellation().cancel();
                scope.calls()
            }
            Stage::Ended(_) => return,
        };
        // What runs sees that it is cancelled, and lets go of the scope: the last one closes it.
        self.stage = Stage::Ended(calls);
    }
}

impl fmt::Debug for ExecutionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionHandle").field("query_id", &self.query_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::UnboundedMemoryPool;

    use super::*;

    #[test]
    fn gives_out_one_scope_until_it_ends() {
        let handle = ExecutionHandle::new();
        let scope = handle.scope(scope).unwrap();
        assert!(Arc::ptr_eq(&scope, &handle.scope(self::scope).unwrap()));
        handle.end();
        assert!(scope.cancellation().is_cancelled());
        assert!(matches!(handle.scope(self::scope), Err(CallError::Cancelled { .. })));
        assert_eq!(Arc::strong_count(&scope), 1);
    }

    #[test]
    fn ends_with_the_last_stream_of_the_root() {
        let handle = ExecutionHandle::new();
        for partition in 0..2 {
            assert!(matches!(handle.enter(7, partition, 2), Entry::Open));
        }
        assert!(matches!(handle.enter(7, 1, 2), Entry::Other));
        assert!(matches!(handle.enter(8, 1, 2), Entry::Nested));
        assert_eq!((handle.leave(false), handle.leave(true)), (false, true));
        assert!(matches!(handle.enter(7, 0, 2), Entry::Other));
        assert!(matches!(handle.enter(8, 0, 2), Entry::Nested));
    }

    #[test]
    fn waits_for_partitions_that_are_read_later_unless_one_was_dropped() {
        for drained in [true, false] {
            let handle = ExecutionHandle::new();
            assert!(matches!(handle.enter(7, 0, 2), Entry::Open));
            assert_eq!(handle.leave(drained), !drained);
            assert_eq!(handle.is_ended(), !drained);
        }
    }

    fn scope() -> Arc<QueryScope> {
        let memory = Arc::new(UnboundedMemoryPool::default());
        QueryScope::new(Arc::default(), Arc::default(), Arc::default(), memory)
    }
}
