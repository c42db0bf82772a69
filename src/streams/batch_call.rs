//! [`BatchCall`], what is called without SQL, on which columns, and how.

use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::MemoryPool;
use farcall_udf::{AsyncFunction, CallError, CallOptions, FarcallRuntime, OutputMode};

/// What is called, on which columns, and how.
#[derive(Debug, Clone)]
pub struct BatchCall {
    pub(super) function: AsyncFunction,
    pub(super) arguments: Vec<String>,
    result_column: Option<String>,
    timeout: Option<Duration>,
    batch_size: Option<usize>,
    batch_timeout: Option<Duration>,
    capacity: Option<usize>,
    options: CallOptions,
    pub(super) runtime: Option<Arc<FarcallRuntime>>,
    pub(super) memory: Option<Arc<dyn MemoryPool>>,
}

impl BatchCall {
    /// Calls a function on columns, given by name as they are written in the schema.
    ///
    /// What is not set is as the function declares it, and else as in SQL.
    pub fn new(
        function: impl Into<AsyncFunction>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            function: function.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            result_column: None,
            timeout: None,
            batch_size: None,
            batch_timeout: None,
            capacity: None,
            options: CallOptions::new(),
            runtime: None,
            memory: None,
        }
    }

    /// Names the column of the results; without it, that is the name of the function.
    pub fn with_result_column(mut self, name: impl Into<String>) -> Self {
        self.result_column = Some(name.into());
        self
    }

    /// Sets how long a request may take, retries included; zero means for ever, as in Flink.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the rows in a request at most, from 1.
    pub fn with_batch_size(mut self, rows: usize) -> Self {
        self.batch_size = Some(rows);
        self
    }

    /// Sets how long the oldest row of a partial request waits for company; with zero, not at all.
    pub fn with_batch_timeout(mut self, timeout: Duration) -> Self {
        self.batch_timeout = Some(timeout);
        self
    }

    /// Sets the requests in flight at once, from 1.
    pub fn with_capacity(mut self, requests: usize) -> Self {
        self.capacity = Some(requests);
        self
    }

    /// Sets further options; those that have a method here win, and the method that is called
    /// decides about the order.
    pub fn with_options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Shares limits, caches and clients with whatever else uses the runtime.
    ///
    /// For streams, which else have a runtime to themselves; a data frame uses its session's.
    pub fn with_runtime(mut self, runtime: Arc<FarcallRuntime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Accounts for rows held back in a memory pool, and holds back no more than it has room for.
    ///
    /// For streams, whose memory is else bounded by `max_buffered_rows`; a data frame uses its
    /// session's.
    pub fn with_memory_pool(mut self, memory: Arc<dyn MemoryPool>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Returns the name of the column of the results.
    pub(super) fn result_column(&self) -> &str {
        self.result_column.as_deref().unwrap_or_else(|| self.function.name())
    }

    /// Checks the options, and puts them into SQL's words.
    pub(super) fn call_options(&self, output_mode: OutputMode) -> Result<CallOptions, CallError> {
        let mut options = self.options.clone().with_output_mode(output_mode);
        if let Some(timeout) = self.timeout {
            let timeout = if timeout.is_zero() { Duration::MAX } else { timeout };
            options = options.with_timeout(timeout);
        }
        if let Some(rows) = self.batch_size {
            options = options.with_max_batch_size(positive("batch_size", rows)?);
        }
        if let Some(timeout) = self.batch_timeout {
            options = options.with_batch_timeout(timeout);
        }
        if let Some(requests) = self.capacity {
            options = options.with_buffer_capacity(positive("capacity", requests)?);
        }
        options.build()
    }
}

fn positive(option: &str, value: usize) -> Result<usize, CallError> {
    if value > 0 {
        return Ok(value);
    }
    let message = "value 0 is not accepted, the least is 1".to_owned();
    Err(CallError::BadOption { option: option.to_owned(), message })
}
