//! Which of farcall's optimizer rules change the plan of a query.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use farcall::FarcallSession;

/// Returns the names of farcall's optimizer rules.
pub fn rule_names() -> BTreeSet<String> {
    farcall::planner::optimizer_rules().iter().map(|rule| rule.name().to_owned()).collect()
}

/// Plans a query, noting which of the rules change its plan.
pub async fn plan_noting_rules(
    session: &FarcallSession,
    sql: &str,
    rules: &BTreeSet<String>,
    fired: &mut BTreeSet<String>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let state = session.context().state();
    let plan = state.create_logical_plan(sql).await?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let mut before: Option<LogicalPlan> = None;
    let plan = state.optimizer().optimize(plan, &state, |plan, rule| {
        let ours = rules.contains(rule.name());
        if ours && before.as_ref().is_some_and(|before| before != plan) {
            fired.insert(rule.name().to_owned());
        }
        before = Some(plan.clone());
    })?;
    state.query_planner().create_physical_plan(&plan, &state).await
}
