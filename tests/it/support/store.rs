//! [`Store`], a real PostgreSQL or Redis of the tests' own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use super::root::root;

/// A server that runs in a temporary folder until it is dropped, or the test process ends.
#[derive(Debug)]
pub struct Store {
    pub port: u16,
    pub password: String,
    /// Where the server has its files.
    pub folder: String,
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Store {
    /// Starts a server of its own, `"postgres"` or `"redis"`: for tests that kill it.
    ///
    /// User and database of PostgreSQL are `farcall`.
    pub fn start(kind: &str) -> Self {
        Self::start_with(kind, ("STORE_OPTIONS", ""))
    }

    /// Starts a PostgreSQL that speaks TLS; its certificate is `server.crt` in its folder.
    pub fn start_tls() -> Self {
        Self::start_with("postgres", ("STORE_TLS", "1"))
    }

    /// As [`Store::start`], with a variable for the script that starts it.
    fn start_with(kind: &str, (variable, value): (&str, &str)) -> Self {
        let script = root().join("scripts/store");
        let mut process = Command::new(&script)
            .arg(kind)
            .env(variable, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let commands = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", port, password, folder] = words[..] else {
            panic!("{kind} does not start (scripts/test installs it): {line:?}");
        };
        let (port, password) = (port.parse().unwrap(), password.to_owned());
        let folder = folder.to_owned();
        Self { port, password, folder, process, commands, answers }
    }

    /// Returns the PostgreSQL that tests share; each works in a schema of its own.
    pub fn postgres() -> &'static Self {
        static SHARED: OnceLock<Store> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("postgres"))
    }

    /// Returns the Redis that tests share; each works with a key prefix of its own.
    pub fn redis() -> &'static Self {
        static SHARED: OnceLock<Store> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("redis"))
    }

    /// Ends the server at once, as a crash does.
    pub fn kill(&mut self) {
        self.command("kill");
    }

    /// Starts the server again, on the same port and with the same data.
    pub fn restart(&mut self) {
        self.command("start");
    }

    fn command(&mut self, command: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{command}");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The end of its input is what the script waits for.
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}
