//! Lookup tables as SQL objects: how they are registered, found in a plan, and travel.

mod connector;
mod recipe;
mod registry;
mod scan;
mod table;

pub(crate) use connector::LookupSpec;
pub use connector::{LookupConnector, LookupDefinition};
pub(crate) use recipe::{KIND as RECIPE_KIND, rebuild};
pub(crate) use registry::LookupRegistry;
pub use table::{CatalogLookups, LookupTableProvider};
