//! The bytes from which another process rebuilds a lookup.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion_proto::logical_plan::DefaultLogicalExtensionCodec;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::protobuf::LogicalExprNode;
use farcall_udf::{LookupQuery, LookupRecipeFn, Recipe};
use prost::Message;

/// The kind of recipe that a lookup carries.
pub(crate) const KIND: &str = "lookup";

/// A lookup as it travels.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LookupNode {
    #[prost(string, tag = "1")]
    pub(crate) table: String,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) columns: Vec<u64>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) filters: Vec<LogicalExprNode>,
    /// What SQL said of the table; empty if the other side knows it by its name.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) definition: Vec<u8>,
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
