//! [`FullLookup`], one partition's lookups in a table that is held as a whole.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::contract::args::ArgBatch;
use crate::contract::conversion::conversion;
use crate::contract::lookup_reader::ReaderFn;
use crate::dispatch::full::cache::{FullCache, Loading, Rows};
use crate::dispatch::full::load::Load;
use crate::dispatch::full::table::FullTable;
use crate::dispatch::query::scope::QueryScope;
use crate::dispatch::query::site::CallSite;
use crate::dispatch::request::runs::CallRuns;
use crate::dispatch::stores::cache::CacheLimits;
use crate::dispatch::stores::caches::{CacheKey, Caches};
use crate::error::CallError;
use crate::options::words::Cache;

/// The tables that a runtime holds as a whole.
type FullCaches = Mutex<Caches<FullCache>>;

/// Calls with their answers.
pub(crate) type Answered = (CallRuns, ArrayRef);

/// Answers the calls of one partition from a whole table, as soon as that is there.
pub(crate) struct FullLookup {
    site: Arc<CallSite>,
    scope: Arc<QueryScope>,
    cache: Arc<FullCache>,
    reader: ReaderFn,
    loading: Option<Loading>,
    /// Calls that wait for the table, bounded by the partition's buffered rows.
    waiting: VecDeque<(ArgBatch, CallRuns)>,
}

impl FullLookup {
    /// Makes the lookups of a partition; `None` if its options want no whole table.
    ///
    /// # Errors
    /// [`CallError::BadOption`] for a function that is no lookup table, which the resolver of options
    /// refuses beforehand.
    pub(crate) fn new(
        scope: &Arc<QueryScope>,
        site: &Arc<CallSite>,
        fields: &[FieldRef],
    ) -> Result<Option<Self>, CallError> {
        if site.options().cache() != Cache::Full {
            return Ok(None);
        }
        let Some(reader) = site.function().declaration().reader() else {
            let message = "'full' is for lookup tables, accepted are 'none', 'partial'";
            return Err(CallError::BadOption {
                option: format!("cache of {}", site.function().name()),
                message: message.to_owned(),
            });
        };
        Ok(Some(Self {
            site: Arc::clone(site),
            scope: Arc::clone(scope),
            cache: cache_of(scope, site, fields),
            reader: Arc::clone(reader),
            loading: None,
            waiting: VecDeque::new(),
        }))
    }

    /// Says whether calls wait for the table.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes in calls; returns their answers if the table is there.
    pub(crate) fn ask(
        &mut self,
        keys: ArgBatch,
        calls: CallRuns,
    ) -> Result<Option<Answered>, CallError> {
        if keys.num_rows() == 0 {
            return Ok(None);
        }
        if self.waiting.is_empty() {
            match self.rows()? {
                Rows::Here(table) => return Ok(Some(self.find(&table, &keys, calls)?)),
                Rows::Awaited(loading) => self.loading = Some(loading),
            }
        }
        self.waiting.push_back((keys, calls));
        Ok(None)
    }

    /// Waits for the table, and answers the calls that waited for it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Answered>, CallError>> {
        let Some(loading) = &mut self.loading else { return Poll::Pending };
        let table = std::task::ready!(loading.poll_unpin(cx));
        self.loading = None;
        let table = match table {
            Ok(table) => table,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let waiting = std::mem::take(&mut self.waiting);
        let answered = waiting.into_iter().map(|(keys, calls)| self.find(&table, &keys, calls));
        Poll::Ready(answered.collect())
    }

    fn rows(&self) -> Result<Rows, CallError> {
        self.cache.rows(|| {
            let whole = (self.reader)().map_err(|error| {
                CallError::configuration(self.site.function().name(), error.strip_backtrace())
            })?;
            // Others may wait for the same rows: that this query ends early is not their concern.
            let cancellation = CancellationToken::new();
            Ok(Load {
                whole,
                site: Arc::clone(&self.site),
                ctx: self.scope.function_context(cancellation.clone()),
                _end: cancellation.drop_guard(),
                memory: Arc::clone(self.scope.memory()),
            })
        })
    }

    fn find(
        &self,
        table: &FullTable,
        keys: &ArgBatch,
        calls: CallRuns,
    ) -> Result<Answered, CallError> {
        self.site.metrics.add_cache_hits(keys.num_rows());
        self.site.metrics.site().set_cached(table.size());
        let found = table.find(keys);
        let found =
            found.map_err(|error| conversion(self.site.function().name(), "a key", error))?;
        Ok((calls, found))
    }
}

/// Returns the cache that holds a call site's lookup table as a whole, made at its first use.
fn cache_of(scope: &QueryScope, site: &CallSite, fields: &[FieldRef]) -> Arc<FullCache> {
    let limits = CacheLimits::full(site.options());
    let (function, answer) = (site.function(), site.data_type());
    let key = CacheKey::new(function, answer, fields, scope.parameters(), limits);
    let caches = scope.runtime().resource(|| Ok::<_, Infallible>(FullCaches::default()));
    let caches = caches.unwrap_or_else(|never| match never {});
    let mut caches = caches.lock().unwrap_or_else(PoisonError::into_inner);
    caches.get(key, || FullCache::new(limits))
}
