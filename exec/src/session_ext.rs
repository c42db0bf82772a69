//! [`SessionExt`], what farcall keeps in a session's configuration and finds again at execution.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionConfig;
use farcall_udf::{ExecutionId, FarcallRuntime, QueryScope};

use crate::execution::ExecutionHandle;

/// Tasks that a plan may be cut into: a row number has 8 bits for the task.
const MAX_TASKS: usize = 256;

/// What farcall keeps in a session: a typed extension of its `SessionConfig`.
///
/// A session that has one is farcall's. Operators find it through the `TaskContext`, so that plans,
/// node planner and codec hold data only. A worker that runs parts of plans puts one into the
/// configuration of each task, all with one runtime:
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionConfig;
/// use farcall_exec::SessionExt;
///
/// let of_the_worker = SessionExt::new(Arc::default(), Arc::default());
/// let of_a_task = of_the_worker.clone().with_tasks(4).with_task_slot(3)?;
/// let query = of_the_worker.execution("query 17");
/// let config = SessionConfig::new().with_extension(Arc::new(of_a_task)).with_extension(query);
/// assert!(SessionExt::of(&config).is_some());
/// # Ok::<_, datafusion::error::DataFusionError>(())
/// ```
#[derive(Clone)]
pub struct SessionExt {
    runtime: Arc<FarcallRuntime>,
    parameters: Arc<BTreeMap<String, String>>,
    tasks: usize,
    slot: Option<u8>,
    executions: Arc<Executions>,
}

/// Executions that are not found by a handle of the plan's root.
#[derive(Default)]
struct Executions {
    by_context: Mutex<Vec<(Weak<TaskContext>, Arc<ExecutionHandle>)>>,
    by_query: Mutex<BTreeMap<Arc<str>, Weak<ExecutionHandle>>>,
}

impl SessionExt {
    /// Makes the extension of a session whose plans run as one task.
    pub fn new(runtime: Arc<FarcallRuntime>, parameters: Arc<BTreeMap<String, String>>) -> Self {
        Self { runtime, parameters, tasks: 1, slot: None, executions: Arc::default() }
    }

    /// Says into how many tasks a plan is cut.
    pub fn with_tasks(mut self, tasks: usize) -> Self {
        self.tasks = tasks;
        self
    }

    /// Says which of the tasks this is, counted from 0: it stands in row numbers and idempotency keys.
    ///
    /// # Errors
    /// A planning error for a slot beyond 255.
    pub fn with_task_slot(mut self, slot: usize) -> Result<Self> {
        match u8::try_from(slot) {
            Ok(slot) => self.slot = Some(slot),
            Err(_) => return plan_err!("task {slot} has no slot, there are {MAX_TASKS}"),
        }
        Ok(self)
    }

    /// Sets session and job parameters.
    pub fn with_parameters(mut self, parameters: BTreeMap<String, String>) -> Self {
        self.parameters = Arc::new(parameters);
        self
    }

    /// Returns the extension of a session, if it is farcall's.
    pub fn of(config: &SessionConfig) -> Option<Arc<Self>> {
        config.get_extension::<Self>()
    }

    /// Returns the extension of the session that runs a plan.
    ///
    /// # Errors
    /// An execution error if it has none.
    pub fn find(context: &TaskContext) -> Result<Arc<Self>> {
        match Self::of(context.session_config()) {
            Some(found) => Ok(found),
            None => exec_err!(
                "a plan with calls runs in a session that is not farcall's: its configuration has \
                 no SessionExt"
            ),
        }
    }

    /// Says whether plans run as parts of larger ones, whose results and errors travel.
    pub fn is_task(&self) -> bool {
        self.tasks > 1 || self.slot.is_some()
    }

    /// Returns what outlives queries.
    pub fn runtime(&self) -> &Arc<FarcallRuntime> {
        &self.runtime
    }

    /// Returns session and job parameters.
    pub fn parameters(&self) -> &Arc<BTreeMap<String, String>> {
        &self.parameters
    }

    /// Returns the slot of the task that runs a plan; row numbers must differ over all of them.
    ///
    /// # Errors
    /// An execution error if there are several tasks and it is not known which this is.
    pub fn task_slot(&self, context: &TaskContext) -> Result<u8> {
        match (self.slot, context.task_id()) {
            (Some(slot), _) => Ok(slot),
            (None, None) if self.tasks == 1 => Ok(0),
            (None, task) => {
                let task = task.map(|task| format!(" '{task}'")).unwrap_or_default();
                exec_err!(
                    "task{task} of {} has no slot, its rows cannot be numbered: set one by \
                     SessionExt::with_task_slot",
                    self.tasks
                )
            }
        }
    }

    /// Returns the execution of a query of this id, shared by all its tasks that run in this process.
    ///
    /// It lives as long as somebody holds it: the configuration of a task that runs, for instance.
    pub fn execution(&self, query_id: &str) -> Arc<ExecutionHandle> {
        let mut executions = lock(&self.executions.by_query);
        executions.retain(|_, execution| execution.strong_count() > 0);
        if let Some(found) = executions.get(query_id).and_then(Weak::upgrade) {
            return found;
        }
        let made = Arc::new(ExecutionHandle::of_query(query_id));
        let query_id = made.query_id().cloned().unwrap_or_default();
        executions.insert(query_id, Arc::downgrade(&made));
        made
    }

    /// Returns the scope of an execution, made at its first use, and what keeps its place.
    ///
    /// The execution is found by its handle; the fallback is the `TaskContext`, which all operators
    /// and partitions of one share where nobody copies it. Then functions may stay open until the
    /// next query, if a plan keeps its `TaskContext`.
    ///
    /// # Errors
    /// [`CallError::Cancelled`](farcall_udf::CallError::Cancelled) if the execution has ended.
    pub(crate) fn enter(&self, context: &Arc<TaskContext>) -> Result<(Arc<QueryScope>, Place)> {
        let config = context.session_config();
        let (execution, by_context) = match config.get_extension::<ExecutionHandle>() {
            Some(execution) => (execution, None),
            None => (self.executions.of(context), Some(Arc::clone(&self.executions))),
        };
        let scope = execution.scope(|| {
            let id = match (execution.query_id(), self.slot) {
                (Some(query), slot) => ExecutionId::part_of(query, slot),
                (None, Some(slot)) => {
                    ExecutionId::part_of(ExecutionId::fresh().query_id(), Some(slot))
                }
                (None, None) => ExecutionId::fresh(),
            };
            QueryScope::with_id(
                id,
                Arc::clone(&self.runtime),
                Arc::clone(&self.parameters),
                Arc::clone(config.options()),
                Arc::clone(context.memory_pool()),
            )
        })?;
        Ok((scope, Place { context: Some(Arc::clone(context)), by_context }))
    }
}

impl Executions {
    fn of(&self, context: &Arc<TaskContext>) -> Arc<ExecutionHandle> {
        let mut executions = self.forget();
        let this = Arc::downgrade(context);
        if let Some((_, found)) = executions.iter().find(|(context, _)| context.ptr_eq(&this)) {
            return Arc::clone(found);
        }
        let made = Arc::new(ExecutionHandle::new());
        executions.push((this, Arc::clone(&made)));
        made
    }

    /// Forgets executions whose context is gone: they have ended, their functions may close.
    fn forget(&self) -> MutexGuard<'_, Vec<(Weak<TaskContext>, Arc<ExecutionHandle>)>> {
        let mut executions = lock(&self.by_context);
        executions.retain(|(context, _)| context.strong_count() > 0);
        executions
    }
}

/// Keeps the place of an execution while one of its streams runs.
pub(crate) struct Place {
    context: Option<Arc<TaskContext>>,
    by_context: Option<Arc<Executions>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.context.take());
        if let Some(executions) = &self.by_context {
            drop(executions.forget());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SessionExt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionExt")
            .field("tasks", &self.tasks)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::task_context;

    #[test]
    fn an_execution_is_found_by_its_handle_in_any_context() {
        let ext = SessionExt::new(Arc::default(), Arc::default());
        let context = |handle: &Arc<ExecutionHandle>| {
            let config = SessionConfig::new().with_extension(Arc::clone(handle));
            Arc::new(TaskContext::default().with_session_config(config))
        };
        let handle = ext.execution("q");
        let (first, _place) = ext.enter(&context(&handle)).unwrap();
        let (second, _place) = ext.enter(&context(&ext.execution("q"))).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(&**first.query_id(), "q");
        let (other, _place) = ext.enter(&context(&ext.execution("r"))).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn without_a_handle_a_context_is_an_execution() {
        let ext = SessionExt::new(Arc::default(), Arc::default());
        let contexts = [Arc::new(TaskContext::default()), Arc::new(TaskContext::default())];
        let [(first, place), (second, _place)] =
            contexts.each_ref().map(|context| ext.enter(context).unwrap());
        assert!(Arc::ptr_eq(&first, &ext.enter(&contexts[0]).unwrap().0));
        assert!(!Arc::ptr_eq(&first, &second));
        // The last one to let go of the context lets go of the scope, without another query.
        let first = {
            let scope = Arc::downgrade(&first);
            drop(first);
            scope
        };
        drop(contexts);
        assert!(first.upgrade().is_some());
        drop(place);
        assert!(first.upgrade().is_none());
    }

    #[test]
    fn several_tasks_without_a_slot_are_an_error() {
        let ext = SessionExt::new(Arc::default(), Arc::default());
        let (one, named) =
            (TaskContext::default(), TaskContext::default().with_task_id("a".into()));
        assert_eq!(ext.task_slot(&one).unwrap(), 0);
        let error = ext.task_slot(&named).unwrap_err().to_string();
        assert!(error.contains("task 'a' of 1 has no slot"), "{error}");
        let many = ext.with_tasks(2);
        assert!(many.task_slot(&one).unwrap_err().to_string().contains("task of 2 has no slot"));
        assert_eq!(many.clone().with_task_slot(255).unwrap().task_slot(&named).unwrap(), 255);
        let error = many.with_task_slot(256).unwrap_err().to_string();
        assert!(error.contains("task 256 has no slot, there are 256"), "{error}");
    }

    #[test]
    fn a_session_without_it_is_not_farcalls() {
        assert!(SessionExt::find(&TaskContext::default()).is_err());
        assert!(SessionExt::find(&task_context()).is_ok());
    }
}
