//! Provider `local`: small real models, served inside the process over the `http` wire form.
//!
//! | model | outputs |
//! |---|---|
//! | `language` | `lang VARCHAR` (ISO 639-3), `confidence DOUBLE` |
//! | `sentiment` | `label VARCHAR` (positive, neutral, negative), `score DOUBLE` (-1 to 1), English |
//! | `embedding` | `embedding FLOAT[]`, of length 1, `'dimension'` numbers (64) |
//!
//! Each takes one VARCHAR column of any name; a model may declare any of the outputs, in any order.

mod models;
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion_common::error::{DataFusionError, Result};
use farcall_udf::{
    AsyncBatchFunction, CallError, Declaration, FunctionContext, ModelDefinition, ModelProvider,
    Resources,
};
use reqwest::Url;
use reqwest::header::HeaderMap;
use tokio::sync::Mutex;

use super::http::check_columns;
use crate::common::options::{OptionReader, Owner};
use crate::common::secrets::Secrets;
use crate::http::endpoint::{Destination, Target};
use crate::http::options::Limits;
use crate::json::type_name;
use crate::models::model::HttpModel;
use crate::models::wire::Rows;
use models::{DEFAULT_DIMENSION, DIMENSIONS, is_text};

pub use models::LocalModel;
pub use server::{LocalServer, serve};

/// The provider `local`.
///
/// Options: `model` (required; one of those above), `dimension` (for `embedding`, 8 to 4096).
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalProvider;

impl ModelProvider for LocalProvider {
    fn name(&self) -> &str {
        "local"
    }

    fn function(
        &self,
        model: &ModelDefinition,
        declaration: Declaration,
    ) -> Result<Arc<dyn AsyncBatchFunction>> {
        let (local, dimension) = parse_options(model)?;
        check_columns(model)?;
        check_input(model, local)?;
        for output in &model.output {
            if !local.output_fits(output.name(), output.data_type(), dimension) {
                return Err(bad_output(model, local, output.name(), dimension));
            }
        }
        let outputs: Vec<&str> = model.output.iter().map(|output| output.name().as_str()).collect();
        let mut path = format!("/models/{}?outputs={}", local.name(), outputs.join(","));
        if local == LocalModel::Embedding {
            path = format!("{path}&dimension={dimension}");
        }
        let target = LocalTarget { model: model.name.clone(), path };
        Ok(Arc::new(HttpModel::new(
            declaration,
            Arc::new(Rows::of(model)),
            Arc::new(target),
            Limits::default(),
        )))
    }

    fn is_secret(&self, _option: &str) -> bool {
        false
    }
}

fn parse_options(model: &ModelDefinition) -> Result<(LocalModel, usize)> {
    let mut reader = OptionReader::new(Owner::model(model), &model.options);
    let expected = format!("expected one of {}", LocalModel::names());
    let local = reader.required("model", &expected, |value| {
        let found = LocalModel::find(&value.trim().to_ascii_lowercase());
        found.ok_or_else(|| format!("no local model '{value}'; accepted: {}", LocalModel::names()))
    })?;
    let dimension = reader.parse("dimension", |value| {
        let number = value.trim().parse().ok().filter(|number| DIMENSIONS.contains(number));
        number.ok_or_else(|| {
            let (low, high) = (DIMENSIONS.start(), DIMENSIONS.end());
            format!("'{value}' is not a number from {low} to {high}")
        })
    })?;
    if dimension.is_some() && local != LocalModel::Embedding {
        let message = format!("only model embedding has one, not {}", local.name());
        return Err(reader.bad("dimension", message));
    }
    reader.finish()?;
    Ok((local, dimension.unwrap_or(DEFAULT_DIMENSION)))
}

fn check_input(model: &ModelDefinition, local: LocalModel) -> Result<()> {
    let [input] = model.input.as_slice() else {
        return Err(DataFusionError::Plan(format!(
            "model {}: local model {} takes one input column, got {}",
            model.name,
            local.name(),
            model.input.len()
        )));
    };
    if is_text(input.data_type()) {
        return Ok(());
    }
    Err(DataFusionError::Plan(format!(
        "model {}: input column {}: local model {} takes VARCHAR, got {}",
        model.name,
        input.name(),
        local.name(),
        type_name(input.data_type())
    )))
}

/// Explains why an output column cannot be had.
fn bad_output(
    model: &ModelDefinition,
    local: LocalModel,
    output: &str,
    dimension: usize,
) -> DataFusionError {
    let declared = model.output.iter().find(|column| column.name() == output);
    let answered = local.outputs().iter().find(|(name, _)| *name == output);
    let problem = match (answered, declared) {
        (Some((_, sql_type)), Some(column)) => {
            let length = match local {
                LocalModel::Embedding => format!(" with {dimension} numbers"),
                _ => String::new(),
            };
            let got = type_name(column.data_type());
            format!("local model {} answers {sql_type}{length}, got {got}", local.name())
        }
        _ => format!("local model {} answers {}", local.name(), local.output_names()),
    };
    DataFusionError::Plan(format!("model {}: output column {output}: {problem}", model.name))
}

/// The server of a runtime, started by the first query that needs it.
#[derive(Debug, Default)]
struct LocalServers(Mutex<Option<Arc<LocalServer>>>);

impl LocalServers {
    fn of(resources: &Resources) -> Arc<Self> {
        match resources.resource(|| Ok::<_, std::convert::Infallible>(Self::default())) {
            Ok(servers) => servers,
            Err(never) => match never {},
        }
    }

    /// Returns the server; a new one if the old one went down with the runtime it ran on.
    async fn get(&self) -> Result<Arc<LocalServer>> {
        let mut slot = self.0.lock().await;
        if let Some(server) = slot.as_ref().filter(|server| server.is_running()) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(serve("127.0.0.1", 0).await?);
        *slot = Some(Arc::clone(&server));
        Ok(server)
    }
}

/// A path on the server inside the process.
#[derive(Debug)]
struct LocalTarget {
    model: String,
    path: String,
}

#[async_trait]
impl Target for LocalTarget {
    async fn resolve(&self, ctx: &FunctionContext) -> Result<Destination, CallError> {
        let explain = |error: String| CallError::configuration(&self.model, error);
        let server = LocalServers::of(&ctx.resources)
            .get()
            .await
            .map_err(|error| explain(error.strip_backtrace()))?;
        let url = Url::parse(&format!("http://{}{}", server.addr(), self.path))
            .map_err(|error| explain(error.to_string()))?;
        // The server lives as long as a query may send to it, also without its runtime.
        let keep = Some(server as Arc<dyn std::any::Any + Send + Sync>);
        let shown = url.to_string();
        Ok(Destination { url, headers: HeaderMap::new(), secrets: Secrets::default(), shown, keep })
    }
}

#[cfg(test)]
mod tests;
