//! [`calls_of`], how often a call is made at most, as far as statistics tell.

use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use farcall_udf::NullInput;

use crate::planned_call::PlannedCall;

/// Returns how often a call is made for the rows of `input`: `Exact` is an upper bound, `Inexact` an
/// estimate, `Absent` means that nothing is known.
///
/// It is the number of rows; or, where equal calls are one, of different arguments, which holds as
/// long as their answers fit `dedup_max_bytes`.
pub(super) fn calls_of(call: &PlannedCall, input: &Arc<dyn ExecutionPlan>) -> Precision<usize> {
    let context = StatisticsContext::new();
    let rows = rows_at_most(input.as_ref(), &context);
    let reusable = call.function.declaration().is_reusable() && call.options.dedup();
    let distinct = match statistics(input.as_ref(), &context) {
        Some(input) if reusable => distinct_arguments(call, &input),
        _ => Precision::Absent,
    };
    match (rows, distinct) {
        (Precision::Exact(rows), Precision::Exact(distinct)) => {
            Precision::Exact(rows.min(distinct))
        }
        (Precision::Exact(rows), _) => Precision::Exact(rows),
        (Precision::Inexact(rows), distinct) => match distinct.get_value() {
            Some(distinct) => Precision::Inexact(rows.min(*distinct)),
            None => Precision::Inexact(rows),
        },
        (Precision::Absent, distinct) => distinct,
    }
}

fn statistics(plan: &dyn ExecutionPlan, context: &StatisticsContext) -> Option<Arc<Statistics>> {
    context.compute(plan, &StatisticsArgs::new()).ok()
}

/// Returns an upper bound of the rows of a plan, also where only the rows below its filters are
/// known; else an estimate.
fn rows_at_most(plan: &dyn ExecutionPlan, context: &StatisticsContext) -> Precision<usize> {
    let rows = statistics(plan, context).map_or(Precision::Absent, |found| found.num_rows);
    if let Precision::Exact(_) = rows {
        return rows;
    }
    // A row is in one group of each grouping set, although the operator says that rows get fewer.
    let aggregate = plan.downcast_ref::<AggregateExec>();
    let multiplies = aggregate.is_some_and(|aggregate| aggregate.group_expr().has_grouping_set());
    let below = match (plan.children().as_slice(), plan.cardinality_effect()) {
        _ if multiplies => Precision::Absent,
        ([input], CardinalityEffect::Equal | CardinalityEffect::LowerEqual) => {
            rows_at_most(input.as_ref(), context)
        }
        _ => Precision::Absent,
    };
    let partitions = plan.output_partitioning().partition_count();
    let fetched = plan.fetch().map(|rows| rows.saturating_mul(partitions));
    match (below, fetched) {
        (Precision::Exact(below), Some(fetched)) => Precision::Exact(below.min(fetched)),
        (Precision::Exact(below), None) => Precision::Exact(below),
        (_, Some(fetched)) => Precision::Exact(fetched),
        (_, None) => rows,
    }
}

/// Returns how many different arguments there are, if that is known of each argument.
fn distinct_arguments(call: &PlannedCall, input: &Statistics) -> Precision<usize> {
    let nulls = match call.options.null_input() {
        NullInput::Skip => Precision::Exact(0),
        NullInput::Send => Precision::Exact(1),
    };
    call.args.iter().fold(Precision::Exact(1), |product, arg| {
        product.multiply(&match arg.downcast_ref::<Column>() {
            Some(column) => match input.column_statistics.get(column.index()) {
                Some(column) => column.distinct_count.add(&nulls),
                None => Precision::Absent,
            },
            None if collect_columns(arg).is_empty() && !is_volatile(arg) => Precision::Exact(1),
            None => Precision::Absent,
        })
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::stats::ColumnStatistics;
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::lit;
    use datafusion::physical_plan::test::exec::StatisticsExec;
    use farcall_udf::testing::ScriptedFunction;
    use farcall_udf::{CallOptions, Estimate, FarcallConfig};

    use super::*;

    #[test]
    fn equal_calls_count_once() {
        use Precision::{Absent, Exact, Inexact};
        for (rows, distinct, expected) in [
            (Exact(1_000), Exact(7), Exact(7)),
            (Exact(5), Exact(7), Exact(5)),
            // An estimate is no bound.
            (Exact(1_000), Inexact(7), Exact(1_000)),
            (Exact(1_000), Absent, Exact(1_000)),
            (Inexact(1_000), Exact(7), Inexact(7)),
            (Inexact(1_000), Absent, Inexact(1_000)),
            (Absent, Exact(7), Exact(7)),
            (Absent, Absent, Absent),
        ] {
            let found = calls_of(&call(CallOptions::new(), column()), &input(rows, distinct));
            assert_eq!(found, expected, "{rows:?} {distinct:?}");
        }
    }

    #[test]
    fn a_null_that_is_sent_is_a_call_of_its_own() {
        let send = CallOptions::new().with_null_input(NullInput::Send);
        let input = input(Precision::Exact(1_000), Precision::Exact(7));
        assert_eq!(calls_of(&call(send.clone(), column()), &input), Precision::Exact(8));
        assert_eq!(calls_of(&call(send, lit(3_i64)), &input), Precision::Exact(1));
    }

    #[test]
    fn without_dedup_every_row_is_a_call() {
        let input = input(Precision::Exact(1_000), Precision::Exact(7));
        let options = CallOptions::new().with_dedup(false);
        assert_eq!(calls_of(&call(options, column()), &input), Precision::Exact(1_000));
    }

    fn column() -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new("x", 0))
    }

    fn call(options: CallOptions, arg: Arc<dyn PhysicalExpr>) -> PlannedCall {
        let (function, _) = ScriptedFunction::new("f").build();
        let options = FarcallConfig::default().resolve(&function, &options).unwrap();
        let field = Arc::new(Field::new("__async_0", DataType::Int64, true));
        PlannedCall {
            function,
            site: 1,
            options,
            estimate: Estimate::default(),
            args: vec![arg],
            guard: None,
            field,
        }
    }

    fn input(rows: Precision<usize>, distinct: Precision<usize>) -> Arc<dyn ExecutionPlan> {
        let schema = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
        let mut column = ColumnStatistics::new_unknown();
        column.distinct_count = distinct;
        let statistics = Statistics {
            num_rows: rows,
            total_byte_size: Precision::Absent,
            column_statistics: vec![column],
        };
        Arc::new(StatisticsExec::new(statistics, schema))
    }
}
