//! [`Args`], the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::output::Format;

/// Runs SQL queries that call remote models.
///
/// Without FILE, -c and -f it reads SQL from the terminal (a shell) or from standard input.
#[derive(Debug, Parser)]
#[command(name = "farcall", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// A task other than running SQL.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Runs a file of SQL statements.
    #[arg(value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Runs SQL statements; may be repeated, also mixed with -f, and all run in their order.
    #[arg(short = 'c', long = "command", value_name = "SQL", action = ArgAction::Append)]
    pub sql: Vec<String>,

    /// Runs a file of SQL statements, `-` being standard input; may be repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE", action = ArgAction::Append)]
    pub files: Vec<PathBuf>,

    /// How results are written, one after another if there are several.
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    pub format: Format,

    /// Prints results and errors only.
    #[arg(short, long)]
    pub quiet: bool,

    /// Serves what is counted of calls to Prometheus, at http://ADDR/metrics; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<String>,

    /// Logs to standard error; -vv logs more. The variable RUST_LOG wins.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// The sources in the order in which they were given.
    #[arg(skip)]
    pub sources: Vec<Source>,
}

/// A task other than running SQL.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves the local models over HTTP.
    ServeModels {
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1")]
        host: String,
        /// The port to listen on; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Runs .sql files and compares their results with the .expected files beside them.
    Test {
        /// Files, and folders to search for .sql files.
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Writes the results as the new expectation.
        #[arg(long)]
        accept: bool,
    },
}

/// Where SQL comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The text of a `-c`.
    Sql(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Args {
    /// Parses a command line, the program's name first.
    ///
    /// # Errors
    /// What is printed for `--help`, `--version` and wrong usage, with its exit code.
    pub fn parse_from(
        args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        Self::from_matches(&Args::command().try_get_matches_from(args)?)
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Args::from_arg_matches(matches)?;
        let file = |path: &PathBuf| match path.as_os_str() == "-" {
            true => Source::Stdin,
            false => Source::File(path.clone()),
        };
        let indices = |name| matches.indices_of(name).into_iter().flatten();
        let sql = indices("sql").zip(args.sql.iter().map(|sql| Source::Sql(sql.clone())));
        let files = indices("files").zip(args.files.iter().map(file));
        let script = indices("script").zip(args.script.iter().map(file));
        let mut sources: Vec<_> = sql.chain(files).chain(script).collect();
        sources.sort_by_key(|(index, _)| *index);
        args.sources = sources.into_iter().map(|(_, source)| source).collect();
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_keep_the_order_of_the_command_line() {
        let args = parsed(&["-c", "SELECT 1", "-f", "a.sql", "-c", "SELECT 2", "b.sql"]).unwrap();
        let sql = |text: &str| Source::Sql(text.into());
        let file = |path: &str| Source::File(path.into());
        let expected = [sql("SELECT 1"), file("a.sql"), sql("SELECT 2"), file("b.sql")];
        assert_eq!(args.sources, expected);
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(parsed(&["-f", "-"]).unwrap().sources, [Source::Stdin]);
    }

    #[test]
    fn an_unknown_format_is_refused_with_the_known_ones() {
        let error = parsed(&["--format", "xml"]).unwrap_err().to_string();
        for format in ["xml", "table", "csv", "tsv", "json", "ndjson"] {
            assert!(error.contains(format), "{error}");
        }
    }

    #[test]
    fn a_test_needs_a_path() {
        assert!(parsed(&["test"]).is_err());
        let args = parsed(&["test", "a", "--accept"]).unwrap();
        assert!(matches!(args.command, Some(Command::Test { accept: true, .. })));
    }

    fn parsed(arguments: &[&str]) -> Result<Args, clap::Error> {
        let line = ["farcall"].into_iter().chain(arguments.iter().copied());
        Args::from_matches(&Args::command().try_get_matches_from(line)?)
    }
}
