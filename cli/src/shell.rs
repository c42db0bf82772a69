//! The interactive shell.

use std::io;

use datafusion::error::DataFusionError;
use farcall::files::{Files, session};
use farcall::session::FarcallSession;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use tokio::runtime::Runtime;

use super::args::Args;
use super::runner::{Ended, Runner};
use super::script::Script;
use super::{close_functions, history, interrupted, serve_metrics};

const PROMPT: &str = "farcall> ";

const HELP: &str = "\
SQL statements end with a semicolon and may have several lines.
  \\?          this help
  \\q          ends the shell, as do quit, exit and Ctrl-D
  Ctrl-C      drops the line, or cancels the running query
  SHOW TABLES;  SHOW MODELS;  SELECT * FROM 'file.parquet' LIMIT 5;";

/// Runs the shell until its user ends it; errors are printed and do not end it.
pub fn run(args: &Args, runtime: &Runtime) -> Result<Ended, DataFusionError> {
    let files = Files::here()?;
    let session = session(&files)?;
    let _endpoint = runtime.block_on(serve_metrics(&session, args.metrics.as_deref()))?;
    let ended = read_and_run(args, runtime, &files, &session);
    runtime.block_on(close_functions(&session));
    ended
}

fn read_and_run(
    args: &Args,
    runtime: &Runtime,
    files: &Files,
    session: &FarcallSession,
) -> Result<Ended, DataFusionError> {
    let mut editor = editor().map_err(to_io)?;
    if !args.quiet {
        println!("farcall {}, \\? for help", env!("CARGO_PKG_VERSION"));
    }
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(Ended::Done),
            Err(error) => return Err(to_io(error).into()),
        };
        remember(&mut editor, &line);
        match ShellCommand::of(&line) {
            Some(ShellCommand::Quit) => return Ok(Ended::Done),
            Some(ShellCommand::Help) => println!("{HELP}"),
            Some(ShellCommand::Unknown) => {
                eprintln!("error: unknown command {}, \\? lists the commands", line.trim());
            }
            None => {
                let mut runner = Runner {
                    session,
                    files,
                    format: args.format,
                    quiet: args.quiet,
                    out: &mut io::stdout().lock(),
                    messages: &mut io::stderr(),
                };
                let mut interrupt = Box::pin(interrupted());
                runtime.block_on(runner.script(None, &line, &mut interrupt));
            }
        }
    }
}

/// A line that is not SQL.
#[derive(Debug, PartialEq, Eq)]
enum ShellCommand {
    Quit,
    Help,
    Unknown,
}

impl ShellCommand {
    fn of(line: &str) -> Option<Self> {
        let word = line.trim().trim_end_matches(';').trim_end();
        match word.to_lowercase().as_str() {
            "\\q" | "quit" | "exit" => Some(ShellCommand::Quit),
            "\\?" | "\\h" | "help" => Some(ShellCommand::Help),
            word if word.starts_with('\\') => Some(ShellCommand::Unknown),
            _ => None,
        }
    }
}

fn editor() -> rustyline::Result<Editor<EndOfStatement, FileHistory>> {
    let config = Config::builder().history_ignore_dups(true)?.history_ignore_space(true).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(EndOfStatement));
    if let Some(path) = history::path() {
        // A first start has no history yet; an unreadable one must not keep the shell shut.
        if let Err(error) = editor.load_history(&path) {
            tracing::debug!(%error, "no history was loaded");
        }
    }
    Ok(editor)
}

/// Keeps the line for this session and, if it holds no secret, for the next ones.
fn remember(editor: &mut Editor<EndOfStatement, FileHistory>, line: &str) {
    if line.trim().is_empty() || !history::may_be_kept(line) {
        return;
    }
    let kept = editor.add_history_entry(line).and_then(|_| {
        let Some(path) = history::path() else { return Ok(()) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        editor.append_history(&path)
    });
    if let Err(error) = kept {
        tracing::warn!(%error, "the history was not written");
    }
}

fn to_io(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Lets Enter end a line only where a statement ends.
struct EndOfStatement;

fn is_complete(text: &str) -> bool {
    ShellCommand::of(text).is_some() || !Script::new(text).is_unfinished()
}

impl Validator for EndOfStatement {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match is_complete(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Completer for EndOfStatement {
    type Candidate = String;
}

impl Hinter for EndOfStatement {
    type Hint = String;
}

impl Highlighter for EndOfStatement {}

impl Helper for EndOfStatement {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_ends_a_statement_only_after_its_semicolon() {
        for text in ["SELECT 1;", "SELECT 1; SELECT 2;", "SELECT\n1; -- done", "", "  "] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT 2", "quit now"] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn commands_need_no_semicolon() {
        for (line, command) in [
            ("\\q", ShellCommand::Quit),
            (" EXIT ;", ShellCommand::Quit),
            ("quit", ShellCommand::Quit),
            ("\\?", ShellCommand::Help),
            ("\\x", ShellCommand::Unknown),
        ] {
            assert!(is_complete(line), "{line}");
            assert_eq!(ShellCommand::of(line), Some(command));
        }
        assert_eq!(ShellCommand::of("SELECT 1"), None);
    }
}
