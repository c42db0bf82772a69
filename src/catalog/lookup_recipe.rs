//! The bytes from which another process rebuilds a lookup.

use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, plan_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion_proto::logical_plan::DefaultLogicalExtensionCodec;
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::protobuf::LogicalExprNode;
use farcall_udf::{AsyncFunction, LookupQuery, LookupRecipeFn, Recipe};
use prost::Message;

use crate::catalog::lookup::LookupSpec;
use crate::catalog::lookups::LookupRegistry;

/// The kind of recipe that a lookup carries.
pub(crate) const KIND: &str = "lookup";

/// A lookup as it travels.
#[derive(Clone, PartialEq, Message)]
struct LookupNode {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(uint64, repeated, tag = "2")]
    columns: Vec<u64>,
    #[prost(message, repeated, tag = "3")]
    filters: Vec<LogicalExprNode>,
    /// What SQL said of the table; empty if the other side knows it by its name.
    #[prost(bytes = "vec", tag = "4")]
    definition: Vec<u8>,
}

/// Writes the lookups of a table that the other side knows by its name.
pub(crate) fn by_name(table: &str) -> LookupRecipeFn {
    of(table, Vec::new())
}

/// Writes the lookups of a table with its definition.
pub(crate) fn of(table: &str, definition: Vec<u8>) -> LookupRecipeFn {
    let table = table.to_owned();
    Arc::new(move |query: &LookupQuery| {
        let filters = query.filters.iter();
        let node = LookupNode {
            table: table.clone(),
            columns: query.columns.iter().map(|column| *column as u64).collect(),
            filters: filters
                .map(|filter| Ok(serialize_expr(filter, &DefaultLogicalExtensionCodec {})?))
                .collect::<Result<_>>()?,
            definition: definition.clone(),
        };
        Ok(Some(Recipe { kind: KIND.to_owned(), bytes: node.encode_to_vec() }))
    })
}

/// Rebuilds a lookup from the bytes of its recipe.
///
/// # Errors
/// An execution error when the bytes are no lookup, a planning error when this process has no such
/// table, or another one.
pub(crate) fn rebuild(bytes: &[u8], tables: &LookupRegistry) -> Result<AsyncFunction> {
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
