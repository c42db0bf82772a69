//! [`FarcallCodec`], which carries farcall's nodes and functions in DataFusion's protobuf plans.

mod async_calc;
mod function;
mod lookup_join;
mod resolve;
mod streaming_filter;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{TableReference, internal_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan, ScalarUDF, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::{DefaultLogicalExtensionCodec, LogicalExtensionCodec};
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalExtensionCodec, PhysicalPlanDecodeContext,
    PhysicalProtoConverterExtension,
};
use farcall_planner::logical::{Resolve, RowId};
use farcall_planner::{AsyncCalc, AsyncLookupJoin};
use farcall_udf::{AsyncFunction, AsyncUdf, Recipe};
use prost::Message;

use crate::async_calc::AsyncCalcExec;
use crate::async_lookup_join::AsyncLookupJoinExec;
use crate::resolve::ResolveExec;
use crate::row_id::RowIdExec;
use crate::streaming_filter::StreamingFilterExec;
use async_calc::{AsyncCalcExecNode, AsyncCalcNode};
use function::UdfNode;
pub(crate) use function::check_function;
use lookup_join::{LookupJoinExecNode, LookupJoinNode};
use resolve::{ResolveExecNode, ResolveNode};
use streaming_filter::StreamingFilterExecNode;

/// Rebuilds functions that arrive by name or by recipe.
pub trait FunctionSource: fmt::Debug + Send + Sync {
    /// Finds a function that was registered under this name, `None` if there is none; a planning
    /// error says why nothing can be found here.
    ///
    /// # Errors
    /// A planning error that says why nothing can be found here.
    fn by_name(&self, name: &str) -> Result<Option<AsyncFunction>>;

    /// Rebuilds a function from its recipe; a planning error says what is missing here.
    ///
    /// # Errors
    /// A planning error that says what is missing here.
    fn by_recipe(&self, recipe: &Recipe) -> Result<AsyncFunction>;
}

/// Encodes and decodes logical and physical plans that hold farcall's nodes.
///
/// What is not farcall's goes to the inner codecs. Bytes hold names, options and recipes, never a
/// secret.
#[derive(Debug)]
pub struct FarcallCodec {
    functions: Arc<dyn FunctionSource>,
    logical: Arc<dyn LogicalExtensionCodec>,
    physical: Arc<dyn PhysicalExtensionCodec>,
}

impl FarcallCodec {
    /// Makes a codec that finds functions in `functions`.
    pub fn new(functions: Arc<dyn FunctionSource>) -> Self {
        Self {
            functions,
            logical: Arc::new(DefaultLogicalExtensionCodec {}),
            physical: Arc::new(DefaultPhysicalExtensionCodec {}),
        }
    }

    /// Hands everything that is not farcall's to these codecs.
    pub fn with_inner(
        mut self,
        logical: Arc<dyn LogicalExtensionCodec>,
        physical: Arc<dyn PhysicalExtensionCodec>,
    ) -> Self {
        self.logical = logical;
        self.physical = physical;
        self
    }
}

impl FarcallCodec {
    fn decode_logical(
        &self,
        node: logical_node::Node,
        input: &LogicalPlan,
        ctx: &TaskContext,
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        Ok(match node {
            logical_node::Node::Calc(node) => Arc::new(node.decode(input, ctx, self)?),
            logical_node::Node::RowId(RowIdNode { column }) => {
                Arc::new(RowId::try_new(Arc::new(input.clone()), column)?)
            }
            logical_node::Node::Resolve(node) => Arc::new(node.decode(input, ctx, self)?),
            logical_node::Node::LookupJoin(node) => Arc::new(node.decode(input, ctx, self)?),
        })
    }

    /// Gives nothing for a node that is not farcall's.
    fn encode_logical(&self, node: &Extension) -> Result<Option<logical_node::Node>> {
        let any = node.node.as_any();
        Ok(Some(if let Some(calc) = any.downcast_ref::<AsyncCalc>() {
            logical_node::Node::Calc(AsyncCalcNode::encode(calc, self)?)
        } else if let Some(row_id) = any.downcast_ref::<RowId>() {
            logical_node::Node::RowId(RowIdNode { column: row_id.column().to_owned() })
        } else if let Some(resolve) = any.downcast_ref::<Resolve>() {
            logical_node::Node::Resolve(Box::new(ResolveNode::encode(resolve, self)?))
        } else if let Some(join) = any.downcast_ref::<AsyncLookupJoin>() {
            logical_node::Node::LookupJoin(Box::new(LookupJoinNode::encode(join, self)?))
        } else {
            return Ok(None);
        }))
    }

    fn decode_physical(
        &self,
        node: physical_node::Node,
        input: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match node {
            physical_node::Node::Calc(node) => Arc::new(node.decode(input, ctx, self, converter)?),
            physical_node::Node::RowId(RowIdNode { column }) => {
                Arc::new(RowIdExec::try_new(column, Arc::clone(input))?)
            }
            physical_node::Node::Resolve(node) => Arc::new(node.decode(input)?),
            physical_node::Node::StreamingFilter(node) => {
                Arc::new(node.decode(input, ctx, self, converter)?)
            }
            physical_node::Node::LookupJoin(node) => {
                let context = PhysicalPlanDecodeContext::new(ctx, self);
                Arc::new(node.decode(input, |expr, schema| {
                    converter.proto_to_physical_expr(expr, schema, &context)
                })?)
            }
        })
    }

    /// Gives nothing for an operator that is not farcall's.
    fn encode_physical(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Option<physical_node::Node>> {
        Ok(Some(if let Some(calc) = plan.downcast_ref::<AsyncCalcExec>() {
            physical_node::Node::Calc(AsyncCalcExecNode::encode(calc, self, converter)?)
        } else if let Some(row_id) = plan.downcast_ref::<RowIdExec>() {
            physical_node::Node::RowId(RowIdNode { column: row_id.column().to_owned() })
        } else if let Some(resolve) = plan.downcast_ref::<ResolveExec>() {
            physical_node::Node::Resolve(ResolveExecNode::encode(resolve))
        } else if let Some(filter) = plan.downcast_ref::<StreamingFilterExec>() {
            let node = StreamingFilterExecNode::encode(filter.filter(), self, converter)?;
            physical_node::Node::StreamingFilter(Box::new(node))
        } else if let Some(join) = plan.downcast_ref::<AsyncLookupJoinExec>() {
            let encode = |expr: &_| converter.physical_expr_to_proto(expr, self);
            let node = LookupJoinExecNode::encode(join, encode)?;
            physical_node::Node::LookupJoin(Box::new(node))
        } else {
            return Ok(None);
        }))
    }
}

impl LogicalExtensionCodec for FarcallCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[LogicalPlan],
        ctx: &TaskContext,
    ) -> Result<Extension> {
        let Some(bytes) = buf.strip_prefix(LOGICAL) else {
            return self.logical.try_decode(buf, inputs, ctx);
        };
        let [input] = inputs else {
            return plan_err!("farcall's nodes have one input, the plan has {}", inputs.len());
        };
        let LogicalNode { node } = decode(bytes)?;
        Ok(Extension { node: self.decode_logical(required(node, "a node")?, input, ctx)? })
    }

    fn try_encode(&self, node: &Extension, buf: &mut Vec<u8>) -> Result<()> {
        let Some(ours) = self.encode_logical(node)? else {
            return self.logical.try_encode(node, buf);
        };
        buf.extend_from_slice(LOGICAL);
        encode(&LogicalNode { node: Some(ours) }, buf)
    }

    fn try_decode_table_provider(
        &self,
        buf: &[u8],
        table_ref: &TableReference,
        schema: SchemaRef,
        ctx: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        self.logical.try_decode_table_provider(buf, table_ref, schema, ctx)
    }

    fn try_encode_table_provider(
        &self,
        table_ref: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        self.logical.try_encode_table_provider(table_ref, node, buf)
    }
    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        match buf.strip_prefix(UDF) {
            Some(bytes) => decode::<UdfNode>(bytes)?.decode(self.functions.as_ref()),
            None => self.logical.try_decode_udf(name, buf),
        }
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        let Some(udf) = AsyncUdf::find(node) else {
            return self.logical.try_encode_udf(node, buf);
        };
        buf.extend_from_slice(UDF);
        encode(&UdfNode::encode(udf)?, buf)
    }
}

impl PhysicalExtensionCodec for FarcallCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(bytes) = buf.strip_prefix(PHYSICAL) else {
            return self.physical.try_decode(buf, inputs, ctx, converter);
        };
        let [input] = inputs else {
            return plan_err!("farcall's operators have one input, the plan has {}", inputs.len());
        };
        let PhysicalNode { node } = decode(bytes)?;
        self.decode_physical(required(node, "an operator")?, input, ctx, converter)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(ours) = self.encode_physical(&node, converter)? else {
            return self.physical.try_encode(node, buf, converter);
        };
        buf.extend_from_slice(PHYSICAL);
        encode(&PhysicalNode { node: Some(ours) }, buf)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        match buf.strip_prefix(UDF) {
            Some(_) => LogicalExtensionCodec::try_decode_udf(self, name, buf),
            None => self.physical.try_decode_udf(name, buf),
        }
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        match AsyncUdf::find(node) {
            Some(_) => LogicalExtensionCodec::try_encode_udf(self, node, buf),
            None => self.physical.try_encode_udf(node, buf),
        }
    }
}

/// Marks bytes as ours, so that an inner codec's bytes are told apart; the digit is the format.
const LOGICAL: &[u8] = b"farcall.LogicalNode.1:";
const PHYSICAL: &[u8] = b"farcall.PhysicalNode.1:";
const UDF: &[u8] = b"farcall.AsyncUdf.1:";

fn encode(message: &impl Message, buf: &mut Vec<u8>) -> Result<()> {
    message.encode(buf).map_err(|error| internal_datafusion_err!("cannot encode a plan: {error}"))
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|error| plan_datafusion_err!("cannot decode a plan: {error}"))
}

fn required<T>(field: Option<T>, name: &str) -> Result<T> {
    field.ok_or_else(|| plan_datafusion_err!("cannot decode a plan: {name} is missing"))
}
#[derive(Clone, PartialEq, Message)]
struct RowIdNode {
    #[prost(string, tag = "1")]
    column: String,
}

#[derive(Clone, PartialEq, Message)]
struct LogicalNode {
    #[prost(oneof = "logical_node::Node", tags = "1, 2, 3, 4")]
    node: Option<logical_node::Node>,
}

mod logical_node {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Node {
        #[prost(message, tag = "1")]
        Calc(super::AsyncCalcNode),
        #[prost(message, tag = "2")]
        RowId(super::RowIdNode),
        #[prost(message, boxed, tag = "3")]
        Resolve(Box<super::ResolveNode>),
        #[prost(message, boxed, tag = "4")]
        LookupJoin(Box<super::LookupJoinNode>),
    }
}

#[derive(Clone, PartialEq, Message)]
struct PhysicalNode {
    #[prost(oneof = "physical_node::Node", tags = "1, 2, 3, 4, 5")]
    node: Option<physical_node::Node>,
}

mod physical_node {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Node {
        #[prost(message, tag = "1")]
        Calc(super::AsyncCalcExecNode),
        #[prost(message, tag = "2")]
        RowId(super::RowIdNode),
        #[prost(message, tag = "3")]
        Resolve(super::ResolveExecNode),
        #[prost(message, boxed, tag = "4")]
        StreamingFilter(Box<super::StreamingFilterExecNode>),
        #[prost(message, boxed, tag = "5")]
        LookupJoin(Box<super::LookupJoinExecNode>),
    }
}
