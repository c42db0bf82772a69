//! [`demand`], the rule that tells calls how many rows a limit above them wants.
//!
//! ```text
//! Before:                                     After:
//! CoalescePartitionsExec: fetch=20            FilterExec: __async_0@1, fetch=20
//!   FilterExec: __async_0@1, fetch=20           AsyncCalcExec: p(x@0) [.., demand=20]
//!     RepartitionExec: RoundRobinBatch(4)         CoalescePartitionsExec
//!       AsyncCalcExec: p(x@0)                       DataSourceExec: partitions=2
//!         DataSourceExec: partitions=2
//! ```
//! A call works ahead of whoever reads its rows, up to its window and its buffer, and in every
//! partition. Below a limit most of that is paid for and thrown away. So a call gets as its demand
//! the rows that the limit wants, and begins with those ([`Credit`](crate::credit)); what
//! spreads the rows over partitions in between is removed, because it reads ahead as well; and the
//! partitions meet below the call instead of above it, because each would serve the limit alone.
//!
//! Safe: a demand is where a call begins, not where it ends, so no row can be missing, however many
//! of them a filter in between drops, or a lookup join gives for each. Which rows a limit takes is arbitrary unless they are ordered;
//! partitions that a SortPreservingMergeExec merged above the call are merged by one below it, and
//! stay where they are if its order could not be kept.
//! Declines: no limit above a call, or an operator between them that reads all rows before it gives
//! one out, or matches rows: its input is wanted as a whole.
//! Needs: runs after DataFusion's rules, which place limits and partitions.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::async_calc::AsyncCalcExec;
use crate::async_lookup_join::AsyncLookupJoinExec;
use crate::plans::{has_call, is_pipelined, map_children, round_robin_input};
use crate::resolve::ResolveExec;
use crate::row_id::RowIdExec;

/// Hands the demand of limits down to the calls below them.
pub(super) fn demand(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    hand_down(plan, None)
}

/// What is wanted of an operator.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// Rows of each partition, if those of all below come through.
    rows: usize,
    merge: Merge,
}

/// Whether the partitions of an operator may meet below a call instead of above it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Merge {
    /// They do not meet above, or what is above needs them as they are.
    No,
    /// In any order.
    Any,
    /// In the order that the rows of each have.
    Ordered,
}

fn hand_down(
    plan: Arc<dyn ExecutionPlan>,
    wanted: Option<Wanted>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wanted = limited(&plan, wanted);
    if let Some(input) = round_robin_input(&plan)
        && wanted.is_some()
        && has_call(input)
    {
        return hand_down(Arc::clone(input), wanted);
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return hand_through_ordered(&plan, merge, wanted);
    }
    let below = wanted
        .filter(|_| is_pipelined(&plan) || plan.is::<AsyncLookupJoinExec>())
        .map(|wanted| Wanted { merge: merge_below(&plan, wanted.merge), ..wanted });
    let plan = map_children(plan, |_, child| hand_down(child, below))?;
    if let Some(coalesce) = plan.downcast_ref::<CoalescePartitionsExec>() {
        return Ok(match partitions(coalesce.input()) {
            1 => limit(coalesce.input(), coalesce.fetch()),
            _ => plan,
        });
    }
    match (plan.downcast_ref::<AsyncCalcExec>(), wanted) {
        (Some(calc), Some(wanted)) => {
            let input = merged(calc.input(), wanted.merge);
            Ok(Arc::new(calc.with_input(input)?.with_demand(Some(wanted.rows))))
        }
        _ => Ok(plan),
    }
}

/// Lowers what is wanted to what an operator gives out at most; a limit makes it so.
fn limited(plan: &Arc<dyn ExecutionPlan>, wanted: Option<Wanted>) -> Option<Wanted> {
    let (skip, fetch) = match plan.downcast_ref::<GlobalLimitExec>() {
        Some(limit) => (limit.skip(), limit.fetch()),
        None => (0, plan.fetch()),
    };
    let rows = wanted.map(|wanted| wanted.rows).into_iter().chain(fetch).min()?;
    let merge = wanted.map_or(Merge::No, |wanted| wanted.merge);
    Some(Wanted { rows: rows.saturating_add(skip), merge })
}

/// Says how partitions below an operator may meet, given how those of its own may.
fn merge_below(plan: &Arc<dyn ExecutionPlan>, above: Merge) -> Merge {
    if plan.is::<CoalescePartitionsExec>() {
        Merge::Any
    } else if plan.is::<RowIdExec>() || plan.is::<ResolveExec>() {
        // Numbers tell in which partition a row is.
        Merge::No
    } else {
        above
    }
}

/// Hands demand through an operator that merges partitions in order, if the order survives it.
fn hand_through_ordered(
    plan: &Arc<dyn ExecutionPlan>,
    merge: &SortPreservingMergeExec,
    wanted: Option<Wanted>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let below = wanted.map(|wanted| Wanted { merge: Merge::Ordered, ..wanted });
    let input = hand_down(Arc::clone(merge.input()), below)?;
    let has_order =
        |order: &LexOrdering| input.equivalence_properties().ordering_satisfy(order.clone());
    if !has_order(merge.expr())? {
        let below = wanted.map(|wanted| Wanted { merge: Merge::No, ..wanted });
        return map_children(Arc::clone(plan), |_, child| hand_down(child, below));
    }
    if partitions(&input) == 1 && partitions(merge.input()) > 1 {
        return Ok(limit(&input, merge.fetch()));
    }
    map_children(Arc::clone(plan), |_, _| Ok(Arc::clone(&input)))
}

/// Merges partitions, if that is allowed and there are several.
fn merged(input: &Arc<dyn ExecutionPlan>, merge: Merge) -> Arc<dyn ExecutionPlan> {
    let input = Arc::clone(input);
    if partitions(&input) == 1 {
        return input;
    }
    match (merge, input.equivalence_properties().oeq_class().as_ref()) {
        (Merge::Any, _) => Arc::new(CoalescePartitionsExec::new(input)),
        (Merge::Ordered, [order]) => {
            Arc::new(SortPreservingMergeExec::new(order.clone(), Arc::clone(&input)))
        }
        // Merged by one of several orders, the rows would lose the others, which DataFusion's
        // properties do not say.
        (Merge::No | Merge::Ordered, _) => input,
    }
}

/// Puts a limit above a single partition, unless it gives out no more rows anyway.
fn limit(input: &Arc<dyn ExecutionPlan>, fetch: Option<usize>) -> Arc<dyn ExecutionPlan> {
    match (fetch, rows_at_most(input)) {
        (None, _) => Arc::clone(input),
        (Some(fetch), Some(below)) if below <= fetch => Arc::clone(input),
        (Some(_), _) => Arc::new(GlobalLimitExec::new(Arc::clone(input), 0, fetch)),
    }
}

/// Returns how many rows a partition gives out at most.
fn rows_at_most(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    match plan.downcast_ref::<ProjectionExec>() {
        Some(projection) => rows_at_most(projection.input()),
        None => plan.fetch(),
    }
}

fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

#[cfg(test)]
mod tests {
    use crate::testing::{plan, plan_at};

    #[tokio::test]
    async fn partitions_meet_below_the_call_of_a_limit() {
        insta::assert_snapshot!(plan("SELECT x FROM t WHERE p(x) LIMIT 20").await, @r"
        StreamingFilterExec: __async_0@1, projection=[x@0], fetch=20
          AsyncCalcExec: p(x@0) AS __async_0 [async, ordered, batch=1, window=100, demand=20, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
            CoalescePartitionsExec
              DataSourceExec: partitions=2, partition_sizes=[1, 1]
        ");
    }

    #[tokio::test]
    async fn an_order_is_kept_by_a_merge_below_the_call() {
        let sql = "SELECT x FROM sorted WHERE p(x) ORDER BY x LIMIT 20 OFFSET 5";
        insta::assert_snapshot!(plan(sql).await, @r"
        GlobalLimitExec: skip=5, fetch=20
          StreamingFilterExec: __async_0@1, projection=[x@0], fetch=25
            AsyncCalcExec: p(x@0) AS __async_0 [async, ordered, batch=1, window=100, demand=25, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
              SortPreservingMergeExec: [x@0 ASC NULLS LAST]
                DataSourceExec: partitions=2, partition_sizes=[1, 1], output_ordering=x@0 ASC NULLS LAST
        ");
    }

    #[tokio::test]
    async fn demand_goes_on_to_the_calls_below_the_first() {
        let sql = "SELECT x FROM t WHERE p(x) AND p(k) LIMIT 20";
        insta::assert_snapshot!(plan(sql).await, @r"
        StreamingFilterExec: __async_1@1, projection=[x@0], fetch=20
          ProjectionExec: expr=[x@0 as x, __async_1@3 as __async_1]
            AsyncCalcExec: p(k@1) AS __async_1 [async, ordered, batch=1, window=100, demand=20, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
              StreamingFilterExec: __async_0@2
                AsyncCalcExec: p(x@0) AS __async_0 [async, ordered, batch=1, window=100, demand=20, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
                  CoalescePartitionsExec
                    DataSourceExec: partitions=2, partition_sizes=[1, 1]
        ");
    }

    #[tokio::test]
    async fn the_sides_of_a_union_have_the_demand_of_the_limit_each() {
        let sql = "SELECT x FROM t WHERE p(x) UNION ALL SELECT k FROM t WHERE p(k) LIMIT 20";
        insta::assert_snapshot!(plan(sql).await, @r"
        CoalescePartitionsExec: fetch=20
          UnionExec
            StreamingFilterExec: __async_0@1, projection=[x@0], fetch=20
              AsyncCalcExec: p(x@0) AS __async_0 [async, ordered, batch=1, window=100, demand=20, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
                CoalescePartitionsExec
                  DataSourceExec: partitions=2, partition_sizes=[1, 1]
            ProjectionExec: expr=[k@0 as x]
              StreamingFilterExec: __async_1@1, projection=[k@0], fetch=20
                AsyncCalcExec: p(k@0) AS __async_1 [async, ordered, batch=1, window=100, demand=20, timeout=1m/3m, retry=exponential_backoff(3), calls<=100]
                  CoalescePartitionsExec
                    DataSourceExec: partitions=2, partition_sizes=[1, 1]
        ");
    }

    #[tokio::test]
    async fn declines_below_what_reads_all_rows() {
        for sql in [
            "SELECT x FROM t WHERE p(x)",
            "SELECT x FROM t WHERE p(x) ORDER BY k LIMIT 20",
            "SELECT k, count(*) FROM t WHERE p(x) GROUP BY k LIMIT 20",
            "SELECT t.x FROM t JOIN sorted s ON f(t.x) = s.k AND s.k < 5 LIMIT 20",
        ] {
            let plan = plan(sql).await;
            assert!(!plan.contains("demand="), "{sql}\n{plan}");
        }
    }

    #[tokio::test]
    async fn the_numbered_rows_of_a_join_stay_in_their_partitions() {
        let sql = "SELECT x FROM t WHERE EXISTS \
                   (SELECT 1 FROM sorted s WHERE s.k = t.x AND p(t.x + s.x)) LIMIT 20";
        insta::assert_snapshot!(plan_at(2, sql).await, @r"
        CoalescePartitionsExec: fetch=20
          LocalLimitExec: fetch=20
            ResolveExec: Semi rows __async_0@1 where __async_2@2
              ProjectionExec: expr=[x@0 as x, __async_0@1 as __async_0, __async_1@4 IS NOT DISTINCT FROM true AND __async_3@5 IS NOT DISTINCT FROM true as __async_2]
                AsyncCalcExec: p(x@0 + x@3) AS __async_3 WHEN __async_1@4 IS NOT DISTINCT FROM true [async, ordered, batch=1, window=100, demand=20, timeout=1m/3m, retry=exponential_backoff(3)]
                  HashJoinExec: mode=CollectLeft, join_type=Right, on=[(k@0, x@0)], projection=[x@3, __async_0@4, k@0, x@1, __async_1@2]
                    CoalescePartitionsExec
                      ProjectionExec: expr=[k@1 as k, x@0 as x, true as __async_1]
                        DataSourceExec: partitions=2, partition_sizes=[1, 1], output_ordering=x@0 ASC NULLS LAST
                    RowIdExec: __async_0
                      DataSourceExec: partitions=2, partition_sizes=[1, 1]
        ");
    }
}
