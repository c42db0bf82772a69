//! The command line: scripts, the shell, the test runner, the server of local models.
//!
//! ```
//! use std::process::ExitCode;
//!
//! let code = farcall_cli::run(["farcall", "-c", "SELECT 6 * 7 AS answer"]);
//! assert_eq!(code, ExitCode::SUCCESS);
//! ```

mod args;
mod expectation;
mod history;
mod logging;
pub(crate) mod metrics_server;
mod output;
mod pins;
mod progress;
mod runner;
mod script;
mod serve;
mod shell;
pub mod test_runner;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use farcall::session::FarcallSession;
use tokio::runtime::Runtime;

use crate::metrics_server::MetricsServer;

pub use args::{Args, Command, Source};
pub use farcall::files::{Files, session};
pub use output::{Encoder, Format};
pub use runner::{Ended, Runner, message_of};
pub use script::{Script, ScriptStatement};

/// The exit code of a run that Ctrl-C ended: 128 and the signal's number.
const EXIT_CANCELLED: u8 = 130;

/// How long the end of the program waits for functions to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Runs a command line, the program's name first, and returns its exit code: 0, 1 after an error, 2
/// for wrong usage, 130 after Ctrl-C.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let args = match Args::parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    logging::start(args.verbose);
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(DataFusionError::from)
        .and_then(|runtime| {
            let ended = run_command(args, &runtime);
            // A query that was given up may still sit in a blocking read: do not wait for it.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(Ended::Done | Ended::Unread) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::FAILURE,
        Ok(Ended::Cancelled) => ExitCode::from(EXIT_CANCELLED),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}", message_of(&error));
            ExitCode::FAILURE
        }
    }
}

fn run_command(args: Args, runtime: &Runtime) -> Result<Ended, DataFusionError> {
    match args.command {
        Some(Command::ServeModels { host, port }) => runtime.block_on(serve::serve(&host, port)),
        Some(Command::Test { paths, accept }) => {
            let summary =
                runtime.block_on(test_runner::run(&paths, accept, &mut io::stdout().lock()))?;
            Ok(if summary.failed == 0 { Ended::Done } else { Ended::Failed })
        }
        None if args.sources.is_empty() && io::stdin().is_terminal() => shell::run(&args, runtime),
        None => runtime.block_on(run_sources(args)),
    }
}

/// Runs the sources one after another in one session, up to the first error.
async fn run_sources(mut args: Args) -> Result<Ended, DataFusionError> {
    if args.sources.is_empty() {
        args.sources.push(Source::Stdin);
    }
    let files = Files::here()?;
    let session = session(&files)?;
    let _endpoint = serve_metrics(&session, args.metrics.as_deref()).await?;
    let ended = run_in(&session, &files, args).await;
    close_functions(&session).await;
    ended
}

async fn run_in(
    session: &FarcallSession,
    files: &Files,
    args: Args,
) -> Result<Ended, DataFusionError> {
    // One future for all statements: a Ctrl-C between two of them is not lost.
    let mut interrupt = Box::pin(interrupted());
    for source in args.sources {
        let (name, text) = match source {
            Source::Sql(sql) => (None, sql),
            Source::File(path) => (Some(path.display().to_string()), read_script(files, path)?),
            Source::Stdin => {
                let mut text = String::new();
                io::stdin().lock().read_to_string(&mut text)?;
                (Some("<stdin>".to_string()), text)
            }
        };
        let mut runner = Runner {
            session,
            files,
            format: args.format,
            quiet: args.quiet,
            out: &mut io::stdout().lock(),
            messages: &mut io::stderr(),
        };
        let ended = runner.script(name.as_deref(), &text, &mut interrupt).await;
        files.set_script_dir(None);
        if ended != Ended::Done {
            return Ok(ended);
        }
    }
    Ok(Ended::Done)
}

/// Starts the endpoint of metrics that the user asked for, and says where it is.
async fn serve_metrics(
    session: &FarcallSession,
    addr: Option<&str>,
) -> Result<Option<MetricsServer>, DataFusionError> {
    let Some(addr) = addr else { return Ok(None) };
    let server = metrics_server::serve(addr, Arc::clone(session.runtime())).await?;
    writeln!(io::stderr(), "metrics at http://{}/metrics", server.addr())?;
    Ok(Some(server))
}

/// Lets functions close before the program ends; each of them has a deadline of its own.
async fn close_functions(session: &FarcallSession) {
    let _ = tokio::time::timeout(CLOSE_LIMIT, session.runtime().idle()).await;
}

fn read_script(files: &Files, path: PathBuf) -> Result<String, DataFusionError> {
    let text = std::fs::read_to_string(&path).map_err(|error| {
        DataFusionError::Execution(format!("cannot read {}: {error}", path.display()))
    })?;
    files.set_script_dir(path.parent().map(PathBuf::from));
    Ok(text)
}

/// Waits for Ctrl-C; for ever where the system cannot tell.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
