//! Models and lookup tables as SQL objects: how they are defined, registered, found in a plan, and travel.

mod definition;
mod fill;
mod lookup;
mod lookup_recipe;
pub(crate) mod lookups;
pub(crate) mod model;
pub(crate) mod models;
mod objects;
pub(crate) mod option_names;
mod rebuild;
mod scan;
pub(crate) mod sql_text;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
mod with_clause;

pub(crate) use definition::LookupSpec;
pub use definition::{IfExists, ModelSpec};
pub(crate) use lookup_recipe::KIND as LOOKUP_RECIPE;
pub use model::Model;
pub use model::RECIPE as MODEL_RECIPE;
pub use models::ModelRegistry;
pub(crate) use objects::Objects;
pub(crate) use rebuild::rebuild_lookup;
pub use rebuild::rebuild_model;
pub use table::{CatalogLookups, LookupTableProvider};
