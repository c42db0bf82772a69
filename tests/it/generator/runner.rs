//! [`Runner`], which runs queries on both sessions and on the oracle.

use std::collections::BTreeSet;

use datafusion::physical_plan::collect;

use super::tally::Tally;
use crate::support::lazy::{Counts, evaluate};
use crate::support::outcome::{Outcome, compare_calls, compare_rows, expected_rows};
use crate::support::rules::{plan_noting_rules, rule_names};
use crate::support::twins::{Twins, lines};

/// Sessions that many queries share, since queries change nothing in them.
pub struct Runner {
    one: Twins,
    four: Twins,
    rules: BTreeSet<String>,
}

impl Runner {
    pub fn new() -> Self {
        Self { one: Twins::small(1), four: Twins::small(4), rules: rule_names() }
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
        let plan = plan_noting_rules(&twins.farcall, sql, &self.rules, fired);
        let plan = plan.await.map_err(refused)?;
        let context = twins.farcall.context().task_ctx();
        let batches =
            collect(plan, context).await.map_err(|error| Outcome::Failed(error.to_string()))?;
        Ok((lines(&batches), twins.calls.take()))
    }
}
