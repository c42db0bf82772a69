//! The bytes from which another process rebuilds a model's function.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::plan_datafusion_err;
use datafusion::error::Result;
use farcall_connect::redact;
use farcall_udf::{CallOptions, ModelDefinition, ModelProvider};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::definition::ModelSpec;

/// The kind of recipe that a model's function carries.
pub const KIND: &str = "model";

/// A model as it travels: no secret is in it, at most the name of one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecipeModel {
    name: String,
    provider: String,
    version: Option<String>,
    input: Vec<RecipeColumn>,
    output: Vec<RecipeColumn>,
    options: BTreeMap<String, String>,
    call_options: BTreeMap<String, String>,
    /// Options left out because their values are literal secrets; then it must not travel.
    left_out: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeColumn {
    name: String,
    data_type: String,
}

impl RecipeModel {
    pub(crate) fn new(
        definition: &ModelDefinition,
        version: Option<&str>,
        call_options: &CallOptions,
        provider: &dyn ModelProvider,
    ) -> Self {
        let (options, left_out): (BTreeMap<_, _>, BTreeMap<_, _>) = definition
            .options
            .clone()
            .into_iter()
            .partition(|(option, value)| redact::may_travel(value, provider.is_secret(option)));
        let call_options = call_options.entries().into_iter();
        Self {
            name: definition.name.clone(),
            provider: definition.provider.clone(),
            version: version.map(str::to_owned),
            input: definition.input.iter().map(RecipeColumn::new).collect(),
            output: definition.output.iter().map(RecipeColumn::new).collect(),
            options,
            call_options: call_options.map(|(name, value)| (name.to_owned(), value)).collect(),
            left_out: left_out.into_keys().collect(),
        }
    }

    /// Says whether another process could rebuild the model from this alone.
    pub(crate) fn may_travel(&self) -> bool {
        self.left_out.is_empty()
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| plan_datafusion_err!("model {}: {error}", self.name))
    }

    /// Hashes what shapes an answer: neither the call options nor the version of the user's.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        let shaping = (&self.provider, &self.input, &self.output, &self.options, &self.left_out);
        let bytes = serde_json::to_vec(&shaping)
            .map_err(|error| plan_datafusion_err!("model {}: {error}", self.name))?;
        Ok(format!("{:016x}", xxh3_64(&bytes)))
    }

    pub(crate) fn into_spec(self) -> Result<ModelSpec> {
        let Self { name, provider, version, input, output, options, call_options, .. } = self;
        let mut options = options;
        options.extend(call_options);
        options.insert("provider".to_owned(), provider);
        options.extend(version.map(|version| ("version".to_owned(), version)));
        let fields = |columns: Vec<RecipeColumn>| {
            columns.iter().map(RecipeColumn::field).collect::<Result<Vec<_>>>()
        };
        Ok(ModelSpec {
            name,
            input: fields(input)?,
            output: fields(output)?,
            comment: None,
            options,
        })
    }
}

impl RecipeColumn {
    fn new(field: &FieldRef) -> Self {
        Self { name: field.name().clone(), data_type: field.data_type().to_string() }
    }

    fn field(&self) -> Result<FieldRef> {
        let data_type: DataType = self.data_type.parse()?;
        Ok(Arc::new(Field::new(&self.name, data_type, true)))
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Model;
    use datafusion::arrow::datatypes::{Fields, IntervalUnit, TimeUnit};

    use super::*;
    use crate::catalog::rebuild::rebuild_model;
    use crate::catalog::testing::{TestProvider, field, spec, with};

    #[test]
    fn a_rebuilt_function_equals_the_one_that_was_sent() {
        let options =
            [("endpoint", "http://h"), ("headers", "${env:TOKEN}"), ("max_batch_size", "64")];
        let model = build(with(spec("m"), &options));
        let sent = model.function();
        let recipe = sent.declaration().recipe().unwrap();
        assert_eq!(recipe.kind, KIND);
        let rebuilt = rebuild_model(&recipe.bytes, &providers()).unwrap();
        assert_eq!(&rebuilt, sent);
        assert_eq!(rebuilt.declaration().options(), sent.declaration().options());
        assert_eq!(rebuilt.declaration().version(), sent.declaration().version());
        assert_eq!(rebuilt.declaration().kind(), sent.declaration().kind());
    }

    #[test]
    fn every_type_survives() {
        let item = |data_type: DataType| Arc::new(Field::new("item", data_type, true));
        let types = [
            DataType::Boolean,
            DataType::Int64,
            DataType::UInt8,
            DataType::Float32,
            DataType::Utf8View,
            DataType::Binary,
            DataType::Date32,
            DataType::Decimal128(20, 3),
            DataType::Timestamp(TimeUnit::Millisecond, Some("+02:00".into())),
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::List(item(DataType::Float32)),
            DataType::FixedSizeList(item(DataType::Float32), 384),
            DataType::Struct(Fields::from(vec![
                Field::new("a b", DataType::Int32, true),
                Field::new("l", DataType::List(item(DataType::Utf8)), true),
            ])),
        ];
        for data_type in types {
            let mut spec = spec("m");
            spec.input = vec![field("x", data_type.clone())];
            let model = build(spec);
            let recipe = model.function().declaration().recipe().unwrap();
            let read: RecipeModel = serde_json::from_slice(&recipe.bytes).unwrap();
            assert_eq!(read.input[0].field().unwrap().data_type(), &data_type);
        }
    }

    #[test]
    fn a_literal_secret_never_travels() {
        for options in [
            [("headers", "Authorization: Bearer hush")],
            [("headers", "X-Key: ${env:TOKEN}-hush")],
            [("endpoint", "http://h/score?key=hush")],
            [("endpoint", "http://me:hush@h/score")],
        ] {
            let model = build(with(spec("m"), &options));
            assert_eq!(model.function().declaration().recipe(), None, "{options:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_model_are_refused_without_quoting_them() {
        let error = rebuild_model(b"{\"hush\": 1}", &providers()).unwrap_err().to_string();
        assert!(error.contains("recipe of a model cannot be read at line 1"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn a_process_without_the_provider_says_so() {
        let model = build(spec("m"));
        let recipe = model.function().declaration().recipe().unwrap();
        let error = rebuild_model(&recipe.bytes, &[]).unwrap_err().to_string();
        assert!(error.contains("model m: no provider 'test', accepted are none"), "{error}");
    }

    fn build(spec: ModelSpec) -> Model {
        Model::try_new(spec, &providers()).unwrap()
    }

    fn providers() -> Vec<Arc<dyn ModelProvider>> {
        vec![Arc::new(TestProvider)]
    }
}
