//! [`LookupRegistry`], the lookup tables of one session by name, for plans that arrive from elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::common::plan_err;
use datafusion::error::Result;
use farcall_udf::{LookupProvider, LookupTable};

use crate::lookup::connector::{LookupConnector, LookupSpec};
use crate::lookup::recipe;

/// The lookup tables that a session registered from Rust, and the connectors that make others.
///
/// The catalog owns the tables; a plan that travelled finds them here, because the catalog can only
/// be asked asynchronously.
#[derive(Debug, Default)]
pub(crate) struct LookupRegistry {
    connectors: Vec<Arc<dyn LookupConnector>>,
    tables: Mutex<BTreeMap<String, Weak<LookupTable>>>,
}

impl LookupRegistry {
    /// Makes a registry without tables.
    pub(crate) fn new(connectors: Vec<Arc<dyn LookupConnector>>) -> Self {
        Self { connectors, tables: Mutex::default() }
    }

    /// Makes a table of its definition.
    ///
    /// Its lookups carry the definition, unless that holds a secret: then they cannot travel.
    pub(crate) fn define(&self, spec: LookupSpec) -> Result<Arc<LookupTable>> {
        let (definition, connector) = spec.define(&self.connectors)?;
        let provider = connector.provider(&definition)?;
        let table = LookupTable::try_new(&definition.name, provider)?;
        let table = match spec.may_travel(connector.as_ref()) {
            true => table.with_recipe(recipe::of(&definition.name, spec.to_bytes()?)),
            false => table,
        };
        Ok(Arc::new(table))
    }

    /// Makes a table of a provider; one of the same name is forgotten.
    pub(crate) fn add(
        &self,
        name: &str,
        provider: Arc<dyn LookupProvider>,
    ) -> Result<Arc<LookupTable>> {
        let table = LookupTable::try_new(name, provider)?;
        let table = Arc::new(table.with_recipe(recipe::by_name(name)));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|_, table| table.strong_count() > 0);
        tables.insert(name.to_owned(), Arc::downgrade(&table));
        Ok(table)
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
