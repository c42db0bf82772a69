//! [`FarcallSession`], a DataFusion session in which async functions may stand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::physical_planner::ExtensionPlanner;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use farcall_planner::SiteCounter;
use farcall_udf::{AsyncFunction, AsyncUdf, FarcallRuntime, Recipe};

use crate::models::{self, ModelProvider, ModelRegistry};
use crate::sql::{self, Statement};

/// A DataFusion session in which async functions and models may stand.
///
/// ```
/// use farcall::FarcallSession;
/// use farcall::udf::{CallError, async_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> datafusion::error::Result<()> {
/// let session = FarcallSession::new()?;
/// session.register(async_fn("double", |x: i64| async move { Ok::<i64, CallError>(2 * x) }));
/// let rows = session.sql("SELECT double(21) AS answer").await?.collect().await?;
/// assert_eq!(rows[0].num_rows(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FarcallSession {
    context: SessionContext,
    runtime: Arc<FarcallRuntime>,
    models: Arc<ModelRegistry>,
}

/// Builds a [`FarcallSession`], also around an existing DataFusion session state.
#[derive(Default)]
pub struct FarcallSessionBuilder {
    config: Option<SessionConfig>,
    state: Option<SessionState>,
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
    ///
    /// # Errors
    /// A planning error if the state belongs to a farcall session already, or if both a state and a
    /// configuration are given.
    pub fn build(self) -> Result<FarcallSession> {
        let state =
            self.state.unwrap_or_else(|| SessionStateBuilder::new().with_default_features());
        let models = Arc::new(ModelRegistry::new(self.model_providers));
        let state = models::install(state, &models);
        let context = SessionContext::new_with_state(state.build());
        Ok(FarcallSession { context, runtime: self.runtime.unwrap_or_default(), models })
    }
}

impl fmt::Debug for FarcallSessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FarcallSessionBuilder").finish_non_exhaustive()
    }
}

impl fmt::Debug for FarcallSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    ///
    /// Statements that define something (CREATE MODEL, SET) have happened when this returns.
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

/// Finds functions that arrive in a plan among those of a session.
struct SessionFunctions {
    context: SessionContext,
    models: Arc<ModelRegistry>,
}

impl fmt::Debug for SessionFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFunctions").finish_non_exhaustive()
    }
}

impl FunctionSource for SessionFunctions {
    fn by_name(&self, name: &str) -> Option<AsyncFunction> {
        let state = self.context.state_ref();
        let state = state.read();
        let udf = state.scalar_functions().get(name)?;
        match AsyncUdf::find(udf) {
            Some(udf) => Some(udf.function().clone()),
            None => AsyncUdf::from_foreign(udf).map(|udf| udf.function().clone()),
        }
    }

    fn by_recipe(&self, recipe: &Recipe) -> Result<AsyncFunction> {
        if recipe.kind != RECIPE_KIND {
            return plan_err!("a function of kind '{}' cannot be rebuilt here", recipe.kind);
        }
        models::rebuild(&recipe.bytes, self.models.providers())
    }
}
