//! What the physical rules have in common: how they look at a plan and put it together again.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;

use crate::async_calc::AsyncCalcExec;
use crate::resolve::ResolveExec;
use crate::row_id::RowIdExec;
use crate::streaming_filter::StreamingFilterExec;

type Plan = Arc<dyn ExecutionPlan>;

/// Says whether a plan makes calls; a plan that makes none is left alone by every rule.
pub(super) fn has_call(plan: &Plan) -> bool {
    plan.is::<AsyncCalcExec>() || plan.children().into_iter().any(has_call)
}

/// Says whether rows pass an operator as they come: each input row gives at most one row, and none
/// waits for rows behind it.
///
/// A filter of DataFusion's own counts, although it gathers rows: it is replaced where that matters.
pub(super) fn is_pipelined(plan: &Plan) -> bool {
    plan.is::<AsyncCalcExec>()
        || plan.is::<FilterExec>()
        || plan.is::<StreamingFilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<UnionExec>()
        || plan.is::<RowIdExec>()
        || plan.is::<ResolveExec>()
        || plan.is::<AnalyzeExec>()
}

/// Returns the input of a RepartitionExec that only spreads rows, whatever is in them.
pub(super) fn round_robin_input(plan: &Plan) -> Option<&Plan> {
    let repartition = plan.downcast_ref::<RepartitionExec>()?;
    matches!(repartition.partitioning(), Partitioning::RoundRobinBatch(_))
        .then(|| repartition.input())
}

/// Rewrites the children of a plan by their positions, and the plan if one of them changed.
pub(super) fn map_children(
    plan: Plan,
    mut rewrite: impl FnMut(usize, Plan) -> Result<Plan>,
) -> Result<Plan> {
    let children = plan.children().into_iter().cloned().enumerate();
    let children = children.map(|(index, child)| rewrite(index, child)).collect::<Result<_>>()?;
    replace_children_if_necessary(plan, children)
}
