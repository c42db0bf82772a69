//! [`LookupRegistry`], the lookup tables of one session by name, for plans that arrive from elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::common::plan_err;
use datafusion::error::Result;
use farcall_udf::{LookupProvider, LookupTable};

use crate::lookup::recipe;

/// The lookup tables that a session registered from Rust.
///
/// The catalog owns the tables; a plan that travelled finds them here, because the catalog can only
/// be asked asynchronously.
#[derive(Debug, Default)]
pub struct LookupRegistry {
    tables: Mutex<BTreeMap<String, Weak<LookupTable>>>,
}

impl LookupRegistry {
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
