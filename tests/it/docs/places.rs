//! [`Places`], the servers of the tests in the place of those that pages name.

use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::postgres::connect;
use crate::support::root::root;
use crate::support::store::Store;

use super::wire::Servers;

/// Hosts in pages, with the server that answers in the place of each.
const HOSTS: [(&str, Server); 4] = [
    ("models.internal:8080", Server::Models),
    ("users.internal:8080", Server::Users),
    ("db.internal:5432", Server::Postgres),
    ("cache.internal:6379", Server::Redis),
];

/// Variables in pages, each with the server whose password it holds. SQL gets the values in the place of `${env:NAME}`,
/// since a test cannot change its own environment; commands get the variables.
const VARIABLES: [(&str, Server); 3] = [
    ("SCORE_TOKEN", Server::Models),
    ("PGPASSWORD", Server::Postgres),
    ("REDIS_PASSWORD", Server::Redis),
];

/// Ports that commands in pages listen on, which are free ones in tests.
const PORTS: [(&str, &str); 2] = [("--port 8080", "--port 0"), ("127.0.0.1:9464", "127.0.0.1:0")];

#[derive(Clone, Copy)]
enum Server {
    Models,
    Users,
    Postgres,
    Redis,
}

/// A text of pages, and what it is here.
struct Place {
    page: String,
    here: String,
    used: Cell<bool>,
}

/// What pages name, and where tests have it.
pub struct Places {
    pub servers: Servers,
    hosts: Vec<Place>,
    variables: Vec<Place>,
    ports: Vec<Place>,
}

impl Places {
    /// Starts the servers, with the data of the SQL examples in the stores.
    pub async fn start() -> Self {
        let servers = Servers::start();
        let (postgres, redis) = (Store::postgres(), Store::redis());
        let examples = root().join("sql-examples/stores");
        let shop = std::fs::read_to_string(examples.join("postgres.psql")).unwrap();
        connect(postgres).await.batch_execute(&shop).await.unwrap();
        fill(redis, &std::fs::read(examples.join("redis.commands")).unwrap());
        let addr = |server: &Server| match server {
            Server::Models => servers.models.addr().to_string(),
            Server::Users => servers.users.addr().to_string(),
            Server::Postgres => format!("127.0.0.1:{}", postgres.port),
            Server::Redis => format!("127.0.0.1:{}", redis.port),
        };
        let secret = |server: &Server| match server {
            Server::Models | Server::Users => "token-of-the-docs".to_owned(),
            Server::Postgres => postgres.password.clone(),
            Server::Redis => redis.password.clone(),
        };
        let place = |page: &str, here| Place { page: page.to_owned(), here, used: Cell::default() };
        Self {
            hosts: HOSTS.iter().map(|(host, server)| place(host, addr(server))).collect(),
            variables: VARIABLES.iter().map(|(name, server)| place(name, secret(server))).collect(),
            ports: PORTS.iter().map(|(port, free)| place(port, (*free).to_owned())).collect(),
            servers,
        }
    }

    /// Puts the tests' places into SQL.
    pub fn put_in(&self, sql: &str) -> String {
        let variables =
            self.variables.iter().map(|place| (format!("${{env:{}}}", place.page), place));
        let hosts = self.hosts.iter().map(|place| (place.page.clone(), place));
        hosts
            .chain(variables)
            .fold(sql.to_owned(), |sql, (page, place)| replace(&sql, &page, place))
    }

    /// Puts the tests' places into commands, which read variables themselves.
    pub fn put_in_commands(&self, commands: &str) -> String {
        let places = self.hosts.iter().chain(&self.ports);
        places.fold(commands.to_owned(), |text, place| replace(&text, &place.page, place))
    }

    /// Returns the variables that commands find in their environment.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|place| (place.page.as_str(), place.here.as_str()))
    }

    /// Says which places no page names.
    pub fn unused(&self) -> Vec<String> {
        let all = self.hosts.iter().chain(&self.variables).chain(&self.ports);
        let unused = all.filter(|place| !place.used.get());
        unused.map(|place| format!("no page names '{}' any more", place.page)).collect()
    }
}

fn replace(text: &str, page: &str, place: &Place) -> String {
    if text.contains(page) {
        place.used.set(true);
    }
    text.replace(page, &place.here)
}

fn fill(redis: &Store, commands: &[u8]) {
    let mut client = Command::new("redis-cli")
        .args(["-e", "-h", "127.0.0.1", "-p", &redis.port.to_string()])
        .env("REDISCLI_AUTH", &redis.password)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(commands).unwrap();
    assert!(client.wait().unwrap().success(), "redis.commands");
}

/// Makes a folder that holds what commands and file names of pages lead to in a clone.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sql-examples", "scripts"] {
        copy(&root().join(name), &folder.path().join(name));
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
