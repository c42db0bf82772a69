//! [`FarcallSession`], a DataFusion session in which async functions may stand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_planner::ExtensionPlanner;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use farcall_exec::{FarcallCodec, FunctionSource, SessionExt, physical_optimizer_rules};
use farcall_planner::{EstimateCalls, LookupTables, Plain, SiteCounter};
use farcall_udf::{
    AsyncFunction, AsyncUdf, FarcallRuntime, LookupConnector, LookupProvider, ModelProvider, Recipe,
};

use crate::catalog::lookups::LookupRegistry;
use crate::catalog::table::CatalogLookups;
use crate::catalog::{
    LOOKUP_RECIPE, MODEL_RECIPE, ModelRegistry, Objects, rebuild_lookup, rebuild_model,
};
use crate::estimates::KnownCalls;
use crate::metrics;
use crate::query_planner::FarcallQueryPlanner;
use crate::sql::{self, Statement, predict};

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
    objects: Objects,
    runtime: Arc<FarcallRuntime>,
}

/// Builds a [`FarcallSession`], also around an existing DataFusion session state.
#[derive(Default)]
pub struct FarcallSessionBuilder {
    config: Option<SessionConfig>,
    state: Option<SessionState>,
    runtime: Option<Arc<FarcallRuntime>>,
    parameters: BTreeMap<String, String>,
    providers: Vec<Arc<dyn ModelProvider>>,
    connectors: Vec<Arc<dyn LookupConnector>>,
    extension_planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>,
    query_planner_wrappers: Vec<QueryPlannerWrapper>,
}

/// Makes a query planner around another one.
type QueryPlannerWrapper = Box<dyn FnOnce(SharedQueryPlanner) -> SharedQueryPlanner + Send>;
type SharedQueryPlanner = Arc<dyn QueryPlanner + Send + Sync>;

impl FarcallSessionBuilder {
    /// Starts from a DataFusion configuration.
    pub fn with_config(mut self, config: SessionConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Starts from an existing session state: its catalogs, functions and rules are kept.
    ///
    /// Its query planner is replaced by farcall's; extension nodes of others are planned by what
    /// [`Self::with_extension_planner`] adds.
    pub fn with_state(mut self, state: SessionState) -> Self {
        self.state = Some(state);
        self
    }

    /// Shares what outlives queries (limiters, clients, caches) with other sessions.
    pub fn with_runtime(mut self, runtime: Arc<FarcallRuntime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Adds a session or job parameter that functions find in their context.
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Adds a kind of model that CREATE MODEL may name in `'provider'`.
    pub fn with_model_provider(mut self, provider: Arc<dyn ModelProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Adds a kind of store that CREATE EXTERNAL TABLE .. STORED AS LOOKUP may name.
    pub fn with_lookup_connector(mut self, connector: Arc<dyn LookupConnector>) -> Self {
        self.connectors.push(connector);
        self
    }

    /// Adds a planner of extension nodes that are not farcall's.
    pub fn with_extension_planner(
        mut self,
        planner: Arc<dyn ExtensionPlanner + Send + Sync>,
    ) -> Self {
        self.extension_planners.push(planner);
        self
    }

    /// Puts a query planner around farcall's: one that cuts plans into tasks, for instance.
    ///
    /// It is given the planner of all that farcall needs, and may change the plans that it makes; a
    /// later wrapper goes around an earlier one.
    pub fn with_query_planner_wrapper(
        mut self,
        wrap: impl FnOnce(Arc<dyn QueryPlanner + Send + Sync>) -> Arc<dyn QueryPlanner + Send + Sync>
        + Send
        + 'static,
    ) -> Self {
        self.query_planner_wrappers.push(Box::new(wrap));
        self
    }

    /// Builds the session; its default catalog gets the table `farcall.metrics`, unless there is a
    /// schema of that name.
    ///
    /// # Errors
    /// A planning error if the state belongs to a farcall session already, or if both a state and a
    /// configuration are given.
    pub fn build(self) -> Result<FarcallSession> {
        let Self {
            config,
            state,
            runtime,
            parameters,
            mut providers,
            mut connectors,
            extension_planners,
            query_planner_wrappers,
        } = self;
        let mut state = match (state, config) {
            (Some(_), Some(_)) => {
                return plan_err!(
                    "a session is built from a state or from a configuration, not both"
                );
            }
            (Some(state), None) => {
                if SessionExt::of(state.config()).is_some() {
                    return plan_err!("the session state belongs to a farcall session already");
                }
                SessionStateBuilder::new_from_existing(state)
            }
            (None, config) => SessionStateBuilder::new()
                .with_config(config.unwrap_or_default())
                .with_default_features(),
        };
        let runtime = runtime.unwrap_or_default();
        let parameters = Arc::new(parameters);
        let ext = SessionExt::new(Arc::clone(&runtime), Arc::clone(&parameters));
        state.config().get_or_insert_default().set_extension(Arc::new(ext));
        providers.extend(farcall_connect::providers());
        let models = Arc::new(ModelRegistry::new(providers));
        let tables: Arc<dyn LookupTables> = Arc::new(CatalogLookups);
        let plain = Arc::new(Plain::new(Arc::clone(&tables), predict::bind::is_predict));
        let mut state = predict::install(state, &models, &plain);
        let hint = Arc::new(ScalarUDF::new_from_impl(sql::LookupHintUdf));
        state.scalar_functions().get_or_insert_default().push(hint);
        let sites = Arc::new(SiteCounter::default());
        for rule in farcall_planner::analyzer_rules(Arc::clone(&sites)) {
            state = state.with_analyzer_rule(plain.spare_analyzer(rule));
        }
        let known = Arc::new(KnownCalls(Arc::clone(&runtime)));
        let estimate = plain.spare_analyzer(Arc::new(EstimateCalls::new(known)));
        state = state.with_analyzer_rule(estimate);
        for rule in farcall_planner::optimizer_rules_with_lookups(tables, sites) {
            state = state.with_optimizer_rule(plain.spare_optimizer(rule));
        }
        for rule in physical_optimizer_rules() {
            state = state.with_physical_optimizer_rule(rule);
        }
        let planner: SharedQueryPlanner =
            Arc::new(FarcallQueryPlanner::new(plain, extension_planners));
        let planner =
            query_planner_wrappers.into_iter().fold(planner, |planner, wrap| wrap(planner));
        let state = state.with_query_planner(planner).build();
        let context = SessionContext::new_with_state(state);
        context.register_relation_planner(Arc::new(sql::TableCallPlanner))?;
        metrics::register(&context, &runtime)?;
        connectors.extend(farcall_connect::lookup_connectors());
        let lookups = Arc::new(LookupRegistry::new(connectors, Arc::clone(&runtime), parameters));
        let objects = Objects::new(context, models, lookups);
        Ok(FarcallSession { objects, runtime })
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
            .field("id", &self.objects.context().session_id())
            .finish_non_exhaustive()
    }
}

impl FarcallSession {
    /// Starts building a session.
    pub fn builder() -> FarcallSessionBuilder {
        FarcallSessionBuilder::default()
    }

    /// Makes a session with the defaults.
    ///
    /// # Errors
    /// What [`FarcallSessionBuilder::build`] fails with.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Returns the DataFusion session.
    pub fn context(&self) -> &SessionContext {
        self.objects.context()
    }

    /// Returns what outlives the session's queries.
    pub fn runtime(&self) -> &Arc<FarcallRuntime> {
        &self.runtime
    }

    /// Returns the session's models.
    pub fn models(&self) -> &Arc<ModelRegistry> {
        self.objects.models()
    }

    /// Returns a codec that carries this session's plans, functions and models in DataFusion's
    /// protobuf plans; on the other side it finds functions in the session that made it.
    ///
    /// It does not keep that session alive, and may be kept in its configuration.
    pub fn codec(&self) -> FarcallCodec {
        let session = self.objects.context().state_weak_ref();
        let by_name = move |name: &str| {
            let Some(state) = session.upgrade() else {
                return plan_err!("async function {name} is looked for in a session that is gone");
            };
            let state = state.read();
            Ok(state.scalar_functions().get(name).and_then(|udf| match AsyncUdf::find(udf) {
                Some(udf) => Some(udf.function().clone()),
                None => AsyncUdf::from_foreign(udf).map(|udf| udf.function().clone()),
            }))
        };
        let functions = SessionFunctions {
            by_name: Box::new(by_name),
            models: Arc::clone(self.objects.models()),
            lookups: Arc::clone(self.objects.lookups()),
        };
        FarcallCodec::new(Arc::new(functions))
    }

    /// Registers an async function under its name and aliases, and its `try_` form beside it.
    ///
    /// `try_f(x)` gives `{value, error: {code, message, attempts}}` instead of failing. A table
    /// function has no such form: there is no row that could hold the error.
    ///
    /// Functions are told apart by name and version: what a cache of the runtime keeps serves any
    /// function of both, also one that was registered in the place of another. Code that answers
    /// otherwise wants another [`Declaration::with_version`](farcall_udf::Declaration::with_version).
    pub fn register(&self, function: impl Into<AsyncFunction>) {
        let udf = AsyncUdf::new(function);
        if !udf.function().declaration().returns_rows() {
            self.objects.context().register_udf(udf.clone().with_try().into_scalar_udf());
        }
        self.objects.context().register_udf(udf.into_scalar_udf());
    }

    /// Registers a table whose rows are found by key, when it is joined by an equality on it; where
    /// there is none, it is read as a whole if its provider can be scanned.
    ///
    /// Unless the provider has a version, what is cached of another table of that name is not used.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    /// use farcall::FarcallSession;
    /// use farcall::connect::MemoryLookup;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> datafusion::error::Result<()> {
    /// let session = FarcallSession::new()?;
    /// let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    /// let name: ArrayRef = Arc::new(StringArray::from(vec!["ann", "bob"]));
    /// let users = RecordBatch::try_from_iter([("id", id), ("name", name)])?;
    /// session.register_lookup_table("users", Arc::new(MemoryLookup::try_new(users, &["id"])?))?;
    /// let sql = "SELECT u.name FROM (VALUES (2), (3)) AS t (uid) LEFT JOIN users u ON t.uid = u.id";
    /// assert_eq!(session.sql(sql).await?.collect().await?[0].num_rows(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A planning error for a key that cannot be one, and what DataFusion's catalog says.
    pub fn register_lookup_table(
        &self,
        name: &str,
        provider: Arc<dyn LookupProvider>,
    ) -> Result<()> {
        let table = self.objects.lookups().make(name, provider)?;
        let entry = self.objects.lookups().entry(Arc::clone(&table))?;
        self.objects.context().register_table(name, Arc::new(entry))?;
        // Not before the catalog took it: where another table has the name, that one stays.
        self.objects.lookups().remember(&table);
        Ok(())
    }

    /// Parses a script into its statements.
    ///
    /// # Errors
    /// A SQL error with line and column.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>> {
        sql::parse(sql)
    }

    /// Plans one statement; rows are read from the result, where the calls are made.
    ///
    /// Statements that define something (CREATE MODEL, SET) have happened when this returns.
    ///
    /// # Errors
    /// A planning error; those of calls arrive with the rows.
    pub async fn execute(&self, statement: Statement) -> Result<DataFrame> {
        sql::execute(&self.objects, statement).await
    }

    /// Parses and plans SQL that holds exactly one statement.
    ///
    /// # Errors
    /// As [`FarcallSession::parse`] and [`FarcallSession::execute`]; more than one statement is refused.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        let mut statements = self.parse(sql)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(DataFusionError::Plan("expected exactly one SQL statement".into()));
        };
        self.execute(statement).await
    }
}

/// Finds a registered function by its name.
type FindFunction = dyn Fn(&str) -> Result<Option<AsyncFunction>> + Send + Sync;

/// Finds functions that arrive in a plan among those of a session.
struct SessionFunctions {
    /// Does not keep the session alive.
    by_name: Box<FindFunction>,
    models: Arc<ModelRegistry>,
    lookups: Arc<LookupRegistry>,
}

impl fmt::Debug for SessionFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFunctions").finish_non_exhaustive()
    }
}

impl FunctionSource for SessionFunctions {
    fn by_name(&self, name: &str) -> Result<Option<AsyncFunction>> {
        (self.by_name)(name)
    }

    fn by_recipe(&self, recipe: &Recipe) -> Result<AsyncFunction> {
        match recipe.kind.as_str() {
            MODEL_RECIPE => rebuild_model(&recipe.bytes, self.models.providers()),
            LOOKUP_RECIPE => rebuild_lookup(&recipe.bytes, &self.lookups),
            kind => plan_err!("a function of kind '{kind}' cannot be rebuilt here"),
        }
    }
}
