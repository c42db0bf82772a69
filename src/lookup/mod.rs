//! Lookup tables as SQL objects: how they are registered, found in a plan, and travel.

mod recipe;
mod registry;
mod table;

pub(crate) use recipe::{KIND as RECIPE_KIND, rebuild};
pub use registry::LookupRegistry;
pub use table::{CatalogLookups, LookupTableProvider};
