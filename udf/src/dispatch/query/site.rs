//! [`CallSite`], one call site within one query, and its function, opened.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_execution::memory_pool::{MemoryConsumer, MemoryPool};
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use crate::adapt::any::AsyncFunction;
use crate::contract::opened::Opened;
use crate::dispatch::effort::Effort;
use crate::dispatch::limits::Limiter;
use crate::dispatch::limits::key_gate::KeyGate;
use crate::dispatch::limits::queue::Priority;
use crate::dispatch::meters::Meters;
use crate::dispatch::meters::metrics::CallMetrics;
use crate::dispatch::stores::memo::Memo;
use crate::error::CallError;
use crate::settings::resolved::Resolved;

/// What a function opens, shared by all who wait for it.
pub(crate) type Opening = Shared<BoxFuture<'static, Result<Opened, CallError>>>;

/// A function within one query: opened once, with the answers given so far.
pub(crate) struct OpenedFunction {
    pub(crate) function: AsyncFunction,
    pub(crate) open: OnceLock<Opening>,
    memory: Arc<dyn MemoryPool>,
    /// By the types of arguments and answers: overloads encode equal bytes for different arguments.
    memos: Mutex<HashMap<Vec<DataType>, Arc<Memo>>>,
}

impl OpenedFunction {
    /// Makes the function of a query, not opened yet; what it remembers is accounted in `memory`.
    pub(crate) fn new(function: AsyncFunction, memory: Arc<dyn MemoryPool>) -> Self {
        Self { function, open: OnceLock::new(), memory, memos: Mutex::default() }
    }

    /// Returns the answers given so far to calls of these types.
    pub(crate) fn memo(&self, fields: &[FieldRef], site: &CallSite) -> Arc<Memo> {
        let types = fields.iter().chain([&site.return_field]);
        let types = types.map(|field| field.data_type().clone()).collect();
        let mut memos = self.memos.lock().unwrap_or_else(PoisonError::into_inner);
        let memo = memos.entry(types).or_insert_with(|| {
            let consumer = MemoryConsumer::new(format!("answers of {}", self.function.name()));
            let account = consumer.register(&self.memory);
            Arc::new(Memo::new(site.options.dedup_max_bytes()).accounted(account))
        });
        memo.allow(site.options.dedup_max_bytes());
        Arc::clone(memo)
    }

    /// Returns what the function opened for this query; `None` before it is open.
    pub(crate) fn opened(&self) -> Option<Opened> {
        self.open.get().and_then(Shared::peek)?.as_ref().ok().cloned()
    }
}

/// One call site within one query, shared by all partitions.
pub struct CallSite {
    pub(crate) number: u64,
    pub(crate) function: Arc<OpenedFunction>,
    pub(crate) options: Resolved,
    pub(crate) window: Arc<Semaphore>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) priority: Priority,
    /// The field of an answer.
    pub(crate) return_field: FieldRef,
    /// The type of answer and error together, if failures are values.
    pub(crate) tries: Option<DataType>,
    pub(crate) next_request: AtomicU64,
    pub(crate) keys: KeyGate,
    pub(crate) metrics: Meters,
}

impl CallSite {
    /// Returns how long and how often requests are tried.
    pub(crate) fn effort(&self) -> Effort {
        Effort::of(&self.options, self.function().declaration().has_side_effects())
    }

    /// Returns the call site's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns what holds for its calls.
    pub fn options(&self) -> &Resolved {
        &self.options
    }

    /// Returns the function.
    pub fn function(&self) -> &AsyncFunction {
        &self.function.function
    }

    /// Returns the type of an answer.
    pub fn data_type(&self) -> &DataType {
        self.return_field.data_type()
    }

    /// Returns what was counted so far.
    pub fn metrics(&self) -> &Arc<CallMetrics> {
        self.metrics.site()
    }
}

impl fmt::Debug for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSite")
            .field("number", &self.number)
            .field("function", &self.function())
            .finish_non_exhaustive()
    }
}
