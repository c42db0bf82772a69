//! [`CallContext`] and [`FunctionContext`], what a function is told about the query it works for.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::contract::opened::Opened;
use crate::contract::resources::Resources;

/// Session and job parameters, as the embedder set them.
pub type Parameters = Arc<BTreeMap<String, String>>;

/// What a function is told with every attempt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallContext {
    /// The query, unique per execution unless several tasks run parts of one query.
    pub query_id: Arc<str>,
    /// The execution, unique over queries, tasks and processes.
    pub execution: Arc<str>,
    /// The call site's number within the session.
    pub call_site: u64,
    /// The attempt at this request, counted from 1.
    pub attempt: u32,
    /// When the attempt is given up.
    pub deadline: Instant,
    /// The request's number within the query and call site, the same for all its attempts.
    pub request: u64,
    /// Cancelled when the query ends early.
    pub cancellation: CancellationToken,
    /// The tracing span of the request.
    pub span: tracing::Span,
    /// Session and job parameters.
    pub parameters: Parameters,
    /// The session's configuration.
    pub config: Arc<ConfigOptions>,
    /// What the function opened for this query.
    pub opened: Opened,
}

impl CallContext {
    /// Makes the context of the first attempt at a request, for tests of functions: without
    /// parameters, with the default configuration.
    pub fn new(query_id: impl Into<Arc<str>>, request: u64, deadline: Instant) -> Self {
        let query_id = query_id.into();
        Self {
            execution: Arc::clone(&query_id),
            query_id,
            call_site: 1,
            attempt: 1,
            deadline,
            request,
            cancellation: CancellationToken::new(),
            span: tracing::Span::none(),
            parameters: Parameters::default(),
            config: Arc::default(),
            opened: Opened::nothing(),
        }
    }

    /// Sets what the function opened.
    pub fn with_opened(mut self, opened: Opened) -> Self {
        self.opened = opened;
        self
    }

    /// Returns a key that is the same for all attempts at one request and different for all others,
    /// so that the remote side can drop repetitions.
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}-{}", self.execution, self.call_site, self.request)
    }
}

/// What a function is told when a query opens it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FunctionContext {
    /// The query, unique per execution.
    pub query_id: Arc<str>,
    /// What functions share over queries: clients, pools.
    pub resources: Arc<Resources>,
    /// Cancelled when the query ends early.
    pub cancellation: CancellationToken,
    /// Session and job parameters.
    pub parameters: Parameters,
    /// The session's configuration.
    pub config: Arc<ConfigOptions>,
}

impl FunctionContext {
    /// Makes the context of a query, without parameters and with the default configuration.
    pub fn new(query_id: impl Into<Arc<str>>, resources: Arc<Resources>) -> Self {
        Self {
            query_id: query_id.into(),
            resources,
            cancellation: CancellationToken::new(),
            parameters: Parameters::default(),
            config: Arc::default(),
        }
    }

    /// Sets what ends the work that the function begins.
    pub fn with_cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Sets session and job parameters.
    pub fn with_parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters;
        self
    }

    /// Sets the session's configuration.
    pub fn with_config(mut self, config: Arc<ConfigOptions>) -> Self {
        self.config = config;
        self
    }
}
