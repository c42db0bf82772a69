//! What connectors share to read the options of CREATE: whose they are, numbers, durations, refusals.

use std::time::Duration;

use datafusion_common::error::{DataFusionError, Result};
pub(crate) use farcall_udf::canonical;
use farcall_udf::{CallError, CallOptions, FarcallConfig, FunctionContext, ModelDefinition};

/// The largest answer that is read unless `max_response_bytes` says otherwise: 64 MiB.
pub(crate) const DEFAULT_MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// How long a connection may take unless `connect_timeout` says otherwise.
pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose options are read, as messages name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    /// Who accepts the options, `http` for instance.
    pub(crate) provider: &'a str,
}

impl<'a> Owner<'a> {
    /// Names a model.
    pub(crate) fn model(model: &'a ModelDefinition) -> Self {
        Self { kind: "model", name: &model.name, provider: &model.provider }
    }
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Makes the planning error for a bad option.
pub(crate) fn bad_option(
    owner: Owner<'_>,
    option: &str,
    message: impl std::fmt::Display,
) -> DataFusionError {
    DataFusionError::Plan(format!("{owner}: option '{option}': {message}"))
}

/// Makes the planning error for an option that the provider does not have.
pub(crate) fn unknown_option(owner: Owner<'_>, option: &str, accepted: &[&str]) -> DataFusionError {
    DataFusionError::Plan(format!(
        "{owner}: unknown option '{option}'; provider {} accepts {} and the call options",
        owner.provider,
        accepted.join(", ")
    ))
}

/// Returns how long one request may take while a table is read as a whole.
pub(crate) fn attempt_timeout(
    ctx: &FunctionContext,
    table: &str,
    options: &CallOptions,
) -> Result<Duration, CallError> {
    let resolved = FarcallConfig::of(&ctx.config).resolve_scan(table, options);
    match resolved {
        Ok(resolved) => Ok(resolved.attempt_timeout()),
        Err(error) => Err(CallError::configuration(table, error.strip_backtrace())),
    }
}

/// Reads a whole number greater than 0, which messages call `what`.
pub(crate) fn positive(value: &str, what: &str) -> Result<usize, String> {
    let number = value.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("'{value}' is not a {what} greater than 0"))
}

/// Reads a duration greater than 0.
pub(crate) fn positive_duration(value: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(value.trim()).ok();
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("'{value}' is not a duration greater than 0, like '10s'"))
}
