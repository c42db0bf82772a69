//! [`FarcallCodec`], which carries farcall's nodes and functions in DataFusion's protobuf plans.

mod lookup_join;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{
    Column, TableReference, internal_datafusion_err, plan_datafusion_err, plan_err,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, ScalarUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::logical_plan::{DefaultLogicalExtensionCodec, LogicalExtensionCodec};
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalExtensionCodec, PhysicalPlanDecodeContext,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{self, LogicalExprNode, PhysicalExprNode};
use farcall_planner::logical::{Resolve, ResolveKind, ResolveOutput, RowId};
use farcall_planner::{AsyncCalc, AsyncLookupJoin, CallColumn};
use farcall_udf::{
    AsyncFunction, AsyncUdf, CallOptions, FarcallRuntime, LOOKUP_GROUP, OutputMode, Recipe,
};
use prost::Message;

use crate::config::MODEL_GROUP;
use crate::exec::async_calc::{AsyncCalcExec, PlannedCall};
use crate::exec::async_lookup_join::AsyncLookupJoinExec;
use crate::exec::resolve::{Resolution, ResolveExec};
use crate::exec::row_id::RowIdExec;
use crate::exec::scopes::ScopeRegistry;
use crate::exec::streaming_filter::StreamingFilterExec;
use lookup_join::{LookupJoinExecNode, LookupJoinNode};

/// Rebuilds functions that arrive by name or by recipe.
pub trait FunctionSource: fmt::Debug + Send + Sync {
    /// Finds a function that was registered under this name.
    fn by_name(&self, name: &str) -> Option<AsyncFunction>;

    /// Rebuilds a function from its recipe; a planning error says what is missing here.
    fn by_recipe(&self, recipe: &Recipe) -> Result<AsyncFunction>;
}

/// Encodes and decodes logical and physical plans that hold farcall's nodes.
///
/// What is not farcall's goes to the inner codecs. Bytes hold names, options and recipes, never a
/// secret.
#[derive(Debug)]
pub struct FarcallCodec {
    functions: Arc<dyn FunctionSource>,
    runtime: Arc<FarcallRuntime>,
    parameters: Arc<BTreeMap<String, String>>,
    logical: Arc<dyn LogicalExtensionCodec>,
    physical: Arc<dyn PhysicalExtensionCodec>,
    /// Operators of one plan are decoded one by one and must share their registry.
    scopes: Mutex<Weak<ScopeRegistry>>,
}

impl FarcallCodec {
    /// Makes a codec that finds functions in `functions`.
    pub fn new(
        functions: Arc<dyn FunctionSource>,
        runtime: Arc<FarcallRuntime>,
        parameters: Arc<BTreeMap<String, String>>,
    ) -> Self {
        Self {
            functions,
            runtime,
            parameters,
            logical: Arc::new(DefaultLogicalExtensionCodec {}),
            physical: Arc::new(DefaultPhysicalExtensionCodec {}),
            scopes: Mutex::default(),
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

    fn scopes(&self) -> Arc<ScopeRegistry> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scopes) = scopes.upgrade() {
            return scopes;
        }
        let registry =
            Arc::new(ScopeRegistry::new(Arc::clone(&self.runtime), Arc::clone(&self.parameters)));
        *scopes = Arc::downgrade(&registry);
        registry
    }

    fn encode_function(&self, function: &AsyncFunction) -> Result<FunctionNode> {
        let declaration = function.declaration();
        if declaration.option_group() == Some(MODEL_GROUP) && declaration.recipe().is_none() {
            return plan_err!(
                "model {} cannot travel in a plan: an option holds a secret itself, write \
                 ${{env:NAME}} in its place",
                declaration.name()
            );
        }
        if declaration.option_group() == Some(LOOKUP_GROUP) && declaration.recipe().is_none() {
            return plan_err!(
                "lookup table {} cannot travel in a plan: an option holds a secret itself, write \
                 ${{env:NAME}} in its place",
                declaration.name()
            );
        }
        Ok(FunctionNode {
            name: declaration.name().to_owned(),
            version: declaration.version().to_owned(),
            recipe: declaration.recipe().map(|Recipe { kind, bytes }| RecipeNode {
                kind: kind.clone(),
                bytes: bytes.clone(),
            }),
        })
    }

    fn decode_function(&self, node: FunctionNode) -> Result<AsyncFunction> {
        let FunctionNode { name, version, recipe } = node;
        let function = match recipe {
            Some(RecipeNode { kind, bytes }) => {
                self.functions.by_recipe(&Recipe { kind, bytes })?
            }
            None => self.functions.by_name(&name).ok_or_else(|| {
                plan_datafusion_err!("async function {name} is not registered here")
            })?,
        };
        let here = function.declaration().version();
        if here != version {
            return plan_err!(
                "async function {name} has version '{here}' here, the plan needs '{version}'"
            );
        }
        Ok(function)
    }

    fn encode_udf(&self, udf: &AsyncUdf) -> Result<UdfNode> {
        Ok(UdfNode {
            function: Some(self.encode_function(udf.function())?),
            options: encode_options(udf.call_options()),
            site: udf.site(),
        })
    }

    fn decode_udf(&self, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        let UdfNode { function, options, site } = decode(bytes)?;
        let function = self.decode_function(required(function, "function")?)?;
        let mut udf = AsyncUdf::new(function).with_call_options(decode_options(options)?);
        if let Some(site) = site {
            udf = udf.with_site(site);
        }
        Ok(Arc::new(udf.into_scalar_udf()))
    }

    fn encode_call(
        &self,
        call: &PlannedCall,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<PhysicalCallNode> {
        let PlannedCall { function, site, options, args, guard, field } = call;
        Ok(PhysicalCallNode {
            function: Some(self.encode_function(function)?),
            site: *site,
            options: encode_options(options),
            args: args
                .iter()
                .map(|arg| converter.physical_expr_to_proto(arg, self))
                .collect::<Result<_>>()?,
            guard: guard
                .as_ref()
                .map(|guard| converter.physical_expr_to_proto(guard, self))
                .transpose()?,
            field: Some(field.as_ref().try_into()?),
        })
    }

    fn decode_call(
        &self,
        node: PhysicalCallNode,
        schema: &SchemaRef,
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<PlannedCall> {
        let PhysicalCallNode { function, site, options, args, guard, field } = node;
        let context = PhysicalPlanDecodeContext::new(ctx, self);
        let expr =
            |node: &PhysicalExprNode| converter.proto_to_physical_expr(node, schema, &context);
        let field: Field = (&required(field, "field")?).try_into()?;
        Ok(PlannedCall {
            function: self.decode_function(required(function, "function")?)?,
            site,
            options: decode_options(options)?,
            args: args.iter().map(expr).collect::<Result<_>>()?,
            guard: guard.as_ref().map(expr).transpose()?,
            field: Arc::new(field),
        })
    }
}

impl FarcallCodec {
    fn encode_calc(
        &self,
        calc: &AsyncCalcExec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<AsyncCalcExecNode> {
        let calls = calc
            .calls()
            .iter()
            .map(|call| self.encode_call(call, converter))
            .collect::<Result<_>>()?;
        let unordered = match calc.output_mode() {
            OutputMode::Ordered => false,
            OutputMode::AllowUnordered => true,
        };
        Ok(AsyncCalcExecNode { calls, demand: calc.demand().map(|rows| rows as u64), unordered })
    }

    fn decode_calc(
        &self,
        node: AsyncCalcExecNode,
        input: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<AsyncCalcExec> {
        let AsyncCalcExecNode { calls, demand, unordered } = node;
        let schema = input.schema();
        let calls = calls
            .into_iter()
            .map(|call| self.decode_call(call, &schema, ctx, converter))
            .collect::<Result<_>>()?;
        let demand = demand.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
        let calc = AsyncCalcExec::try_new(calls, self.scopes(), Arc::clone(input))?;
        let calc = calc.with_demand(demand);
        if unordered { calc.with_unordered_output() } else { Ok(calc) }
    }

    fn encode_filter(
        &self,
        filter: &FilterExec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<StreamingFilterExecNode> {
        let columns = |projection: &[usize]| ColumnsNode {
            columns: projection.iter().map(|column| *column as u64).collect(),
        };
        Ok(StreamingFilterExecNode {
            predicate: Some(converter.physical_expr_to_proto(filter.predicate(), self)?),
            projection: filter.projection().as_deref().map(columns),
            fetch: filter.fetch().map(|rows| rows as u64),
            default_selectivity: u32::from(filter.default_selectivity()),
        })
    }

    fn decode_filter(
        &self,
        node: StreamingFilterExecNode,
        input: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<StreamingFilterExec> {
        let StreamingFilterExecNode { predicate, projection, fetch, default_selectivity } = node;
        let context = PhysicalPlanDecodeContext::new(ctx, self);
        let predicate = required(predicate, "predicate")?;
        let predicate = converter.proto_to_physical_expr(&predicate, &input.schema(), &context)?;
        // A number that does not fit is refused where the filter is built.
        let projection = projection.map(|ColumnsNode { columns }| {
            columns.into_iter().map(|c| usize::try_from(c).unwrap_or(usize::MAX)).collect()
        });
        let filter = FilterExecBuilder::new(predicate, Arc::clone(input))
            .with_default_selectivity(u8::try_from(default_selectivity).unwrap_or(u8::MAX))
            .with_fetch(fetch.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)))
            .apply_projection(projection)?
            .build()?;
        Ok(StreamingFilterExec::new(Arc::new(filter)))
    }

    fn encode_resolve(&self, resolve: &Resolve) -> Result<ResolveNode> {
        let column = |column: &Column| serialize_expr(&Expr::Column(column.clone()), self);
        let (kind, mark) = match resolve.kind() {
            ResolveKind::Outer => (ResolutionCode::Outer, None),
            ResolveKind::Semi => (ResolutionCode::Semi, None),
            ResolveKind::Anti => (ResolutionCode::Anti, None),
            ResolveKind::Mark(qualifier, name) => {
                let mark = Column::new(qualifier.clone(), name);
                (ResolutionCode::Mark, Some(column(&mark)?))
            }
            ResolveKind::Full => (ResolutionCode::Full, None),
        };
        let outputs = resolve
            .outputs()
            .iter()
            .map(|ResolveOutput { column: output, nulled }| {
                Ok(OutputNode { column: Some(column(output)?), nulled: *nulled })
            })
            .collect::<Result<_>>()?;
        Ok(ResolveNode {
            kind: kind as i32,
            mark,
            row_id: Some(column(resolve.row_id())?),
            matched: Some(column(resolve.matched())?),
            outputs,
        })
    }

    fn decode_resolve(
        &self,
        node: ResolveNode,
        input: &LogicalPlan,
        ctx: &TaskContext,
    ) -> Result<Resolve> {
        let column = |node: Option<LogicalExprNode>| match parse_expr(
            &required(node, "column")?,
            ctx,
            self,
        )? {
            Expr::Column(column) => Ok(column),
            other => plan_err!("cannot decode a plan: {other} is no column"),
        };
        let ResolveNode { kind, mark, row_id, matched, outputs } = node;
        let kind = match resolution_code(kind)? {
            ResolutionCode::Outer => ResolveKind::Outer,
            ResolutionCode::Semi => ResolveKind::Semi,
            ResolutionCode::Anti => ResolveKind::Anti,
            ResolutionCode::Mark => {
                let Column { relation, name, .. } = column(mark)?;
                ResolveKind::Mark(relation, name)
            }
            ResolutionCode::Full => ResolveKind::Full,
        };
        let outputs = outputs
            .into_iter()
            .map(|OutputNode { column: output, nulled }| {
                Ok(ResolveOutput { column: column(output)?, nulled })
            })
            .collect::<Result<_>>()?;
        Resolve::try_new(Arc::new(input.clone()), kind, column(row_id)?, column(matched)?, outputs)
    }
}

fn encode_resolve_exec(resolve: &ResolveExec) -> ResolveExecNode {
    let (kind, mark) = match resolve.resolution() {
        Resolution::Outer => (ResolutionCode::Outer, String::new()),
        Resolution::Semi => (ResolutionCode::Semi, String::new()),
        Resolution::Anti => (ResolutionCode::Anti, String::new()),
        Resolution::Mark(name) => (ResolutionCode::Mark, name.clone()),
        Resolution::Full => (ResolutionCode::Full, String::new()),
    };
    let outputs = resolve
        .outputs()
        .iter()
        .map(|(column, nulled)| OutputIndexNode { column: *column as u64, nulled: *nulled })
        .collect();
    ResolveExecNode {
        kind: kind as i32,
        mark,
        row_id: resolve.row_id() as u64,
        matched: resolve.matched() as u64,
        outputs,
    }
}

fn decode_resolve_exec(
    node: ResolveExecNode,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<ResolveExec> {
    let ResolveExecNode { kind, mark, row_id, matched, outputs } = node;
    let width = input.schema().fields().len();
    let index = |column: u64| match usize::try_from(column) {
        Ok(column) if column < width => Ok(column),
        _ => plan_err!("cannot decode a plan: column {column} of {width}"),
    };
    let resolution = match resolution_code(kind)? {
        ResolutionCode::Outer => Resolution::Outer,
        ResolutionCode::Semi => Resolution::Semi,
        ResolutionCode::Anti => Resolution::Anti,
        ResolutionCode::Mark => Resolution::Mark(mark),
        ResolutionCode::Full => Resolution::Full,
    };
    let outputs = outputs
        .into_iter()
        .map(|OutputIndexNode { column, nulled }| Ok((index(column)?, nulled)))
        .collect::<Result<_>>()?;
    ResolveExec::try_new(resolution, index(row_id)?, index(matched)?, outputs, Arc::clone(input))
}

fn resolution_code(code: i32) -> Result<ResolutionCode> {
    ResolutionCode::try_from(code)
        .map_err(|_| plan_datafusion_err!("cannot decode a plan: no resolution {code}"))
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
        let calls = match decode::<LogicalNode>(bytes)?.node {
            Some(logical_node::Node::Calc(AsyncCalcNode { calls })) => calls,
            Some(logical_node::Node::RowId(RowIdNode { column })) => {
                let node = RowId::try_new(Arc::new(input.clone()), column)?;
                return Ok(Extension { node: Arc::new(node) });
            }
            Some(logical_node::Node::Resolve(node)) => {
                let node = self.decode_resolve(*node, input, ctx)?;
                return Ok(Extension { node: Arc::new(node) });
            }
            Some(logical_node::Node::LookupJoin(node)) => {
                let node = node.decode(input, ctx, self)?;
                return Ok(Extension { node: Arc::new(node) });
            }
            None => return plan_err!("cannot decode a plan: a node is missing"),
        };
        let expr = |node: &LogicalExprNode| Ok::<_, DataFusionError>(parse_expr(node, ctx, self)?);
        let calls = calls
            .into_iter()
            .map(|CallNode { call, guard, name }| {
                Ok(CallColumn {
                    call: expr(&required(call, "call")?)?,
                    guard: guard.as_ref().map(expr).transpose()?,
                    name,
                })
            })
            .collect::<Result<_>>()?;
        let node = AsyncCalc::try_new(Arc::new(input.clone()), calls)?;
        Ok(Extension { node: Arc::new(node) })
    }

    fn try_encode(&self, node: &Extension, buf: &mut Vec<u8>) -> Result<()> {
        let any = node.node.as_any();
        let mut give = |node| {
            buf.extend_from_slice(LOGICAL);
            encode(&LogicalNode { node: Some(node) }, buf)
        };
        if let Some(row_id) = any.downcast_ref::<RowId>() {
            let column = row_id.column().to_owned();
            return give(logical_node::Node::RowId(RowIdNode { column }));
        }
        if let Some(resolve) = any.downcast_ref::<Resolve>() {
            return give(logical_node::Node::Resolve(Box::new(self.encode_resolve(resolve)?)));
        }
        if let Some(join) = any.downcast_ref::<AsyncLookupJoin>() {
            let node = LookupJoinNode::encode(join, self)?;
            return give(logical_node::Node::LookupJoin(Box::new(node)));
        }
        let Some(calc) = any.downcast_ref::<AsyncCalc>() else {
            return self.logical.try_encode(node, buf);
        };
        let calls = calc
            .calls()
            .iter()
            .map(|CallColumn { call, guard, name }| {
                Ok(CallNode {
                    call: Some(serialize_expr(call, self)?),
                    guard: guard.as_ref().map(|guard| serialize_expr(guard, self)).transpose()?,
                    name: name.clone(),
                })
            })
            .collect::<Result<_>>()?;
        give(logical_node::Node::Calc(AsyncCalcNode { calls }))
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
            Some(bytes) => self.decode_udf(bytes),
            None => self.logical.try_decode_udf(name, buf),
        }
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        let Some(udf) = AsyncUdf::find(node) else {
            return self.logical.try_encode_udf(node, buf);
        };
        buf.extend_from_slice(UDF);
        encode(&self.encode_udf(udf)?, buf)
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
        let node = match decode::<PhysicalNode>(bytes)?.node {
            Some(physical_node::Node::Calc(node)) => node,
            Some(physical_node::Node::RowId(RowIdNode { column })) => {
                return Ok(Arc::new(RowIdExec::try_new(column, Arc::clone(input))?));
            }
            Some(physical_node::Node::Resolve(node)) => {
                return Ok(Arc::new(decode_resolve_exec(node, input)?));
            }
            Some(physical_node::Node::StreamingFilter(node)) => {
                return Ok(Arc::new(self.decode_filter(*node, input, ctx, converter)?));
            }
            Some(physical_node::Node::LookupJoin(node)) => {
                let context = PhysicalPlanDecodeContext::new(ctx, self);
                let join = node.decode(input, |expr, schema| {
                    converter.proto_to_physical_expr(expr, schema, &context)
                })?;
                return Ok(Arc::new(join));
            }
            None => return plan_err!("cannot decode a plan: an operator is missing"),
        };
        Ok(Arc::new(self.decode_calc(node, input, ctx, converter)?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let give = |node, buf: &mut Vec<u8>| {
            buf.extend_from_slice(PHYSICAL);
            encode(&PhysicalNode { node: Some(node) }, buf)
        };
        if let Some(row_id) = node.downcast_ref::<RowIdExec>() {
            let column = row_id.column().to_owned();
            return give(physical_node::Node::RowId(RowIdNode { column }), buf);
        }
        if let Some(resolve) = node.downcast_ref::<ResolveExec>() {
            return give(physical_node::Node::Resolve(encode_resolve_exec(resolve)), buf);
        }
        if let Some(filter) = node.downcast_ref::<StreamingFilterExec>() {
            let filter = Box::new(self.encode_filter(filter.filter(), converter)?);
            return give(physical_node::Node::StreamingFilter(filter), buf);
        }
        if let Some(join) = node.downcast_ref::<AsyncLookupJoinExec>() {
            let encode = |expr: &_| converter.physical_expr_to_proto(expr, self);
            let node = LookupJoinExecNode::encode(join, encode)?;
            return give(physical_node::Node::LookupJoin(Box::new(node)), buf);
        }
        let Some(calc) = node.downcast_ref::<AsyncCalcExec>() else {
            return self.physical.try_encode(node, buf, converter);
        };
        give(physical_node::Node::Calc(self.encode_calc(calc, converter)?), buf)
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        match buf.strip_prefix(UDF) {
            Some(bytes) => self.decode_udf(bytes),
            None => self.physical.try_decode_udf(name, buf),
        }
    }

    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        let Some(udf) = AsyncUdf::find(node) else {
            return self.physical.try_encode_udf(node, buf);
        };
        buf.extend_from_slice(UDF);
        encode(&self.encode_udf(udf)?, buf)
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

fn encode_options(options: &CallOptions) -> Vec<OptionNode> {
    options
        .entries()
        .into_iter()
        .map(|(name, value)| OptionNode { name: name.to_owned(), value })
        .collect()
}

fn decode_options(nodes: Vec<OptionNode>) -> Result<CallOptions> {
    let mut options = CallOptions::new();
    for OptionNode { name, value } in nodes {
        options.set(&name, &value)?;
    }
    Ok(options)
}

#[derive(Clone, PartialEq, Message)]
struct RecipeNode {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bytes = "vec", tag = "2")]
    bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(message, optional, tag = "3")]
    recipe: Option<RecipeNode>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct UdfNode {
    #[prost(message, optional, tag = "1")]
    function: Option<FunctionNode>,
    #[prost(message, repeated, tag = "2")]
    options: Vec<OptionNode>,
    #[prost(uint64, optional, tag = "3")]
    site: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct CallNode {
    #[prost(message, optional, tag = "1")]
    call: Option<LogicalExprNode>,
    #[prost(message, optional, tag = "2")]
    guard: Option<LogicalExprNode>,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct AsyncCalcNode {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<CallNode>,
}

#[derive(Clone, PartialEq, Message)]
struct PhysicalCallNode {
    #[prost(message, optional, tag = "1")]
    function: Option<FunctionNode>,
    #[prost(uint64, tag = "2")]
    site: u64,
    #[prost(message, repeated, tag = "3")]
    options: Vec<OptionNode>,
    #[prost(message, repeated, tag = "4")]
    args: Vec<PhysicalExprNode>,
    #[prost(message, optional, tag = "5")]
    guard: Option<PhysicalExprNode>,
    #[prost(message, optional, tag = "6")]
    field: Option<protobuf::Field>,
}

#[derive(Clone, PartialEq, Message)]
struct AsyncCalcExecNode {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<PhysicalCallNode>,
    #[prost(uint64, optional, tag = "2")]
    demand: Option<u64>,
    #[prost(bool, tag = "3")]
    unordered: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ColumnsNode {
    #[prost(uint64, repeated, tag = "1")]
    columns: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamingFilterExecNode {
    #[prost(message, optional, tag = "1")]
    predicate: Option<PhysicalExprNode>,
    #[prost(message, optional, tag = "2")]
    projection: Option<ColumnsNode>,
    #[prost(uint64, optional, tag = "3")]
    fetch: Option<u64>,
    #[prost(uint32, tag = "4")]
    default_selectivity: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RowIdNode {
    #[prost(string, tag = "1")]
    column: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ResolutionCode {
    Outer = 0,
    Semi = 1,
    Anti = 2,
    Mark = 3,
    Full = 4,
}

#[derive(Clone, PartialEq, Message)]
struct OutputNode {
    #[prost(message, optional, tag = "1")]
    column: Option<LogicalExprNode>,
    #[prost(bool, tag = "2")]
    nulled: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ResolveNode {
    #[prost(enumeration = "ResolutionCode", tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    mark: Option<LogicalExprNode>,
    #[prost(message, optional, tag = "3")]
    row_id: Option<LogicalExprNode>,
    #[prost(message, optional, tag = "4")]
    matched: Option<LogicalExprNode>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<OutputNode>,
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
struct OutputIndexNode {
    #[prost(uint64, tag = "1")]
    column: u64,
    #[prost(bool, tag = "2")]
    nulled: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ResolveExecNode {
    #[prost(enumeration = "ResolutionCode", tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    mark: String,
    #[prost(uint64, tag = "3")]
    row_id: u64,
    #[prost(uint64, tag = "4")]
    matched: u64,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<OutputIndexNode>,
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
