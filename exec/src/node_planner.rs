//! [`NodePlanner`], which turns farcall's logical nodes into operators.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use farcall_planner::logical::{Resolve, ResolveKind, RowId};
use farcall_planner::{AsyncCalc, AsyncLookupJoin, CallColumn};
use farcall_udf::{AsyncUdf, CallError, FarcallConfig, OnError};

use crate::async_calc::AsyncCalcExec;
use crate::async_lookup_join::AsyncLookupJoinExec;
use crate::planned_call::PlannedCall;
use crate::resolve::{Resolution, ResolveExec};
use crate::row_id::RowIdExec;

/// Plans farcall's nodes.
#[derive(Debug, Default)]
pub struct NodePlanner;

#[async_trait]
impl ExtensionPlanner for NodePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning_ctx: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let ([logical_input], [input]) = (logical_inputs, physical_inputs) else { return Ok(None) };
        let any = node.as_any();
        if let Some(node) = any.downcast_ref::<RowId>() {
            return Ok(Some(Arc::new(RowIdExec::try_new(node.column(), Arc::clone(input))?)));
        }
        if let Some(node) = any.downcast_ref::<Resolve>() {
            return Ok(Some(Arc::new(plan_resolve(node, logical_input.schema(), input)?)));
        }
        if let Some(node) = any.downcast_ref::<AsyncLookupJoin>() {
            let physical = |expr: &Expr| {
                planner.create_physical_expr(expr, node.pairs(), session, planning_ctx)
            };
            let join = plan_lookup_join(node, logical_input.schema(), input, physical)?;
            return Ok(Some(Arc::new(join)));
        }
        let Some(node) = any.downcast_ref::<AsyncCalc>() else { return Ok(None) };
        let config = FarcallConfig::of(session.config_options());
        let physical = |expr: &Expr| {
            planner.create_physical_expr(expr, logical_input.schema(), session, planning_ctx)
        };
        let width = logical_input.schema().fields().len();
        let mut calls = Vec::with_capacity(node.calls().len());
        for (index, column) in node.calls().iter().enumerate() {
            let field = Arc::clone(UserDefinedLogicalNode::schema(node).field(width + index));
            calls.push(plan_call(column, field, &config, physical)?);
        }
        Ok(Some(Arc::new(join_neighbour(calls, input, &config)?)))
    }
}

/// Lets calls run beside those of the operator below, if they do not need its results: k calls then
/// cost one latency.
fn join_neighbour(
    calls: Vec<PlannedCall>,
    input: &Arc<dyn ExecutionPlan>,
    config: &FarcallConfig,
) -> Result<AsyncCalcExec> {
    if config.parallel_calls()
        && let Some(below) = input.downcast_ref::<AsyncCalcExec>()
    {
        let width = below.input().schema().fields().len();
        let independent = calls.iter().all(|call| {
            let mut exprs = call.args.iter().chain(&call.guard);
            let ordered = call.function.declaration().has_side_effects();
            !ordered
                && exprs
                    .all(|expr| collect_columns(expr).iter().all(|column| column.index() < width))
        });
        let ordered = |call: &PlannedCall| call.function.declaration().has_side_effects();
        if independent && !below.calls().iter().any(ordered) {
            let calls = below.calls().iter().cloned().chain(calls).collect();
            return AsyncCalcExec::try_new(calls, Arc::clone(below.input()));
        }
    }
    AsyncCalcExec::try_new(calls, Arc::clone(input))
}

fn plan_resolve(
    node: &Resolve,
    schema: &DFSchema,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<ResolveExec> {
    let resolution = match node.kind() {
        ResolveKind::Outer => Resolution::Outer,
        ResolveKind::Semi => Resolution::Semi,
        ResolveKind::Anti => Resolution::Anti,
        ResolveKind::Mark(_, name) => Resolution::Mark(name.clone()),
        ResolveKind::Full => Resolution::Full,
    };
    let outputs = node
        .outputs()
        .iter()
        .map(|output| Ok((schema.index_of_column(&output.column)?, output.nulled)))
        .collect::<Result<_>>()?;
    let row_id = schema.index_of_column(node.row_id())?;
    let matched = schema.index_of_column(node.matched())?;
    ResolveExec::try_new(resolution, row_id, matched, outputs, Arc::clone(input))
}

fn plan_lookup_join(
    node: &AsyncLookupJoin,
    schema: &DFSchema,
    input: &Arc<dyn ExecutionPlan>,
    physical: impl Fn(&Expr) -> Result<Arc<dyn PhysicalExpr>>,
) -> Result<AsyncLookupJoinExec> {
    AsyncLookupJoinExec::try_new(
        node.join_type(),
        node.table(),
        schema.index_of_column(node.found())?,
        node.columns().iter().map(|column| column.name.clone()).collect(),
        node.condition().map(physical).transpose()?,
        Arc::clone(input),
    )
}

fn plan_call(
    column: &CallColumn,
    field: FieldRef,
    config: &FarcallConfig,
    physical: impl Fn(&Expr) -> Result<Arc<dyn PhysicalExpr>>,
) -> Result<PlannedCall> {
    let Expr::ScalarFunction(call) = &column.call else {
        return internal_err!("AsyncCalc holds {}, which is no call", column.call);
    };
    let Some(udf) = AsyncUdf::find(&call.func) else {
        return internal_err!("AsyncCalc holds a call of {}, which is not async", call.func.name());
    };
    let Some(site) = udf.site() else {
        return plan_err!(
            "the call of {} has no call site, farcall's analyzer rules have not run",
            call.func.name()
        );
    };
    let options = config.resolve(udf.function(), udf.call_options())?;
    if let OnError::Default(text) = options.on_error() {
        farcall_udf::check_default(&text, field.data_type()).map_err(|error| match error {
            CallError::BadOption { option, message } => {
                let option = format!("{option} of {}", call.func.name());
                CallError::BadOption { option, message }
            }
            other => other,
        })?;
    }
    Ok(PlannedCall {
        function: udf.function().clone(),
        site,
        options,
        estimate: udf.estimate(),
        args: call.args.iter().map(&physical).collect::<Result<_>>()?,
        guard: column.guard.as_ref().map(&physical).transpose()?,
        field: Arc::new(Field::clone(&field).with_nullable(true)),
    })
}
