//! What the dispatcher promises, with the clock paused.

mod batching;
mod caching;
mod failing;
mod keyed;
mod lifecycle;
mod limiting;
pub(crate) mod lookups;
mod measuring;
mod memory;
mod merging;
mod no_arguments;
mod retrying;
mod row_wise;
mod timing;
mod trying;
mod unordered;
mod window;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion_common::config::ConfigOptions;
use datafusion_execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
use datafusion_expr::ReturnFieldArgs;

use crate::adapt::any::AsyncFunction;
use crate::dispatch::Dispatcher;
use crate::dispatch::meters::metrics::{CallMetrics, MetricsSnapshot};
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::dispatch::query::scope::QueryScope;
use crate::dispatch::query::site::CallSite;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::settings::config::FarcallConfig;
use crate::settings::resolved::Resolved;

/// Milliseconds.
pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A query that has a runtime to itself.
pub(crate) fn new_scope() -> Arc<QueryScope> {
    scope_in(&Arc::new(FarcallRuntime::new()))
}

pub(crate) fn scope_in(runtime: &Arc<FarcallRuntime>) -> Arc<QueryScope> {
    let memory = Arc::new(UnboundedMemoryPool::default());
    scope_with(runtime, memory)
}

pub(crate) fn scope_with(
    runtime: &Arc<FarcallRuntime>,
    memory: Arc<dyn MemoryPool>,
) -> Arc<QueryScope> {
    QueryScope::new(Arc::clone(runtime), Arc::default(), Arc::new(ConfigOptions::new()), memory)
}

/// The only partition of the only call site of a query.
pub(super) fn one(function: &AsyncFunction, options: CallOptions) -> Partition {
    Partition::new(&new_scope(), 1, function, options)
}

/// One partition of a call site, driven as its task would.
pub(super) struct Partition {
    pub(super) dispatcher: Dispatcher,
    pub(super) site: Arc<CallSite>,
    pushed: VecDeque<usize>,
}

impl Partition {
    /// Makes a partition of a function of one BIGINT; equal `site`s of a scope share the site.
    ///
    /// A `try_` form gives out rows by [`Dispatcher::take`] alone.
    pub(super) fn new(
        scope: &Arc<QueryScope>,
        site: u64,
        function: &AsyncFunction,
        options: CallOptions,
    ) -> Self {
        let options = resolved(function, options);
        let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
        let result = function.declaration().return_field(&args).unwrap();
        let arg: FieldRef = Arc::new(Field::new("x", DataType::Int64, true));
        let metrics = Arc::new(CallMetrics::default());
        let site = scope.site(site, site as usize, function, &options, &result, &metrics);
        let dispatcher =
            Dispatcher::new(Arc::clone(scope), Arc::clone(&site), [arg].into()).unwrap();
        Self { dispatcher, site, pushed: VecDeque::new() }
    }

    pub(super) fn unordered(mut self) -> Self {
        self.dispatcher = self.dispatcher.with_unordered_output();
        self
    }

    /// Takes the rows that are ready, in the order of their arrival.
    pub(super) fn take_any(&mut self) -> Vec<(u64, Option<i64>)> {
        let mut taken = Vec::new();
        while let Some((numbers, values)) = self.dispatcher.take_any(2).unwrap() {
            taken.extend(numbers.values().iter().copied().zip(read(&values)));
        }
        taken
    }

    pub(super) fn push(&mut self, rows: impl IntoIterator<Item = i64>) {
        self.push_array(rows.into_iter().map(Some).collect(), None);
    }

    pub(super) fn push_nullable(&mut self, rows: impl IntoIterator<Item = Option<i64>>) {
        self.push_array(rows.into_iter().collect(), None);
    }

    /// Pushes rows of which only those with `true` need a call; their arguments are `args`.
    pub(super) fn push_guarded(
        &mut self,
        guard: impl IntoIterator<Item = bool>,
        args: impl IntoIterator<Item = i64>,
    ) {
        self.push_array(args.into_iter().map(Some).collect(), Some(guard.into_iter().collect()));
    }

    fn push_array(&mut self, args: Int64Array, guard: Option<BooleanBuffer>) {
        let rows = guard.as_ref().map_or(args.len(), BooleanBuffer::len);
        self.dispatcher.push(rows, vec![Arc::new(args)], guard).unwrap();
        self.pushed.push_back(rows);
    }

    /// Drives until nothing more can happen within `time`.
    pub(super) async fn run_for(&mut self, time: Duration) -> Result<(), CallError> {
        tokio::time::timeout(time, self.run_until(|_| false)).await.unwrap_or(Ok(()))
    }

    /// Drives until `rows` rows can be taken.
    pub(super) async fn run_until_ready(&mut self, rows: usize) -> Result<(), CallError> {
        self.run_until(|dispatcher| dispatcher.ready_rows() >= rows).await
    }

    pub(super) async fn run_until(
        &mut self,
        mut done: impl FnMut(&mut Dispatcher) -> bool,
    ) -> Result<(), CallError> {
        poll_fn(|cx| {
            loop {
                if done(&mut self.dispatcher) {
                    return Poll::Ready(Ok(()));
                }
                match self.dispatcher.poll_progress(cx) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
            }
        })
        .await
    }

    /// Takes the rows that are ready.
    pub(super) fn take(&mut self) -> Vec<Option<i64>> {
        let mut taken = Vec::new();
        while let Some(pushed) = self.pushed.front_mut() {
            let count = self.dispatcher.ready_rows().min(*pushed);
            taken.extend(read(&self.dispatcher.take(count).unwrap()));
            *pushed -= count;
            if *pushed > 0 {
                break;
            }
            self.pushed.pop_front();
        }
        taken
    }

    /// Ends the input and drives to the end.
    pub(super) async fn finish(&mut self) -> Result<Vec<Option<i64>>, CallError> {
        self.dispatcher.finish();
        self.run_until(|dispatcher| dispatcher.ready_rows() == dispatcher.buffered_rows()).await?;
        Ok(self.take())
    }

    /// Pushes rows, ends the input and drives to the end.
    pub(super) async fn call(
        &mut self,
        rows: impl IntoIterator<Item = i64>,
    ) -> Result<Vec<Option<i64>>, CallError> {
        self.push(rows);
        self.finish().await
    }

    pub(super) fn metrics(&self) -> MetricsSnapshot {
        self.site.metrics().snapshot()
    }

    /// Counts the places of the window that are free.
    pub(super) fn free_places(&self) -> usize {
        self.site.window.available_permits()
    }
}

/// Resolves options; a row-wise function has one row in a request, whatever they say.
pub(super) fn resolved(function: &AsyncFunction, mut options: CallOptions) -> Resolved {
    if function.is_row_wise() {
        options.unset("max_batch_size");
    }
    FarcallConfig::default().resolve(function, &options).unwrap()
}

fn read(array: &ArrayRef) -> Vec<Option<i64>> {
    array.as_primitive::<Int64Type>().iter().collect()
}

/// The answers of a scripted function to rows without NULL.
pub(super) fn answers(rows: impl IntoIterator<Item = i64>) -> Vec<Option<i64>> {
    rows.into_iter().map(|x| Some(x + 1)).collect()
}

/// Batches of `rows` rows, each on its own: no merging, no delay between attempts.
pub(super) fn batches(rows: usize) -> CallOptions {
    CallOptions::new().with_max_batch_size(rows).with_dedup(false).with_retry_delay(Duration::ZERO)
}
