//! [`Objects`], what SQL defines in a session: its catalog, its models, its lookup tables.

use std::sync::Arc;

use datafusion::prelude::SessionContext;

use crate::catalog::lookups::LookupRegistry;
use crate::catalog::models::ModelRegistry;

/// What statements define and find in a session.
#[derive(Clone)]
pub(crate) struct Objects {
    context: SessionContext,
    models: Arc<ModelRegistry>,
    lookups: Arc<LookupRegistry>,
}

impl Objects {
    pub(crate) fn new(
        context: SessionContext,
        models: Arc<ModelRegistry>,
        lookups: Arc<LookupRegistry>,
    ) -> Self {
        Self { context, models, lookups }
    }

    /// Returns the DataFusion session.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Returns the models.
    pub(crate) fn models(&self) -> &Arc<ModelRegistry> {
        &self.models
    }

    /// Returns the lookup tables that are not found in the catalog alone.
    pub(crate) fn lookups(&self) -> &Arc<LookupRegistry> {
        &self.lookups
    }
}
