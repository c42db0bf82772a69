//! What becomes of a query in farcall, held against the twin's rows and the lazy oracle.

use std::sync::Arc;

use datafusion::physical_plan::collect;

use crate::support::lazy::{Answer, Counts};
use crate::support::twins::{Twins, lines};

/// What became of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Right,
    /// The twin plans, farcall does not.
    Refused(String),
    /// It failed while running.
    Failed(String),
    /// Other rows than the twin's.
    Rows(String),
    /// Other calls than needed.
    Calls {
        made: String,
        needed: String,
        too_many: bool,
    },
    /// The rows of the twin are not the oracle's: one of the two is wrong.
    Disputed(String),
    /// The query is no query: the twin fails, or the oracle does not know something in it.
    Unfit(String),
}

/// Runs a query on the plain session.
pub async fn expected_rows(twins: &Twins, sql: &str) -> Result<Vec<String>, Outcome> {
    let unfit = |error| Outcome::Unfit(format!("twin: {error}"));
    let frame = twins.plain.sql(sql).await.map_err(unfit)?;
    Ok(lines(&frame.collect().await.map_err(unfit)?))
}

/// Runs a query on the farcall session; returns its rows and the calls made.
pub async fn farcall_rows(twins: &Twins, sql: &str) -> Result<(Vec<String>, Counts), Outcome> {
    twins.calls.take();
    let refused = |error| Outcome::Refused(format!("{error}"));
    let frame = twins.farcall.sql(sql).await.map_err(refused)?;
    let task = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await.map_err(refused)?;
    let batches = collect(plan, task).await.map_err(|e| Outcome::Failed(e.to_string()))?;
    Ok((lines(&batches), twins.calls.take()))
}

/// Compares rows, in order where the query says so.
pub fn compare_rows(answer: &Answer, expected: &[String], got: &[String]) -> Result<(), Outcome> {
    let sorted = |rows: &[String]| {
        let mut rows = rows.to_vec();
        if !answer.ordered {
            rows.sort();
        }
        rows
    };
    let (ours, expected, got) = (sorted(&answer.rows), sorted(expected), sorted(got));
    if answer.arbitrary {
        return match expected.len() == got.len() {
            true => Ok(()),
            false => {
                let text = format!("{} rows instead of {}", got.len(), expected.len());
                Err(Outcome::Rows(text))
            }
        };
    }
    if expected != got && ours == got {
        // Upstream's nested loop join, for one, is wrong about IN lists with items that are no constants.
        return Err(Outcome::Unfit(format!("twin: outvoted, {}", differences(&got, &expected))));
    }
    if expected != got {
        return Err(Outcome::Rows(differences(&expected, &got)));
    }
    if ours != expected {
        return Err(Outcome::Disputed(differences(&expected, &ours)));
    }
    Ok(())
}

/// Compares calls.
pub fn compare_calls(answer: &Answer, made: &Counts) -> Result<(), Outcome> {
    if answer.allows(made) {
        return Ok(());
    }
    let needed: Vec<String> = answer.calls.iter().map(counts_text).collect();
    Err(Outcome::Calls {
        made: counts_text(made),
        needed: needed.join(" or "),
        too_many: answer.exceeded(made),
    })
}

/// Writes calls as `f 60, g 20`.
pub fn counts_text(counts: &Counts) -> String {
    let calls: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if calls.is_empty() { "none".to_owned() } else { calls.join(", ") }
}

fn differences(expected: &[String], got: &[String]) -> String {
    let missing: Vec<_> = expected.iter().filter(|row| !got.contains(row)).take(5).collect();
    let extra: Vec<_> = got.iter().filter(|row| !expected.contains(row)).take(5).collect();
    format!(
        "{} rows instead of {}, missing {missing:?}, too much {extra:?}",
        got.len(),
        expected.len()
    )
}
