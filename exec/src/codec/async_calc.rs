//! The nodes that carry calls in DataFusion's protobuf plans.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::physical_plan::{PhysicalPlanDecodeContext, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf::{self, LogicalExprNode, PhysicalExprNode};
use farcall_planner::{AsyncCalc, CallColumn};
use farcall_udf::OutputMode;
use prost::Message;

use super::function::{EstimateNode, FunctionNode, ResolvedOptionNode};
use super::{FarcallCodec, required};
use crate::async_calc::AsyncCalcExec;
use crate::planned_call::PlannedCall;

#[derive(Clone, PartialEq, Message)]
pub(super) struct AsyncCalcNode {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<CallNode>,
}

impl AsyncCalcNode {
    pub(super) fn encode(calc: &AsyncCalc, codec: &FarcallCodec) -> Result<Self> {
        let calls = calc.calls().iter().map(|call| CallNode::encode(call, codec));
        Ok(Self { calls: calls.collect::<Result<_>>()? })
    }

    pub(super) fn decode(
        self,
        input: &LogicalPlan,
        ctx: &TaskContext,
        codec: &FarcallCodec,
    ) -> Result<AsyncCalc> {
        let Self { calls } = self;
        let calls = calls.into_iter().map(|call| call.decode(ctx, codec)).collect::<Result<_>>()?;
        AsyncCalc::try_new(Arc::new(input.clone()), calls)
    }
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

impl CallNode {
    fn encode(column: &CallColumn, codec: &FarcallCodec) -> Result<Self> {
        let CallColumn { call, guard, name } = column;
        Ok(Self {
            call: Some(serialize_expr(call, codec)?),
            guard: guard.as_ref().map(|guard| serialize_expr(guard, codec)).transpose()?,
            name: name.clone(),
        })
    }

    fn decode(self, ctx: &TaskContext, codec: &FarcallCodec) -> Result<CallColumn> {
        let Self { call, guard, name } = self;
        let expr = |node: &LogicalExprNode| Ok::<_, DataFusionError>(parse_expr(node, ctx, codec)?);
        Ok(CallColumn {
            call: expr(&required(call, "call")?)?,
            guard: guard.as_ref().map(expr).transpose()?,
            name,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AsyncCalcExecNode {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<PhysicalCallNode>,
    #[prost(uint64, optional, tag = "2")]
    demand: Option<u64>,
    #[prost(bool, tag = "3")]
    unordered: bool,
}

impl AsyncCalcExecNode {
    pub(super) fn encode(
        calc: &AsyncCalcExec,
        codec: &FarcallCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Self> {
        let calls = calc.calls().iter();
        let calls = calls.map(|call| PhysicalCallNode::encode(call, codec, converter));
        let unordered = match calc.output_mode() {
            OutputMode::Ordered => false,
            OutputMode::AllowUnordered => true,
        };
        Ok(Self {
            calls: calls.collect::<Result<_>>()?,
            demand: calc.demand().map(|rows| rows as u64),
            unordered,
        })
    }

    pub(super) fn decode(
        self,
        input: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        codec: &FarcallCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<AsyncCalcExec> {
        let Self { calls, demand, unordered } = self;
        let schema = input.schema();
        let calls = calls
            .into_iter()
            .map(|call| call.decode(&schema, ctx, codec, converter))
            .collect::<Result<_>>()?;
        let demand = demand.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
        let calc = AsyncCalcExec::try_new(calls, Arc::clone(input))?;
        let calc = calc.with_demand(demand);
        if unordered { calc.with_unordered_output() } else { Ok(calc) }
    }
}

#[derive(Clone, PartialEq, Message)]
struct PhysicalCallNode {
    #[prost(message, optional, tag = "1")]
    function: Option<FunctionNode>,
    #[prost(uint64, tag = "2")]
    site: u64,
    #[prost(message, repeated, tag = "3")]
    options: Vec<ResolvedOptionNode>,
    #[prost(message, repeated, tag = "4")]
    args: Vec<PhysicalExprNode>,
    #[prost(message, optional, tag = "5")]
    guard: Option<PhysicalExprNode>,
    #[prost(message, optional, tag = "6")]
    field: Option<protobuf::Field>,
    #[prost(message, optional, tag = "7")]
    estimate: Option<EstimateNode>,
}

impl PhysicalCallNode {
    fn encode(
        call: &PlannedCall,
        codec: &FarcallCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Self> {
        let PlannedCall { function, site, options, estimate, args, guard, field } = call;
        let expr = |expr: &_| converter.physical_expr_to_proto(expr, codec);
        Ok(Self {
            function: Some(FunctionNode::encode(function)?),
            site: *site,
            options: ResolvedOptionNode::encode(options),
            estimate: Some(EstimateNode::encode(*estimate)),
            args: args.iter().map(expr).collect::<Result<_>>()?,
            guard: guard.as_ref().map(expr).transpose()?,
            field: Some(field.as_ref().try_into()?),
        })
    }

    fn decode(
        self,
        schema: &SchemaRef,
        ctx: &TaskContext,
        codec: &FarcallCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<PlannedCall> {
        let Self { function, site, options, estimate, args, guard, field } = self;
        let context = PhysicalPlanDecodeContext::new(ctx, codec);
        let expr =
            |node: &PhysicalExprNode| converter.proto_to_physical_expr(node, schema, &context);
        let field: Field = (&required(field, "field")?).try_into()?;
        Ok(PlannedCall {
            function: required(function, "function")?.decode(codec.functions.as_ref())?,
            site,
            options: ResolvedOptionNode::decode(options)?,
            estimate: estimate.map(EstimateNode::decode).unwrap_or_default(),
            args: args.iter().map(expr).collect::<Result<_>>()?,
            guard: guard.as_ref().map(expr).transpose()?,
            field: Arc::new(field),
        })
    }
}
