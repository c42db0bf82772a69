//! [`stream_filters`], the rule that keeps rows moving: no filter gathers a batch before it gives one.
//!
//! ```text
//! Before:                                     After:
//! FilterExec: __async_0@1                     StreamingFilterExec: __async_0@1
//!   RepartitionExec: RoundRobinBatch(4)         AsyncCalcExec: p(x@0)
//!     AsyncCalcExec: p(x@0)                       DataSourceExec: partitions=1
//!       DataSourceExec: partitions=1
//! ```
//! FilterExec and, on bounded inputs, RepartitionExec hold rows back until 8192 are together. That is
//! right where rows come as fast as the processor can look at them, and wrong where they come slowly:
//! from a source without an end, or from a call. There the client would wait for its first row, and a
//! call for its first argument, until thousands of calls below are answered.
//!
//! Replaced is a filter over an unbounded input, and one whose rows come from a call and go on to
//! another call or to the client; a round-robin repartitioning on their way is dropped, also above an
//! endless source: its rows stay in order, and fill one batch of a call instead of several. Below an
//! aggregate, a sort or a join nobody waits for the first row, and full batches are better.
//! Safe: the same rows in the same order; round-robin partitions promise nothing.
//! Declines: no call in the plan.
//! Needs: runs after DataFusion's rules, which know FilterExec only.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::async_calc::AsyncCalcExec;
use crate::plans::{is_pipelined, map_children, round_robin_input};
use crate::streaming_filter::StreamingFilterExec;

/// Replaces filters that would hold back rows which come slowly.
pub(super) fn stream_filters(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    keep_moving(plan, true)
}

/// `awaited` says that somebody above, a call or the client, waits for the first row.
fn keep_moving(plan: Arc<dyn ExecutionPlan>, awaited: bool) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(input) = round_robin_input(&plan)
        && awaited
        && (comes_from_call(input) || input.boundedness().is_unbounded())
    {
        return keep_moving(Arc::clone(input), awaited);
    }
    let awaited_below = plan.is::<AsyncCalcExec>() || awaited && is_pipelined(&plan);
    let plan = map_children(plan, |_, child| keep_moving(child, awaited_below))?;
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(plan) };
    let unbounded = filter.input().boundedness().is_unbounded();
    if unbounded || awaited && comes_from_call(filter.input()) {
        return Ok(Arc::new(StreamingFilterExec::new(Arc::new(filter.clone()))));
    }
    Ok(plan)
}

/// Says whether rows reach the output of a plan as calls are answered.
fn comes_from_call(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<AsyncCalcExec>()
        || (is_pipelined(plan) || round_robin_input(plan).is_some())
            && plan.children().into_iter().any(comes_from_call)
}

#[cfg(test)]
mod tests {
    use crate::testing::plan;

    #[tokio::test]
    async fn rows_move_on_from_call_to_call_and_to_the_client() {
        let sql = "SELECT x FROM t WHERE k < 9 AND p(x) AND p(k)";
        insta::assert_snapshot!(plan(sql).await, @r"
        StreamingFilterExec: __async_1@1, projection=[x@0]
          ProjectionExec: expr=[x@0 as x, __async_1@3 as __async_1]
            AsyncCalcExec: p(k@1) AS __async_1 [async, ordered, batch=1, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
              StreamingFilterExec: __async_0@2
                AsyncCalcExec: p(x@0) AS __async_0 [async, ordered, batch=1, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
                  FilterExec: k@1 < 9
                    DataSourceExec: partitions=2, partition_sizes=[1, 1]
        ");
    }

    #[tokio::test]
    async fn declines_below_an_aggregate() {
        let plan = plan("SELECT count(*) FROM t WHERE p(x)").await;
        assert!(plan.contains(" FilterExec"), "{plan}");
        assert!(!plan.contains("StreamingFilterExec"), "{plan}");
    }

    #[tokio::test]
    async fn declines_without_a_call() {
        let plan = plan("SELECT x FROM t WHERE x > 3").await;
        assert!(plan.contains("FilterExec") && !plan.contains("Streaming"), "{plan}");
    }
}
