//! `farcall test`: `.sql` files with their results beside them.
//!
//! `a.sql` is compared with `a.expected`: for each statement a line with its text and its result,
//! a table, a plan, `ok`, or the error announced by a comment `-- error: part of the message`
//! before the statement. A comment `-- pin: plan, calls` before a query has its plans and the calls
//! made per function written below its result. Each file has a session of its own, one partition, and a working directory
//! of its own that is removed afterwards; file names are relative to the `.sql` file. So a result
//! depends neither on the machine, nor on its cores, nor on where the command is called.

use std::io::Write;
use std::path::{Path, PathBuf};

use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use farcall::files::{Files, session};
use farcall::session::FarcallSession;
use similar::TextDiff;

use super::expectation::{self, Places};
use super::pins::Pins;
use super::runner::message_of;
use super::script::{Script, ScriptStatement};

/// The comment that announces an error, before a part of its message.
const ERROR_COMMENT: &str = "error:";

/// How many files went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files whose results are the expected ones, or were accepted.
    pub passed: usize,
    /// Files with another result, an unannounced error, or no expectation.
    pub failed: usize,
}

/// How one file went.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The expectation was written; nothing to do if it already was so.
    Accepted,
    Failed(String),
}

/// Runs the `.sql` files at and below the paths in the order of their names, and reports to `out`.
///
/// With `accept`, what the files give now is written as what is expected.
///
/// # Errors
/// A path that does not exist or that leads to no `.sql` file; a report that cannot be written.
pub async fn run(paths: &[PathBuf], accept: bool, out: &mut dyn Write) -> Result<Summary> {
    let mut files = vec![];
    for path in paths {
        let before = files.len();
        collect(path, &mut files)
            .map_err(|error| exec_datafusion_err!("cannot read {}: {error}", path.display()))?;
        if files.len() == before {
            return Err(exec_datafusion_err!("no .sql file in {}", path.display()));
        }
    }
    files.sort();
    files.dedup();
    let mut summary = Summary::default();
    for file in &files {
        let name = file.display();
        match test(file, accept).await {
            Outcome::Passed => writeln!(out, "ok       {name}")?,
            Outcome::Accepted => writeln!(out, "accepted {name}")?,
            Outcome::Failed(why) => {
                writeln!(out, "FAILED   {name}\n{}", why.trim_end())?;
                summary.failed += 1;
                continue;
            }
        }
        summary.passed += 1;
    }
    writeln!(out, "{} passed, {} failed", summary.passed, summary.failed)?;
    Ok(summary)
}

/// Finds `.sql` files; folders that begin with a dot are not searched.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_sql = path.extension().is_some_and(|extension| extension == "sql");
        if !hidden && (path.is_dir() || is_sql) {
            collect(&path, files)?;
        }
    }
    Ok(())
}

async fn test(file: &Path, accept: bool) -> Outcome {
    match compare(file, accept).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(message_of(&error)),
    }
}

async fn compare(file: &Path, accept: bool) -> Result<Outcome> {
    let text = std::fs::read_to_string(file)?;
    let actual = results(file, &text).await?;
    let beside = file.with_extension("expected");
    let expected = match std::fs::read_to_string(&beside) {
        Ok(expected) => Some(expected),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if expected.as_deref() == Some(&actual) {
        return Ok(Outcome::Passed);
    }
    if accept {
        std::fs::write(&beside, actual)?;
        return Ok(Outcome::Accepted);
    }
    let Some(expected) = expected else {
        return Ok(Outcome::Failed(format!(
            "there is no {}: read what the file gives, then write it with --accept",
            beside.display()
        )));
    };
    let diff = TextDiff::from_lines(&expected, &actual);
    let (old, new) = (beside.display().to_string(), format!("{} now", file.display()));
    Ok(Outcome::Failed(diff.unified_diff().context_radius(3).header(&old, &new).to_string()))
}

/// Runs a file's statements and writes down what they give.
async fn results(file: &Path, text: &str) -> Result<String> {
    let file_dir = std::fs::canonicalize(file)?;
    let file_dir = file_dir.parent().unwrap_or(Path::new("/")).to_path_buf();
    let working_dir = WorkingDir::new()?;
    let files = Files::new(&working_dir.0);
    files.set_script_dir(Some(file_dir.clone()));
    let session = session(&files)?;
    // One partition: rows come in one order, and a plan does not name the machine's cores.
    let state = session.context().state_ref();
    state.write().config_mut().options_mut().execution.target_partitions = 1;
    let places = Places::new(&[&working_dir.0, &file_dir]);
    let mut written = vec![];
    for statement in Script::new(text).statements() {
        let at = format!("{}:{}", file.display(), statement.line());
        let announced = statement.comments().find_map(|c| c.strip_prefix(ERROR_COMMENT));
        let result = run_statement(&session, &files, &places, &statement).await;
        let result = match (result, announced.map(str::trim)) {
            (Ok(result), None) => result,
            (Err(error), Some(part)) if message_of(&error).contains(part) => {
                format!("error: {part}\n")
            }
            (Ok(_), Some(part)) => {
                return Err(exec_datafusion_err!("{at}: no error, expected one with: {part}"));
            }
            (Err(error), Some(part)) => {
                let message = message_of(&error);
                return Err(exec_datafusion_err!("{at}: expected: {part}\nbut got: {message}"));
            }
            (Err(error), None) => return Err(exec_datafusion_err!("{at}: {}", message_of(&error))),
        };
        written.push(format!("{}{result}", expectation::head(statement.text())));
    }
    Ok(written.join("\n"))
}

async fn run_statement(
    session: &FarcallSession,
    files: &Files,
    places: &Places,
    statement: &ScriptStatement<'_>,
) -> Result<String> {
    let pins = Pins::of(statement.comments())?;
    let mut written = String::new();
    for mut statement in session.parse(&statement.padded())? {
        files.resolve(&mut statement);
        let frame = session.execute(statement).await?;
        let schema = frame.schema().inner().clone();
        let (batches, pinned) = if pins.is_empty() {
            (frame.collect().await?, String::new())
        } else {
            let run = pins.options().run_frame(frame).await?;
            let pinned = places.hide(&pins.text(&run));
            (run.into_batches(), pinned)
        };
        let config = session.context().state().config_options().format.clone();
        written.push_str(&expectation::result(schema, batches, &config, places)?);
        written.push_str(&pinned);
    }
    Ok(written)
}

/// An empty folder that goes away with its file's test.
struct WorkingDir(PathBuf);

impl WorkingDir {
    fn new() -> Result<Self, DataFusionError> {
        let dir = std::env::temp_dir().join(format!("farcall-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir)?;
        Ok(WorkingDir(std::fs::canonicalize(dir)?))
    }
}

impl Drop for WorkingDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a working directory of a test was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_file_passes_afterwards() {
        let dir = folder(&[("a.sql", "SELECT 1 AS a; CREATE VIEW v AS SELECT 1;")]);
        assert_eq!(run_in(&dir, true).await.0, Summary { passed: 1, failed: 0 });
        assert_eq!(run_in(&dir, false).await.0, Summary { passed: 1, failed: 0 });
        let expected = "> SELECT 1 AS a\n+---+\n| a |\n+---+\n| 1 |\n+---+\n\n\
                        > CREATE VIEW v AS SELECT 1\nok\n";
        assert_eq!(read(&dir, "a.expected"), expected);
    }

    #[tokio::test]
    async fn a_missing_expectation_fails_and_is_not_written() {
        let dir = folder(&[("a.sql", "SELECT 1")]);
        let (summary, report) = run_in(&dir, false).await;
        assert_eq!(summary, Summary { passed: 0, failed: 1 });
        assert!(report.contains("a.expected") && report.contains("--accept"), "{report}");
        assert!(!dir.path().join("a.expected").exists());
    }

    #[tokio::test]
    async fn another_result_fails_with_a_unified_diff() {
        let dir = folder(&[("a.sql", "SELECT 1 AS a")]);
        run_in(&dir, true).await;
        std::fs::write(dir.path().join("a.sql"), "SELECT 2 AS a").unwrap();
        let (summary, report) = run_in(&dir, false).await;
        assert_eq!(summary.failed, 1);
        for line in ["-| 1 |", "+| 2 |", " +---+", "0 passed, 1 failed"] {
            assert!(report.lines().any(|l| l == line), "{line} in {report}");
        }
    }

    #[tokio::test]
    async fn an_unannounced_error_fails_with_its_line_even_when_accepting() {
        let dir = folder(&[("a.sql", "SELECT 1;\nSELECT nothing;")]);
        let (summary, report) = run_in(&dir, true).await;
        assert_eq!(summary.failed, 1);
        assert!(report.contains("a.sql:2: ") && report.contains("nothing"), "{report}");
        assert!(!dir.path().join("a.expected").exists());
    }

    #[tokio::test]
    async fn an_announced_error_is_part_of_the_result() {
        let dir = folder(&[("a.sql", "-- error: No field named nothing\nSELECT nothing;")]);
        assert_eq!(run_in(&dir, true).await.0.failed, 0);
        let expected = "> SELECT nothing\nerror: No field named nothing\n";
        assert_eq!(read(&dir, "a.expected"), expected);
    }

    #[tokio::test]
    async fn pinned_plans_and_calls_stand_below_the_result() {
        let model = "CREATE MODEL m INPUT (text VARCHAR) OUTPUT (label VARCHAR, score DOUBLE) \
                     WITH ('provider' = 'local', 'model' = 'sentiment');\n";
        let query = "SELECT PREDICT(m, column1)['label'] AS label FROM (VALUES ('good'), ('bad'), ('good'));";
        let sql = format!("{model}-- pin: logical_plan, calls\n{query}");
        let dir = folder(&[("a.sql", &sql)]);
        let (summary, report) = run_in(&dir, true).await;
        assert_eq!(summary, Summary { passed: 1, failed: 0 }, "{report}");
        let expected = read(&dir, "a.expected");
        let (_, pinned) = expected.split_once("logical_plan:\n").unwrap();
        assert!(pinned.contains("AsyncCalc: PREDICT(m, "), "{pinned}");
        assert!(
            pinned.ends_with("\ncalls: m 2\n") && !pinned.contains("physical_plan"),
            "{pinned}"
        );
        // Another call is another result.
        std::fs::write(dir.path().join("a.sql"), sql.replace("('bad')", "('bad'), ('so so')"))
            .unwrap();
        let (summary, report) = run_in(&dir, false).await;
        assert_eq!(summary.failed, 1);
        assert!(report.lines().any(|line| line == "+calls: m 3"), "{report}");
    }

    #[tokio::test]
    async fn only_queries_are_pinned_and_only_by_known_names() {
        for (sql, message) in [
            (
                "-- pin: calls\nCREATE VIEW v AS SELECT 1",
                "a.sql:2: a plan snapshot is made of a query",
            ),
            ("-- pin: calls\nEXPLAIN SELECT 1", "of the query itself, without EXPLAIN"),
            ("-- pin: rows\nSELECT 1", "a.sql:2: 'rows' cannot be pinned"),
        ] {
            let dir = folder(&[("a.sql", sql)]);
            let (summary, report) = run_in(&dir, true).await;
            assert_eq!(summary.failed, 1, "{report}");
            assert!(report.contains(message), "{report}");
        }
    }

    #[tokio::test]
    async fn an_announced_error_that_does_not_come_fails() {
        for sql in ["-- error: no way\nSELECT 1;", "-- error: no way\nSELECT nothing;"] {
            let dir = folder(&[("a.sql", sql)]);
            let (summary, report) = run_in(&dir, true).await;
            assert_eq!(summary.failed, 1, "{report}");
            assert!(report.contains("no way"), "{report}");
        }
    }

    #[tokio::test]
    async fn a_plan_names_files_relative_to_the_script() {
        let sql = "EXPLAIN SELECT x FROM 'my data/a.csv' WHERE x > 1";
        let dir = folder(&[("a.sql", sql), ("my data/a.csv", "x\n1\n2\n")]);
        run_in(&dir, true).await;
        let plan = read(&dir, "a.expected");
        assert!(
            plan.contains("\nphysical_plan:\n  ") && plan.contains("[[my data/a.csv]]"),
            "{plan}"
        );
        assert!(!plan.contains("tmp") && !plan.contains("+--"), "{plan}");
    }

    #[tokio::test]
    async fn files_written_by_a_script_can_be_read_and_are_gone_afterwards() {
        let sql = "COPY (SELECT 1 AS a) TO 'b.csv'; SELECT a FROM 'b.csv'";
        let dir = folder(&[("a.sql", sql)]);
        assert_eq!(run_in(&dir, true).await.0.failed, 0);
        assert!(read(&dir, "a.expected").contains("| a |"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn folders_are_searched_in_the_order_of_names() {
        let dir = folder(&[("b.sql", "SELECT 1"), ("a/z.sql", "SELECT 1"), ("a/note.txt", "")]);
        let (summary, report) = run_in(&dir, true).await;
        assert_eq!(summary.passed, 2);
        assert!(report.find("a/z.sql").unwrap() < report.find("b.sql").unwrap(), "{report}");
    }

    #[tokio::test]
    async fn sessions_are_not_shared_between_files() {
        let dir = folder(&[
            ("a.sql", "CREATE VIEW v AS SELECT 1"),
            ("b.sql", "-- error: v' not found\nSELECT * FROM v"),
        ]);
        let (summary, report) = run_in(&dir, true).await;
        assert_eq!(summary, Summary { passed: 2, failed: 0 }, "{report}");
    }

    #[tokio::test]
    async fn a_path_without_tests_is_an_error() {
        let dir = folder(&[]);
        let error = run(&[dir.path().join("none")], false, &mut vec![]).await.unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
        let error = run(&[dir.path().to_path_buf()], false, &mut vec![]).await.unwrap_err();
        assert!(error.to_string().contains("no .sql file"), "{error}");
    }

    async fn run_in(dir: &tempfile::TempDir, accept: bool) -> (Summary, String) {
        let mut report = vec![];
        let summary = run(&[dir.path().to_path_buf()], accept, &mut report).await.unwrap();
        (summary, String::from_utf8(report).unwrap())
    }

    fn read(dir: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(dir.path().join(name)).unwrap()
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }
}
