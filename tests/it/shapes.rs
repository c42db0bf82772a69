//! Query shapes of every context: the twin's rows, and the calls of the lazy oracle.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::support::lazy::{Answer, Counts, evaluate};
use crate::support::outcome::{Outcome, compare_calls, compare_rows, expected_rows, farcall_rows};
use crate::support::twins::Twins;

mod known;
mod queries;

use known::KNOWN;
pub use queries::QUERIES;

/// What is known to be wrong with a shape.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    /// Planning fails, with this text in its message.
    Refused(&'static str),
    /// These calls are made at one partition, others than needed, for this reason.
    Calls(&'static str, &'static str),
}

#[tokio::test]
async fn the_shapes_give_the_twins_rows_for_the_calls_of_a_lazy_evaluator() {
    let mut known: BTreeMap<&str, Known> = KNOWN.iter().copied().collect();
    let mut wrong = String::new();
    let mut count = 0;
    for (context, shapes) in QUERIES {
        for sql in *shapes {
            count += 1;
            let expected = known.remove(sql);
            for partitions in [1, 4] {
                let outcome = run(sql, partitions).await;
                if let Err(complaint) = judge(&outcome, expected, partitions) {
                    writeln!(wrong, "{context}, {partitions} partitions: {sql}\n    {complaint}")
                        .unwrap();
                }
            }
        }
    }
    assert!(known.is_empty(), "entries of the list that are no shapes: {known:?}");
    assert!(count >= 150, "{count} shapes");
    assert!(wrong.is_empty(), "{} of {count}\n{wrong}", wrong.lines().count() / 2);
}

/// Compares what became of a shape with what is known of it.
fn judge(outcome: &Outcome, known: Option<Known>, partitions: usize) -> Result<(), String> {
    match (outcome, known) {
        (Outcome::Right, None) => Ok(()),
        (Outcome::Refused(error), Some(Known::Refused(text))) if error.contains(text) => Ok(()),
        // How much more it is depends on timing where partitions race.
        (Outcome::Calls { made, .. }, Some(Known::Calls(today, _)))
            if partitions > 1 || made == today =>
        {
            Ok(())
        }
        (outcome, Some(Known::Calls(_, why))) => {
            Err(format!("{outcome:?}, but on the list because {why}"))
        }
        (outcome, Some(Known::Refused(text))) => {
            Err(format!("{outcome:?}, but on the list as refused: {text}"))
        }
        (outcome, None) => Err(format!("{outcome:?}")),
    }
}

/// Runs the statements of a shape on both sessions and on the oracle.
async fn run(script: &str, partitions: usize) -> Outcome {
    match try_run(script, partitions).await {
        Ok(()) => Outcome::Right,
        Err(outcome) => outcome,
    }
}

async fn try_run(script: &str, partitions: usize) -> Result<(), Outcome> {
    let twins = Twins::small(partitions);
    let statements: Vec<&str> = script.split(';').map(str::trim).collect();
    let mut made = Counts::new();
    let mut needed: Option<Answer> = None;
    for (number, sql) in statements.iter().enumerate() {
        let answer = match evaluate(&twins.plain, sql).await {
            Ok(answer) => Some(answer),
            // Definitions of tables and views hold no query that runs.
            Err(_) if number + 1 < statements.len() => None,
            Err(error) => return Err(Outcome::Unfit(format!("oracle: {error}"))),
        };
        let expected = expected_rows(&twins, sql).await?;
        let (rows, calls) = farcall_rows(&twins, sql).await?;
        for (name, count) in calls {
            *made.entry(name).or_default() += count;
        }
        let Some(answer) = answer else { continue };
        if number + 1 == statements.len() {
            compare_rows(&answer, &expected, &rows)?;
        }
        needed = Some(match needed {
            Some(before) => before.then(answer),
            None => answer,
        });
    }
    needed.map_or(Ok(()), |needed| compare_calls(&needed, &made))
}
