//! A provider without a network, for the tests of everything that knows models.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::new_null_array;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use farcall_udf::{
    ArgBatch, AsyncBatchFunction, BatchAnswer, CallContext, CallError, Declaration,
    ModelDefinition, ModelProvider,
};

use crate::catalog::{ModelRegistry, ModelSpec};

/// Takes `endpoint` and the secret `headers`; its models answer NULL.
#[derive(Debug)]
pub(crate) struct TestProvider;

#[derive(Debug)]
struct TestFunction(Declaration);

impl ModelProvider for TestProvider {
    fn name(&self) -> &str {
        "test"
    }

    fn function(
        &self,
        model: &ModelDefinition,
        declaration: Declaration,
    ) -> Result<Arc<dyn AsyncBatchFunction>> {
        for option in model.options.keys() {
            if !["endpoint", "headers"].contains(&option.as_str()) {
                return plan_err!(
                    "model {}: no option '{option}', accepted are 'endpoint', 'headers'",
                    model.name
                );
            }
        }
        Ok(Arc::new(TestFunction(declaration)))
    }

    fn is_secret(&self, option: &str) -> bool {
        option == "headers"
    }
}

#[async_trait]
impl AsyncBatchFunction for TestFunction {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        Ok(BatchAnswer::new(new_null_array(args.return_field().data_type(), args.num_rows())))
    }
}

/// A registry that knows the test provider.
pub(crate) fn registry() -> Arc<ModelRegistry> {
    Arc::new(ModelRegistry::new(vec![Arc::new(TestProvider)]))
}

/// A model of one text in and one text out.
pub(crate) fn spec(name: &str) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        input: vec![field("text", DataType::Utf8View)],
        output: vec![field("label", DataType::Utf8View)],
        comment: None,
        options: BTreeMap::from([("provider".to_owned(), "test".to_owned())]),
    }
}

/// Adds options to a model.
pub(crate) fn with(mut spec: ModelSpec, options: &[(&str, &str)]) -> ModelSpec {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    spec.options.extend(options);
    spec
}

/// A column of a model.
pub(crate) fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}
