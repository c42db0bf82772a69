//! [`FarcallSession`], a DataFusion session in which async functions may stand.

use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{DataFrame, SessionContext};
use farcall_udf::{AsyncFunction, AsyncUdf, FarcallRuntime};

use crate::models::{self, ModelProvider, ModelRegistry};
use crate::sql::{self, Statement};

/// A DataFusion session in which async functions and models may stand.
#[derive(Clone)]
pub struct FarcallSession {
    context: SessionContext,
    runtime: Arc<FarcallRuntime>,
    models: Arc<ModelRegistry>,
}

/// Builds a [`FarcallSession`], also around an existing DataFusion session state.
#[derive(Debug, Default)]
pub struct FarcallSessionBuilder {
    state: Option<SessionStateBuilder>,
    runtime: Option<Arc<FarcallRuntime>>,
    model_providers: Vec<Arc<dyn ModelProvider>>,
}

impl FarcallSessionBuilder {
    /// Adds a kind of model that CREATE MODEL may name in `'provider'`.
    pub fn with_model_provider(mut self, provider: Arc<dyn ModelProvider>) -> Self {
        self.model_providers.push(provider);
        self
    }

    /// Builds the session.
    pub fn build(self) -> Result<FarcallSession> {
        let state =
            self.state.unwrap_or_else(|| SessionStateBuilder::new().with_default_features());
        let models = Arc::new(ModelRegistry::new(self.model_providers));
        let state = models::install(state, &models);
        let context = SessionContext::new_with_state(state.build());
        Ok(FarcallSession { context, runtime: self.runtime.unwrap_or_default(), models })
    }
}

impl std::fmt::Debug for FarcallSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FarcallSession")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}

impl FarcallSession {
    /// Starts building a session.
    pub fn builder() -> FarcallSessionBuilder {
        FarcallSessionBuilder::default()
    }

    /// Makes a session with the defaults.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Returns the DataFusion session.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Returns what outlives the session's queries.
    pub fn runtime(&self) -> &Arc<FarcallRuntime> {
        &self.runtime
    }

    /// Returns the session's models.
    pub fn models(&self) -> &Arc<ModelRegistry> {
        &self.models
    }

    /// Registers an async function under its name and aliases.
    pub fn register(&self, function: impl Into<AsyncFunction>) {
        self.context.register_udf(AsyncUdf::new(function).into_scalar_udf());
    }

    /// Parses a script into its statements.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        sql::parse(sql)
    }

    /// Plans one statement; rows are read from the result, where the calls are made.
    pub async fn execute(&self, statement: Statement) -> Result<DataFrame> {
        sql::execute(self, statement).await
    }

    /// Parses and plans SQL that holds exactly one statement.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        let mut statements = self.parse(sql)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(DataFusionError::Plan("expected exactly one SQL statement".into()));
        };
        self.execute(statement).await
    }
}
