//! [`Endpoint`], where the requests of a model or a lookup table go, and how one travels.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use farcall_udf::{CallContext, CallError, FunctionContext, ResponseMetadata};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url};

use super::classify::{Refusal, transport};
use super::client::HttpClients;
use super::options::Limits;
use super::protocol::Protocol;
use crate::common::secrets::Secrets;

/// How much of an error's body is read.
const MAX_ERROR_BYTES: usize = 4 * 1024;
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where requests go; known when a query opens whoever sends them.
#[async_trait]
pub(crate) trait Target: fmt::Debug + Send + Sync {
    /// Finds the destination: reads the environment, or starts what has to run.
    async fn resolve(&self, ctx: &FunctionContext) -> Result<Destination, CallError>;
}

/// Where requests go, and with what.
pub(crate) struct Destination {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) secrets: Secrets,
    /// The URL as messages may show it.
    pub(crate) shown: String,
    /// What must live as long as requests are sent.
    pub(crate) keep: Option<Arc<dyn Any + Send + Sync>>,
}

/// A destination with the client that reaches it.
pub(crate) struct Opened {
    client: Client,
    url: Url,
    /// Host and port, the only part of the URL that messages show.
    host: String,
    headers: HeaderMap,
    pub(crate) secrets: Secrets,
    /// The URL as messages may show it.
    shown: String,
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

/// The remote side of one function.
pub(crate) struct Endpoint {
    /// The function's name, for messages.
    function: String,
    target: Arc<dyn Target>,
    limits: Limits,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("function", &self.function).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes the remote side of a function; nothing is sent or resolved before `open`.
    pub(crate) fn new(function: &str, target: Arc<dyn Target>, limits: Limits) -> Self {
        Self { function: function.to_owned(), target, limits }
    }

    fn name(&self) -> &str {
        &self.function
    }

    /// Finds the destination and the client that reaches it, once per query.
    pub(crate) async fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        let Destination { url, mut headers, secrets, shown, keep } =
            self.target.resolve(ctx).await?;
        let client = HttpClients::of(&ctx.resources)
            .client(&url, self.limits.connect_timeout)
            .map_err(|message| CallError::configuration(self.name(), message))?;
        for name in [ACCEPT, CONTENT_TYPE] {
            headers.entry(name).or_insert(JSON);
        }
        let host = match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => "the endpoint".to_owned(),
        };
        Ok(Opened { client, url, host, headers, secrets, shown, _keep: keep })
    }

    /// Sends one body and returns the body of a successful answer.
    pub(crate) async fn post(
        &self,
        opened: &Opened,
        body: Vec<u8>,
        ctx: &CallContext,
        protocol: &dyn Protocol,
    ) -> Result<(Vec<u8>, ResponseMetadata), CallError> {
        let mut headers = opened.headers.clone();
        if let Ok(key) = HeaderValue::from_str(&ctx.idempotency_key()) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        let request = opened.client.post(opened.url.clone()).headers(headers).body(body);
        let response = request.send().await.map_err(|error| self.transport(opened, error))?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            // What was read before a connection broke is still worth showing.
            let start = read_start(response).await;
            let body = String::from_utf8_lossy(&start);
            let refusal = Refusal {
                function: self.name(),
                endpoint: &opened.shown,
                status,
                headers: &headers,
                body: &body,
                secrets: &opened.secrets,
            };
            return Err(protocol.classify(&refusal));
        }
        let metadata = metadata(response.headers(), protocol);
        Ok((self.read(opened, response).await?, metadata))
    }

    /// Reads a body up to `max_response_bytes`.
    async fn read(&self, opened: &Opened, mut response: Response) -> Result<Vec<u8>, CallError> {
        let limit = self.limits.max_response_bytes;
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            let message = format!("the body has {announced} bytes, the limit is {limit}");
            return Err(CallError::malformed(
                self.name(),
                format!("{message} (max_response_bytes)"),
            ));
        }
        let mut body = Vec::with_capacity(announced as usize);
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.transport(opened, error))?
        {
            if body.len() + chunk.len() > limit {
                let message = format!("the body has more than {limit} bytes (max_response_bytes)");
                return Err(CallError::malformed(self.name(), message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, opened: &Opened, error: reqwest::Error) -> CallError {
        transport(self.name(), &opened.host, self.limits.connect_timeout, error)
    }
}

async fn read_start(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - body.len())]);
    }
    body
}

fn metadata(headers: &HeaderMap, protocol: &dyn Protocol) -> ResponseMetadata {
    let request_id = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let mut metadata = ResponseMetadata::default();
    metadata.request_id = request_id.map(str::to_owned);
    metadata.rate = protocol.hints(headers, SystemTime::now());
    metadata
}
