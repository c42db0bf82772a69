//! [`Redis`], a real Redis with a client of its own, and lookup tables over it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use farcall::FarcallSession;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Value};
use serde_json::{Map, json};

use crate::support::remote;
use crate::support::store::Store;

/// A Redis, and the beginning of the keys that are a test's own.
pub struct Redis {
    /// The server, if it is the test's own.
    store: Option<Store>,
    port: u16,
    password: String,
    pub prefix: String,
}

impl Redis {
    /// Returns the server that tests share, with keys of its own.
    pub async fn shared() -> Self {
        let store = tokio::task::spawn_blocking(Store::redis).await.unwrap();
        Self::over(store.port, store.password.clone(), None)
    }

    /// Starts a server, for tests that count its commands or do it harm.
    pub async fn own() -> Self {
        let store = tokio::task::spawn_blocking(|| Store::start("redis")).await.unwrap();
        Self::over(store.port, store.password.clone(), Some(store))
    }

    fn over(port: u16, password: String, store: Option<Store>) -> Self {
        static TESTS: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("test{}", TESTS.fetch_add(1, Ordering::Relaxed));
        Self { store, port, password, prefix }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn password(&self) -> &str {
        &self.password
    }

    pub fn kill(&mut self) {
        self.store.as_mut().unwrap().kill();
    }

    pub fn restart(&mut self) {
        self.store.as_mut().unwrap().restart();
    }

    /// Connects, beside what farcall does.
    pub async fn client(&self) -> MultiplexedConnection {
        let url = format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port);
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = Client::open(url).unwrap();
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Runs one command, written with spaces between its words.
    pub async fn run(&self, command: &str) -> Value {
        let words: Vec<&str> = command.split(' ').collect();
        self.command(&words).await
    }

    /// Runs one command.
    pub async fn command(&self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = self.client().await.send_packed_command(&command).await.unwrap();
        assert!(!matches!(answer, Value::ServerError(_)), "{words:?}: {answer:?}");
        answer
    }

    /// Runs many commands.
    pub async fn fill(&self, commands: &[Vec<String>]) {
        let mut pipeline = redis::pipe();
        for words in commands {
            pipeline.cmd(&words[0]).arg(&words[1..]);
        }
        pipeline.exec_async(&mut self.client().await).await.unwrap();
    }

    /// Returns the name of a key of a test's table.
    pub fn key(&self, table: &str, key: impl std::fmt::Display) -> String {
        format!("{}:{table}:{key}", self.prefix)
    }

    /// Writes rows as documents: an object for a key with one row, a list for one with several.
    pub async fn fill_documents(&self, table: &str, rows: &RecordBatch, key: &str) {
        let mut documents: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let mut object = Map::new();
            for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
                let text = array_value_to_string(column, row).unwrap();
                let value = match column.is_null(row) {
                    true => json!(null),
                    false if field.data_type().is_numeric() => json!(text.parse::<i64>().unwrap()),
                    false => json!(text),
                };
                object.insert(field.name().clone(), value);
            }
            documents.entry(text(rows, key, row).unwrap()).or_default().push(object.into());
        }
        let document = |(key, mut rows): (String, Vec<serde_json::Value>)| {
            let document = if rows.len() == 1 { rows.remove(0) } else { rows.into() };
            vec!["SET".into(), self.key(table, key), document.to_string()]
        };
        self.fill(&documents.into_iter().map(document).collect::<Vec<_>>()).await;
    }

    /// Writes rows as hashes; a NULL is a field that is not there.
    pub async fn fill_hashes(&self, table: &str, rows: &RecordBatch, key: &str) {
        let mut commands = Vec::new();
        for row in 0..rows.num_rows() {
            let name = self.key(table, text(rows, key, row).unwrap());
            let mut command = vec!["HSET".into(), name, "other".to_owned(), "1".to_owned()];
            for field in rows.schema().fields().iter().filter(|field| field.name() != key) {
                if let Some(value) = text(rows, field.name(), row) {
                    command.extend([field.name().clone(), value]);
                }
            }
            commands.push(command);
        }
        self.fill(&commands).await;
    }

    /// Writes rows with a key of two columns as strings.
    pub async fn fill_strings(&self, table: &str, rows: &RecordBatch, key: [&str; 2], value: &str) {
        let command = |row| {
            let [a, b] = key.map(|part| text(rows, part, row).unwrap());
            let value = text(rows, value, row).unwrap();
            vec!["SET".into(), self.key(table, format!("{a}:{b}")), value]
        };
        self.fill(&(0..rows.num_rows()).map(command).collect::<Vec<_>>()).await;
    }

    /// Makes a lookup table whose keys begin as those of this test do; the password is literal.
    pub async fn create(
        &self,
        session: &FarcallSession,
        table: &str,
        columns: &str,
        options: &str,
    ) {
        self.try_create(session, table, columns, options).await.unwrap();
    }

    pub async fn try_create(
        &self,
        session: &FarcallSession,
        table: &str,
        columns: &str,
        options: &str,
    ) -> Result<(), String> {
        let (_, key) = columns.split_once("PRIMARY KEY (").unwrap();
        let key = key.trim_end_matches(')').split(", ").map(|part| format!("{{{part}}}"));
        let key = key.collect::<Vec<_>>().join(":");
        let mut all: Vec<String> = vec!["'connector' 'redis'".into(), "'retry_delay' '1ms'".into()];
        for (option, value) in [
            ("url", self.url()),
            ("password", self.password.clone()),
            ("key", self.key(table, key)),
        ] {
            if !options.contains(&format!("'{option}'")) {
                all.push(format!("'{option}' '{value}'"));
            }
        }
        all.extend(Some(options.to_owned()).filter(|options| !options.is_empty()));
        let options = all.join(", ");
        let sql = format!(
            "CREATE EXTERNAL TABLE {table} ({columns}) STORED AS LOOKUP OPTIONS ({options})"
        );
        remote::rows(session, &sql).await.map(|_| ())
    }

    /// Returns how often the server ran each command since it was last asked.
    pub async fn take_commands(&self) -> BTreeMap<String, u64> {
        let stats = self.info("commandstats").await;
        self.run("CONFIG RESETSTAT").await;
        let count = |line: &str| {
            let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((command.to_owned(), rest.split(',').next()?.parse().unwrap()))
        };
        stats.lines().filter_map(count).collect()
    }

    pub async fn info(&self, section: &str) -> String {
        match self.command(&["INFO", section]).await {
            Value::BulkString(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the clients of the server beside the one that asks.
    pub async fn connections(&self) -> Vec<String> {
        match self.run("CLIENT LIST").await {
            Value::BulkString(text) => {
                let text = String::from_utf8(text).unwrap();
                let mine = text.lines().filter(|line| !line.contains("cmd=client|list"));
                mine.map(str::to_owned).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until something is true of the server, for ten seconds at most.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        until(what, async || holds(self).await).await;
    }

    /// Stops the server as it is until [`Frozen::thaw`]: what it is asked waits.
    pub async fn freeze(&self) -> Frozen {
        let info = self.info("server").await;
        let process = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
        let frozen = Frozen(process.trim().to_owned());
        frozen.signal("-STOP");
        frozen
    }
}

/// The server's process, which stands still.
pub struct Frozen(String);

impl Frozen {
    pub fn thaw(self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &self.0]).status();
        assert!(status.unwrap().success());
    }
}

/// Waits until something is true, for ten seconds at most.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "never {what}");
}

/// Waits until requests of a table are on their way.
pub async fn until_in_flight(session: &FarcallSession, table: &str) {
    until("in flight", async || {
        let totals = session.runtime().totals();
        totals.iter().any(|(name, metrics)| name == table && metrics.in_flight() > 0)
    })
    .await;
}

fn text(rows: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = rows.column_by_name(column).unwrap();
    column.is_valid(row).then(|| array_value_to_string(column, row).unwrap())
}
