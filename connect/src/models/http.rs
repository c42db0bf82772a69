//! Provider `http`: a model behind any endpoint that speaks the JSON wire form.
//!
//! ```text
//! POST endpoint  {"inputs":  [row, ..]}     a row: the bare value of the only column,
//!            ->  {"outputs": [row, ..]}     or an object by column name
//! ```
//! Values convert by the declared types as arrow-json does it: integers and decimals as numbers
//! with all their digits (numbers in quotes are read too), dates and times as ISO 8601 texts,
//! binary as hex digits. NULL is `null` both ways. A row `{"error": "text"}` fails that row alone.
//!
//! A lookup table speaks of keys and of what is found for each:
//!
//! ```text
//! POST endpoint  {"keys": [key, ..]}    a key: the bare value of the only column, or an object
//!            ->  {"rows": [null | object | [object, ..], ..]}
//! ```

use std::sync::Arc;

use datafusion_common::error::{DataFusionError, Result};
use farcall_udf::{AsyncBatchFunction, Declaration, ModelDefinition, ModelProvider};

use crate::common::options::Owner;
use crate::http::options::HttpOptions;
use crate::http::target::EndpointTarget;
use crate::json::unsupported;
use crate::models::model::HttpModel;
use crate::models::wire::Rows;

/// The provider `http`.
///
/// Options: `endpoint` (required; an http or https URL), `headers` (`'Name: value; Name: value'` or
/// a JSON object of texts), `max_response_bytes` (64 MiB), `connect_timeout` (10 s). In `endpoint`
/// and `headers`, `${env:NAME}` stands for an environment variable, read when a query starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpProvider;

impl ModelProvider for HttpProvider {
    fn name(&self) -> &str {
        "http"
    }

    fn function(
        &self,
        model: &ModelDefinition,
        declaration: Declaration,
    ) -> Result<Arc<dyn AsyncBatchFunction>> {
        let options = HttpOptions::parse(Owner::model(model), &model.options)?;
        check_columns(model)?;
        let (limits, declaration) = (options.limits, declaration.with_adaptive(true));
        let target = EndpointTarget { function: model.name.clone(), options };
        Ok(Arc::new(HttpModel::new(
            declaration,
            Arc::new(Rows::of(model)),
            Arc::new(target),
            limits,
        )))
    }

    fn is_secret(&self, option: &str) -> bool {
        option == "headers"
    }
}

/// Returns an endpoint as it may be shown: a query may hold a key.
pub fn without_query(endpoint: &str) -> &str {
    endpoint.split_once('?').map_or(endpoint, |(shown, _)| shown)
}

/// Checks that the declared columns can travel as JSON.
pub(crate) fn check_columns(model: &ModelDefinition) -> Result<()> {
    let name = &model.name;
    for (kind, columns) in [("input", &model.input), ("output", &model.output)] {
        if columns.is_empty() {
            return Err(DataFusionError::Plan(format!(
                "model {name}: no {kind} column is declared"
            )));
        }
        for (index, column) in columns.iter().enumerate() {
            let column_name = column.name();
            if let Some(reason) = unsupported(column.data_type()) {
                return Err(DataFusionError::Plan(format!(
                    "model {name}: {kind} column {column_name}: {reason}"
                )));
            }
            if columns[..index].iter().any(|other| other.name() == column_name) {
                return Err(DataFusionError::Plan(format!(
                    "model {name}: {kind} column {column_name} is declared twice"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
