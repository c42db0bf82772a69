//! [`Caches`], the caches of a runtime by what is cached in them, a bounded number for each function.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};

use crate::adapt::any::AsyncFunction;
use crate::contract::context::Parameters;
use crate::dispatch::stores::cache::CacheLimits;

/// Caches of one function: of its versions, of what queries read of a lookup table, of several
/// limits. More than these a runtime keeps only while queries use them.
const MAX_CACHES: usize = 8;
/// Caches of all functions together: a table that was dropped leaves its cache behind, which goes
/// when so many others were used since.
const MAX_CACHES_IN_ALL: usize = 128;

/// What is cached: the function with version and recipe, the types of arguments and answer, the
/// parameters that it is told, and how much of it for how long.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    function: AsyncFunction,
    types: Vec<DataType>,
    /// What one tenant is answered is not another one's.
    parameters: Parameters,
    limits: CacheLimits,
}

impl CacheKey {
    pub(crate) fn new(
        function: &AsyncFunction,
        answer: &DataType,
        fields: &[FieldRef],
        parameters: &Parameters,
        limits: CacheLimits,
    ) -> Self {
        let types = fields.iter().map(|field| field.data_type().clone());
        let types = types.chain([answer.clone()]).collect();
        let (function, parameters) = (function.clone(), Arc::clone(parameters));
        Self { function, types, parameters, limits }
    }
}

/// The caches of one kind.
#[derive(Debug)]
pub(crate) struct Caches<T> {
    /// Each with the number of its last use.
    caches: HashMap<CacheKey, (Arc<T>, u64)>,
    uses: u64,
}

impl<T> Default for Caches<T> {
    fn default() -> Self {
        Self { caches: HashMap::new(), uses: 0 }
    }
}

impl<T> Caches<T> {
    /// Returns a cache, made at its first use.
    pub(crate) fn get(&mut self, key: CacheKey, make: impl FnOnce() -> T) -> Arc<T> {
        self.uses += 1;
        if let Some((cache, used)) = self.caches.get_mut(&key) {
            *used = self.uses;
            return Arc::clone(cache);
        }
        self.make_room(key.function.name());
        let cache = Arc::new(make());
        self.caches.insert(key, (Arc::clone(&cache), self.uses));
        cache
    }

    /// Drops the least recently used caches that no query uses: of a function if it has too many,
    /// and of all functions.
    fn make_room(&mut self, function: &str) {
        self.keep(MAX_CACHES, |key| key.function.name() == function);
        self.keep(MAX_CACHES_IN_ALL, |_| true);
    }

    /// Leaves room for one more of these caches.
    fn keep(&mut self, most: usize, is_one: impl Fn(&CacheKey) -> bool) {
        let mut idle: Vec<u64> = Vec::new();
        let mut number = 0;
        for (_, (cache, used)) in self.caches.iter().filter(|(key, _)| is_one(key)) {
            number += 1;
            idle.extend((Arc::strong_count(cache) == 1).then_some(*used));
        }
        idle.sort_unstable();
        idle.truncate((number + 1_usize).saturating_sub(most));
        if !idle.is_empty() {
            self.caches.retain(|_, (_, used)| !idle.contains(used));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::CallOptions;
    use crate::settings::resolved::Resolved;
    use crate::testing::ScriptedFunction;

    #[test]
    fn the_least_recently_used_of_a_function_makes_room() {
        let mut caches = Caches::default();
        for version in 0..MAX_CACHES {
            assert_eq!(*caches.get(key("f", version), || version), version);
        }
        caches.get(key("f", 0), || 100);
        caches.get(key("f", MAX_CACHES), || 8);
        // The first was used again; the second went.
        assert_eq!(*caches.get(key("f", 0), || 100), 0);
        assert_eq!(*caches.get(key("f", 1), || 101), 101);
    }

    #[test]
    fn those_in_use_and_those_of_other_functions_stay() {
        let mut caches = Caches::default();
        let used = caches.get(key("f", 0), || 0);
        caches.get(key("g", 0), || 0);
        for version in 1..3 * MAX_CACHES {
            caches.get(key("f", version), || version);
        }
        assert_eq!(caches.caches.len(), MAX_CACHES + 1);
        assert_eq!(*caches.get(key("g", 0), || 100), 0);
        assert!(Arc::ptr_eq(&used, &caches.get(key("f", 0), || 100)));
    }

    #[test]
    fn all_functions_together_have_a_bound() {
        let mut caches = Caches::default();
        let used = caches.get(key("f0", 0), || 0);
        for function in 1..2 * MAX_CACHES_IN_ALL {
            caches.get(key(&format!("f{function}"), 0), || function);
        }
        assert_eq!(caches.caches.len(), MAX_CACHES_IN_ALL);
        assert!(Arc::ptr_eq(&used, &caches.get(key("f0", 0), || 100)));
        assert_eq!(*caches.get(key("f1", 0), || 100), 100);
    }

    fn key(function: &str, version: usize) -> CacheKey {
        let version = version.to_string();
        let function = ScriptedFunction::new(function);
        let (function, _) = function.with_declaration(|d| d.with_version(version)).build();
        let limits = CacheLimits::partial(&Resolved::of_call(&CallOptions::new()));
        CacheKey { function, types: vec![], parameters: Parameters::default(), limits }
    }
}
