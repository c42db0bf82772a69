//! [`ModelRegistry`], the models of one session by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use datafusion::common::plan_err;
use datafusion::error::Result;
use farcall_udf::ModelProvider;

use crate::catalog::definition::{IfExists, ModelSpec};
use crate::catalog::model::Model;

/// The models of one session and the providers that make them.
pub struct ModelRegistry {
    providers: Vec<Arc<dyn ModelProvider>>,
    models: RwLock<BTreeMap<String, Arc<Model>>>,
}

impl ModelRegistry {
    /// Makes a registry without models.
    pub fn new(providers: Vec<Arc<dyn ModelProvider>>) -> Self {
        Self { providers, models: RwLock::default() }
    }

    /// Returns the providers that make models.
    pub fn providers(&self) -> &[Arc<dyn ModelProvider>] {
        &self.providers
    }

    /// Creates a model and says whether it did; on an error nothing is changed.
    ///
    /// # Errors
    /// A planning error that names the model: it exists, or its definition cannot be met.
    pub fn create(&self, spec: ModelSpec, if_exists: IfExists) -> Result<bool> {
        // Checked before and after: the function is made without the lock held.
        if self.find(&spec.name).is_some() && !replaces(&spec.name, if_exists)? {
            return Ok(false);
        }
        let model = Arc::new(Model::try_new(spec, &self.providers)?);
        let mut models = self.write();
        if models.contains_key(model.name()) && !replaces(model.name(), if_exists)? {
            return Ok(false);
        }
        models.insert(model.name().to_owned(), model);
        Ok(true)
    }

    /// Drops a model and says whether there was one.
    ///
    /// # Errors
    /// A planning error that lists the models there are, unless `if_exists`.
    pub fn drop_model(&self, name: &str, if_exists: bool) -> Result<bool> {
        let dropped = self.write().remove(name).is_some();
        if !dropped && !if_exists {
            return self.unknown(name);
        }
        Ok(dropped)
    }

    /// Returns a model, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<Arc<Model>> {
        self.read().get(name).cloned()
    }

    /// Returns a model.
    ///
    /// # Errors
    /// A planning error that names the model and lists those that exist.
    pub fn get(&self, name: &str) -> Result<Arc<Model>> {
        match self.find(name) {
            Some(model) => Ok(model),
            None => self.unknown(name),
        }
    }

    /// Returns all models, sorted by name.
    pub fn list(&self) -> Vec<Arc<Model>> {
        self.read().values().cloned().collect()
    }

    fn unknown<T>(&self, name: &str) -> Result<T> {
        let known: Vec<String> = self.read().keys().map(|name| format!("'{name}'")).collect();
        if known.is_empty() {
            return plan_err!("no model '{name}', the session has none; CREATE MODEL makes one");
        }
        plan_err!("no model '{name}', the session has {}", known.join(", "))
    }

    // A panic while the lock is held leaves the map whole: every change is one insert or remove.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Model>>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Model>>> {
        self.models.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ModelRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelRegistry")
            .field("models", &self.read().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn replaces(name: &str, if_exists: IfExists) -> Result<bool> {
    match if_exists {
        IfExists::Replace => Ok(true),
        IfExists::Keep => Ok(false),
        IfExists::Fail => {
            plan_err!("model '{name}' exists; CREATE OR REPLACE MODEL takes its place")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::testing::{registry, spec, with};

    #[test]
    fn a_name_is_taken_once_unless_told_otherwise() {
        let registry = registry();
        assert!(registry.create(spec("m"), IfExists::Fail).unwrap());
        let first = registry.get("m").unwrap();
        let error = registry.create(spec("m"), IfExists::Fail).unwrap_err().to_string();
        assert!(error.contains("model 'm' exists; CREATE OR REPLACE MODEL"), "{error}");
        assert!(!registry.create(spec("m"), IfExists::Keep).unwrap());
        assert!(Arc::ptr_eq(&first, &registry.get("m").unwrap()));
        assert!(registry.create(spec("m"), IfExists::Replace).unwrap());
        assert!(!Arc::ptr_eq(&first, &registry.get("m").unwrap()));
    }

    #[test]
    fn a_bad_definition_changes_nothing() {
        let registry = registry();
        registry.create(spec("m"), IfExists::Fail).unwrap();
        let before = registry.get("m").unwrap();
        let bad = with(spec("m"), &[("colour", "red")]);
        assert!(registry.create(bad, IfExists::Replace).is_err());
        assert!(registry.create(with(spec("n"), &[("mode", "x")]), IfExists::Fail).is_err());
        assert!(Arc::ptr_eq(&before, &registry.get("m").unwrap()));
        assert_eq!(registry.list().len(), 1);
    }

    #[test]
    fn a_dropped_model_is_gone() {
        let registry = registry();
        registry.create(spec("m"), IfExists::Fail).unwrap();
        assert!(registry.drop_model("m", false).unwrap());
        assert!(!registry.drop_model("m", true).unwrap());
        let error = registry.drop_model("m", false).unwrap_err().to_string();
        assert!(error.contains("no model 'm', the session has none"), "{error}");
    }

    #[test]
    fn models_are_listed_by_name() {
        let registry = registry();
        for name in ["b", "a", "C"] {
            registry.create(spec(name), IfExists::Fail).unwrap();
        }
        let names: Vec<_> = registry.list().iter().map(|model| model.name().to_owned()).collect();
        assert_eq!(names, ["C", "a", "b"]);
        let error = registry.get("x").unwrap_err().to_string();
        assert!(error.contains("no model 'x', the session has 'C', 'a', 'b'"), "{error}");
    }

    #[test]
    fn one_of_many_threads_creates_a_model() {
        let registry = registry();
        let created: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| registry.create(spec("m"), IfExists::Keep).unwrap()))
                .collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!((created, registry.list().len()), (1, 1));
    }
}
