//! What a function is told in the tests of connectors.

use std::sync::Arc;
use std::time::Duration;

use farcall_udf::{CallContext, FarcallRuntime, FunctionContext};

/// The context of `open`.
pub(crate) fn opening(runtime: Arc<FarcallRuntime>) -> FunctionContext {
    FunctionContext {
        query_id: "query".into(),
        runtime,
        cancellation: Default::default(),
        parameters: Default::default(),
        config: Default::default(),
    }
}

/// The context of the first attempt at a request.
pub(crate) fn calling(request: u64) -> CallContext {
    CallContext {
        query_id: "query".into(),
        execution: "query".into(),
        call_site: 1,
        attempt: 1,
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        request,
        cancellation: Default::default(),
        span: tracing::Span::none(),
        parameters: Default::default(),
        config: Default::default(),
    }
}
