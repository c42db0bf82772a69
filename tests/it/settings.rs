//! Any setting of the optimizer, and any rule missing: the rows, or an error while planning.

use std::collections::BTreeSet;

use datafusion::config::ConfigOptions;
use farcall::plans;

use crate::shapes::{KNOWN, Known, QUERIES};
use crate::support::outcome::{Outcome, expected_rows, farcall_rows};
use crate::support::threads::{Numbers, on_threads};
use crate::support::twins::Twins;

/// What is changed in a session.
#[derive(Debug)]
enum Change {
    /// These options have other values.
    Options(Vec<(String, &'static str)>),
    /// This optimizer rule is missing.
    Without(String),
}

impl Change {
    async fn twins(&self, partitions: usize) -> Twins {
        let twins = Twins::small(partitions);
        match self {
            Change::Options(options) => {
                for (key, value) in options {
                    twins.farcall.sql(&format!("SET {key} = {value}")).await.unwrap();
                }
            }
            Change::Without(rule) => {
                assert!(twins.farcall.context().remove_optimizer_rule(rule), "no rule {rule}");
            }
        }
        twins
    }
}

#[test]
fn any_setting_of_the_optimizer_gives_the_rows_or_a_planning_error() {
    let changes = changed_options();
    assert!(changes.len() > 20, "only {} settings were found", changes.len());
    let shapes = shapes(4);
    let threads = on_threads(async |numbers: &Numbers| {
        let mut wrong = Vec::new();
        while let Some(number) = numbers.next_below(changes.len()) {
            let change = &changes[number];
            for (shape, outcome) in outcomes(change, 4, &shapes).await {
                wrong
                    .extend(complaint(&outcome).map(|why| format!("{change:?}: {shape}\n  {why}")));
            }
        }
        wrong
    });
    let wrong: Vec<_> = threads.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} shapes:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn without_a_rule_a_shape_gives_its_rows_or_is_refused_and_some_shape_notices() {
    let rules: Vec<_> = farcall::planner::optimizer_rules();
    let shapes = shapes(1);
    let threads = on_threads(async |numbers: &Numbers| {
        let mut wrong = Vec::new();
        while let Some(number) = numbers.next_below(rules.len()) {
            let rule = rules[number].name();
            let change = Change::Without(rule.to_owned());
            let (with, without) = (Twins::small(1), change.twins(1).await);
            let mut noticed = false;
            for (shape, outcome) in outcomes(&change, 1, &shapes).await {
                wrong.extend(complaint(&outcome).map(|why| format!("{rule}: {shape}\n  {why}")));
                noticed |= match outcome {
                    Outcome::Refused(_) => true,
                    _ if noticed || shape.contains(';') => noticed,
                    _ => plan(&with, shape).await != plan(&without, shape).await,
                };
            }
            if !noticed {
                wrong.push(format!("{rule} changes no shape"));
            }
        }
        wrong
    });
    let wrong: Vec<_> = threads.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} shapes:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns each switch of the optimizer turned over, and its numbers at their least.
fn changed_options() -> Vec<Change> {
    let mut changes = Vec::new();
    for option in ConfigOptions::default().entries() {
        let switched = match option.value.as_deref() {
            Some("true") => "false",
            Some("false") => "true",
            _ => continue,
        };
        if option.key.starts_with("datafusion.optimizer.") {
            changes.push(Change::Options(vec![(option.key, switched)]));
        }
    }
    let passes = || ("datafusion.optimizer.max_passes".to_owned(), "0");
    let skipped = || ("datafusion.optimizer.skip_failed_rules".to_owned(), "true");
    changes.push(Change::Options(vec![passes()]));
    changes.push(Change::Options(vec![passes(), skipped()]));
    changes.push(Change::Options(vec![(passes().0, "1")]));
    let threshold = "datafusion.optimizer.hash_join_single_partition_threshold";
    changes.push(Change::Options(vec![
        (threshold.to_owned(), "0"),
        (format!("{threshold}_rows"), "0"),
    ]));
    changes
}

/// A shape, and the sorted rows of the twin.
type Shape = (&'static str, Vec<String>);

/// Returns the shapes whose rows are right with the defaults.
fn shapes(partitions: usize) -> Vec<Shape> {
    let known = KNOWN.iter().filter(|(_, known)| matches!(known, Known::Rows(_)));
    let known: BTreeSet<_> = known.map(|(sql, _)| *sql).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scripts = QUERIES.iter().flat_map(|(_, shapes)| shapes.iter());
    let scripts = scripts.filter(|script| !known.contains(*script));
    scripts.map(|script| (*script, runtime.block_on(expected(script, partitions)))).collect()
}

async fn expected(script: &str, partitions: usize) -> Vec<String> {
    let twins = Twins::small(partitions);
    let mut rows = Vec::new();
    for sql in script.split(';') {
        rows = expected_rows(&twins, sql).await.unwrap();
    }
    rows.sort();
    rows
}

/// Runs the shapes in changed sessions; only scripts that define something need one of their own.
async fn outcomes<'a>(
    change: &Change,
    partitions: usize,
    shapes: &'a [Shape],
) -> Vec<(&'a str, Outcome)> {
    let shared = change.twins(partitions).await;
    let mut outcomes = Vec::new();
    for (script, expected) in shapes {
        let outcome = match script.contains(';') {
            true => run(&change.twins(partitions).await, script, expected).await,
            false => run(&shared, script, expected).await,
        };
        outcomes.push((*script, outcome));
    }
    outcomes
}

async fn run(twins: &Twins, script: &str, expected: &[String]) -> Outcome {
    let mut rows = Vec::new();
    for sql in script.split(';') {
        rows = match farcall_rows(twins, sql).await {
            Ok((rows, _)) => rows,
            Err(outcome) => return outcome,
        };
    }
    rows.sort();
    match rows == expected {
        true => Outcome::Right,
        false => Outcome::Rows(format!("{rows:?} instead of {expected:?}")),
    }
}

/// Says what must not happen, whatever the settings are.
fn complaint(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Right => None,
        Outcome::Refused(error) if !error.contains("Internal error") => None,
        outcome => Some(format!("{outcome:?}")),
    }
}

async fn plan(twins: &Twins, sql: &str) -> String {
    plans::snapshot(&twins.farcall, sql)
        .await
        .map_or_else(|error| error.to_string(), |s| s.to_string())
}
