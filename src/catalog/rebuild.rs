//! The functions of models and lookup tables, rebuilt from the recipes that arrived in a plan.

use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, plan_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion_proto::logical_plan::DefaultLogicalExtensionCodec;
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::protobuf::LogicalExprNode;
use farcall_udf::{AsyncFunction, LookupQuery, ModelProvider};
use prost::Message;

use crate::catalog::definition::Definition;
use crate::catalog::lookup_recipe::LookupNode;
use crate::catalog::lookups::LookupRegistry;
use crate::catalog::model::Model;

/// Rebuilds a model's function from the bytes of its recipe.
///
/// # Errors
/// An execution error when the bytes are no model, a planning error when this process lacks the
/// provider or refuses an option.
pub fn rebuild_model(bytes: &[u8], providers: &[Arc<dyn ModelProvider>]) -> Result<AsyncFunction> {
    let spec = Definition::from_bytes(bytes)?.into_model()?;
    Ok(Model::try_new(spec, providers)?.function().clone())
}

/// Rebuilds a lookup from the bytes of its recipe.
///
/// # Errors
/// An execution error when the bytes are no lookup, a planning error when this process has no such
/// table, or another one.
pub(crate) fn rebuild_lookup(bytes: &[u8], tables: &LookupRegistry) -> Result<AsyncFunction> {
    let LookupNode { table: name, columns, filters, definition } = LookupNode::decode(bytes)
        .map_err(|error| exec_datafusion_err!("the recipe of a lookup cannot be read: {error}"))?;
    let table = match definition.as_slice() {
        [] => tables.get(&name)?,
        definition => tables.define(&Definition::from_bytes(definition)?.into_lookup_table()?)?,
    };
    let width = table.schema().fields().len();
    let column = |column: u64| {
        usize::try_from(column).ok().filter(|column| *column < width).ok_or_else(|| {
            plan_datafusion_err!("lookup table {name} has {width} columns here, no column {column}")
        })
    };
    let context = TaskContext::default();
    let filter = |filter: &LogicalExprNode| {
        let filter = parse_expr(filter, &context, &DefaultLogicalExtensionCodec {})?;
        Ok::<_, DataFusionError>(filter)
    };
    let columns = columns.into_iter().map(column).collect::<Result<Vec<_>>>()?;
    let filters = filters.iter().map(filter).collect::<Result<_>>()?;
    table.function(LookupQuery::new(columns).with_filters(filters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::testing::{TestProvider, spec, with};
    use crate::catalog::{MODEL_RECIPE, ModelSpec};

    #[test]
    fn a_rebuilt_function_equals_the_one_that_was_sent() {
        let options =
            [("endpoint", "http://h"), ("headers", "${env:TOKEN}"), ("max_batch_size", "64")];
        let model = build(with(spec("m"), &options));
        let sent = model.function();
        let recipe = sent.declaration().recipe().unwrap();
        assert_eq!(recipe.kind, MODEL_RECIPE);
        let rebuilt = rebuild_model(&recipe.bytes, &providers()).unwrap();
        assert_eq!(&rebuilt, sent);
        assert_eq!(rebuilt.declaration().options(), sent.declaration().options());
        assert_eq!(rebuilt.declaration().version(), sent.declaration().version());
        assert_eq!(rebuilt.declaration().kind(), sent.declaration().kind());
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
    fn a_process_without_the_provider_says_so() {
        let model = build(spec("m"));
        let recipe = model.function().declaration().recipe().unwrap();
        let error = rebuild_model(&recipe.bytes, &[]).unwrap_err().to_string();
        let message = "model m: option 'provider': no provider 'test', accepted are none";
        assert!(error.contains(message), "{error}");
    }

    fn build(spec: ModelSpec) -> Model {
        Model::try_new(spec, &providers()).unwrap()
    }

    fn providers() -> Vec<Arc<dyn ModelProvider>> {
        vec![Arc::new(TestProvider)]
    }
}
