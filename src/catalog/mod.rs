//! Models and lookup tables as SQL objects: how they are defined, registered, found in a plan, and travel.

mod definition;
#[cfg(feature = "files")]
pub mod files;
mod fill;
pub(crate) mod lookup;
mod lookup_recipe;
pub(crate) mod lookups;
pub(crate) mod model;
mod model_recipe;
pub(crate) mod models;
pub(crate) mod option_names;
mod scan;
pub(crate) mod sql_text;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;

pub use definition::IfExists;
pub(crate) use lookup_recipe::{KIND as LOOKUP_RECIPE, rebuild as rebuild_lookup};
pub use model::{Model, ModelSpec};
pub use model_recipe::{KIND as MODEL_RECIPE, rebuild as rebuild_model};
pub use models::ModelRegistry;
pub use table::{CatalogLookups, LookupTableProvider};
