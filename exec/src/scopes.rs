//! [`ScopeRegistry`], which finds the query scope of an execution.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::execution::TaskContext;
use farcall_udf::{FarcallRuntime, QueryScope};

/// Maps executions to their query scopes.
///
/// Nothing in DataFusion is per execution but the `TaskContext`, which all operators and partitions
/// of one share. One registry is made per plan, given to each of its operators and kept by them, so
/// that its scopes live until plan and streams are gone; in a recursive query they outlive the
/// streams of an iteration, which a weak reference would not.
#[derive(Debug)]
pub struct ScopeRegistry {
    runtime: Arc<FarcallRuntime>,
    parameters: Arc<BTreeMap<String, String>>,
    scopes: Mutex<Vec<(Weak<TaskContext>, Arc<QueryScope>)>>,
}

impl ScopeRegistry {
    /// Makes a registry for one plan.
    pub fn new(runtime: Arc<FarcallRuntime>, parameters: Arc<BTreeMap<String, String>>) -> Self {
        Self { runtime, parameters, scopes: Mutex::default() }
    }

    /// Returns the scope of an execution, made at its first use.
    pub fn scope(&self, context: &Arc<TaskContext>) -> Arc<QueryScope> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        // Executions whose context is gone have ended: their functions may close.
        scopes.retain(|(context, _)| context.strong_count() > 0);
        let this = Arc::downgrade(context);
        if let Some((_, scope)) = scopes.iter().find(|(context, _)| context.ptr_eq(&this)) {
            return Arc::clone(scope);
        }
        let scope = QueryScope::new(
            Arc::clone(&self.runtime),
            Arc::clone(&self.parameters),
            Arc::clone(context.session_config().options()),
            Arc::clone(context.memory_pool()),
        );
        scopes.push((this, Arc::clone(&scope)));
        scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_has_one_scope_and_another_execution_another() {
        let registry = ScopeRegistry::new(Arc::default(), Arc::default());
        let (first, second) = (Arc::new(TaskContext::default()), Arc::new(TaskContext::default()));
        let scope = registry.scope(&first);
        assert!(Arc::ptr_eq(&scope, &registry.scope(&first)));
        assert!(!Arc::ptr_eq(&scope, &registry.scope(&second)));
    }

    #[test]
    fn forgets_the_scope_of_an_execution_that_is_gone() {
        let registry = ScopeRegistry::new(Arc::default(), Arc::default());
        let first = Arc::new(TaskContext::default());
        let scope = Arc::downgrade(&registry.scope(&first));
        drop(first);
        registry.scope(&Arc::new(TaskContext::default()));
        assert!(scope.upgrade().is_none());
    }
}
