//! [`LocalServer`], an HTTP server in this process that serves the local models.
//!
//! ```text
//! POST /models/{name}?outputs=label,score&dimension=64   {"inputs": [..]} -> {"outputs": [..]}
//! GET  /models                                           names, inputs and outputs
//! GET  /health                                           ok
//! ```
//! An input is a text, null, or `{"text": ..}`. With one name in `outputs`, and for a model that
//! has one output, an output is the bare value; otherwise it is an object by name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use datafusion_common::error::{DataFusionError, Result};
use datafusion_common_runtime::SpawnedTask;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::models::{DEFAULT_DIMENSION, DIMENSIONS, LocalModel, Output};

/// The largest request that is read: far above `max_batch_bytes`, which is 4 MiB by default.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// A running server of local models; dropping it stops it.
#[derive(Debug)]
pub struct LocalServer {
    addr: SocketAddr,
    stopped: Arc<AtomicBool>,
    // Aborted on drop.
    _task: SpawnedTask<()>,
}

/// Starts a server of the local models; port 0 takes a free one.
///
/// # Errors
/// The address that cannot be listened on, with the reason.
pub async fn serve(host: &str, port: u16) -> Result<LocalServer> {
    let explain = |error: std::io::Error| {
        DataFusionError::Execution(format!("cannot listen on {host}:{port}: {error}"))
    };
    let listener = TcpListener::bind((host, port)).await.map_err(explain)?;
    let addr = listener.local_addr().map_err(explain)?;
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays without TCP_NODELAY");
        }
    });
    let stopped = Arc::new(AtomicBool::new(false));
    let guard = SetOnDrop(Arc::clone(&stopped));
    let task = SpawnedTask::spawn(async move {
        // Dropped with the task, also when the runtime it runs on is shut down.
        let _guard = guard;
        if let Err(error) = axum::serve(listener, router()).await {
            tracing::warn!(%error, "the server of local models stopped");
        }
    });
    Ok(LocalServer { addr, stopped, _task: task })
}

impl LocalServer {
    /// Returns the address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Says whether the server still answers.
    pub(crate) fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    /// Serves until the future is ready, then stops.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn router() -> Router {
    Router::new()
        .route("/models/{name}", post(predict))
        .route("/models", get(list))
        .route("/health", get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
}

async fn list() -> Json<Value> {
    let column = |(name, sql_type): &(&str, &str)| json!({"name": name, "type": sql_type});
    let model = |model: LocalModel| {
        json!({
            "name": model.name(),
            "inputs": [column(&("text", "VARCHAR"))],
            "outputs": model.outputs().iter().map(column).collect::<Vec<_>>(),
        })
    };
    Json(json!({"models": LocalModel::ALL.map(model)}))
}

/// An answer that is no success.
struct Refused(StatusCode, String);

impl Refused {
    fn unknown(message: String) -> Self {
        Refused(StatusCode::NOT_FOUND, message)
    }

    fn unprocessable(message: String) -> Self {
        Refused(StatusCode::UNPROCESSABLE_ENTITY, message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

async fn predict(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, Refused> {
    let model = LocalModel::find(&name).ok_or_else(|| {
        Refused::unknown(format!("no model {name}; there are {}", LocalModel::names()))
    })?;
    let wanted = Wanted::parse(model, query.as_deref().unwrap_or_default())?;
    let mut body: Value = serde_json::from_slice(&body)
        .map_err(|error| Refused::unprocessable(format!("the body is not JSON: {error}")))?;
    let Some(Value::Array(inputs)) = body.get_mut("inputs").map(Value::take) else {
        return Err(Refused::unprocessable("the body has no array \"inputs\"".to_owned()));
    };
    let rows = inputs
        .iter()
        .enumerate()
        .map(|(row, input)| {
            let outputs = match text_of(input) {
                Ok(Some(text)) => model.answer(text, wanted.dimension),
                Ok(None) => model.nulls(),
                Err(kind) => {
                    return Err(Refused::unprocessable(format!(
                        "inputs[{row}]: expected a text, null or {{\"text\": ..}}, got {kind}"
                    )));
                }
            };
            Ok(Row { wanted: &wanted, outputs })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let body = serde_json::to_vec(&Answer { outputs: rows })
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Finds the text of an input, or names what it is instead.
fn text_of(input: &Value) -> Result<Option<&str>, &'static str> {
    match input {
        Value::String(text) => Ok(Some(text)),
        Value::Null => Ok(None),
        Value::Object(members) => match members.get("text") {
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err("an object without a text"),
        },
        Value::Bool(_) => Err("a boolean"),
        Value::Number(_) => Err("a number"),
        Value::Array(_) => Err("an array"),
    }
}

/// Which outputs a request asks for.
struct Wanted {
    /// Names, and positions among the model's outputs.
    outputs: Vec<(&'static str, usize)>,
    dimension: usize,
}

impl Wanted {
    fn parse(model: LocalModel, query: &str) -> Result<Self, Refused> {
        let all = || model.outputs().iter().enumerate().map(|(at, (name, _))| (*name, at));
        let mut wanted = Wanted { outputs: all().collect(), dimension: DEFAULT_DIMENSION };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "outputs" => {
                    let find = |name: &str| {
                        all().find(|(known, _)| *known == name).ok_or_else(|| {
                            let (model, names) = (model.name(), model.output_names());
                            Refused::unknown(format!(
                                "{model} has no output {name}; it has {names}"
                            ))
                        })
                    };
                    wanted.outputs = value.split(',').map(find).collect::<Result<_, _>>()?;
                }
                "dimension" => {
                    let dimension = value.parse().ok().filter(|n| DIMENSIONS.contains(n));
                    wanted.dimension = dimension.ok_or_else(|| {
                        let (low, high) = (DIMENSIONS.start(), DIMENSIONS.end());
                        Refused::unknown(format!("dimension is a number from {low} to {high}"))
                    })?;
                }
                other => {
                    let message = format!("no parameter {other}; there are outputs, dimension");
                    return Err(Refused::unknown(message));
                }
            }
        }
        Ok(wanted)
    }
}

#[derive(serde::Serialize)]
struct Answer<'a> {
    outputs: Vec<Row<'a>>,
}

struct Row<'a> {
    wanted: &'a Wanted,
    outputs: Vec<Output>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = |at: usize| self.outputs.get(at).unwrap_or(&Output::Null);
        if let [(_, at)] = self.wanted.outputs.as_slice() {
            return value(*at).serialize(serializer);
        }
        let mut object = serializer.serialize_map(Some(self.wanted.outputs.len()))?;
        for (name, at) in &self.wanted.outputs {
            object.serialize_entry(name, value(*at))?;
        }
        object.end()
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
