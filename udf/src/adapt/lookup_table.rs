//! [`LookupTable`], a named lookup table of its provider.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion_common::{Result, plan_err};

use crate::adapt::any::AsyncFunction;
use crate::adapt::lookup_call::LookupCall;
use crate::contract::declaration::{Declaration, Recipe};
use crate::contract::kind::Kind;
use crate::contract::list_type::list_type;
use crate::contract::lookup::{LookupProvider, LookupQuery};
use crate::contract::lookup_reader::{LookupReader, WholeTable};

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
                return plan_err!(
                    "lookup table {name}: {} is given twice in the key",
                    field.name()
                );
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
    ///
    /// # Errors
    /// A planning error of the provider, or of writing the recipe.
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
            .with_kind(Kind::Lookup)
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

pub(crate) fn names(schema: &SchemaRef, columns: &[usize]) -> String {
    let names: Vec<&str> =
        columns.iter().map(|column| schema.field(*column).name().as_str()).collect();
    names.join(", ")
}
