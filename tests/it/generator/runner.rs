//! [`Runner`], which runs queries on both sessions and on the oracle.

use std::collections::BTreeSet;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;

use super::farcall_rules;
use super::tally::Tally;
use crate::support::lazy::{Counts, evaluate};
use crate::support::outcome::{Outcome, compare_calls, compare_rows, expected_rows};
use crate::support::twins::{Twins, lines};

/// Sessions that many queries share, since queries change nothing in them.
pub struct Runner {
    one: Twins,
    four: Twins,
    rules: BTreeSet<String>,
}

impl Runner {
    pub fn new() -> Self {
        Self { one: Twins::small(1), four: Twins::small(4), rules: farcall_rules() }
    }

    /// Runs a query and says what became of it.
    pub async fn run(&self, sql: &str, partitions: usize, tally: Option<&mut Tally>) -> Outcome {
        let twins = if partitions == 1 { &self.one } else { &self.four };
        match self.try_run(twins, sql, tally).await {
            Ok(()) => Outcome::Right,
            Err(outcome) => outcome,
        }
    }

    async fn try_run(
        &self,
        twins: &Twins,
        sql: &str,
        tally: Option<&mut Tally>,
    ) -> Result<(), Outcome> {
        let answer = evaluate(&twins.plain, sql)
            .await
            .map_err(|error| Outcome::Unfit(format!("oracle: {error}")))?;
        let expected = expected_rows(twins, sql).await?;
        let mut fired = BTreeSet::new();
        let result = self.farcall_rows(twins, sql, &mut fired).await;
        if let Some(tally) = tally {
            for rule in fired {
                *tally.fired.entry(rule).or_default() += 1;
            }
            if let Ok((_, made)) = &result {
                tally.calls += made.values().sum::<usize>();
            }
        }
        let (rows, made) = result?;
        compare_rows(&answer, &expected, &rows)?;
        compare_calls(&answer, &made)
    }

    /// Runs a query in farcall, noting which of farcall's rules change its plan.
    async fn farcall_rows(
        &self,
        twins: &Twins,
        sql: &str,
        fired: &mut BTreeSet<String>,
    ) -> Result<(Vec<String>, Counts), Outcome> {
        twins.calls.take();
        let refused = |error| Outcome::Refused(format!("{error}"));
        let context = twins.farcall.context();
        let state = context.state();
        let mut before: Option<LogicalPlan> = None;
        let plan = state.create_logical_plan(sql).await.map_err(refused)?;
        let plan = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(refused)?;
        let plan = state
            .optimizer()
            .optimize(plan, &state, |plan, rule| {
                let ours = self.rules.contains(rule.name());
                if ours && before.as_ref().is_some_and(|before| before != plan) {
                    fired.insert(rule.name().to_owned());
                }
                before = Some(plan.clone());
            })
            .map_err(refused)?;
        let plan =
            state.query_planner().create_physical_plan(&plan, &state).await.map_err(refused)?;
        let batches =
            collect(plan, context.task_ctx()).await.map_err(|e| Outcome::Failed(e.to_string()))?;
        Ok((lines(&batches), twins.calls.take()))
    }
}
