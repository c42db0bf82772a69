//! [`QueryScope`], what belongs to one execution of a query: its id, its functions, its cancel.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::FieldRef;
use datafusion_common::Result;
use datafusion_common::config::ConfigOptions;
use datafusion_execution::memory_pool::{MemoryPool, MemoryReservation};
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::adapt::any::AsyncFunction;
use crate::adapt::tried::value_field;
use crate::contract::context::{FunctionContext, Parameters};
use crate::contract::conversion::panicked;
use crate::contract::opened::Opened;
use crate::dispatch::limits::Limits;
use crate::dispatch::limits::key_gate::KeyGate;
use crate::dispatch::limits::queue::Priority;
use crate::dispatch::meters::Meters;
use crate::dispatch::meters::metrics::CallMetrics;
use crate::dispatch::query::execution_id::ExecutionId;
use crate::dispatch::query::runtime::{FarcallRuntime, RunningQuery};
use crate::dispatch::query::site::{CallSite, OpenedFunction, Opening};
use crate::error::CallError;
use crate::options::words::Mode;
use crate::settings::resolved::Resolved;

/// How long a function may take to close after its query.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// What belongs to one execution of a query, shared by its operators and partitions.
///
/// Dropped when all that runs in it is gone, its end by the streams of the plan's root included;
/// then every opened function is closed.
pub struct QueryScope {
    id: ExecutionId,
    /// Among the queries of the runtime, in the order of their start.
    number: u64,
    runtime: Arc<FarcallRuntime>,
    parameters: Parameters,
    config: Arc<ConfigOptions>,
    memory: Arc<dyn MemoryPool>,
    /// Partitions of operators that hold rows back.
    row_holders: Mutex<usize>,
    cancellation: CancellationToken,
    failure: Mutex<Option<CallError>>,
    sites: Mutex<HashMap<u64, Arc<CallSite>>>,
    functions: Mutex<HashMap<AsyncFunction, Arc<OpenedFunction>>>,
    /// Where functions are closed: the last owner may be dropped outside of any runtime.
    handle: Option<Handle>,
    /// Taken along by the task that closes the functions.
    running: Option<RunningQuery>,
}

impl QueryScope {
    /// Makes the scope of a new execution, with a fresh query id.
    ///
    /// What the query keeps in memory is accounted in `memory`.
    pub fn new(
        runtime: Arc<FarcallRuntime>,
        parameters: Parameters,
        config: Arc<ConfigOptions>,
        memory: Arc<dyn MemoryPool>,
    ) -> Arc<Self> {
        Self::with_id(ExecutionId::fresh(), runtime, parameters, config, memory)
    }

    /// Makes the scope of a new execution, whose id is given.
    pub fn with_id(
        id: ExecutionId,
        runtime: Arc<FarcallRuntime>,
        parameters: Parameters,
        config: Arc<ConfigOptions>,
        memory: Arc<dyn MemoryPool>,
    ) -> Arc<Self> {
        let running = Some(runtime.enter());
        Arc::new(Self {
            id,
            number: runtime.next_query(),
            runtime,
            parameters,
            config,
            memory,
            row_holders: Mutex::default(),
            cancellation: CancellationToken::new(),
            failure: Mutex::new(None),
            sites: Mutex::default(),
            functions: Mutex::default(),
            handle: Handle::try_current().ok(),
            running,
        })
    }

    /// Returns the query's id.
    pub fn query_id(&self) -> &Arc<str> {
        self.id.query_id()
    }

    /// Returns what no other execution shares, in this process or another.
    pub fn execution(&self) -> &Arc<str> {
        self.id.execution()
    }

    /// Returns what outlives the query.
    pub fn runtime(&self) -> &Arc<FarcallRuntime> {
        &self.runtime
    }

    /// Returns session and job parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the session's configuration.
    pub fn config(&self) -> &Arc<ConfigOptions> {
        &self.config
    }

    /// Returns the pool in which the query's memory is accounted.
    pub fn memory(&self) -> &Arc<dyn MemoryPool> {
        &self.memory
    }

    /// Accounts for the first rows that a partition of an operator holds back; dropping the guard
    /// says that it holds none any more.
    ///
    /// If the pool refuses while other partitions hold rows, the bytes are granted all the same: the
    /// memory of the others comes back when they are read, and whoever reads them may wait for this
    /// partition. So the pool is exceeded by one batch per partition at most, and nobody waits for ever.
    ///
    /// # Errors
    /// The pool's refusal, if nobody in the query holds rows.
    pub fn hold_rows(
        self: &Arc<Self>,
        account: &MemoryReservation,
        bytes: usize,
    ) -> Result<RowHolder> {
        // Locked over the attempt: of two partitions, the second sees what the first was granted.
        let mut holders = self.row_holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(refusal) = account.try_resize(bytes) {
            if *holders == 0 {
                return Err(refusal);
            }
            account.resize(bytes);
        }
        *holders += 1;
        Ok(RowHolder(Arc::clone(self)))
    }

    /// Returns the token that ends all work of the query.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Ends the query: the first error is kept, and no further call is made anywhere in it.
    pub fn fail(&self, error: &CallError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| error.clone());
        drop(failure);
        self.cancellation.cancel();
    }

    /// Returns the error that ended the query, if one did.
    pub fn failure(&self) -> Option<CallError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the call site's state, made at its first use; partitions and copies share it.
    ///
    /// `stage` counts the call operators below the one that makes these calls: where calls compete
    /// for limits, those further downstream come first.
    /// A function and its `try_` form are one function: opened together, with shared answers.
    pub fn site(
        &self,
        site: u64,
        stage: usize,
        function: &AsyncFunction,
        options: &Resolved,
        return_field: &FieldRef,
        metrics: &Arc<CallMetrics>,
    ) -> Arc<CallSite> {
        let tries = function.tried().is_some();
        let function = function.tried().unwrap_or(function);
        let opened = self.function(function);
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let site = sites.entry(site).or_insert_with(|| {
            let permits = match options.mode() {
                Mode::Async => options.buffer_capacity(),
                Mode::Sync => 1,
            };
            Arc::new(CallSite {
                number: site,
                function: opened,
                window: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
                limiter: self.runtime.limiter(function.name(), Limits::of(options)),
                priority: Priority::new(self.number, stage),
                options: options.clone(),
                tries: tries.then(|| return_field.data_type().clone()),
                return_field: if tries {
                    value_field(return_field)
                } else {
                    Arc::clone(return_field)
                },
                next_request: AtomicU64::new(0),
                keys: KeyGate::default(),
                metrics: Meters::new(metrics, self.runtime.totals_of(function.name())),
            })
        });
        Arc::clone(site)
    }

    /// Returns the calls sent so far by function, over all its call sites in this query.
    ///
    /// Rows that needed no call, or shared the answer of an equal one, are not counted.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        for site in sites.values() {
            *calls.entry(site.function().name().to_owned()).or_default() +=
                site.metrics().snapshot().calls;
        }
        calls
    }

    fn function(&self, function: &AsyncFunction) -> Arc<OpenedFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = functions.entry(function.clone()).or_insert_with(|| {
            Arc::new(OpenedFunction::new(function.clone(), Arc::clone(&self.memory)))
        });
        Arc::clone(opened)
    }

    /// Makes what a function is told about the query; `cancellation` ends what it begins.
    pub(crate) fn function_context(&self, cancellation: CancellationToken) -> FunctionContext {
        let resources = Arc::clone(self.runtime.resources());
        FunctionContext::new(Arc::clone(self.query_id()), resources)
            .with_cancellation(cancellation)
            .with_parameters(Arc::clone(&self.parameters))
            .with_config(Arc::clone(&self.config))
    }

    /// Opens a function if this query has not done so yet.
    ///
    /// Whoever waits drives it on: it begins once, also when the first to wait gives up.
    pub(crate) fn opening(&self, opened: &OpenedFunction) -> Opening {
        let open = opened.open.get_or_init(|| {
            let function = opened.function.clone();
            let ctx = self.function_context(self.cancellation.clone());
            let open = async move {
                let open = AssertUnwindSafe(function.open(&ctx)).catch_unwind().await;
                open.unwrap_or_else(|payload| Err(panicked(function.name(), payload)))
            };
            open.boxed().shared()
        });
        open.clone()
    }
}

impl fmt::Debug for QueryScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryScope").field("query_id", self.query_id()).finish_non_exhaustive()
    }
}

impl Drop for QueryScope {
    fn drop(&mut self) {
        self.cancellation.cancel();
        let functions = self.functions.get_mut().unwrap_or_else(PoisonError::into_inner);
        let opened: Vec<(AsyncFunction, Opened)> = functions
            .values()
            .filter_map(|function| Some((function.function.clone(), function.opened()?)))
            .collect();
        if opened.is_empty() {
            return;
        }
        // The one task that outlives its query: `close` is asynchronous and nobody waits for a
        // dropped query, so it runs detached, with a deadline. Outside a runtime nothing can run.
        let running = self.running.take();
        let Some(handle) = self.handle.take() else { return };
        handle.spawn(async move {
            let _running = running;
            for (function, opened) in opened {
                let close = AssertUnwindSafe(function.close(opened)).catch_unwind();
                match tokio::time::timeout(CLOSE_DEADLINE, close).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => tracing::warn!(%error, "closing a function failed"),
                    Ok(Err(payload)) => {
                        let error = panicked(function.name(), payload);
                        tracing::warn!(%error, "closing a function failed");
                    }
                    Err(_) => tracing::warn!(
                        function = function.name(),
                        seconds = CLOSE_DEADLINE.as_secs(),
                        "closing a function took too long"
                    ),
                }
            }
        });
    }
}

/// A partition of an operator that holds rows back.
#[derive(Debug)]
pub struct RowHolder(Arc<QueryScope>);

impl Drop for RowHolder {
    fn drop(&mut self) {
        *self.0.row_holders.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
