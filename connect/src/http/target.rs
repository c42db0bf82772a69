//! [`EndpointTarget`], the endpoint that options name.

use async_trait::async_trait;
use farcall_udf::{CallError, FunctionContext};

use crate::common::environment::Environment;
use crate::http::endpoint::{Destination, Target};
use crate::http::options::HttpOptions;

/// The endpoint that options name.
#[derive(Debug)]
pub(crate) struct EndpointTarget {
    pub(crate) function: String,
    pub(crate) options: HttpOptions,
}

#[async_trait]
impl Target for EndpointTarget {
    async fn resolve(&self, ctx: &FunctionContext) -> Result<Destination, CallError> {
        let environment = Environment::of(&ctx.resources);
        let (url, headers, secrets) = self
            .options
            .resolve(|name| environment.get(name))
            .map_err(|message| CallError::configuration(&self.function, message))?;
        let shown = self.options.shown(&url);
        Ok(Destination { url, headers, secrets, shown, keep: None })
    }
}
