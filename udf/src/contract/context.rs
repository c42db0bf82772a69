//! [`CallContext`] and [`FunctionContext`], what a function is told about the query it works for.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dispatch::query::runtime::FarcallRuntime;

/// Session and job parameters, as the embedder set them.
pub type Parameters = Arc<BTreeMap<String, String>>;

/// What a function is told with every attempt.
#[derive(Debug, Clone)]
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
}

impl CallContext {
    /// Returns a key that is the same for all attempts at one request and different for all others,
    /// so that the remote side can drop repetitions.
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}-{}", self.execution, self.call_site, self.request)
    }
}

/// What a function is told when a query opens it.
#[derive(Debug, Clone)]
pub struct FunctionContext {
    /// The query, unique per execution.
    pub query_id: Arc<str>,
    /// What outlives queries: limiters, clients, caches.
    pub runtime: Arc<FarcallRuntime>,
    /// Cancelled when the query ends early.
    pub cancellation: CancellationToken,
    /// Session and job parameters.
    pub parameters: Parameters,
    /// The session's configuration.
    pub config: Arc<ConfigOptions>,
}
