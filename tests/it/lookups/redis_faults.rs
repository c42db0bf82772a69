//! A Redis that fails in every way: rows are neither lost nor doubled, and each error says what it is.

use std::time::Duration;

use farcall::FarcallSession;

use crate::support::redis::{Redis, until, until_in_flight};
use crate::support::remote::{counted, rows, session};

const JOIN: &str = "SELECT t.id, u.name FROM t LEFT JOIN users u ON t.id = u.id ORDER BY t.id";
const COLUMNS: &str = "id BIGINT, name VARCHAR, PRIMARY KEY (id)";

/// Writes a name for each even id, and makes the table over it in requests of 10.
async fn users(redis: &Redis, options: &str) -> FarcallSession {
    let commands: Vec<_> = (0..100)
        .step_by(2)
        .map(|id| vec!["SET".into(), redis.key("users", id), format!(r#"{{"name": "a{id}"}}"#)])
        .collect();
    redis.fill(&commands).await;
    let session = session(2);
    redis.create(&session, "users", COLUMNS, &with_batches(options)).await;
    session
}

fn with_batches(options: &str) -> String {
    let comma = if options.is_empty() { "" } else { ", " };
    format!("'max_batch_size' '10'{comma}{options}")
}

fn expected() -> Vec<String> {
    let name = |id: i64| if id % 2 == 0 { format!("a{id}") } else { String::new() };
    (0..100).map(|id| format!("|{id}|{}|", name(id))).collect()
}

#[tokio::test]
async fn a_restart_in_the_middle_is_waited_for() {
    let mut redis = Redis::own().await;
    let session = users(&redis, "'max_attempts' '1000', 'max_retry_delay' '5ms'").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    let frozen = redis.freeze().await;
    let again = session.clone();
    let query = tokio::spawn(async move { rows(&again, JOIN).await });
    until_in_flight(&session, "users").await;
    redis.kill();
    drop(frozen);
    until("tried again", async || attempts(&session).await > 40).await;
    redis.restart();
    assert_eq!(query.await.unwrap().unwrap(), expected());
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
}

async fn attempts(session: &FarcallSession) -> i64 {
    counted(session, "users", "attempts").await
}

#[tokio::test]
async fn connections_that_are_cut_are_made_again() {
    let redis = Redis::own().await;
    let options = "'max_attempts' '50', 'max_retry_delay' '2ms', 'pool_size' '3', \
                   'buffer_capacity' '6'";
    let session = users(&redis, &options.replace("'max_batch_size' '10', ", "")).await;
    for _ in 0..10 {
        let query = rows(&session, JOIN);
        let cut = async {
            for _ in 0..5 {
                redis.run("CLIENT KILL TYPE normal SKIPME yes").await;
            }
        };
        let (got, ()) = tokio::join!(query, cut);
        assert_eq!(got.unwrap(), expected());
    }
}

#[tokio::test]
async fn wrong_credentials_end_the_query_and_are_not_shown() {
    let redis = Redis::own().await;
    redis.run("ACL SETUSER reader on >hush-42 ~* +ping").await;
    for (options, says) in [
        ("'password' 'hush-41'", "users is not set up correctly: 127.0.0.1:"),
        ("'password' 'hush-41'", "WRONGPASS invalid username-password pair"),
        ("'user' 'reader', 'password' 'hush-42'", "NOPERM"),
        ("'user' 'nobody', 'password' 'hush-42'", "WRONGPASS"),
        (
            "'user' 'reader', 'password' '${env:FARCALL_NO_SUCH_VARIABLE}'",
            "password: environment variable FARCALL_NO_SUCH_VARIABLE is not set",
        ),
    ] {
        let session = users(&redis, options).await;
        let message = rows(&session, JOIN).await.unwrap_err();
        assert!(message.contains(says) && message.contains("is not set up correctly"), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
    let without = format!(
        "CREATE EXTERNAL TABLE open ({COLUMNS}) STORED AS LOOKUP OPTIONS ('connector' 'redis', \
         'url' '{}')",
        redis.url()
    );
    let session = session(1);
    session.sql(&without).await.unwrap();
    let message = rows(&session, &JOIN.replace("users", "open")).await.unwrap_err();
    assert!(message.contains("NOAUTH") && message.contains("options 'user' and 'password'"));
    redis.take_commands().await;
    rows(&session, &JOIN.replace("users", "open")).await.unwrap_err();
    let asked = redis.take_commands().await.get("ping").copied();
    assert!(asked.is_none_or(|pings| pings <= 8), "a refused query goes on: {asked:?}");
}

#[tokio::test]
async fn a_key_of_another_type_fails_alone() {
    let redis = Redis::own().await;
    let session = users(&redis, "").await;
    redis.command(&["DEL", &redis.key("users", 42)]).await;
    redis.command(&["RPUSH", &redis.key("users", 42), "x"]).await;
    let message = rows(&session, JOIN).await.unwrap_err();
    let key = redis.key("users", 42);
    let says = format!(
        "users answered something malformed: key {key} holds a list where a string is declared"
    );
    assert!(message.contains(&says), "{message}");
    let mut expected = expected();
    expected[42] = "|42||".to_owned();
    let other = crate::support::remote::session(2);
    redis.create(&other, "users", COLUMNS, &with_batches("'on_error' 'null'")).await;
    assert_eq!(rows(&other, JOIN).await.unwrap(), expected);
    redis.command(&["HSET", &redis.key("hashes", 4), "name", "a4"]).await;
    redis.command(&["SET", &redis.key("hashes", 6), "a6"]).await;
    redis.create(&other, "hashes", COLUMNS, "'value' 'hash', 'on_error' 'null'").await;
    let sql = "SELECT h.id, h.name FROM t JOIN hashes h ON t.id = h.id";
    assert_eq!(rows(&other, sql).await.unwrap(), ["|4|a4|"]);
    redis
        .create(
            &other,
            "strict",
            COLUMNS,
            &format!("'value' 'hash', 'key' '{}'", redis.key("hashes", "{id}")),
        )
        .await;
    let message = rows(&other, &sql.replace("hashes", "strict")).await.unwrap_err();
    assert!(
        message.contains("holds a value of another type where a hash is declared"),
        "{message}"
    );
}

#[tokio::test]
async fn a_malformed_document_fails_alone() {
    let redis = Redis::shared().await;
    for (document, says) in [
        (r#"{"name": "#, "no JSON (EOF while parsing"),
        (r#"{"name": 7}"#, "a number (7) where VARCHAR (column name) is declared"),
        ("[1]", "a number where an object is expected"),
    ] {
        let session = users(&redis, "").await;
        redis.command(&["SET", &redis.key("users", 42), document]).await;
        let message = rows(&session, JOIN).await.unwrap_err();
        assert!(message.contains(&redis.key("users", 42)) && message.contains(says), "{message}");
        let lenient = crate::support::remote::session(2);
        redis.create(&lenient, "users", COLUMNS, &with_batches("'on_error' 'null'")).await;
        let mut expected = expected();
        expected[42] = "|42||".to_owned();
        assert_eq!(rows(&lenient, JOIN).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_full_server_is_tried_again() {
    let redis = Redis::own().await;
    let session = users(&redis, "'max_attempts' '3', 'pool_size' '2'").await;
    let client = redis.client().await;
    let ask = async |command: &[&str]| {
        let mut all = redis::cmd(command[0]);
        all.arg(&command[1..]);
        client.clone().send_packed_command(&all).await.unwrap()
    };
    ask(&["CONFIG", "SET", "maxclients", "1"]).await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("users failed after 3 of 3 attempts"), "{message}");
    assert!(
        message.contains("max number of clients reached")
            || message.contains("could not be reached"),
        "{message}"
    );
    ask(&["CONFIG", "SET", "maxclients", "100"]).await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
}

#[tokio::test]
async fn a_server_that_runs_a_script_is_waited_for() {
    let redis = Redis::own().await;
    let session = users(&redis, "'max_attempts' '1000', 'max_retry_delay' '5ms'").await;
    redis.run("CONFIG SET busy-reply-threshold 1").await;
    let mut client = redis.client().await;
    let script = tokio::spawn(async move {
        let mut endless = redis::cmd("EVAL");
        endless.arg("while true do end").arg(0);
        client.send_packed_command(&endless).await
    });
    let mut query = tokio::spawn(async move { rows(&session, JOIN).await });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut query).await;
    assert!(early.is_err(), "{early:?}");
    // A connection of a busy server is greeted by BUSY, but this one command it obeys.
    let mut kill = redis::cmd("SCRIPT");
    kill.arg("KILL");
    redis.client().await.send_packed_command(&kill).await.unwrap();
    assert_eq!(query.await.unwrap().unwrap(), expected());
    drop(script.await);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let redis = Redis::own().await;
    let session =
        users(&redis, "'attempt_timeout' '100ms', 'max_attempts' '2', 'pool_size' '2'").await;
    let frozen = redis.freeze().await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("users timed out after 100ms on attempt 2"), "{message}");
    frozen.thaw();
    session.sql("SET farcall.function.users.attempt_timeout = '10s'").await.unwrap();
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
}

#[tokio::test]
async fn a_dropped_query_leaves_no_connection_that_waits() {
    let redis = Redis::own().await;
    let session = users(&redis, "'pool_size' '4'").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    assert!((1..=4).contains(&redis.connections().await.len()));
    let frozen = redis.freeze().await;
    let again = session.clone();
    let query = tokio::spawn(async move { rows(&again, JOIN).await });
    until_in_flight(&session, "users").await;
    query.abort();
    drop(query.await);
    frozen.thaw();
    redis.until("closed", async |redis| redis.connections().await.is_empty()).await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut_off_and_its_key_found() {
    let redis = Redis::shared().await;
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(100_000));
    let session = users(&redis, "'max_response_bytes' '20000', 'on_error' 'null'").await;
    redis.command(&["SET", &redis.key("users", 42), &large]).await;
    let mut expected = expected();
    expected[42] = "|42||".to_owned();
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected);
    let strict = crate::support::remote::session(1);
    redis.create(&strict, "users", COLUMNS, &with_batches("'max_response_bytes' '20000'")).await;
    let message = rows(&strict, JOIN).await.unwrap_err();
    assert!(
        message.contains("the answer has more than 20000 bytes (max_response_bytes)"),
        "{message}"
    );
}

#[tokio::test]
async fn answers_in_flight_on_one_connection_may_each_be_as_large_as_the_limit() {
    let redis = Redis::shared().await;
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(18_000));
    let options = "'max_response_bytes' '20000', 'pool_size' '1', 'max_batch_size' '1', \
                   'buffer_capacity' '16', 'max_attempts' '1'";
    let session = crate::support::remote::session(1);
    redis.create(&session, "users", COLUMNS, options).await;
    let set = |id: i64| vec!["SET".to_owned(), redis.key("users", id), large.clone()];
    redis.fill(&(0..100).map(set).collect::<Vec<_>>()).await;
    let sql = "SELECT count(*), sum(length(u.name)) FROM t JOIN users u ON t.id = u.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|100|1800000|"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_or_no_redis_is_named() {
    let redis = Redis::shared().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let session = session(1);
    let options = format!("'url' 'redis://{address}'");
    redis.create(&session, "users", COLUMNS, &options).await;
    let message = rows(&session, JOIN).await.unwrap_err();
    let says = format!("users could not be reached: {address}: Connection refused");
    assert!(message.contains(&says), "{message}");
    let web = crate::support::server::TestServer::builder().start();
    let session = crate::support::remote::session(1);
    let url = web.url().replace("http://", "redis://");
    let url = url.rsplit_once('/').map_or(url.as_str(), |(host, _)| host);
    redis.create(&session, "users", COLUMNS, &format!("'url' '{url}'")).await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("does not speak the protocol of Redis"), "{message}");
}
