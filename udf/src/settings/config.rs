//! [`FarcallConfig`], the options under `SET farcall.*` and what they mean for one call.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use datafusion_common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion_common::error::Result;

use crate::adapt::any::AsyncFunction;
use crate::contract::lookup::LOOKUP_GROUP;
use crate::contract::table::TABLE_GROUP;
use crate::error::CallError;
use crate::options::words::NullInput;
use crate::options::{CallOptions, DEFAULT_BATCH_SIZE};

/// The group of session options that models listen to, beside that of functions.
pub const MODEL_GROUP: &str = "ml_predict";

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
    functions: BTreeMap<String, CallOptions>,
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
            functions: BTreeMap::new(),
            off: BTreeSet::new(),
        }
    }
}

/// One option by its place: what a key below `farcall.` means.
enum Place<'a> {
    Group(&'a mut CallOptions, &'a str),
    Switch(&'a mut BTreeSet<&'static str>, &'static str),
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

    /// Resolves the options of one call, from the widest level to the narrowest.
    ///
    /// Default < session (`async_scalar`, then the function's own group, `ml_predict` for a model;
    /// `async_lookup` alone for a lookup, `async_table` alone for a table function) < function, model or table < `farcall.function.<name>` < call.
    pub fn resolve(&self, function: &AsyncFunction, call: &CallOptions) -> CallOptions {
        let declaration = function.declaration();
        let is_lookup = declaration.option_group() == Some(LOOKUP_GROUP);
        let mut options = match declaration.option_group() {
            Some(LOOKUP_GROUP) => self.async_lookup.clone(),
            Some(TABLE_GROUP) => self.async_table.clone(),
            _ => self.async_scalar.clone(),
        };
        if declaration.option_group() == Some(MODEL_GROUP) {
            options = options.overlay(&self.ml_predict);
        }
        options = options.overlay(declaration.options());
        // A function and its `try_` form are set together.
        let plain = function.tried().unwrap_or(function).declaration();
        let mut names = [declaration, plain].into_iter().flat_map(|declaration| {
            std::iter::once(declaration.name())
                .chain(declaration.aliases().iter().map(String::as_str))
        });
        if let Some(own) = names.find_map(|name| self.functions.get(name)) {
            options = options.overlay(own);
        }
        options = options.overlay(call);
        if !function.is_row_wise() {
            let rows = options.batch_size_or(DEFAULT_BATCH_SIZE).min(declaration.max_rows());
            options = options.with_max_batch_size(rows);
        }
        if is_lookup {
            // NULL equals nothing, whatever a store would find for it.
            options = options.with_null_input(NullInput::Skip);
        }
        options
    }

    /// Returns what was set, by the names that SET takes.
    pub fn set_entries(&self) -> Vec<(String, String)> {
        let groups = [
            ("async_scalar".to_owned(), &self.async_scalar),
            ("async_table".to_owned(), &self.async_table),
            ("async_lookup".to_owned(), &self.async_lookup),
            (MODEL_GROUP.to_owned(), &self.ml_predict),
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
        match canonical(key).as_str() {
            "async_scalar" => self.async_scalar = CallOptions::new(),
            "async_table" => self.async_table = CallOptions::new(),
            "async_lookup" => self.async_lookup = CallOptions::new(),
            MODEL_GROUP => self.ml_predict = CallOptions::new(),
            _ => match self.place(key)? {
                Place::Switch(off, name) => {
                    off.remove(name);
                }
                Place::Group(options, name) => {
                    if !options.unset(name) {
                        // Setting it to anything says which options there are.
                        options.set(name, "").map_err(|error| full_key(key, error))?;
                    }
                }
            },
        }
        self.functions.retain(|_, options| *options != CallOptions::new());
        Ok(())
    }

    fn place<'a>(&'a mut self, key: &'a str) -> Result<Place<'a>, CallError> {
        let Some((group, name)) = key.split_once('.') else {
            return Err(no_such(key));
        };
        let group = match canonical(group).as_str() {
            "async_scalar" => &mut self.async_scalar,
            "async_table" => &mut self.async_table,
            "async_lookup" => &mut self.async_lookup,
            MODEL_GROUP => &mut self.ml_predict,
            "planner" => {
                let name = canonical(name);
                let switch = SWITCHES.iter().find(|(known, _)| *known == name);
                let (switch, _) = switch.ok_or_else(|| no_such(key))?;
                return Ok(Place::Switch(&mut self.off, switch));
            }
            "function" => {
                // A function's name may hold dots, an option's may not.
                let Some((function, name)) = name.rsplit_once('.') else {
                    return Err(no_such(key));
                };
                let options = self.functions.entry(function.to_owned()).or_default();
                return Ok(Place::Group(options, name));
            }
            _ => return Err(no_such(key)),
        };
        Ok(Place::Group(group, name))
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
        match self.place(key)? {
            Place::Group(options, name) => {
                options.set(name, value).map_err(|error| full_key(key, error))?;
            }
            Place::Switch(off, name) => {
                match value.trim().to_ascii_lowercase().as_str() {
                    "true" => off.remove(name),
                    "false" => off.insert(name),
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
            (MODEL_GROUP, &self.ml_predict, false),
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
        for (function, options) in &self.functions {
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

fn canonical(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('-', "_")
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
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::datatypes::DataType;
    use datafusion_execution::config::SessionConfig;

    use crate::{ArgBatch, AsyncBatchFunction, BatchAnswer, CallContext, Declaration, async_fn};

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
        assert_eq!((of(&clone), of(&config)), (7, 8));
    }

    #[test]
    fn narrower_levels_win_in_the_documented_order() {
        let mut config = FarcallConfig::default();
        let resolved = |config: &FarcallConfig, declared: usize, call: usize| {
            let set = |rows: usize| match rows {
                0 => CallOptions::new(),
                rows => CallOptions::new().with_buffer_capacity(rows),
            };
            config.resolve(&model("m", set(declared)), &set(call)).buffer_capacity()
        };
        assert_eq!(resolved(&config, 0, 0), 100);
        config.set("async_scalar.buffer_capacity", "1").unwrap();
        assert_eq!(resolved(&config, 0, 0), 1);
        config.set("ml_predict.buffer_capacity", "2").unwrap();
        assert_eq!(resolved(&config, 0, 0), 2);
        assert_eq!(resolved(&config, 3, 0), 3);
        config.set("function.m.buffer_capacity", "4").unwrap();
        assert_eq!(resolved(&config, 3, 0), 4);
        assert_eq!(resolved(&config, 3, 5), 5);
    }

    #[test]
    fn a_function_does_not_listen_to_the_group_of_models() {
        let mut config = FarcallConfig::default();
        config.set("ml_predict.timeout", "1s").unwrap();
        let options = config.resolve(&row_wise(), &CallOptions::new());
        assert_eq!(options.timeout(), Duration::from_secs(180));
    }

    #[test]
    fn a_batch_function_has_32_rows_unless_somebody_says_otherwise() {
        let mut config = FarcallConfig::default();
        let rows = |config: &FarcallConfig, function: &AsyncFunction| {
            config.resolve(function, &CallOptions::new()).max_batch_size()
        };
        let batch = model("m", CallOptions::new());
        assert_eq!((rows(&config, &batch), rows(&config, &row_wise())), (32, 1));
        config.set("async_scalar.max_batch_size", "64").unwrap();
        assert_eq!(rows(&config, &batch), 64);
    }

    #[test]
    fn a_function_is_found_by_its_alias() {
        let mut config = FarcallConfig::default();
        config.set("function.rate.timeout", "1s").unwrap();
        let declaration =
            Declaration::new("score", vec![DataType::Utf8], DataType::Utf8).with_aliases(["rate"]);
        let function = AsyncFunction::batch(Silent(declaration));
        let options = config.resolve(&function, &CallOptions::new());
        assert_eq!(options.timeout(), Duration::from_secs(1));
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
        ] {
            let error = config.set(key, value).unwrap_err();
            assert!(matches!(
                CallError::find(&error).as_deref(),
                Some(CallError::BadOption { .. })
            ));
            let error = error.to_string();
            assert!(messages.iter().all(|message| error.contains(message)), "{error}");
        }
        let timeout = config.resolve(&row_wise(), &CallOptions::new());
        assert_eq!(timeout, CallOptions::new());
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

    fn row_wise() -> AsyncFunction {
        async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) }).into()
    }

    fn model(name: &str, options: CallOptions) -> AsyncFunction {
        let declaration = Declaration::new(name, vec![DataType::Utf8], DataType::Utf8)
            .with_option_group(MODEL_GROUP)
            .with_options(options);
        AsyncFunction::batch(Silent(declaration))
    }

    #[derive(Debug)]
    struct Silent(Declaration);

    #[async_trait::async_trait]
    impl AsyncBatchFunction for Silent {
        fn declaration(&self) -> &Declaration {
            &self.0
        }

        async fn eval_batch(
            &self,
            args: ArgBatch,
            _: &CallContext,
        ) -> Result<BatchAnswer, CallError> {
            Ok(BatchAnswer::new(Arc::clone(args.column(0))))
        }
    }
}
