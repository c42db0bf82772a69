//! [`Shell`], in which the commands of pages run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::compare::compare;
use super::places::Places;

/// Commands that are not run, each with the reason.
const NOT_RUN: [(&str, &str); 1] = [("scripts/test", "it runs this test, among all others")];

/// Commands that run until they are ended: what they write first is compared, then they are ended.
const ENDLESS: [&str; 1] = ["farcall serve-models --port 8080"];

/// What stands for the program in a clone.
const CARGO_RUN: &str = "cargo run --release --";

/// Runs blocks of commands.
pub struct Shell<'a> {
    places: &'a Places,
    met: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Shell<'a> {
    pub fn new(places: &'a Places) -> Self {
        Self { places, met: RefCell::default() }
    }

    /// Runs a block in a folder and compares what it writes to stdout, if the page shows it.
    pub fn run(&self, folder: &Path, text: &str, shown: Option<&str>) -> Result<(), String> {
        let meet = |command: &&'static str| self.met.borrow_mut().insert(command);
        if let Some((command, _)) = NOT_RUN.iter().find(|(command, _)| text.trim() == *command) {
            meet(command);
            return match shown {
                Some(_) => Err("a result is shown of a command that is not run".to_owned()),
                None => Ok(()),
            };
        }
        let commands = self.places.put_in_commands(&text.replace(CARGO_RUN, "farcall"));
        if let Some(command) = ENDLESS.iter().find(|command| text.trim() == **command) {
            meet(command);
            let shown = shown.ok_or("nothing is shown of a command that does not end")?;
            return self.run_endless(folder, &commands, shown);
        }
        let output = self.bash(folder, &commands).output().map_err(|error| error.to_string())?;
        let [written, told] = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        if !output.status.success() {
            return Err(format!("{}\n{written}{told}", output.status));
        }
        shown.map_or(Ok(()), |shown| compare(shown, &written))
    }

    /// Reads as many lines as are shown, and ends the command.
    fn run_endless(&self, folder: &Path, command: &str, shown: &str) -> Result<(), String> {
        let command = format!("exec {command}");
        let mut child = self.bash(folder, &command).spawn().map_err(|error| error.to_string())?;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let written: Vec<String> =
            lines.take(shown.lines().count()).map_while(Result::ok).collect();
        let _ = child.kill();
        let _ = child.wait();
        compare(&without_ports(shown), &without_ports(&written.join("\n")))
    }

    /// Makes the command: the program is found by its name, and nobody types anything.
    fn bash(&self, folder: &Path, commands: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_farcall")).parent().unwrap().to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([program].into_iter().chain(env::split_paths(&path))).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", commands])
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("RUST_LOG")
            .envs(self.places.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        bash
    }

    /// Says which commands with a treatment of their own stand in no page.
    pub fn unused(&self) -> Vec<String> {
        let met = self.met.borrow();
        let listed = NOT_RUN.iter().map(|(command, _)| command).chain(&ENDLESS);
        let unused = listed.filter(|command| !met.contains(**command));
        unused.map(|command| format!("no page has a block '{command}' any more")).collect()
    }
}

fn without_ports(text: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let parts = text.split(HOST).map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    parts.collect::<Vec<_>>().join(HOST)
}
