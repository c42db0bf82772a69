//! The rules, in the order in which they run.

use std::sync::Arc;

use datafusion_optimizer::{AnalyzerRule, OptimizerRule};

use crate::lookup::LookupTables;
use crate::sites::SiteCounter;

mod call_outside_subquery;
mod choose_first_row;
mod correlate;
mod drop_inferred;
mod estimate_calls;
mod expand_project;
mod fence_aggregate;
mod lookup_join;
mod narrow_guards;
mod nested_split;
mod number_call_sites;
mod one_async_per_calc;
mod place_calls;
mod prune_calls;
mod push_condition;
mod remove_fence;
mod split_aggregate;
mod split_condition;
mod split_condition_rex_field;
mod split_join_condition;
mod split_project;
mod split_projection_rex_field;
mod split_sort;
mod split_values;
mod split_window;
mod wrap_foreign_functions;

pub use call_outside_subquery::CallOutsideSubquery;
pub use choose_first_row::ChooseFirstRow;
pub use correlate::Correlate;
pub use drop_inferred::DropInferred;
pub use estimate_calls::{EstimateCalls, Estimates};
pub use expand_project::ExpandProject;
pub use fence_aggregate::FenceAggregate;
pub use lookup_join::LookupJoin;
pub(crate) use lookup_join::{Planned, plan_join};
pub use narrow_guards::NarrowGuards;
pub use nested_split::NestedSplit;
pub use number_call_sites::NumberCallSites;
pub use one_async_per_calc::OneAsyncPerCalc;
pub use place_calls::PlaceCalls;
pub use prune_calls::PruneCalls;
pub use push_condition::PushCondition;
pub use remove_fence::RemoveFence;
pub use split_aggregate::SplitAggregate;
pub use split_condition::SplitCondition;
pub use split_condition_rex_field::SplitConditionRexField;
pub use split_join_condition::SplitJoinCondition;
pub use split_project::SplitProject;
pub use split_projection_rex_field::SplitProjectionRexField;
pub use split_sort::SplitSort;
pub use split_values::SplitValues;
pub use split_window::SplitWindow;
pub use wrap_foreign_functions::WrapForeignFunctions;

/// Returns the analyzer rules, to be appended to DataFusion's.
pub fn analyzer_rules(sites: Arc<SiteCounter>) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(WrapForeignFunctions),
        // Before anything reads LATERAL: afterwards a table function is a call like any other.
        Arc::new(Correlate),
        Arc::new(CallOutsideSubquery),
        Arc::new(NumberCallSites::new(sites)),
        Arc::new(FenceAggregate),
    ]
}

/// Returns the optimizer rules, to be appended to DataFusion's own.
///
/// DataFusion runs the whole list up to three times, its own rules in between; ours are done after
/// the first round.
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    rules(None)
}

/// Returns the optimizer rules of a session with lookup tables.
pub fn optimizer_rules_with_lookups(
    tables: Arc<dyn LookupTables>,
    sites: Arc<SiteCounter>,
) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    rules(Some(LookupJoin::new(tables, sites)))
}

fn rules(lookup_join: Option<LookupJoin>) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        // DataFusion's own push-down is over: what it was kept from is not needed any more.
        Arc::new(RemoveFence),
        // Copies are known by their calls, which still stand in conditions.
        Arc::new(DropInferred),
        // Calls leave joins first, since what they leave behind is a filter above.
        Arc::new(SplitJoinCondition),
    ];
    if let Some(lookup_join) = lookup_join {
        // Keys are columns by now, and what a side computes becomes a projection above.
        rules.push(Arc::new(lookup_join));
    }
    let others: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        // Calls leave VALUES, since what they leave behind is a projection above.
        Arc::new(SplitValues),
        // Calls leave what picks one row of a group for a projection above.
        Arc::new(ChooseFirstRow),
        // Cheap conditions go below calls while those still stand in projections.
        Arc::new(PushCondition),
        // Each clause gives up its outermost calls.
        Arc::new(SplitConditionRexField),
        Arc::new(SplitCondition),
        Arc::new(SplitProjectionRexField),
        Arc::new(SplitProject),
        Arc::new(SplitAggregate),
        Arc::new(SplitWindow),
        Arc::new(SplitSort),
        // All calls stand in nodes now; from here on the nodes are refined.
        Arc::new(NestedSplit),
        Arc::new(PlaceCalls),
        Arc::new(NarrowGuards),
        Arc::new(ExpandProject),
        Arc::new(OneAsyncPerCalc),
        Arc::new(PruneCalls),
    ];
    rules.extend(others);
    rules
}
