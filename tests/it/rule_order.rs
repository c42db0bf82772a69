//! The order of the rules, DataFusion's and ours: a new version that changes it is looked at.

use farcall::FarcallSession;

#[test]
fn rules_run_in_the_order_that_was_looked_at() {
    let state = FarcallSession::new().unwrap().context().state();
    let names = |names: Vec<&str>| names.join("\n");
    let analyzer = state.analyzer().rules.iter().map(|rule| rule.name()).collect();
    insta::assert_snapshot!(names(analyzer), @r"
    bind_models
    resolve_grouping_function
    type_coercion
    wrap_foreign_functions
    correlate
    call_outside_subquery
    number_call_sites
    fence_aggregate
    estimate_calls
    ");
    let optimizer = state.optimizers().iter().map(|rule| rule.name()).collect();
    insta::assert_snapshot!(names(optimizer), @r"
    rewrite_set_comparison
    optimize_unions
    unions_to_filter
    simplify_expressions
    replace_distinct_aggregate
    eliminate_join
    decorrelate_predicate_subquery
    scalar_subquery_to_join
    decorrelate_lateral_join
    extract_equijoin_predicate
    eliminate_duplicated_expr
    eliminate_filter
    eliminate_cross_join
    eliminate_limit
    propagate_empty_relation
    filter_null_join_keys
    eliminate_outer_join
    push_down_limit
    push_down_filter
    single_distinct_aggregation_to_group_by
    eliminate_group_by_constant
    common_sub_expression_eliminate
    extract_leaf_expressions
    push_down_leaf_projections
    optimize_projections
    remove_fence
    drop_inferred
    split_join_condition
    lookup_join
    split_values
    choose_first_row
    push_condition
    split_condition_rex_field
    split_condition
    split_projection_rex_field
    split_project
    split_aggregate
    split_window
    split_sort
    nested_split
    place_calls
    narrow_guards
    expand_project
    one_async_per_calc
    prune_calls
    ");
    let physical = state.physical_optimizers().iter().map(|rule| rule.name()).collect();
    insta::assert_snapshot!(names(physical), @r"
    OutputRequirements
    aggregate_statistics
    join_selection
    LimitedDistinctAggregation
    FilterPushdown
    WindowTopN
    EnsureRequirements
    CombinePartialFinalAggregate
    OptimizeAggregateOrder
    ProjectionPushdown
    OutputRequirements
    LimitAggregation
    LimitPushPastWindows
    HashJoinBuffering
    LimitPushdown
    TopKRepartition
    ProjectionPushdown
    PushdownSort
    EnsureCooperative
    FilterPushdown(Post)
    SanityCheckPlan
    demand
    stream_filters
    output_order
    ");
}
