//! [`OptionReader`], through which every provider and connector reads the options of CREATE.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use datafusion_common::error::{DataFusionError, Result};
use datafusion_common::utils::datafusion_strsim::levenshtein;
use farcall_udf::{
    CallError, CallOptions, FarcallConfig, FunctionContext, LookupDefinition, ModelDefinition,
};

/// The largest answer that is read unless `max_response_bytes` says otherwise: 64 MiB.
pub(crate) const DEFAULT_MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// How long a connection may take unless `connect_timeout` says otherwise.
pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many letters of a misspelt option are wrong at most.
const MISSPELT: usize = 2;

/// Whose options are read, as messages name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    kind: &'static str,
    name: &'a str,
    /// Who accepts the options, `provider http` for instance.
    maker: (&'static str, &'a str),
}

impl<'a> Owner<'a> {
    /// Names a model.
    pub(crate) fn model(model: &'a ModelDefinition) -> Self {
        Self { kind: "model", name: &model.name, maker: ("provider", &model.provider) }
    }

    /// Names a lookup table.
    pub(crate) fn lookup_table(table: &'a LookupDefinition, connector: &'a str) -> Self {
        Self { kind: "lookup table", name: &table.name, maker: ("connector", connector) }
    }
}

impl Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Takes the options of one object, each once; what nobody took is refused at the end.
///
/// Names come as [`canonical`](farcall_udf::canonical) writes them. Errors name the object and the
/// option, and repeat no value unless `parse` does.
pub(crate) struct OptionReader<'a> {
    owner: Owner<'a>,
    left: BTreeMap<&'a str, &'a str>,
    /// Every name that was asked for.
    accepted: Vec<&'static str>,
}

impl<'a> OptionReader<'a> {
    pub(crate) fn new(owner: Owner<'a>, options: &'a BTreeMap<String, String>) -> Self {
        let left = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { owner, left, accepted: Vec::new() }
    }

    /// Takes an option as it stands.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a str> {
        self.accepted.push(name);
        self.left.remove(name)
    }

    /// Takes an option and reads it by `parse`, whose errors say what is wrong with the value.
    pub(crate) fn parse<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let value = self.take(name).map(parse).transpose();
        value.map_err(|message| self.bad(name, message))
    }

    /// Takes an option that must be there; `expected` says what belongs into it.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<T> {
        if let Some(value) = self.parse(name, parse)? {
            return Ok(value);
        }
        let meant = self.left.keys().find(|given| levenshtein(given, name) <= MISSPELT);
        Err(match meant {
            Some(given) => self.bad(name, format_args!("missing, {expected}; there is '{given}'")),
            None => self.bad(name, format_args!("missing, {expected}")),
        })
    }

    /// Takes a whole number greater than 0, which messages call `what`.
    pub(crate) fn positive(&mut self, name: &'static str, what: &str) -> Result<Option<usize>> {
        self.parse(name, |value| {
            let number = value.trim().parse().ok().filter(|number| *number > 0);
            number.ok_or_else(|| format!("'{value}' is not a {what} greater than 0"))
        })
    }

    /// Takes a duration greater than 0.
    pub(crate) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.parse(name, |value| {
            let duration = humantime::parse_duration(value.trim()).ok();
            duration
                .filter(|duration| !duration.is_zero())
                .ok_or_else(|| format!("'{value}' is not a duration greater than 0, like '10s'"))
        })
    }

    /// Makes the planning error for a bad option.
    pub(crate) fn bad(&self, name: &str, message: impl Display) -> DataFusionError {
        bad_option(self.owner, name, message)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(&self) -> Result<()> {
        let Some(option) = self.left.keys().next() else { return Ok(()) };
        let (maker, name) = self.owner.maker;
        Err(DataFusionError::Plan(format!(
            "{}: option '{option}': no such option, {maker} '{name}' accepts {} and the call options",
            self.owner,
            self.accepted.join(", ")
        )))
    }
}

/// Makes the planning error for a bad option, once its reader is gone.
pub(crate) fn bad_option(owner: Owner<'_>, option: &str, message: impl Display) -> DataFusionError {
    DataFusionError::Plan(format!("{owner}: option '{option}': {message}"))
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
