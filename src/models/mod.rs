//! Models as SQL objects: CREATE MODEL, the registry, PREDICT.

mod bind;
mod model;
mod predict;
pub mod provider;
mod recipe;
pub mod redact;
mod registry;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use farcall_planner::Plain;

pub(crate) use bind::is_predict;
pub use bind::{BindModels, bind_models};
pub use model::{Model, ModelSpec};
pub(crate) use predict::{PREDICT, PREDICT_WITH_OPTIONS, encode_options};
pub use provider::{ModelDefinition, ModelProvider};
pub use recipe::{KIND as RECIPE_KIND, rebuild};
pub use registry::{IfExists, ModelRegistry};

use crate::config::FarcallConfig;

/// Prepares a session for models: PREDICT, the rule that binds it, and `SET farcall.*`.
///
/// The rule comes first, so that a view whose model has another type by now is still coerced.
/// `plain` knows plans without a PREDICT.
pub fn install(
    mut state: SessionStateBuilder,
    registry: &Arc<ModelRegistry>,
    plain: &Arc<Plain>,
) -> SessionStateBuilder {
    let functions = predict::PredictUdf::both(registry).map(Arc::new);
    state.scalar_functions().get_or_insert_default().extend(functions);
    let bind = plain.spare_analyzer(Arc::new(BindModels));
    state.analyzer().get_or_insert_with(Analyzer::new).rules.insert(0, bind);
    let config = state.config().get_or_insert_with(SessionConfig::new);
    let extensions = &mut config.options_mut().extensions;
    if extensions.get::<FarcallConfig>().is_none() {
        extensions.insert(FarcallConfig::default());
    }
    state
}
