//! Any setting of the optimizer, and any rule missing: the rows, or an error while planning.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::config::ConfigOptions;
use farcall::plans;

use crate::shapes::QUERIES;
use crate::support::outcome::{Outcome, expected_rows, farcall_rows};
use crate::support::rules::{plan_noting_rules, rule_names};
use crate::support::threads::{Numbers, on_threads};
use crate::support::twins::Twins;

/// A switch of one of DataFusion's own rules is tried on one of so many shapes.
const SWITCH_STEP: usize = 10;

/// What is changed in a session.
#[derive(Debug)]
enum Change {
    /// These options have other values.
    Options(Vec<(String, &'static str)>),
    /// This optimizer rule is missing.
    Without(String),
}

impl Change {
    /// Says whether it changes how often rules run, or what happens when one fails.
    fn is_about_rules(&self) -> bool {
        let Change::Options(options) = self else { return true };
        options.iter().any(|(key, _)| {
            key.ends_with("optimizer.max_passes") || key.ends_with("optimizer.skip_failed_rules")
        })
    }

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
    let shapes = shapes();
    let threads = on_threads(async |numbers: &Numbers| {
        let mut wrong = Vec::new();
        while let Some(number) = numbers.next_below(changes.len()) {
            let change = &changes[number];
            let twins = change.twins(4).await;
            // A switch of one of DataFusion's own rules is tried on some shapes, each on others.
            let step = if change.is_about_rules() { 1 } else { SWITCH_STEP };
            for (sql, expected) in shapes.iter().skip(number % step).step_by(step) {
                let outcome = run(&twins, sql, expected).await;
                wrong.extend(complaint(&outcome).map(|why| format!("{change:?}: {sql}\n  {why}")));
            }
        }
        wrong
    });
    let wrong: Vec<_> = threads.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} shapes:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn without_a_rule_a_shape_gives_its_rows_or_is_refused_and_some_shape_notices() {
    let rules = rule_names();
    let shapes = shapes();
    let threads = on_threads(async |numbers: &Numbers| {
        let all = Twins::small(1);
        let mut without = BTreeMap::new();
        for rule in &rules {
            without.insert(rule, Change::Without(rule.clone()).twins(1).await);
        }
        let (mut wrong, mut noticed) = (Vec::new(), BTreeSet::new());
        while let Some(number) = numbers.next_below(shapes.len()) {
            let (sql, expected) = &shapes[number];
            let mut fired = BTreeSet::new();
            // A shape that is refused may have been changed before.
            let _ = plan_noting_rules(&all.farcall, sql, &rules, &mut fired).await;
            let plan = plan(&all, sql).await;
            for rule in fired {
                let twins = &without[&rule];
                let outcome = run(twins, sql, expected).await;
                wrong.extend(complaint(&outcome).map(|why| format!("{rule}: {sql}\n  {why}")));
                let refused = matches!(outcome, Outcome::Refused(_));
                if refused || self::plan(twins, sql).await != plan {
                    noticed.insert(rule);
                }
            }
        }
        (wrong, noticed)
    });
    let mut wrong = Vec::new();
    let mut unnoticed = rules;
    for (part, noticed) in threads {
        wrong.extend(part);
        unnoticed.retain(|rule| !noticed.contains(rule));
    }
    assert!(wrong.is_empty(), "{} shapes:\n{}", wrong.len(), wrong.join("\n"));
    assert!(unnoticed.is_empty(), "no shape notices that these are missing: {unnoticed:?}");
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

/// A query of the shapes, and the sorted rows of the twin.
type Shape = (&'static str, Vec<String>);

/// Returns the shapes that are one query, and whose rows are no matter of choice.
fn shapes() -> Vec<Shape> {
    let arbitrary = |sql: &str| sql.contains("LIMIT") && !sql.contains("ORDER BY");
    let shapes = QUERIES.iter().flat_map(|(_, shapes)| shapes.iter().copied());
    let shapes = shapes.filter(|sql| !sql.contains(';') && !arbitrary(sql));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let twins = Twins::small(1);
        let mut expected = Vec::new();
        for sql in shapes {
            let mut rows = expected_rows(&twins, sql).await.unwrap();
            rows.sort();
            expected.push((sql, rows));
        }
        expected
    })
}

async fn run(twins: &Twins, sql: &str, expected: &[String]) -> Outcome {
    let mut rows = match farcall_rows(twins, sql).await {
        Ok((rows, _)) => rows,
        Err(outcome) => return outcome,
    };
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
