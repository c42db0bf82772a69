//! [`Resources`], what functions share over the queries of a runtime: clients, pools, caches.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One value of each type, made at its first use and kept as long as the runtime lives.
#[derive(Default)]
pub struct Resources(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Resources {
    /// Returns the one `T`, made at its first use: an HTTP client, for instance.
    ///
    /// # Errors
    /// What `make` fails with; then the next who asks tries again.
    pub fn resource<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E>
    where
        T: Any + Send + Sync,
    {
        let mut resources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = resources.get(&TypeId::of::<T>())
            && let Ok(resource) = Arc::clone(found).downcast::<T>()
        {
            return Ok(resource);
        }
        let resource = Arc::new(make()?);
        resources.insert(TypeId::of::<T>(), Arc::clone(&resource) as Arc<dyn Any + Send + Sync>);
        Ok(resource)
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_resource_once() {
        let resources = Resources::default();
        let first = resources.resource(|| Ok::<_, ()>(String::from("client"))).unwrap();
        let second = resources.resource(|| Err::<String, _>(())).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }
}
