//! [`FarcallRuntime`], what outlives a query: limiters, clients, caches and stores.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::FieldRef;
use tokio::sync::watch;

use crate::adapt::any::AsyncFunction;
use crate::contract::context::Parameters;
use crate::contract::estimate::Estimate;
use crate::contract::kind::Kind;
use crate::contract::resources::Resources;
use crate::dispatch::limits::quota::{LocalQuota, Quota};
use crate::dispatch::limits::{Limiter, Limits};
use crate::dispatch::meters::metrics::CallMetrics;
use crate::dispatch::query::site::CallSite;
use crate::dispatch::stores::cache::{CacheLimits, PartialCache};
use crate::dispatch::stores::caches::{CacheKey, Caches};

/// Functions that are counted each for itself; those that come later are counted as one.
const MAX_COUNTED_FUNCTIONS: usize = 1000;

/// The name under which the functions beyond those are counted.
const OTHER_FUNCTIONS: &str = "(other)";

/// What is called, and how much of it at once.
type LimiterKey = (String, Limits);

/// What outlives a query, owned by whoever embeds farcall: a session, the CLI, an executor.
///
/// Nothing of farcall lives in statics: two runtimes in one process share nothing.
#[derive(Default)]
pub struct FarcallRuntime {
    quota: Option<Arc<dyn Quota>>,
    limiters: Mutex<HashMap<LimiterKey, Arc<Limiter>>>,
    totals: Mutex<BTreeMap<String, Arc<CallMetrics>>>,
    partial_caches: Mutex<Caches<PartialCache>>,
    resources: Arc<Resources>,
    /// Queries that run, or whose functions are closing.
    queries: watch::Sender<usize>,
    /// Queries that were ever started.
    started: AtomicU64,
}

/// Counts a query as running until it is dropped.
pub(crate) struct RunningQuery(Arc<FarcallRuntime>);

impl Drop for RunningQuery {
    fn drop(&mut self) {
        self.0.queries.send_modify(|queries| *queries -= 1);
    }
}

impl FarcallRuntime {
    /// Makes an empty runtime.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares the limits of what is called with other processes, as a quota says; without one, this
    /// process has all of them.
    pub fn with_quota(mut self, quota: Arc<dyn Quota>) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Counts a query as running.
    pub(crate) fn enter(self: &Arc<Self>) -> RunningQuery {
        self.queries.send_modify(|queries| *queries += 1);
        RunningQuery(Arc::clone(self))
    }

    /// Numbers a query in the order in which queries start.
    pub(crate) fn next_query(&self) -> u64 {
        self.started.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until no query runs and the functions of all queries are closed.
    ///
    /// A program waits for it before it ends, or `close` may be cut off.
    pub async fn idle(&self) {
        // The sender is `self`: it cannot be gone while this waits.
        let _ = self.queries.subscribe().wait_for(|queries| *queries == 0).await;
    }

    /// Returns the limiter of one model or function, made at its first use.
    ///
    /// Calls that set other limits are counted apart.
    pub fn limiter(&self, name: &str, limits: Limits) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = limiters.entry((name.to_owned(), limits)).or_insert_with(|| {
            let quota = self.quota.clone().unwrap_or_else(|| Arc::new(LocalQuota));
            Arc::new(Limiter::granted_by(quota, name, limits))
        });
        Arc::clone(limiter)
    }

    /// Returns the attempts that hold a place of some limiter now; those without any limit hold none.
    pub fn attempts_in_flight(&self) -> usize {
        let limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        limiters.values().map(|limiter| limiter.in_flight()).sum()
    }

    /// Returns what all queries together counted of a function.
    pub(crate) fn totals_of(&self, function: &str) -> Arc<CallMetrics> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = totals.get(function) {
            return Arc::clone(found);
        }
        let name = if totals.len() < MAX_COUNTED_FUNCTIONS { function } else { OTHER_FUNCTIONS };
        Arc::clone(totals.entry(name.to_owned()).or_default())
    }

    /// Returns what earlier queries tell of a function's calls, `try_f` being counted with `f`.
    pub fn observed(&self, function: &AsyncFunction) -> Estimate {
        let name = function.tried().unwrap_or(function).name();
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.get(name).map(|counted| counted.estimate()).unwrap_or_default()
    }

    /// Returns what was counted of each function by name, over queries that ended and that run.
    ///
    /// A model is a function of its name, and `try_f` is counted with `f`.
    pub fn totals(&self) -> Vec<(String, Arc<CallMetrics>)> {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.iter().map(|(name, metrics)| (name.clone(), Arc::clone(metrics))).collect()
    }

    /// Returns the cache of a call site's function that keeps answers as they come, made at its
    /// first use.
    pub(crate) fn partial_cache(
        &self,
        site: &CallSite,
        fields: &[FieldRef],
        parameters: &Parameters,
    ) -> Arc<PartialCache> {
        let limits = CacheLimits::partial(site.options());
        let is_lookup = site.function().declaration().kind() == Kind::Lookup;
        let totals = self.totals_of(site.function().name());
        let mut caches = self.partial_caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.get(
            CacheKey::new(site.function(), site.data_type(), fields, parameters, limits),
            || PartialCache::new(limits, is_lookup, totals),
        )
    }

    /// Returns what functions share over queries: clients, pools.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// Returns the one `T` of this runtime, made at its first use: an HTTP client, for instance.
    ///
    /// # Errors
    /// What `make` fails with.
    pub fn resource<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E>
    where
        T: Any + Send + Sync,
    {
        self.resources.resource(make)
    }
}

impl fmt::Debug for FarcallRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FarcallRuntime").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_idle_only_when_the_last_query_is_gone() {
        let runtime = Arc::new(FarcallRuntime::new());
        let (first, second) = (runtime.enter(), runtime.enter());
        drop(first);
        assert!(futures::FutureExt::now_or_never(runtime.idle()).is_none());
        drop(second);
        runtime.idle().await;
    }

    #[test]
    fn counts_a_bounded_number_of_functions_by_name() {
        let runtime = FarcallRuntime::new();
        for function in 0..MAX_COUNTED_FUNCTIONS + 5 {
            runtime.totals_of(&format!("f{function}")).add_rows(1);
        }
        runtime.totals_of("f0").add_rows(1);
        let totals = runtime.totals();
        let rows = |name: &str| {
            let found = totals.iter().find(|(function, _)| function == name);
            found.map(|(_, metrics)| metrics.snapshot().rows)
        };
        assert_eq!(totals.len(), MAX_COUNTED_FUNCTIONS + 1);
        assert_eq!((rows("f0"), rows("f999"), rows("f1000")), (Some(2), Some(1), None));
        assert_eq!(rows(OTHER_FUNCTIONS), Some(5));
    }

    #[test]
    fn shares_a_limiter_by_name() {
        let runtime = FarcallRuntime::new();
        let two = Limits { max_concurrency: Some(2), ..Limits::default() };
        let first = runtime.limiter("m", two);
        assert!(Arc::ptr_eq(&first, &runtime.limiter("m", two)));
        assert!(!Arc::ptr_eq(&first, &runtime.limiter("n", two)));
        runtime.limiter("m", Limits::default());
        assert!(Arc::ptr_eq(&first, &runtime.limiter("m", two)));
    }
}
