//! [`Runner`], statements in, rows and messages out.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use datafusion::error::DataFusionError;
use farcall::files::Files;
use farcall::session::FarcallSession;
use farcall::sql::Statement;
use farcall::udf::CallError;
use futures::StreamExt;

use super::output::{Encoder, Format};
use super::progress::Progress;
use super::script::Script;

/// How a script or a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All of it ran.
    Done,
    /// A statement failed; the message has been written.
    Failed,
    /// Ctrl-C was pressed; the message has been written.
    Cancelled,
    /// Nobody reads the results any more, as after `| head`.
    Unread,
}

/// Runs statements and writes their results.
pub struct Runner<'a> {
    /// Where the statements run.
    pub session: &'a FarcallSession,
    /// Where file names lead.
    pub files: &'a Files,
    /// How results are written.
    pub format: Format,
    /// Whether only results and errors are written.
    pub quiet: bool,
    /// Takes the results.
    pub out: &'a mut dyn Write,
    /// Takes messages: errors, `ok`, the number of rows.
    pub messages: &'a mut dyn Write,
}

/// Why a statement did not end well.
enum Stop {
    Sql(DataFusionError),
    Write(io::Error),
}

impl From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Self {
        Stop::Sql(error)
    }
}

impl Runner<'_> {
    /// Runs a script up to its first error; `name` stands before the line in messages.
    ///
    /// Cancel: when `interrupt` is ready, the running query's stream is dropped, which ends its
    /// requests.
    pub async fn script(
        &mut self,
        name: Option<&str>,
        text: &str,
        interrupt: &mut (impl Future<Output = ()> + Unpin),
    ) -> Ended {
        for statement in Script::new(text).statements() {
            let place = match name {
                Some(name) => format!("{name}:{}: ", statement.line()),
                None => String::new(),
            };
            let sql = statement.padded();
            let ended = tokio::select! {
                biased;
                () = &mut *interrupt => {
                    self.message(&format!("{place}cancelled"));
                    return Ended::Cancelled;
                }
                ended = self.statements(&sql) => ended,
            };
            match ended {
                Ok(()) => {}
                Err(Stop::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ended::Unread;
                }
                Err(Stop::Write(error)) => {
                    self.message(&format!("error: {place}cannot write the result: {error}"));
                    return Ended::Failed;
                }
                Err(Stop::Sql(error)) => {
                    self.message(&format!("error: {place}{}", message_of(&error)));
                    return Ended::Failed;
                }
            }
        }
        Ended::Done
    }

    async fn statements(&mut self, sql: &str) -> Result<(), Stop> {
        for statement in self.session.parse(sql)? {
            self.statement(statement).await?;
        }
        Ok(())
    }

    async fn statement(&mut self, mut statement: Statement) -> Result<(), Stop> {
        let started = Instant::now();
        let mut progress = Progress::start(self.quiet);
        self.files.resolve(&mut statement);
        let frame = self.session.execute(statement).await?;
        let returns_rows = !frame.schema().fields().is_empty();
        let schema = frame.schema().inner().clone();
        let mut stream = frame.execute_stream().await?;
        let config = self.session.context().state().config_options().format.clone();
        let mut encoder = Encoder::new(self.format, schema, &config);
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            progress.add_rows(batch.num_rows());
            let bytes = encoder.batch(batch)?;
            if returns_rows && !bytes.is_empty() {
                if io::stdout().is_terminal() {
                    progress.clear();
                }
                self.write(&bytes)?;
            }
        }
        progress.clear();
        if !returns_rows {
            if !self.quiet {
                self.message("ok");
            }
            return Ok(());
        }
        self.write(&encoder.finish()?)?;
        if self.format == Format::Table && !self.quiet {
            let rows = progress.rows();
            let unit = if rows == 1 { "row" } else { "rows" };
            let seconds = started.elapsed().as_secs_f64();
            self.message(&format!("{rows} {unit} in {seconds:.2}s"));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(Stop::Write)
    }

    /// Writes a message; if that fails there is nobody left to tell.
    fn message(&mut self, text: &str) {
        let _ = writeln!(self.messages, "{text}");
    }
}

impl std::fmt::Debug for Runner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Returns an error's text for a person: no back trace, no name of a wrapper.
///
/// An error of a call reads the same whichever operators it came through.
pub fn message_of(error: &DataFusionError) -> String {
    if let Some(call) = CallError::find(error) {
        return call.to_string();
    }
    match error {
        DataFusionError::External(error) => error.to_string(),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::Configuration(text) => text.clone(),
        DataFusionError::SQL(error, _) => error.to_string(),
        DataFusionError::SchemaError(error, _) => error.to_string(),
        DataFusionError::ArrowError(error, _) => error.to_string(),
        DataFusionError::Shared(error) => message_of(error),
        DataFusionError::Diagnostic(diagnostic, error) => {
            let message = message_of(error);
            match diagnostic.span.map(|span| span.start) {
                Some(start) if !message.contains(" at Line: ") => {
                    // What follows the first line is advice.
                    let (first, advice) =
                        message.split_at(message.find('\n').unwrap_or(message.len()));
                    let first = first.trim_end_matches('.');
                    format!("{first} at Line: {}, Column: {}{advice}", start.line, start.column)
                }
                _ => message,
            }
        }
        // The name of a rule means nothing to a user.
        DataFusionError::Context(text, error) if !text.contains(' ') || text.contains("rule '") => {
            message_of(error)
        }
        DataFusionError::Context(text, error) => format!("{text}: {}", message_of(error)),
        error => error.strip_backtrace().trim_end().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use farcall::files;

    use super::*;

    #[tokio::test]
    async fn results_go_out_and_messages_go_beside() {
        let run = run("SELECT 1 AS a; CREATE VIEW v AS SELECT 1; SELECT 2 AS b", Format::Csv).await;
        assert_eq!(run, (Ended::Done, "a\n1\nb\n2\n".into(), "ok\n".into()));
    }

    #[tokio::test]
    async fn a_table_is_followed_by_the_number_of_its_rows() {
        let (_, out, messages) = run("SELECT 1 AS a", Format::Table).await;
        assert_eq!(out, "+---+\n| a |\n+---+\n| 1 |\n+---+\n");
        assert!(messages.starts_with("1 row in 0.") && messages.ends_with("s\n"), "{messages}");
    }

    #[tokio::test]
    async fn a_script_ends_at_its_first_error_and_says_the_line() {
        let sql = "SELECT 1 AS a;\n\nSELECT nothing;\nSELECT 2 AS b;";
        let (ended, out, messages) = run(sql, Format::Csv).await;
        assert_eq!((ended, out.as_str()), (Ended::Failed, "a\n1\n"));
        assert!(messages.starts_with("error: a.sql:3: ") && messages.contains("nothing"));
    }

    #[tokio::test]
    async fn broken_sql_is_reported_with_its_position_in_the_script() {
        let (ended, _, messages) = run("SELECT 1;\nSELECT 1\n  FORM x;", Format::Csv).await;
        assert_eq!(ended, Ended::Failed);
        assert!(messages.starts_with("error: a.sql:2: sql parser error: Expected"), "{messages}");
        assert!(messages.contains("Line: 3, Column: 8"), "{messages}");
    }

    #[tokio::test]
    async fn an_interrupt_ends_the_running_query() {
        let endless = "SELECT count(*) FROM generate_series(1, 1000000000000)";
        let later = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        };
        let (ended, out, messages) = run_until(endless, Format::Csv, later).await;
        assert_eq!((ended, out.as_str()), (Ended::Cancelled, ""));
        assert_eq!(messages, "a.sql:1: cancelled\n");
    }

    #[tokio::test]
    async fn a_closed_output_ends_the_script_without_a_message() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut messages = vec![];
        let ended = run_into("SELECT 1", Format::Csv, pending(), &mut Closed, &mut messages).await;
        assert_eq!((ended, messages.len()), (Ended::Unread, 0));
    }

    async fn run(sql: &str, format: Format) -> (Ended, String, String) {
        run_until(sql, format, pending()).await
    }

    async fn run_until(
        sql: &str,
        format: Format,
        interrupt: impl Future<Output = ()>,
    ) -> (Ended, String, String) {
        let (mut out, mut messages) = (vec![], vec![]);
        let ended = run_into(sql, format, interrupt, &mut out, &mut messages).await;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended, text(out), text(messages))
    }

    async fn run_into(
        sql: &str,
        format: Format,
        interrupt: impl Future<Output = ()>,
        out: &mut dyn Write,
        messages: &mut dyn Write,
    ) -> Ended {
        let files = Files::new("/");
        let session = files::session(&files).unwrap();
        let mut runner =
            Runner { session: &session, files: &files, format, quiet: false, out, messages };
        runner.script(Some("a.sql"), sql, &mut std::pin::pin!(interrupt)).await
    }
}
