//! [`output_order`], the rule that lets answers overtake each other where nobody can see it.
//!
//! ```text
//! Before:                                     After:
//! AggregateExec: gby=[], aggr=[max(..)]       AggregateExec: gby=[], aggr=[max(..)]
//!   AsyncCalcExec: f(x@0) [async, ordered]      AsyncCalcExec: f(x@0) [async, allow_unordered]
//! ```
//! A call that keeps the order holds answered rows back behind an unanswered one. Where what is above
//! gives the same rows in the same order for any order of its input, it need not.
//!
//! Safe: order is invisible below an aggregate without groups whose functions are exact in any order
//! (count, min, max, bool_and, bool_or, sum of integers), and below a sort of all rows, which fixes
//! the order of what differs; it stays visible where it was visible above: to the client, to a limit,
//! to array_agg, string_agg, first_value and last_value, to sums and averages of floating-point
//! numbers, to groups, which come out in the order in which they were met, to calls that change
//! something, and wherever an operator requires an ordering.
//! Declines: several calls in one operator, a single request at a time, an ordering key.
//! Needs: runs after every rule that looks at orderings.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::functions_aggregate::bool_and_or::{BoolAnd, BoolOr};
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::udaf::AggregateFunctionExpr;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
use farcall_udf::{Mode, OutputMode};

use crate::async_calc::AsyncCalcExec;
use crate::planned_call::PlannedCall;
use crate::plans::{is_pipelined, map_children};
use crate::row_id::RowIdExec;

/// Allows unordered output where order cannot be observed.
pub(super) fn output_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    free_order(plan, true)
}

/// `observed` says that somebody above can tell in which order rows come.
fn free_order(plan: Arc<dyn ExecutionPlan>, observed: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let required = plan.required_input_ordering();
    let observed_below = is_observed_below(&plan, observed);
    let plan = map_children(plan, |index, child| {
        let required = required.get(index).is_some_and(Option::is_some);
        free_order(child, required || observed_below)
    })?;
    match plan.downcast_ref::<AsyncCalcExec>() {
        Some(calc) if !observed && may_overtake(calc) => {
            let input = Arc::clone(calc.input());
            Ok(Arc::new(calc.with_input(input)?.with_unordered_output()?))
        }
        _ => Ok(plan),
    }
}

/// Says whether the order of an operator's input can be told from its output or its effects.
fn is_observed_below(plan: &Arc<dyn ExecutionPlan>, observed: bool) -> bool {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return !is_indifferent(aggregate) || observed && !aggregate.group_expr().is_empty();
    }
    if plan.fetch().is_some() {
        return true;
    }
    if plan.is::<SortExec>() {
        return false;
    }
    if let Some(calc) = plan.downcast_ref::<AsyncCalcExec>() {
        return observed || calc.calls().iter().any(is_sequential);
    }
    let repartition = plan.downcast_ref::<RepartitionExec>();
    let mixes = repartition.is_some_and(|repartition| !repartition.preserve_order());
    // Row numbers are given out in the order of rows, and whoever uses them requires that order.
    observed || !(mixes || is_pipelined(plan) && !plan.is::<RowIdExec>())
}

/// Says whether all of an aggregation's functions give the same for any order of their rows.
fn is_indifferent(aggregate: &AggregateExec) -> bool {
    *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.limit_options().is_none()
        && aggregate.aggr_expr().iter().all(|function| is_exact(function))
}

fn is_exact(function: &AggregateFunctionExpr) -> bool {
    let inner = function.fun().inner();
    let exact = inner.is::<Count>()
        || inner.is::<Min>()
        || inner.is::<Max>()
        || inner.is::<BoolAnd>()
        || inner.is::<BoolOr>()
        || inner.is::<Sum>() && function.field().data_type().is_integer();
    exact && function.order_bys().is_empty()
}

/// Says whether the calls of an operator may be answered in any order, and gain by it.
fn may_overtake(calc: &AsyncCalcExec) -> bool {
    calc.output_mode() == OutputMode::Ordered
        && matches!(calc.calls(), [call] if !is_sequential(call))
}

/// Says whether calls are made one after the other.
fn is_sequential(call: &PlannedCall) -> bool {
    let declaration = call.function.declaration();
    declaration.has_side_effects()
        || declaration.ordering_key().is_some()
        || call.options.mode() == Mode::Sync
}

#[cfg(test)]
mod tests {
    use crate::testing::plan;

    #[tokio::test]
    async fn order_is_given_up_where_nobody_sees_it() {
        for sql in [
            "SELECT count(f(x)), min(k) FROM t",
            "SELECT max(f(x)), sum(k) FROM t",
            "SELECT bool_and(p(x)), bool_or(k > 2) FROM t",
            "SELECT count(DISTINCT f(x)) FROM t",
            "SELECT sum(f(x)) FILTER (WHERE k < 9) FROM t",
            "SELECT f(x) AS v FROM t ORDER BY v",
            "SELECT k, max(f(x)) FROM t GROUP BY k ORDER BY k",
            "SELECT count(*) FROM (SELECT k FROM t WHERE p(x) GROUP BY k) q",
            "SELECT row_number() OVER (ORDER BY v) FROM (SELECT f(x) AS v FROM t) q",
        ] {
            let plan = plan(sql).await;
            assert!(plan.contains("[async, allow_unordered"), "{sql}\n{plan}");
            assert!(!plan.contains("[async, ordered"), "{sql}\n{plan}");
        }
    }

    #[tokio::test]
    async fn order_is_kept_where_somebody_may_see_it() {
        for sql in [
            "SELECT f(x) FROM t",
            "SELECT x FROM t WHERE p(x) LIMIT 5",
            "SELECT x FROM t ORDER BY f(x) LIMIT 5",
            "SELECT k, max(f(x)) FROM t GROUP BY k",
            "SELECT array_agg(f(x)) FROM t",
            "SELECT first_value(f(x)) FROM t",
            "SELECT last_value(f(x)) FROM t",
            "SELECT string_agg(f(x)::VARCHAR, ',') FROM t",
            "SELECT avg(f(x)) FROM t",
            "SELECT sum(f(x) * 0.1::DOUBLE) FROM t",
            "SELECT x, f(x) FROM sorted ORDER BY x",
            "SELECT sum(v) OVER (ORDER BY x) FROM (SELECT x, f(x) AS v FROM sorted) q",
            "SELECT max(f(x)), max(g(x)) FROM t",
        ] {
            let plan = plan(sql).await;
            assert!(plan.contains("[async, ordered"), "{sql}\n{plan}");
            assert!(!plan.contains("allow_unordered"), "{sql}\n{plan}");
        }
    }

    #[tokio::test]
    async fn calls_one_after_the_other_cannot_overtake() {
        let plan = plan("SELECT max(one_by_one(x)) FROM t").await;
        assert!(plan.contains("[sync, ordered"), "{plan}");
    }
}
