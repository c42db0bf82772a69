//! Random queries: the twin's rows, and the calls of the lazy oracle.
//!
//! `FARCALL_FUZZ_QUERIES` says how many, `FARCALL_FUZZ_SEED` where to begin; query i has the seed
//! `FARCALL_FUZZ_SEED + i`, so that a failure runs alone with its own seed and one query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;

use crate::support::lazy::{Counts, evaluate};
use crate::support::outcome::{Outcome, compare_calls, compare_rows, expected_rows};
use crate::support::twins::{Twins, lines};

mod grammar;
pub mod random;
mod shrink;

use grammar::{Generated, Grammar};
use shrink::shrink;

/// Queries in a run of CI.
const QUERIES: u64 = 400;
const SEED: u64 = 1_000_000;

/// Constructs for which more calls than needed are known to be made, each with its reason.
///
/// A query without any of them must make exactly the calls of the lazy oracle.
const SUPERFLUOUS: &[(&str, &str)] = &[
    ("join", "a call is not deferred above a join, nor below it restricted to rows with a partner"),
    ("guarded read", "the guard around a subquery's column is not carried down to its call"),
    ("having", "the aggregates of a group are computed together, before HAVING"),
    ("in list", "where the subject is a call, cheap items of a list are not tested first"),
    ("limit", "calls are made for skipped rows, and in each partition's top rows"),
];

/// Refusals that are known, by a part of their message.
const REFUSED: &[&str] = &[
    "cannot be called in the condition of a LEFT JOIN",
    "cannot be called in the condition of a RIGHT JOIN",
    "cannot be called in the condition of a FULL JOIN",
    "cannot be called in the condition of EXISTS or IN",
    "cannot be called in the condition of NOT EXISTS or NOT IN",
    // A call around the aggregate of a correlated scalar subquery is evaluated at planning.
    "Optimizer rule 'scalar_subquery_to_join' failed",
    // A subquery in a SELECT list plans only if the list ends up in a filter, and a condition with a
    // call does not go through the list.
    "Physical plan does not support logical expression InSubquery",
    "Physical plan does not support logical expression Exists",
];

/// Constructs that together are known to give wrong rows, each with its reason.
const WRONG: &[(&[&str], &str)] = &[(
    &["global aggregate", "constant call"],
    "upstream pushes a condition without columns below an aggregate that always gives a row",
)];

/// The share of queries whose twin plans that may be refused, in percent.
const MAX_REFUSED_PERCENT: usize = 10;

/// What a run has seen.
#[derive(Debug, Default)]
struct Tally {
    queries: usize,
    unfit: usize,
    refused: BTreeMap<String, usize>,
    wrong: BTreeMap<String, usize>,
    superfluous: BTreeMap<String, usize>,
    fewer: usize,
    calls: usize,
    /// How many queries each rule changed.
    fired: BTreeMap<String, usize>,
}

#[tokio::test]
async fn random_queries_give_the_twins_rows_for_the_calls_of_a_lazy_evaluator() {
    let queries = variable("FARCALL_FUZZ_QUERIES", QUERIES);
    let first = variable("FARCALL_FUZZ_SEED", SEED);
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for seed in first..first + queries {
        let generated = Grammar::new(seed).query();
        // Both numbers of partitions over time; the shapes are checked at both.
        let partitions = if seed % 2 == 0 { 1 } else { 4 };
        let outcome = run(&generated.sql, partitions, Some(&mut tally)).await;
        if let Some(failure) = judge(&generated, &outcome, &mut tally) {
            let kind = std::mem::discriminant(&outcome);
            let still = async |sql: &str| {
                let outcome = run(sql, partitions, None).await;
                std::mem::discriminant(&outcome) == kind
            };
            let small = shrink(&generated.sql, still).await;
            let why = run(&small, partitions, None).await;
            failures.push(format!(
                "seed {seed}, {partitions} partitions: {}\n  {failure}\n  smaller: {small}\n  {why:?}",
                generated.sql
            ));
            if failures.len() >= 5 {
                break;
            }
        }
    }
    println!("{queries} queries from seed {first}: {tally:#?}");
    assert!(failures.is_empty(), "from seed {first}:\n{}", failures.join("\n"));
    let refused: usize = tally.refused.values().sum();
    let planned = tally.queries - tally.unfit;
    assert!(
        refused * 100 <= planned * MAX_REFUSED_PERCENT,
        "{refused} of {planned} queries are refused: {:?}",
        tally.refused
    );
    assert!(tally.unfit * 5 <= tally.queries, "{} of {} unfit", tally.unfit, tally.queries);
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Says what is wrong with an outcome; `None` if nothing is, or nothing new.
fn judge(generated: &Generated, outcome: &Outcome, tally: &mut Tally) -> Option<String> {
    tally.queries += 1;
    match outcome {
        Outcome::Right => None,
        Outcome::Unfit(_) => {
            tally.unfit += 1;
            None
        }
        Outcome::Refused(error) => match REFUSED.iter().find(|known| error.contains(**known)) {
            Some(known) => {
                *tally.refused.entry((*known).to_owned()).or_default() += 1;
                None
            }
            None => Some(format!("{outcome:?}")),
        },
        Outcome::Calls { made, needed, too_many: false } => {
            // Some ways of planning share what a row-at-a-time evaluator does not. Not so calls of
            // volatile functions; but upstream tests conditions with these below joins, on fewer rows.
            tally.fewer += 1;
            let unexpected = fewer_volatile(made, needed) && !generated.features.contains("join");
            unexpected.then(|| format!("{outcome:?}"))
        }
        Outcome::Calls { .. } => {
            match SUPERFLUOUS.iter().find(|(feature, _)| generated.features.contains(feature)) {
                Some((_, reason)) => {
                    *tally.superfluous.entry((*reason).to_owned()).or_default() += 1;
                    None
                }
                None => Some(format!("{outcome:?}")),
            }
        }
        Outcome::Rows(_) => {
            let known = WRONG.iter().find(|(features, _)| {
                features.iter().all(|feature| generated.features.contains(feature))
            });
            match known {
                Some((_, reason)) => {
                    *tally.wrong.entry((*reason).to_owned()).or_default() += 1;
                    None
                }
                None => Some(format!("{outcome:?}")),
            }
        }
        Outcome::Failed(_) | Outcome::Disputed(_) => Some(format!("{outcome:?}")),
    }
}

/// Says whether a volatile function was called less often than each way of the oracle does.
fn fewer_volatile(made: &str, needed: &str) -> bool {
    let count = made.split(", ").find(|call| call.starts_with("fv "));
    match count {
        Some(count) => !needed.split(" or ").any(|way| way.split(", ").any(|call| call == count)),
        None => needed.contains("fv "),
    }
}

async fn run(sql: &str, partitions: usize, tally: Option<&mut Tally>) -> Outcome {
    match try_run(sql, partitions, tally).await {
        Ok(()) => Outcome::Right,
        Err(outcome) => outcome,
    }
}

async fn try_run(sql: &str, partitions: usize, tally: Option<&mut Tally>) -> Result<(), Outcome> {
    let twins = Twins::small(partitions);
    let answer = evaluate(&twins.plain, sql)
        .await
        .map_err(|error| Outcome::Unfit(format!("oracle: {error}")))?;
    let expected = expected_rows(&twins, sql).await?;
    let mut fired = BTreeSet::new();
    let result = farcall_rows(&twins, sql, &mut fired).await;
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
    twins: &Twins,
    sql: &str,
    fired: &mut BTreeSet<String>,
) -> Result<(Vec<String>, Counts), Outcome> {
    twins.calls.take();
    let refused = |error| Outcome::Refused(format!("{error}"));
    let context = twins.farcall.context();
    let state = context.state();
    let ours: BTreeSet<String> = farcall_rules();
    let mut before: Option<LogicalPlan> = None;
    let plan = state.create_logical_plan(sql).await.map_err(refused)?;
    let plan = state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .map_err(refused)?;
    let plan = state
        .optimizer()
        .optimize(plan, &state, |plan, rule| {
            if ours.contains(rule.name()) && before.as_ref().is_some_and(|before| before != plan) {
                fired.insert(rule.name().to_owned());
            }
            before = Some(plan.clone());
        })
        .map_err(refused)?;
    let plan = state.query_planner().create_physical_plan(&plan, &state).await.map_err(refused)?;
    let task = Arc::clone(&context.task_ctx());
    let batches = collect(plan, task).await.map_err(|e| Outcome::Failed(e.to_string()))?;
    Ok((lines(&batches), twins.calls.take()))
}

fn farcall_rules() -> BTreeSet<String> {
    farcall_planner::optimizer_rules().iter().map(|rule| rule.name().to_owned()).collect()
}
