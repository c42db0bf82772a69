//! What a function is told in the tests of connectors.

use std::sync::Arc;
use std::time::Duration;

use farcall_udf::{CallContext, FunctionContext, Opened, Resources};

/// The context of `open`.
pub(crate) fn opening(resources: Arc<Resources>) -> FunctionContext {
    FunctionContext::new("query", resources)
}

/// The context of the first attempt at a request, with what `open` returned.
pub(crate) fn calling(request: u64, opened: &Opened) -> CallContext {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    CallContext::new("query", request, deadline).with_opened(opened.clone())
}
