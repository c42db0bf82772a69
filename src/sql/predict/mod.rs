//! PREDICT: how a call of a model is written, carried and bound.

pub(crate) mod bind;
pub(crate) mod call;
pub(crate) mod udf;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use farcall_planner::Plain;
use farcall_udf::FarcallConfig;

use crate::catalog::ModelRegistry;
use crate::sql::predict::bind::BindModels;

/// Prepares a session for models: PREDICT, the rule that binds it, and `SET farcall.*`.
///
/// The rule comes first, so that a view whose model has another type by now is still coerced.
/// `plain` knows plans without a PREDICT.
pub fn install(
    mut state: SessionStateBuilder,
    registry: &Arc<ModelRegistry>,
    plain: &Arc<Plain>,
) -> SessionStateBuilder {
    let functions = udf::PredictUdf::both(registry).map(Arc::new);
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
