//! [`LookupTable`], a table whose rows are found by key, and the contracts of whoever finds them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use datafusion_common::{Result, plan_err};
use datafusion_expr::Expr;
use futures::stream::BoxStream;

use crate::answer::{ResponseMetadata, Usage};
use crate::context::{CallContext, FunctionContext};
use crate::declaration::{Declaration, Recipe};
use crate::error::CallError;
use crate::function::{ArgBatch, AsyncFunction};
use crate::lookup_call::LookupCall;
use crate::lookup_reader::{LookupReader, WholeTable};
use crate::options::CallOptions;

/// The group of session options that lookups listen to.
pub const LOOKUP_GROUP: &str = "async_lookup";

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
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
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
    async fn close(&self) -> Result<(), CallError> {
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
pub struct LookupQuery {
    /// The columns that are read, by their position in the table.
    pub columns: Vec<usize>,
    /// Conditions that the provider took over, over columns without qualifier.
    pub filters: Vec<Expr>,
}

impl LookupQuery {
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

/// Writes what another process needs to rebuild a lookup, `None` if it cannot travel.
pub type LookupRecipeFn = Arc<dyn Fn(&LookupQuery) -> Result<Option<Recipe>> + Send + Sync>;

/// A table whose rows are found by key.
#[derive(Clone)]
pub struct LookupTable {
    name: String,
    provider: Arc<dyn LookupProvider>,
    recipe: Option<LookupRecipeFn>,
    connector: Option<String>,
    instance: Option<String>,
    ordering_key: Option<usize>,
}

impl LookupTable {
    /// Makes the table of a provider, under the name that SQL and messages use.
    ///
    /// # Errors
    /// A planning error for a key that is empty, no column, named twice, or without equality.
    pub fn try_new(name: impl Into<String>, provider: Arc<dyn LookupProvider>) -> Result<Self> {
        let name = name.into();
        let (schema, key) = (provider.schema(), provider.key());
        if key.is_empty() {
            return plan_err!("lookup table {name} needs a key of at least one column");
        }
        for (index, column) in key.iter().enumerate() {
            let Some(field) = schema.fields().get(*column) else {
                let columns = schema.fields().len();
                return plan_err!("lookup table {name}: key column {column} of {columns} columns");
            };
            if key[..index].contains(column) {
                return plan_err!("lookup table {name}: {} stands twice in the key", field.name());
            }
            if !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]) {
                return plan_err!(
                    "lookup table {name}: key column {} of type {} has no equality",
                    field.name(),
                    field.data_type()
                );
            }
        }
        let ordering_key = provider.ordering_key();
        Ok(Self { name, provider, recipe: None, connector: None, instance: None, ordering_key })
    }

    /// Attaches what writes the recipes of the table's lookups.
    pub fn with_recipe(mut self, recipe: LookupRecipeFn) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// Names the connector that made the provider, for messages.
    pub fn with_connector(mut self, connector: impl Into<String>) -> Self {
        self.connector = Some(connector.into());
        self
    }

    /// Tells the table from others of its name and version in the same runtime; it is part of every
    /// cache key. Another process may have another instance of the same table.
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Names the part of the key by which lookups are ordered, whatever the provider says
    /// ([`LookupProvider::ordering_key`]).
    ///
    /// # Errors
    /// A planning error if the key has no such part, counted from 0.
    pub fn with_ordering_key(mut self, part: usize) -> Result<Self> {
        if part >= self.key().len() {
            let (table, parts) = (&self.name, self.key().len());
            return plan_err!("lookup table {table}: ordering key {part} of {parts} key columns");
        }
        self.ordering_key = Some(part);
        Ok(self)
    }

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns who finds the rows.
    pub fn provider(&self) -> &Arc<dyn LookupProvider> {
        &self.provider
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        self.provider.schema()
    }

    /// Returns the columns of the key, by their position.
    pub fn key(&self) -> &[usize] {
        self.provider.key()
    }

    /// Returns the names of the key's columns, as messages list them.
    pub fn key_names(&self) -> String {
        names(self.schema(), self.key())
    }

    /// Returns the function that looks rows up: key in, a list of rows out, empty for a miss.
    ///
    /// A row is a struct of the columns of `query`, all nullable; without a column, of the key's
    /// first. The list is NULL for a key that holds a NULL, and for one that failed where
    /// `on_error` or a time-out policy say so.
    pub fn function(&self, mut query: LookupQuery) -> Result<AsyncFunction> {
        if query.columns.is_empty() {
            query.columns.push(self.key()[0]);
        }
        let function = self.provider.lookup(&query)?;
        let recipe = match &self.recipe {
            Some(recipe) => recipe(&query)?,
            None => None,
        };
        let (table, whole) = (self.clone(), query.clone());
        let mut declaration =
            self.declaration(&query).with_reader(Arc::new(move || table.whole(&whole)));
        if let Some(recipe) = recipe {
            declaration = declaration.with_recipe(recipe);
        }
        Ok(AsyncFunction::batch(LookupCall::new(
            declaration,
            function,
            &query,
            self.key(),
            self.row_fields(&query),
        )))
    }

    /// Makes what reads all rows of the columns of `query` that meet its filters; `None` if the
    /// table's rows are only found by key.
    ///
    /// # Errors
    /// As [`LookupProvider::scan`].
    pub fn reader(&self, query: &LookupQuery) -> Result<Option<LookupReader>> {
        let Some(scan) = self.provider.scan(query)? else { return Ok(None) };
        let schema = Arc::new(Schema::new(self.row_fields(query)));
        Ok(Some(LookupReader::new(&self.name, schema, scan)))
    }

    /// Makes what reads the rows that lookups of `query` find, with their whole key.
    fn whole(&self, query: &LookupQuery) -> Result<WholeTable> {
        let mut read = query.clone();
        let missing = self.key().iter().filter(|part| !query.columns.contains(part));
        read.columns.extend(missing);
        let Some(reader) = self.reader(&read)? else {
            let by = match &self.connector {
                Some(connector) => format!("connector '{connector}'"),
                None => "its provider".to_owned(),
            };
            return plan_err!(
                "lookup table {}: option 'cache': 'full' reads the table as a whole, which {by} \
                 cannot do; accepted are 'none', 'partial'",
                self.name
            );
        };
        let place = |part: &usize| read.columns.iter().position(|column| column == part);
        let key = self.key().iter().filter_map(place).collect();
        Ok(WholeTable { reader, key, columns: query.columns.len() })
    }

    /// Returns the fields of a found row.
    fn row_fields(&self, query: &LookupQuery) -> Fields {
        let field = |column: &usize| {
            let field = self.schema().field(*column);
            Field::new(field.name(), field.data_type().clone(), true)
        };
        query.columns.iter().map(field).collect()
    }

    fn declaration(&self, query: &LookupQuery) -> Declaration {
        let schema = self.schema();
        let key = self.key().iter().map(|column| schema.field(*column).data_type().clone());
        let mut shape = names(schema, &query.columns);
        if !query.filters.is_empty() {
            let filters: Vec<String> = query.filters.iter().map(ToString::to_string).collect();
            shape = format!("{shape} WHERE {}", filters.join(" AND "));
        }
        // What is asked of each key is part of the function: other columns are other answers.
        let version = format!("{}[{shape}]", self.provider.version());
        let name = self.name.clone();
        let parts: Vec<String> =
            self.key().iter().map(|column| schema.field(*column).name().clone()).collect();
        let show = move |args: &[String]| {
            let key = parts.iter().zip(args).map(|(part, arg)| format!("{part} = {arg}"));
            format!("{name}[{shape}]({})", key.collect::<Vec<_>>().join(", "))
        };
        let declaration =
            Declaration::new(&self.name, key.collect(), list_type(self.row_fields(query)));
        let declaration = match self.ordering_key {
            Some(part) => declaration.with_ordering_key(part),
            None => declaration,
        };
        let declaration = match &self.instance {
            Some(instance) => declaration.with_instance(instance.as_str()),
            None => declaration,
        };
        declaration
            .with_version(version)
            .with_option_group(LOOKUP_GROUP)
            .with_options(self.provider.options())
            .with_max_rows(self.provider.max_keys())
            .with_display(show)
    }
}

impl fmt::Debug for LookupTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupTable").field("name", &self.name).finish_non_exhaustive()
    }
}

fn names(schema: &SchemaRef, columns: &[usize]) -> String {
    let names: Vec<&str> =
        columns.iter().map(|column| schema.field(*column).name().as_str()).collect();
    names.join(", ")
}

/// Returns the type of a lookup's answer to one key.
fn list_type(row: Fields) -> DataType {
    DataType::List(item(row))
}

/// Returns the field of a found row within the list.
pub(crate) fn item(row: Fields) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(row), true))
}
