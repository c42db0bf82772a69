//! [`LookupRegistry`], the lookup tables of one session by name, for plans that arrive from elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use farcall_udf::{FarcallRuntime, LookupConnector, LookupProvider, LookupTable, Parameters};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::definition::LookupSpec;
use crate::catalog::fill::fill;
use crate::catalog::lookup::Defined;
use crate::catalog::lookup_recipe;
use crate::catalog::table::LookupTableProvider;

/// The lookup tables that a session registered from Rust, and the connectors that make others.
///
/// The catalog owns the tables; a plan that travelled finds them here, because the catalog can only
/// be asked asynchronously.
#[derive(Debug)]
pub(crate) struct LookupRegistry {
    connectors: Vec<Arc<dyn LookupConnector>>,
    runtime: Arc<FarcallRuntime>,
    parameters: Parameters,
    tables: Mutex<BTreeMap<String, Weak<LookupTable>>>,
}

impl LookupRegistry {
    /// Makes a registry without tables; scans of tables are told `runtime` and `parameters`.
    pub(crate) fn new(
        connectors: Vec<Arc<dyn LookupConnector>>,
        runtime: Arc<FarcallRuntime>,
        parameters: Parameters,
    ) -> Self {
        Self { connectors, runtime, parameters, tables: Mutex::default() }
    }

    /// Makes a table of a definition that arrived in a plan.
    pub(crate) fn define(&self, spec: &LookupSpec) -> Result<Arc<LookupTable>> {
        let defined = Defined::try_new(spec, &self.connectors)?;
        let provider = defined.connector.provider(&defined.definition)?;
        table(&defined, provider)
    }

    /// Makes a table that a session creates.
    pub(crate) async fn create(
        &self,
        spec: &LookupSpec,
        context: &SessionContext,
    ) -> Result<Arc<LookupTable>> {
        let defined = Defined::try_new(spec, &self.connectors)?;
        let Defined { definition, connector, .. } = &defined;
        let Some(source) = connector.source(definition)? else {
            let provider = connector.provider(definition)?;
            return table(&defined, provider);
        };
        let rows = fill(definition, &source, context).await?;
        let provider = connector.filled(definition, rows)?;
        let table = by_name(&definition.name, named(&defined, provider)?);
        self.remember(&table);
        Ok(table)
    }

    /// Makes a table of a provider.
    pub(crate) fn make(
        &self,
        name: &str,
        provider: Arc<dyn LookupProvider>,
    ) -> Result<Arc<LookupTable>> {
        Ok(by_name(name, LookupTable::try_new(name, provider)?))
    }

    /// Lets plans that arrive find a table by its name; one of the same name is forgotten.
    pub(crate) fn remember(&self, table: &Arc<LookupTable>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|_, table| table.strong_count() > 0);
        tables.insert(table.name().to_owned(), Arc::downgrade(table));
    }

    /// Makes the catalog's entry of a table, which is read as a whole where its provider can be.
    pub(crate) fn entry(&self, table: Arc<LookupTable>) -> Result<LookupTableProvider> {
        LookupTableProvider::new(table).with_own_scan(&self.runtime, &self.parameters)
    }

    /// Returns a table.
    ///
    /// # Errors
    /// A planning error that names the table.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<LookupTable>> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        match tables.get(name).and_then(Weak::upgrade) {
            Some(table) => Ok(table),
            None => plan_err!("lookup table {name} is not registered here"),
        }
    }
}

/// Makes a table of its provider.
///
/// Its lookups carry the definition, unless that holds a secret: then they cannot travel, and the
/// definition is part of what tells its caches from those of others.
fn table(defined: &Defined, provider: Arc<dyn LookupProvider>) -> Result<Arc<LookupTable>> {
    let table = named(defined, provider)?;
    let name = &defined.definition.name;
    let bytes = defined.recipe.to_bytes()?;
    Ok(Arc::new(match defined.may_travel {
        true => table.with_recipe(lookup_recipe::of(name, bytes)),
        false => table.with_instance(format!("{:x}", xxh3_64(&bytes))),
    }))
}

/// Makes a table that knows its connector and the key by which its lookups are ordered.
fn named(defined: &Defined, provider: Arc<dyn LookupProvider>) -> Result<LookupTable> {
    let table = LookupTable::try_new(&defined.definition.name, provider)?;
    let table = table.with_connector(defined.connector.name());
    match defined.ordering_key {
        Some(part) => table.with_ordering_key(part),
        None => Ok(table),
    }
}

/// Makes a table that other processes find by its name.
///
/// A name says nothing about rows: unless the provider has a version, caches of another table of the
/// name, in this session or in one that shares the runtime, are not this one's.
fn by_name(name: &str, table: LookupTable) -> Arc<LookupTable> {
    let table = table.with_recipe(lookup_recipe::by_name(name));
    Arc::new(match table.provider().version() {
        "" => table.with_instance(Uuid::new_v4().to_string()),
        _ => table,
    })
}
