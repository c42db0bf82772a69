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

use crate::catalog::lookup::LookupSpec;
use crate::catalog::lookup_recipe::LookupNode;
use crate::catalog::lookups::LookupRegistry;
use crate::catalog::model::Model;
use crate::catalog::model_recipe::RecipeModel;

/// Rebuilds a model's function from the bytes of its recipe.
///
/// # Errors
/// An execution error when the bytes are no model, a planning error when this process lacks the
/// provider or refuses an option.
pub fn rebuild_model(bytes: &[u8], providers: &[Arc<dyn ModelProvider>]) -> Result<AsyncFunction> {
    // The parser's message is left out: it may quote from the bytes.
    let recipe: RecipeModel = serde_json::from_slice(bytes).map_err(|error| {
        exec_datafusion_err!(
            "the recipe of a model cannot be read at line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    Ok(Model::try_new(recipe.into_spec()?, providers)?.function().clone())
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
        definition => tables.define(&LookupSpec::from_bytes(definition)?)?,
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
    table.function(LookupQuery {
        columns: columns.into_iter().map(column).collect::<Result<_>>()?,
        filters: filters.iter().map(filter).collect::<Result<_>>()?,
    })
}
