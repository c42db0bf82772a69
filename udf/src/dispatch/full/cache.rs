//! [`FullCache`], a lookup table that a runtime holds as a whole, and when it is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion_common_runtime::SpawnedTask;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use crate::dispatch::clock::after;
use crate::dispatch::full::load::Load;
use crate::dispatch::full::table::FullTable;
use crate::dispatch::stores::cache::CacheLimits;
use crate::error::CallError;

/// A table being read.
pub(crate) type Reading = BoxFuture<'static, Result<Arc<FullTable>, CallError>>;

/// A table being read, shared by all who wait for it; it ends when the last of them gives up.
pub(crate) type Loading = Shared<Reading>;

/// A lookup table that is held as a whole, over all queries of a runtime.
///
/// Nothing happens by itself: the table is read when somebody looks up and its rows are missing or
/// too old. Rows that are in use serve on while newer ones are read beside the queries. Rows that
/// nobody used for as long as they are good are out of date by more than was allowed: whoever comes
/// then waits for new ones. If new rows cannot be had, the old ones serve for another interval.
#[derive(Debug)]
pub(crate) struct FullCache {
    limits: CacheLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    table: Option<Arc<FullTable>>,
    /// When the table is to be read again.
    due: Option<Instant>,
    /// When somebody last looked up.
    used: Option<Instant>,
    loading: Option<WeakShared<Reading>>,
    /// Reads the table while the old rows serve; dropped with the cache.
    background: Option<SpawnedTask<()>>,
}

/// What somebody who looks up finds.
pub(crate) enum Rows {
    /// The table.
    Here(Arc<FullTable>),
    /// The table as soon as it is whole.
    Awaited(Loading),
}

impl FullCache {
    /// Makes a cache that holds no table yet.
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Returns the table, or what to wait for; `load` makes what reads it.
    pub(crate) fn rows(
        self: &Arc<Self>,
        load: impl FnOnce() -> Result<Load, CallError>,
    ) -> Result<Rows, CallError> {
        let (mut state, now) = (self.state(), Instant::now());
        let used = state.used.replace(now);
        let table = match &state.table {
            Some(table) if state.due.is_none_or(|due| now < due) => {
                return Ok(Rows::Here(Arc::clone(table)));
            }
            table => table.clone(),
        };
        let loading = state.loading.as_ref().and_then(WeakShared::upgrade);
        let running = loading.is_some();
        let loading = match loading {
            Some(loading) => loading,
            None => self.begin(&mut state, load()?),
        };
        let in_use = used.zip(self.limits.reload_interval);
        let in_use = in_use.is_some_and(|(used, interval)| now < after(used, interval));
        Ok(match table {
            Some(table) if in_use => {
                if !running {
                    let reload = async move { drop(loading.await) };
                    state.background = Some(SpawnedTask::spawn(reload));
                }
                Rows::Here(table)
            }
            _ => Rows::Awaited(loading),
        })
    }

    fn begin(self: &Arc<Self>, state: &mut State, load: Load) -> Loading {
        // The cache owns a reload, which must not own the cache.
        let (cache, limits) = (Arc::downgrade(self), self.limits);
        let loading = async move { keep(&cache, load.run(&limits).await) };
        let loading = loading.boxed().shared();
        state.loading = loading.downgrade();
        loading
    }

    /// Takes in a table that was read, or keeps the old one.
    fn replace(
        &self,
        loaded: Result<Arc<FullTable>, CallError>,
    ) -> Result<Arc<FullTable>, CallError> {
        let mut state = self.state();
        state.loading = None;
        state.due = self.limits.reload_interval.map(|interval| after(Instant::now(), interval));
        match loaded {
            Ok(table) => Ok(Arc::clone(state.table.insert(table))),
            Err(error) => match &state.table {
                Some(table) => {
                    tracing::warn!(%error, "the old rows of a cached lookup table serve on");
                    Ok(Arc::clone(table))
                }
                None => Err(error),
            },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a table that was read to its cache, if that is still there.
pub(crate) fn keep(
    cache: &Weak<FullCache>,
    loaded: Result<Arc<FullTable>, CallError>,
) -> Result<Arc<FullTable>, CallError> {
    match cache.upgrade() {
        Some(cache) => cache.replace(loaded),
        None => loaded,
    }
}
