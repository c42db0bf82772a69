//! Lookup tables behind a real server: made by SQL, asked in batches, broken in every way.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::remote::{message, rows, session};
use crate::support::server::{Script, ServerBuilder, TestServer};

/// Knows `name` for even keys, twice for those that 4 divides.
fn names(key: &Value) -> Value {
    match key.as_i64() {
        Some(id) if id % 4 == 0 => json!([{"name": format!("a{id}")}, {"name": format!("b{id}")}]),
        Some(id) if id % 2 == 0 => json!({"name": format!("a{id}")}),
        _ => Value::Null,
    }
}

/// Makes a table `users` at a server; `t` has `id` 0 to 99.
async fn users(server: &TestServer, options: &str) -> farcall::FarcallSession {
    let session = session(2);
    let comma = if options.is_empty() { "" } else { ", " };
    let sql = format!(
        "CREATE EXTERNAL TABLE users (id BIGINT, name VARCHAR, PRIMARY KEY (id)) STORED AS LOOKUP \
         OPTIONS ('connector' 'http', 'endpoint' '{}', 'max_batch_size' '10', \
         'retry_delay' '1ms'{comma}{options})",
        server.url()
    );
    session.sql(&sql).await.unwrap();
    session
}

const JOIN: &str =
    "SELECT t.id, u.name FROM t LEFT JOIN users u ON t.id = u.id ORDER BY t.id, u.name";

fn expected() -> Vec<String> {
    let row = |id: i64| match (id % 4, id % 2) {
        (0, _) => vec![format!("|{id}|a{id}|"), format!("|{id}|b{id}|")],
        (_, 0) => vec![format!("|{id}|a{id}|")],
        _ => vec![format!("|{id}||")],
    };
    (0..100).flat_map(row).collect()
}

fn server() -> ServerBuilder {
    TestServer::builder().answer(names).keep_requests()
}

#[tokio::test]
async fn a_table_behind_http_is_joined_in_batches() {
    let server = server().start();
    let session = users(&server, "").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    let counts = server.counts();
    assert_eq!((counts.requests, counts.rows), (10, 100));
}

#[tokio::test]
async fn faults_lose_no_row_and_give_none_twice() {
    for script in [
        Script::unavailable(),
        Script::throttled(Duration::from_millis(1)),
        Script::Drop,
        Script::Short,
        Script::WrongType,
        Script::Body("{".into()),
    ] {
        let server = server().seed(7).fault(0.3, script.clone()).start();
        let session = users(&server, "'max_attempts' '20'").await;
        assert_eq!(rows(&session, JOIN).await.unwrap(), expected(), "{script:?}");
        assert!(server.counts().requests > 10, "{script:?}");
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_is_waited_for() {
    let server = server().latency(Duration::from_millis(5), Duration::ZERO).start();
    let options = "'max_attempts' '1000', 'max_retry_delay' '5ms', 'buffer_capacity' '2'";
    let session = users(&server, options).await;
    let query = tokio::spawn(async move { rows(&session, JOIN).await });
    server.until("asked", |server| server.counts().requests >= 4).await;
    server.set_down(true);
    server.until("broken", |server| server.connections_open() == 0).await;
    server.set_down(false);
    assert_eq!(query.await.unwrap().unwrap(), expected());
    assert!(server.counts().requests > 10, "some were made again");
}

#[tokio::test]
async fn one_bad_key_is_found_and_named() {
    let bad = |key: &Value| key == &json!(42);
    let server = server().poison(bad).start();
    let session = users(&server, "").await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("users rejected the request") && message.contains("a row is poison"));
    let session = users(&server, "'on_error' 'null'").await;
    let mut expected = expected();
    expected.retain(|row| !row.starts_with("|42|"));
    let mut got = rows(&session, JOIN).await.unwrap();
    assert!(got.contains(&"|42||".to_owned()));
    got.retain(|row| !row.starts_with("|42|"));
    assert_eq!(got, expected);
}

#[tokio::test]
async fn wrong_credentials_end_the_query_and_are_not_shown() {
    let server = server().always(Script::Status(401, vec![], "bad key hush-42".into())).start();
    let session = users(&server, "'headers' 'Authorization: Bearer hush-42'").await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(
        message.contains("users is not set up correctly") && !message.contains("hush"),
        "{message}"
    );
    assert!(server.counts().requests <= 10);
    let shown = rows(&session, &format!("EXPLAIN VERBOSE {JOIN}")).await.unwrap().join("\n");
    assert!(shown.contains("AsyncLookupJoinExec") && !shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn only_the_columns_that_are_read_must_be_answered() {
    let server = TestServer::builder().answer(|key| json!({"b": key})).start();
    let session = session(1);
    let sql = format!(
        "CREATE TABLE pairs (a BIGINT PRIMARY KEY, b BIGINT, c VARCHAR) WITH ('connector' = 'http', \
         'endpoint' = '{}')",
        server.url()
    );
    session.sql(&sql).await.unwrap();
    let sum = "SELECT sum(p.a), sum(p.b) FROM t JOIN pairs p ON t.id = p.a";
    assert_eq!(rows(&session, sum).await.unwrap(), ["|4950|4950|"]);
    let message = rows(&session, "SELECT p.c FROM t JOIN pairs p ON t.id = p.a").await.unwrap_err();
    assert!(message.contains("pairs answered values of type nothing"), "{message}");
}

#[tokio::test]
async fn composite_keys_travel_as_objects() {
    let server = TestServer::builder().keep_requests().answer(|key| json!({"v": key["a"]})).start();
    let session = session(1);
    let sql = format!(
        "CREATE TABLE cells (a BIGINT, v BIGINT, b VARCHAR, PRIMARY KEY (a, b)) WITH \
         ('connector' = 'http', 'endpoint' = '{}')",
        server.url()
    );
    session.sql(&sql).await.unwrap();
    let sql = "SELECT c.a, c.b, c.v FROM t JOIN cells c ON t.id = c.a AND c.b = 'x' WHERE t.id = 7";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|7|x|7|"]);
    assert_eq!(server.requests()[0].inputs, [json!({"a": 7, "b": "x"})]);
}

#[tokio::test]
async fn a_table_that_cannot_be_made_says_why() {
    let session = session(1);
    for (options, says) in [
        (
            "'endpoint' 'http://h'",
            "lookup table u: option 'connector': missing, accepted are 'http'",
        ),
        (
            "'connector' 'ftp'",
            "lookup table u: option 'connector': no connector 'ftp', accepted are 'http'",
        ),
        ("'connector' 'http'", "lookup table u: option 'endpoint': missing"),
        (
            "'connector' 'http', 'endpoint' 'http://h', 'timeout' '3'",
            "lookup table u: option 'timeout': value '3' is not accepted",
        ),
    ] {
        let sql = format!(
            "CREATE EXTERNAL TABLE u (id BIGINT, PRIMARY KEY (id)) STORED AS LOOKUP OPTIONS ({options})"
        );
        let error = message(&session.sql(&sql).await.unwrap_err());
        assert!(error.contains(says), "{error}");
    }
    let sql = "CREATE TABLE u (id BIGINT) WITH ('connector' = 'http', 'endpoint' = 'http://h')";
    let error = message(&session.sql(sql).await.unwrap_err());
    assert!(error.contains("lookup table u needs a key: PRIMARY KEY (..)"), "{error}");
}

#[tokio::test]
async fn tables_are_kept_replaced_and_dropped() {
    let server = server().start();
    let session = users(&server, "").await;
    let create = |how: &str, name: &str| {
        format!(
            "CREATE {how} {name} (id BIGINT PRIMARY KEY, name VARCHAR) WITH ('connector' = 'http', \
             'endpoint' = 'http://127.0.0.1:1')"
        )
    };
    let error = message(&session.sql(&create("TABLE", "users")).await.unwrap_err());
    assert_eq!(error, "table 'users' exists");
    session.sql(&create("TABLE IF NOT EXISTS", "users")).await.unwrap();
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    session.sql("DROP TABLE users").await.unwrap();
    assert!(rows(&session, JOIN).await.unwrap_err().contains("users"));
    session.sql(&create("OR REPLACE TABLE", "\"Users\"")).await.unwrap();
    assert!(session.context().table_exist("\"Users\"").unwrap());
}
