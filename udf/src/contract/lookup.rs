//! The contracts of a lookup table: who finds its rows by key, who reads them all, what is asked and answered.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion_common::Result;
use datafusion_expr::Expr;
use futures::stream::BoxStream;

use crate::contract::answer::{ResponseMetadata, Usage};
use crate::contract::args::ArgBatch;
use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::opened::Opened;
use crate::error::CallError;
use crate::options::CallOptions;

/// Finds rows by key: n keys in, for each key 0..m rows out, one request for all of them.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{AsArray, StringArray};
/// use arrow::datatypes::Int64Type;
/// use async_trait::async_trait;
/// use farcall_udf::{ArgBatch, AsyncBatchLookupFunction, CallContext, CallError, LookupAnswer};
///
/// /// Knows the name of every even number.
/// #[derive(Debug)]
/// struct Names;
///
/// #[async_trait]
/// impl AsyncBatchLookupFunction for Names {
///     async fn lookup_batch(&self, keys: ArgBatch, _: &CallContext) -> Result<LookupAnswer, CallError> {
///         let ids = keys.column(0).as_primitive::<Int64Type>().values();
///         let found: Vec<usize> = (0..ids.len()).filter(|key| ids[*key] % 2 == 0).collect();
///         let names: StringArray = found.iter().map(|key| Some(format!("n{}", ids[*key]))).collect();
///         let keys = found.into_iter().map(|key| key as u32).collect();
///         Ok(LookupAnswer::new(vec![Arc::new(names)], keys))
///     }
/// }
/// ```
#[async_trait]
pub trait AsyncBatchLookupFunction: fmt::Debug + Send + Sync + 'static {
    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<Opened, CallError> {
        Ok(Opened::nothing())
    }

    /// Finds the rows of a batch of keys.
    ///
    /// Shape: `keys` has one column per key column, in the order of the key, and n distinct rows,
    /// `1 <= n <= max_batch_size`. The answer's rows come in any order, each with the position of
    /// its key; a key without a row is not in the table.
    /// Nulls: a key that holds a NULL is never asked for.
    /// Errors: an `Err` fails the attempt for all keys; an error inside the answer fails its key.
    /// Cancel: dropping the future aborts the request and frees its permit.
    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        ctx: &CallContext,
    ) -> Result<LookupAnswer, CallError>;

    /// Releases what `open` took, once per query, after its last call, also on error or cancel.
    async fn close(&self, _opened: Opened) -> Result<(), CallError> {
        Ok(())
    }
}

/// Reads a whole table, for a query without a key and for a cache that holds it in full.
#[async_trait]
pub trait LookupScan: fmt::Debug + Send + Sync + 'static {
    /// Reads all rows once.
    ///
    /// Shape: batches of the columns of the [`LookupQuery`] that the scan was made for, in that
    /// order and of the table's types, the key's own among them; rows in any order.
    /// Errors: an `Err` in the stream ends it; the caller reads again from the start or gives up.
    /// Cancel: dropping the stream ends the reading.
    async fn scan(
        &self,
        ctx: &FunctionContext,
    ) -> Result<BoxStream<'static, Result<RecordBatch, CallError>>, CallError>;
}

/// The rows that one request found.
#[derive(Debug, Clone)]
pub struct LookupAnswer {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) keys: Vec<u32>,
    pub(crate) errors: Vec<(usize, CallError)>,
    pub(crate) usage: Usage,
    pub(crate) metadata: ResponseMetadata,
}

impl LookupAnswer {
    /// Answers with rows, each with the position of its key in the request.
    ///
    /// The columns are those that the function was made for ([`LookupQuery::answered`]), in that
    /// order, with one value for each of `keys`.
    pub fn new(columns: Vec<ArrayRef>, keys: Vec<u32>) -> Self {
        Self {
            columns,
            keys,
            errors: Vec::new(),
            usage: Usage::default(),
            metadata: ResponseMetadata::default(),
        }
    }

    /// Returns the columns, with one value for each of [`LookupAnswer::keys`].
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Returns the position of each row's key in the request.
    pub fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// Returns the keys that failed, with their errors.
    pub fn errors(&self) -> &[(usize, CallError)] {
        &self.errors
    }

    /// Marks keys as failed, by their position in the request; their rows are ignored.
    pub fn with_errors(mut self, errors: Vec<(usize, CallError)>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds what the request consumed.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Adds where the answer comes from.
    pub fn with_metadata(mut self, metadata: ResponseMetadata) -> Self {
        self.metadata = metadata;
        self
    }
}

/// What one place in a query wants of a lookup table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LookupQuery {
    /// The columns that are read, by their position in the table.
    pub columns: Vec<usize>,
    /// Conditions that the provider took over, over columns without qualifier.
    pub filters: Vec<Expr>,
}

impl LookupQuery {
    /// Reads these columns, by their position in the table, of every row that has a key.
    pub fn new(columns: impl IntoIterator<Item = usize>) -> Self {
        Self { columns: columns.into_iter().collect(), filters: Vec::new() }
    }

    /// Reads only rows that meet these conditions, which the provider took over.
    pub fn with_filters(mut self, filters: Vec<Expr>) -> Self {
        self.filters = filters;
        self
    }

    /// Returns the columns that an answer must hold: those that are read and no part of the key.
    ///
    /// The key's own columns are filled in from what was asked for.
    pub fn answered<'a>(&'a self, key: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        self.columns.iter().copied().filter(move |column| !key.contains(column))
    }
}

/// A source whose rows are found by key: what it holds, and how much of a query it can take over.
pub trait LookupProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns the columns of the table.
    fn schema(&self) -> &SchemaRef;

    /// Returns the columns of the key, by their position; a query must give a value for each.
    fn key(&self) -> &[usize];

    /// Returns the provider's own call options: keys in a request, how long a partial one waits.
    fn options(&self) -> CallOptions {
        CallOptions::new()
    }

    /// Returns the keys that a request can hold at most, whatever the options say.
    fn max_keys(&self) -> usize {
        usize::MAX
    }

    /// Says whether it can evaluate a condition itself, exactly as SQL means it.
    ///
    /// The condition is over columns of the table without qualifier. What is taken over is not
    /// evaluated again; a key whose rows all fail it is missing.
    fn takes_filter(&self, _filter: &Expr) -> bool {
        false
    }

    /// Names the part of the key, counted from 0, whose equal values are asked for one after the
    /// other, in the order of their rows and in requests of their own.
    ///
    /// Where answers are shared (`dedup`, `cache`) an equal key waits for the answer anyway.
    fn ordering_key(&self) -> Option<usize> {
        None
    }

    /// Names the version of what is looked up; it is part of every cache key.
    fn version(&self) -> &str {
        ""
    }

    /// Makes the function that answers one place in a query.
    ///
    /// # Errors
    /// A planning error that names the table and the option for what cannot work.
    fn lookup(&self, query: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>>;

    /// Makes what reads all rows of the columns of `query` that meet its filters; `None`, the
    /// default, if rows are only found by key.
    ///
    /// # Errors
    /// As [`LookupProvider::lookup`].
    fn scan(&self, _query: &LookupQuery) -> Result<Option<Arc<dyn LookupScan>>> {
        Ok(None)
    }
}
