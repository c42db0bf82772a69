//! [`FarcallConfig`], the options under `SET farcall.*` and what they mean for one call.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use datafusion_common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion_common::error::Result;

use crate::adapt::any::AsyncFunction;
use crate::adapt::tried::untried;
use crate::contract::declaration::Declaration;
use crate::contract::kind::Kind;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::name::canonical;
use crate::settings::misfit::misfit;

/// Whether independent neighbouring calls become one operator.
const PARALLEL_CALLS: &str = "parallel_calls";

/// What stands below `SET farcall.planner.`, each with what it does: true unless it is set to false.
const SWITCHES: &[(&str, &str)] = &[
    (PARALLEL_CALLS, "Whether independent neighbouring calls run at the same time."),
    (
        "drop_inferred",
        "Whether a condition that DataFusion infers from an equality is not tested a second time.",
    ),
    (
        "join_on_calls",
        "Whether an equality with a call joins where nothing cheaper does, and only there.",
    ),
    (
        "wait_for_conditions",
        "Whether conditions with calls wait for the cheap conditions above them.",
    ),
];

/// The session's options of farcall.
///
/// ```
/// use datafusion_common::config::ConfigOptions;
/// use farcall_udf::FarcallConfig;
///
/// let mut options = ConfigOptions::new();
/// options.extensions.insert(FarcallConfig::default());
/// options.set("farcall.async_scalar.buffer_capacity", "8")?;
/// assert!(FarcallConfig::of(&options).parallel_calls());
/// # Ok::<_, datafusion_common::error::DataFusionError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FarcallConfig {
    async_scalar: CallOptions,
    async_table: CallOptions,
    async_lookup: CallOptions,
    ml_predict: CallOptions,
    /// What was set by function and option, in the order in which it was set.
    functions: Vec<(String, CallOptions)>,
    /// The switches of the planner that are off.
    off: BTreeSet<&'static str>,
}

impl Default for FarcallConfig {
    fn default() -> Self {
        Self {
            async_scalar: CallOptions::new(),
            async_table: CallOptions::new(),
            async_lookup: CallOptions::new(),
            ml_predict: CallOptions::new(),
            functions: Vec::new(),
            off: BTreeSet::new(),
        }
    }
}

/// One option by its place: what a key below `farcall.` means.
enum Place<'k> {
    /// An option of all functions of a kind.
    Group(Kind, &'k str),
    /// An option of one function.
    Function(&'k str, &'k str),
    /// A switch of the planner.
    Switch(&'static str),
}

impl FarcallConfig {
    /// Returns the session's options, the defaults where the session has none.
    pub fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Says whether independent neighbouring calls run at the same time.
    pub fn parallel_calls(&self) -> bool {
        !self.off.contains(PARALLEL_CALLS)
    }

    /// Returns the groups that calls of a kind listen to, the widest first.
    pub(super) fn groups(&self, kind: Kind) -> Vec<&CallOptions> {
        match kind {
            Kind::Scalar => vec![&self.async_scalar],
            Kind::Table => vec![&self.async_table],
            Kind::Lookup => vec![&self.async_lookup],
            Kind::Model => vec![&self.async_scalar, &self.ml_predict],
        }
    }

    /// Returns what `farcall.function.*` says of a function.
    ///
    /// A name and its aliases, a function and its `try_` form are one function. Of several values
    /// the last that was set holds, but what is set of `f` by that form's own names holds for it.
    pub(super) fn of_function(&self, function: &AsyncFunction) -> CallOptions {
        let own = function.declaration();
        let plain = function.tried().unwrap_or(function).declaration();
        let is_of = |declaration: &Declaration, name: &str| {
            declaration.name() == name || declaration.aliases().iter().any(|alias| alias == name)
        };
        let is_own = |name: &str| is_of(own, name);
        let is_other =
            |name: &str| is_of(plain, name) || untried(name).is_some_and(|name| is_of(plain, name));
        let others = self.functions.iter().filter(|(name, _)| !is_own(name) && is_other(name));
        let owns = self.functions.iter().filter(|(name, _)| is_own(name));
        others.chain(owns).fold(CallOptions::new(), |all, (_, option)| all.overlay(option))
    }

    /// Returns what `farcall.function.*` says under one name.
    pub(super) fn of_name(&self, name: &str) -> CallOptions {
        let named = self.functions.iter().filter(|(known, _)| known == name);
        named.fold(CallOptions::new(), |all, (_, option)| all.overlay(option))
    }

    /// Returns what was set, by the names that SET takes.
    pub fn set_entries(&self) -> Vec<(String, String)> {
        let groups = [
            ("async_scalar".to_owned(), &self.async_scalar),
            ("async_table".to_owned(), &self.async_table),
            ("async_lookup".to_owned(), &self.async_lookup),
            ("ml_predict".to_owned(), &self.ml_predict),
        ];
        let functions = self.functions.iter();
        let functions = functions.map(|(name, options)| (format!("function.{name}"), options));
        let options = groups.into_iter().chain(functions).flat_map(|(group, options)| {
            let entries = options.entries().into_iter();
            entries.map(move |(name, value)| (format!("farcall.{group}.{name}"), value))
        });
        let off = self.off.iter();
        let off = off.map(|name| (format!("farcall.planner.{name}"), "false".to_owned()));
        options.chain(off).collect()
    }

    /// Gives an option its default again: `async_scalar.timeout`, or a whole group.
    ///
    /// # Errors
    /// [`CallError::BadOption`] for an option or a group that does not exist.
    pub fn reset(&mut self, key: &str) -> Result<()> {
        if let Some(kind) = group_kind(key) {
            *self.group(kind) = CallOptions::new();
            return Ok(());
        }
        let name = match place(key)? {
            Place::Switch(name) => {
                self.off.remove(name);
                return Ok(());
            }
            Place::Group(kind, name) => {
                self.group(kind).unset(name);
                name
            }
            Place::Function(function, name) => {
                self.forget(function, name);
                name
            }
        };
        match CallOptions::is_option(name) {
            true => Ok(()),
            // Setting it to anything says which options there are.
            false => Ok(CallOptions::new().set(name, "").map_err(|error| full_key(key, error))?),
        }
    }

    fn group(&mut self, kind: Kind) -> &mut CallOptions {
        match kind {
            Kind::Scalar => &mut self.async_scalar,
            Kind::Table => &mut self.async_table,
            Kind::Lookup => &mut self.async_lookup,
            Kind::Model => &mut self.ml_predict,
        }
    }

    /// Forgets what was set of an option by this name of a function.
    fn forget(&mut self, function: &str, option: &str) {
        self.functions.retain(|(name, options)| name != function || options.get(option).is_none());
    }
}

/// Returns the functions of a group of options.
fn group_kind(group: &str) -> Option<Kind> {
    match canonical(group).as_str() {
        "async_scalar" => Some(Kind::Scalar),
        "async_table" => Some(Kind::Table),
        "async_lookup" => Some(Kind::Lookup),
        "ml_predict" => Some(Kind::Model),
        _ => None,
    }
}

fn place(key: &str) -> Result<Place<'_>, CallError> {
    let Some((group, name)) = key.split_once('.') else {
        return Err(no_such(key));
    };
    if let Some(kind) = group_kind(group) {
        return Ok(Place::Group(kind, name));
    }
    match canonical(group).as_str() {
        "planner" => {
            let name = canonical(name);
            let switch = SWITCHES.iter().find(|(known, _)| *known == name);
            switch.map(|(known, _)| Place::Switch(known)).ok_or_else(|| no_such(key))
        }
        // A function's name may hold dots, an option's may not.
        "function" => match name.rsplit_once('.') {
            Some((function, name)) => Ok(Place::Function(function, name)),
            None => Err(no_such(key)),
        },
        _ => Err(no_such(key)),
    }
}

impl ConfigExtension for FarcallConfig {
    const PREFIX: &'static str = "farcall";
}

impl ExtensionOptions for FarcallConfig {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let named = |error| full_key(key, error);
        match place(key)? {
            Place::Group(kind, name) => {
                let mut option = CallOptions::new();
                option.set(name, value).map_err(named)?;
                if let Some((_, why)) = misfit(kind, &option) {
                    return Err(bad(key, why).into());
                }
                *self.group(kind) = self.group(kind).overlay(&option);
            }
            Place::Function(function, name) => {
                let mut option = CallOptions::new();
                option.set(name, value).map_err(named)?;
                self.forget(function, name);
                self.functions.push((function.to_owned(), option));
            }
            Place::Switch(name) => {
                match value.trim().to_ascii_lowercase().as_str() {
                    "true" => self.off.remove(name),
                    "false" => self.off.insert(name),
                    _ => {
                        let message = format!(
                            "value '{value}' is not accepted, accepted are 'true', 'false'"
                        );
                        return Err(bad(key, message).into());
                    }
                };
            }
        }
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let groups = [
            ("async_scalar", &self.async_scalar, true),
            ("async_table", &self.async_table, true),
            ("async_lookup", &self.async_lookup, true),
            // Its options have no default of their own: unset, those of `async_scalar` hold.
            ("ml_predict", &self.ml_predict, false),
        ];
        let mut entries = Vec::new();
        for (group, options, with_defaults) in groups {
            let set: BTreeMap<_, _> = options.entries().into_iter().collect();
            for info in CallOptions::TABLE {
                let default = with_defaults.then(|| info.default.to_owned());
                entries.push(ConfigEntry {
                    key: format!("farcall.{group}.{}", info.name),
                    value: set.get(info.name).cloned().or(default),
                    description: info.description.trim(),
                });
            }
        }
        let mut functions: BTreeMap<&str, CallOptions> = BTreeMap::new();
        for (function, option) in &self.functions {
            let options = functions.entry(function).or_default();
            *options = options.overlay(option);
        }
        for (function, options) in functions {
            for (name, value) in options.entries() {
                let description = CallOptions::TABLE.iter().find(|info| info.name == name);
                entries.push(ConfigEntry {
                    key: format!("farcall.function.{function}.{name}"),
                    value: Some(value),
                    description: description.map_or("", |info| info.description.trim()),
                });
            }
        }
        entries.extend(SWITCHES.iter().map(|(name, description)| ConfigEntry {
            key: format!("farcall.planner.{name}"),
            value: Some((!self.off.contains(name)).to_string()),
            description,
        }));
        entries
    }
}

fn bad(key: &str, message: String) -> CallError {
    CallError::BadOption { option: format!("farcall.{key}"), message }
}

fn no_such(key: &str) -> CallError {
    let switches = SWITCHES.iter().map(|(name, _)| format!(", 'farcall.planner.{name}'"));
    let message = format!(
        "no such option, accepted are 'farcall.async_scalar.<option>', \
         'farcall.async_table.<option>', 'farcall.async_lookup.<option>', \
         'farcall.ml_predict.<option>', 'farcall.function.<name>.<option>'{}",
        switches.collect::<String>()
    );
    bad(key, message)
}

/// Names the option as SET does, its group included.
fn full_key(key: &str, error: CallError) -> CallError {
    match error {
        CallError::BadOption { message, .. } => bad(key, message),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use datafusion_execution::config::SessionConfig;

    use super::*;

    #[test]
    fn a_value_survives_clones_of_the_session_config() {
        let mut config = SessionConfig::new().with_option_extension(FarcallConfig::default());
        config.options_mut().set("farcall.async_scalar.buffer_capacity", "7").unwrap();
        let clone = config.clone();
        config.options_mut().set("farcall.async_scalar.buffer_capacity", "8").unwrap();
        let of = |config: &SessionConfig| {
            FarcallConfig::of(config.options()).async_scalar.buffer_capacity()
        };
        assert_eq!((of(&clone), of(&config)), (Some(7), Some(8)));
    }

    #[test]
    fn bad_options_name_the_key_and_what_is_accepted() {
        let mut config = FarcallConfig::default();
        for (key, value, messages) in [
            ("async_scalar.buffer_capacity", "0", ["farcall.async_scalar.buffer_capacity", "1"]),
            ("async_scalar.colour", "red", ["farcall.async_scalar.colour", "'max_batch_size'"]),
            ("colour.x", "1", ["farcall.colour.x", "'farcall.async_scalar.<option>'"]),
            ("colour", "1", ["farcall.colour", "'farcall.planner.parallel_calls'"]),
            ("function.timeout", "1s", ["farcall.function.timeout", "<name>"]),
            ("planner.parallel_calls", "maybe", ["parallel_calls", "'true', 'false'"]),
            ("function.f.colour", "red", ["farcall.function.f.colour", "'max_batch_size'"]),
            ("function.f.timeout", "30", ["farcall.function.f.timeout", "needs a unit"]),
            ("async_lookup.null_input", "send", ["farcall.async_lookup.null_input", "'skip'"]),
            (
                "async_scalar.retry_predicate",
                "lookup_miss",
                ["farcall.async_scalar.retry_predicate", "is for lookup tables"],
            ),
        ] {
            let error = config.set(key, value).unwrap_err();
            assert!(matches!(
                CallError::find(&error).as_deref(),
                Some(CallError::BadOption { .. })
            ));
            let error = error.to_string();
            assert!(messages.iter().all(|message| error.contains(message)), "{error}");
        }
        assert_eq!(config, FarcallConfig::default());
    }

    #[test]
    fn reset_gives_the_default_again() {
        let mut config = FarcallConfig::default();
        for (key, value) in [
            ("async_scalar.timeout", "1s"),
            ("function.f.timeout", "1s"),
            ("planner.parallel_calls", "false"),
            ("ml_predict.mode", "sync"),
        ] {
            config.set(key, value).unwrap();
        }
        for key in ["async-scalar.timeout", "function.f.timeout", "planner.parallel_calls"] {
            config.reset(key).unwrap();
        }
        config.reset("ml_predict").unwrap();
        assert_eq!(config, FarcallConfig::default());
        assert!(config.reset("async_scalar.colour").is_err());
    }

    #[test]
    fn entries_name_every_option_and_what_was_set() {
        let mut config = FarcallConfig::default();
        config.set("async-scalar.fixed-delay", "5s").unwrap();
        config.set("function.f.mode", "sync").unwrap();
        let value = |key: &str| {
            let entry = config.entries().into_iter().find(|entry| entry.key == key);
            entry.unwrap_or_else(|| panic!("{key} is missing")).value
        };
        assert_eq!(value("farcall.async_scalar.retry_delay").as_deref(), Some("5s"));
        assert_eq!(value("farcall.async_scalar.timeout").as_deref(), Some("3m"));
        assert_eq!(value("farcall.ml_predict.timeout"), None);
        assert_eq!(value("farcall.function.f.mode").as_deref(), Some("sync"));
        assert_eq!(value("farcall.planner.parallel_calls").as_deref(), Some("true"));
    }
}
