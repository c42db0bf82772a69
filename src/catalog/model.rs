//! [`Model`], a definition made into a function that can be called.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ScalarUDF};
use farcall_connect::redact;
use farcall_udf::{
    AsyncFunction, AsyncUdf, CallOptions, Declaration, Kind, ModelDefinition, ModelProvider, Recipe,
};

use crate::catalog::definition::{Definition, ModelSpec};
use crate::catalog::sql_text::{self, sql_name, sql_text};
use crate::catalog::with_clause::{Object, With};

/// The kind of recipe that a model's function carries.
pub const RECIPE: &str = "model";

/// A model that can be called.
///
/// `Debug` shows no option values.
#[derive(Clone)]
pub struct Model {
    definition: ModelDefinition,
    version: Option<String>,
    comment: Option<String>,
    call_options: CallOptions,
    shown_options: Vec<(String, String)>,
    function: AsyncFunction,
}

impl Model {
    /// Checks a definition and makes its function.
    ///
    /// # Errors
    /// A planning error that names the model and the option or column; values that may be secret
    /// are not repeated.
    pub fn try_new(spec: ModelSpec, providers: &[Arc<dyn ModelProvider>]) -> Result<Self> {
        let object = Object::model(&spec.name);
        check_columns(object, "INPUT", &spec.input)?;
        check_columns(object, "OUTPUT", &spec.output)?;
        let mut with = With::read(object, &spec.options)?;
        let provider = with.find_maker(object, providers, |provider| provider.name())?;
        let recipe = match with.may_travel(|option| provider.is_secret(option)) {
            true => Some(Definition::model(&spec, with.written(object)).to_bytes()?),
            false => None,
        };
        let version = with.own.remove("version");
        let fingerprint = fingerprint(&spec, provider.as_ref(), &with)?;
        let With { call_options, own: options, .. } = with;
        let ModelSpec { name, input, output, comment, .. } = spec;
        let definition =
            ModelDefinition { name, input, output, provider: provider.name().to_owned(), options };
        let shown_options = shown_options(&definition, &version, &call_options, provider.as_ref());
        let answers = version.clone().unwrap_or(fingerprint);
        let function = function(&definition, recipe, answers, &call_options, provider.as_ref())?;
        Ok(Self { definition, version, comment, call_options, shown_options, function })
    }

    /// Returns the model's name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Returns the provider's name.
    pub fn provider(&self) -> &str {
        &self.definition.provider
    }

    /// Returns the columns sent, in order.
    pub fn input(&self) -> &[FieldRef] {
        &self.definition.input
    }

    /// Returns the columns answered, in order.
    pub fn output(&self) -> &[FieldRef] {
        &self.definition.output
    }

    /// Returns the version that the user gave, if any.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns what the model is for, in the user's words.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// Returns the model's own call options.
    pub fn call_options(&self) -> &CallOptions {
        &self.call_options
    }

    /// Returns all options with their values, secrets as `***`.
    pub fn shown_options(&self) -> &[(String, String)] {
        &self.shown_options
    }

    /// Returns the function that calls the model.
    pub fn function(&self) -> &AsyncFunction {
        &self.function
    }

    /// Checks how many arguments a call has after the model.
    ///
    /// # Errors
    /// A planning error with both numbers and the input columns.
    pub fn check_arity(&self, got: usize) -> Result<()> {
        let takes = self.input().len();
        if takes == got {
            return Ok(());
        }
        plan_err!(
            "PREDICT({}, ..) takes {takes} {} after the model ({}), got {got}",
            self.name(),
            if takes == 1 { "argument" } else { "arguments" },
            sql_text::sql_columns(self.input())
        )
    }

    /// Makes a call; the arguments must already have the types of the input columns.
    ///
    /// # Errors
    /// As [`Model::check_arity`].
    pub fn call(&self, args: Vec<Expr>, options: CallOptions) -> Result<Expr> {
        self.check_arity(args.len())?;
        let udf = AsyncUdf::new(self.function.clone()).with_call_options(options);
        let udf = Arc::new(ScalarUDF::new_from_impl(udf));
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf, args)))
    }

    /// Writes the statement that creates the model, secrets as `***`.
    pub fn to_sql(&self) -> String {
        let comment = match &self.comment {
            Some(comment) => format!("\n  COMMENT {}", sql_text(comment)),
            None => String::new(),
        };
        let options: Vec<String> = self
            .shown_options
            .iter()
            .map(|(name, value)| format!("    {} = {}", sql_text(name), sql_text(value)))
            .collect();
        format!(
            "CREATE MODEL {}\n  INPUT ({})\n  OUTPUT ({}){comment}\n  WITH (\n{}\n  )",
            sql_name(self.name()),
            sql_text::sql_columns(self.input()),
            sql_text::sql_columns(self.output()),
            options.join(",\n")
        )
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.definition.fmt(f)
    }
}

fn check_columns(model: Object<'_>, part: &str, columns: &[FieldRef]) -> Result<()> {
    if columns.is_empty() {
        return plan_err!("{model}: {part} needs at least one column");
    }
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].iter().any(|earlier| earlier.name() == column.name()) {
            return plan_err!("{model}: column {} is given twice in {part}", column.name());
        }
    }
    Ok(())
}

fn shown_options(
    definition: &ModelDefinition,
    version: &Option<String>,
    call_options: &CallOptions,
    provider: &dyn ModelProvider,
) -> Vec<(String, String)> {
    let mut shown = vec![("provider".to_owned(), definition.provider.clone())];
    shown.extend(version.iter().map(|version| ("version".to_owned(), version.clone())));
    shown.extend(
        definition.options.iter().map(|(option, value)| {
            (option.clone(), redact::shown(value, provider.is_secret(option)))
        }),
    );
    let call = call_options.entries().into_iter();
    shown.extend(call.map(|(option, value)| (option.to_owned(), value)));
    shown
}

fn function(
    definition: &ModelDefinition,
    recipe: Option<Vec<u8>>,
    version: String,
    call_options: &CallOptions,
    provider: &dyn ModelProvider,
) -> Result<AsyncFunction> {
    let name = definition.name.clone();
    let types = definition.input.iter().map(|field| field.data_type().clone()).collect();
    let mut declaration = Declaration::new(&name, types, answer_type(&definition.output))
        .with_display(move |args| shown_call(&name, args))
        .with_kind(Kind::Model)
        .with_options(call_options.clone())
        .with_version(version);
    if let Some(bytes) = recipe {
        declaration = declaration.with_recipe(Recipe { kind: RECIPE.to_owned(), bytes });
    }
    Ok(AsyncFunction::Batch(provider.function(definition, declaration)?))
}

/// Hashes what shapes an answer: without a version of the user's, a changed definition is a changed
/// version, since caches and journals must not answer for another endpoint. Secrets are no part of it.
fn fingerprint(spec: &ModelSpec, provider: &dyn ModelProvider, with: &With) -> Result<String> {
    let shown =
        |option: &str, value: &str| match redact::may_travel(value, provider.is_secret(option)) {
            true => value.to_owned(),
            false => String::new(),
        };
    let mut shaping: BTreeMap<String, String> =
        with.own.iter().map(|(option, value)| (option.clone(), shown(option, value))).collect();
    shaping.insert("provider".to_owned(), provider.name().to_owned());
    Definition::model(spec, shaping).fingerprint()
}

/// One output column is its value, several are a struct.
fn answer_type(output: &[FieldRef]) -> DataType {
    match output {
        [column] => column.data_type().clone(),
        columns => {
            let nullable = |field: &FieldRef| Field::clone(field).with_nullable(true);
            DataType::Struct(columns.iter().map(nullable).collect::<Fields>())
        }
    }
}

/// Writes a call the way the user did; the options stand among the arguments already.
pub(crate) fn shown_call(model: &str, args: &[String]) -> String {
    let parts: Vec<&str> = std::iter::once(model).chain(args.iter().map(String::as_str)).collect();
    format!("PREDICT({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::arrow::datatypes::TimeUnit;
    use farcall_udf::{FarcallConfig, NullInput};

    use super::*;
    use crate::catalog::testing::{TestProvider, field, spec, with};

    #[test]
    fn call_options_and_version_are_taken_out_of_with() {
        let options = [("Max-Batch-Size", "64"), ("VERSION", "v2"), ("endpoint", "http://h")];
        let model = build(with(spec("m"), &options)).unwrap();
        let declaration = model.function().declaration();
        assert_eq!(declaration.options().max_batch_size(), Some(64));
        assert_eq!(declaration.version(), "v2");
        assert_eq!(model.definition.options.keys().collect::<Vec<_>>(), ["endpoint"]);
    }

    #[test]
    fn one_output_is_its_value_and_several_are_a_struct() {
        let mut spec = spec("m");
        assert_eq!(answer_type(&spec.output), DataType::Utf8View);
        spec.output.push(field("score", DataType::Float64));
        assert_eq!(answer_type(&spec.output), DataType::Struct(spec.output.into()));
    }

    #[test]
    fn nulls_are_skipped_unless_the_model_says_send() {
        let skips = build(spec("m")).unwrap();
        let sends = build(with(spec("m"), &[("null_input", "send")])).unwrap();
        let null_input = |model: Model| {
            let config = FarcallConfig::default();
            config.resolve(model.function(), &CallOptions::new()).unwrap().null_input()
        };
        assert_eq!((null_input(skips), null_input(sends)), (NullInput::Skip, NullInput::Send));
    }

    #[test]
    fn without_a_version_the_definition_is_the_version() {
        let version = |options: &[(&str, &str)]| {
            let model = build(with(spec("m"), options)).unwrap();
            model.function().declaration().version().to_owned()
        };
        let here = version(&[("endpoint", "http://a")]);
        assert_eq!(here, version(&[("endpoint", "http://a"), ("buffer_capacity", "5")]));
        assert_ne!(here, version(&[("endpoint", "http://b")]));
        assert_eq!(version(&[("version", "1")]), "1");
    }

    #[test]
    fn bad_definitions_name_the_model_and_what_is_accepted() {
        let mut nothing_sent = spec("m");
        nothing_sent.input.clear();
        let mut twice = spec("m");
        twice.output.push(field("label", DataType::Int64));
        let mut no_provider = spec("m");
        no_provider.options.clear();
        for (spec, message) in [
            (nothing_sent, "model m: INPUT needs at least one column"),
            (twice, "model m: column label is given twice in OUTPUT"),
            (no_provider, "model m: option 'provider': missing, accepted are 'test'"),
            (
                with(spec("m"), &[("provider", "x")]),
                "model m: option 'provider': no provider 'x', accepted are 'test'",
            ),
            (
                with(spec("m"), &[("timeout", "30")]),
                "model m: option 'timeout': value '30' is not accepted, a duration needs a unit",
            ),
            (with(spec("m"), &[("colour", "red")]), "model m: no option 'colour', accepted are"),
            (
                with(spec("m"), &[("dedup", "true"), ("DEDUP", "true")]),
                "model m: option 'dedup' is given twice",
            ),
        ] {
            let error = build(spec).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_declaration_is_recognised_as_a_model() {
        let model = build(spec("m")).unwrap();
        assert_eq!(model.function().declaration().kind(), Kind::Model);
    }

    #[test]
    fn the_statement_shows_everything_but_secrets() {
        let mut spec = with(
            spec("Cat.m"),
            &[
                ("headers", "Authorization: hush"),
                ("endpoint", "http://me:hush@h/a?key=hush"),
                ("timeout", "30 s"),
                ("version", "v'1"),
            ],
        );
        spec.comment = Some("it's mine".into());
        spec.output.push(field("at", DataType::Timestamp(TimeUnit::Millisecond, None)));
        let sql = build(spec).unwrap().to_sql();
        assert_eq!(
            sql,
            "CREATE MODEL \"Cat\".m
  INPUT (text VARCHAR)
  OUTPUT (label VARCHAR, at TIMESTAMP(3))
  COMMENT 'it''s mine'
  WITH (
    'provider' = 'test',
    'version' = 'v''1',
    'endpoint' = 'http://***@h/a?***',
    'headers' = '***',
    'timeout' = '30s'
  )"
        );
    }

    #[test]
    fn debug_shows_no_option_values() {
        let spec = with(spec("m"), &[("headers", "hush")]);
        let spec_shown = format!("{spec:?}");
        let model = build(spec).unwrap();
        let shown = format!("{spec_shown} {model:?} {:?}", model.function());
        assert!(shown.contains('m') && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_call_needs_as_many_arguments_as_the_model_has_inputs() {
        let model = build(spec("m")).unwrap();
        let error = model.call(vec![], CallOptions::new()).unwrap_err().to_string();
        assert!(
            error.contains("takes 1 argument after the model (text VARCHAR), got 0"),
            "{error}"
        );
        let options = CallOptions::new().with_timeout(Duration::from_secs(1));
        let call = model.call(vec![datafusion::prelude::col("a")], options).unwrap();
        assert_eq!(call.schema_name().to_string(), "PREDICT(m, a, timeout => '1s')");
    }

    fn build(spec: ModelSpec) -> Result<Model> {
        Model::try_new(spec, &[Arc::new(TestProvider)])
    }
}
