//! What becomes of a query when its server, its connections or its definition fail.

use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use farcall::FarcallSession;

use super::{COLUMNS, JOIN, USERS, expected};
use crate::support::postgres::{Database, connect, create, session, until};
use crate::support::remote::{counted, rows};
use crate::support::store::Store;

/// Options with which a query outlives a server that is away.
const STUBBORN: &str = "'max_attempts' '10000', 'retry_delay' '2ms', 'max_retry_delay' '20ms', \
                        'max_batch_size' '5', 'pool_size' '2'";
/// The users, each of whom takes some time to be found.
const SLOW: &str = "ALTER TABLE users RENAME TO all_users;
    CREATE VIEW users AS SELECT id, name FROM all_users WHERE pg_sleep(0.02) IS NOT NULL";

/// The users, half of whom are not found while somebody holds a lock.
const GATED: &str = "ALTER TABLE users RENAME TO all_users;
    CREATE VIEW users AS SELECT id, name FROM all_users
    WHERE CASE WHEN id < 50 THEN true ELSE pg_advisory_xact_lock_shared(7)::text IS NOT NULL END";

async fn slow_users(database: &Database, options: &str) -> FarcallSession {
    users(database, SLOW, options).await
}

async fn users(database: &Database, view: &str, options: &str) -> FarcallSession {
    database.run(USERS).await;
    database.run(view).await;
    let session = session(1, 100);
    database.create(&session, "users", COLUMNS, options).await;
    session
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_is_waited_for() {
    let mut store = Store::start("postgres");
    let database = Database::of(&store).await;
    let session = users(&database, GATED, STUBBORN).await;
    // The crash ends the lock, too.
    database.run("SELECT pg_advisory_lock(7)").await;
    let copy = session.clone();
    let query = tokio::spawn(async move { rows(&copy, JOIN).await });
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    until("waiting", async || database.number(waiting).await > 0).await;
    store.kill();
    until("refused", async || counted(&session, "users", "retries").await >= 2).await;
    store.restart();
    assert_eq!(query.await.unwrap().unwrap(), expected());
}

#[tokio::test]
async fn connections_that_are_terminated_are_replaced() {
    let database = Database::new().await;
    let options = format!("{STUBBORN}, 'application_name' 'terminated'");
    let session = slow_users(&database, &options).await;
    let copy = session.clone();
    let query = tokio::spawn(async move { rows(&copy, JOIN).await });
    let mut terminated = 0;
    until("terminated", async || {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name = 'terminated'";
        terminated += database.number(sql).await;
        terminated >= 5
    })
    .await;
    assert_eq!(query.await.unwrap().unwrap(), expected());
    assert!(counted(&session, "users", "retries").await > 0);
    // And one that died while it was idle is not handed out.
    database
        .number("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'terminated'")
        .await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_waited_for_and_then_named() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE one (id bigint PRIMARY KEY, v int); INSERT INTO one VALUES (0, 1);
              CREATE VIEW slow AS SELECT id, v FROM one WHERE pg_sleep(60) IS NOT NULL",
        )
        .await;
    let session = session(1, 1);
    let pool = "'pool_size' '1', 'application_name' 'exhausted'";
    let columns = "id BIGINT PRIMARY KEY, v INT";
    database.create(&session, "slow", columns, pool).await;
    let patient = database.options("one", pool);
    create(&session, "patient", columns, &patient).await.unwrap();
    let hasty = format!("{patient}, 'attempt_timeout' '200ms', 'max_attempts' '1'");
    create(&session, "hasty", columns, &hasty).await.unwrap();
    let join = |table: &str| format!("SELECT u.v FROM t JOIN {table} u ON t.id = u.id");
    let copy = session.clone();
    let sql = join("slow");
    let slow = tokio::spawn(async move { rows(&copy, &sql).await });
    until("asked", async || {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'exhausted' \
                    AND state = 'active'";
        database.number(busy).await == 1
    })
    .await;
    let ask = async |sql: &str| -> Result<usize, DataFusionError> {
        let batches = session.sql(sql).await?.collect().await?;
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    };
    // A lookup waits no longer than an attempt may take, nor does a scan.
    for sql in [join("hasty"), "SELECT v FROM hasty".to_owned()] {
        let message = ask(&sql).await.unwrap_err().to_string();
        let place = format!("no connection to 127.0.0.1:{} became free within ", database.port);
        assert!(message.contains(&place), "{message}");
        assert!(message.contains(": 1 of 1 are in use (pool_size)"), "{message}");
    }
    let sql = join("patient");
    let (patient, ()) = tokio::join!(ask(&sql), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        slow.abort();
    });
    assert_eq!(patient.unwrap(), 1);
    session.runtime().idle().await;
}

#[tokio::test]
async fn a_scan_that_stays_silent_is_given_up_and_its_statement_cancelled() {
    let database = Database::new().await;
    database.run("CREATE VIEW slow AS SELECT 1::bigint AS id, pg_sleep(60)::text AS v").await;
    let session = session(1, 1);
    let options = "'application_name' 'silent', 'attempt_timeout' '100ms'";
    database.create(&session, "slow", "id BIGINT PRIMARY KEY, v VARCHAR", options).await;
    let message = rows(&session, "SELECT v FROM slow").await.unwrap_err();
    let expected = "slow timed out after 100ms on attempt 1 (attempt_timeout)";
    assert!(message.contains(expected), "{message}");
    let active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'silent'";
    until("cancelled", async || database.number(active).await == 0).await;
}

#[tokio::test]
async fn mistakes_in_a_definition_end_the_query_at_once() {
    let database = Database::new().await;
    database.run(USERS).await;
    database.run("CREATE ROLE nobody LOGIN PASSWORD 'hush-42'").await;
    let (url, schema) = (database.url(), database.schema.clone());
    let password = format!("'password' '{}'", database.password);
    let session = session(1, 100);
    for (options, told) in [
        (
            format!("'url' '{url}', 'password' 'hush-42'"),
            "password authentication failed for user \"farcall\" (SQLSTATE 28P01)",
        ),
        (format!("'url' '{url}'"), "invalid configuration: password missing"),
        (
            format!("'url' '{}x', {password}", url),
            "database \"farcallx\" does not exist (SQLSTATE 3D000)",
        ),
        (format!("'url' '{url}', {password}, 'table' '{schema}.userz'"), "relation \"s"),
        (
            format!("'url' '{url}', {password}, 'table' '{schema}.narrow'"),
            "column t.name does not exist (SQLSTATE 42703)",
        ),
        (
            format!(
                "'url' '{url}', 'user' 'nobody', 'password' 'hush-42', 'table' '{schema}.users'"
            ),
            "permission denied for schema",
        ),
        (
            format!("'url' '{url}', 'password' '${{env:NO_SUCH_PASSWORD}}'"),
            "password: environment variable NO_SUCH_PASSWORD is not set",
        ),
    ] {
        database.run("DROP TABLE IF EXISTS narrow; CREATE TABLE narrow (id bigint)").await;
        session.sql("DROP TABLE IF EXISTS users").await.unwrap();
        let options = format!("'connector' 'postgres', {options}");
        create(&session, "users", COLUMNS, &options).await.unwrap();
        let message = rows(&session, JOIN).await.unwrap_err();
        assert!(message.contains("users is not set up correctly"), "{message}");
        assert!(message.contains(told), "{message}");
        assert!(!message.contains("hush") && !message.contains(&database.password), "{message}");
    }
    assert_eq!(counted(&session, "users", "retries").await, 0);
    database.run("DROP ROLE nobody").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let address = crate::support::server::refusing_addr();
    let session = session(1, 1);
    let options =
        format!("'connector' 'postgres', 'url' 'postgres://me@{address}/d', 'retry_delay' '1ms'");
    create(&session, "users", COLUMNS, &options).await.unwrap();
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("failed after 3 of 3 attempts"), "{message}");
    assert!(message.contains("error connecting to server"), "{message}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_and_narrowed_down_to_its_key() {
    let database = Database::new().await;
    database.run(USERS).await;
    database.run("UPDATE users SET name = repeat('x', 30000) WHERE id = 42").await;
    let session = session(1, 100);
    let options = "'max_response_bytes' '20000', 'retry_delay' '1ms'";
    database.create(&session, "users", COLUMNS, options).await;
    let sql = "SELECT count(*), count(u.name) FROM t LEFT JOIN users u ON t.id = u.id";
    let message = rows(&session, sql).await.unwrap_err();
    assert!(
        message.contains("the answer has more than 20000 bytes (max_response_bytes)"),
        "{message}"
    );
    session.sql("SET farcall.function.users.on_error = 'null'").await.unwrap();
    assert_eq!(rows(&session, sql).await.unwrap(), ["|125|74|"]);
}

#[tokio::test]
async fn a_key_that_the_server_refuses_is_found_and_named() {
    let database = Database::new().await;
    database.run(USERS).await;
    database
        .run("CREATE VIEW ratios AS SELECT id, name, 100 / (id - 42) AS ratio FROM users")
        .await;
    let session = session(1, 100);
    let columns = "id BIGINT PRIMARY KEY, ratio BIGINT";
    database.create(&session, "ratios", columns, "'max_batch_size' '50'").await;
    let sql = "SELECT count(*), count(r.ratio) FROM t LEFT JOIN ratios r ON t.id = r.id";
    let message = rows(&session, sql).await.unwrap_err();
    let told = "ratios rejected the request: 127.0.0.1:";
    assert!(
        message.contains(told) && message.contains("division by zero (SQLSTATE 22012)"),
        "{message}"
    );
    session.sql("SET farcall.function.ratios.on_error = 'null'").await.unwrap();
    assert_eq!(rows(&session, sql).await.unwrap(), ["|125|74|"]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_for_the_server_is_tried_again() {
    let database = Database::new().await;
    let options = "'options' '-c statement_timeout=20ms', 'max_attempts' '2', 'retry_delay' '1ms'";
    let session = slow_users(&database, options).await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("failed after 2 of 2 attempts"), "{message}");
    assert!(message.contains("statement timeout (SQLSTATE 57014)"), "{message}");
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_waited_for() {
    let database = Database::new().await;
    database.run(USERS).await;
    database
        .run(&format!(
            "CREATE ROLE single LOGIN PASSWORD 'single' CONNECTION LIMIT 1;
             GRANT USAGE ON SCHEMA {0} TO single; GRANT SELECT ON {0}.users TO single",
            database.schema
        ))
        .await;
    let session = session(1, 100);
    let options = database.options("users", "'user' 'single', 'max_attempts' '1000', 'max_retry_delay' '10ms', 'max_batch_size' '5', 'pool_size' '4'");
    let options = options.replace(&database.password, "single");
    create(&session, "users", COLUMNS, &options).await.unwrap();
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    assert!(counted(&session, "users", "retries").await > 0, "four want what one gets");
}

#[tokio::test]
async fn a_cancelled_query_leaves_nothing_running_at_the_server() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE one (id bigint); INSERT INTO one VALUES (0);
              CREATE VIEW users AS SELECT id, id::text AS name FROM one WHERE pg_sleep(600) IS NOT NULL")
        .await;
    let session = session(1, 1);
    database.create(&session, "users", COLUMNS, "'application_name' 'cancelled'").await;
    let active = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cancelled' \
                   AND state = 'active'";
        database.number(sql).await
    };
    let copy = session.clone();
    let query = tokio::spawn(async move { rows(&copy, JOIN).await });
    until("asked", async || active().await == 1).await;
    query.abort();
    until("cancelled", async || active().await == 0).await;
    // So it is when an attempt takes too long.
    session.sql("SET farcall.function.users.attempt_timeout = '200ms'").await.unwrap();
    session.sql("SET farcall.function.users.max_attempts = 1").await.unwrap();
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("attempt_timeout"), "{message}");
    until("cancelled", async || active().await == 0).await;
    session.runtime().idle().await;
}

#[tokio::test]
async fn a_table_that_changed_is_planned_again() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE users (id bigint, name varchar); INSERT INTO users VALUES (0, 'a')")
        .await;
    let session = session(1, 1);
    database.create(&session, "users", COLUMNS, "'pool_size' '1', 'retry_delay' '1ms'").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), ["|0|a|"]);
    database.run("ALTER TABLE users ALTER name TYPE text").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), ["|0|a|"]);
}

#[tokio::test]
async fn what_was_connected_before_a_restart_is_not_used_after_it() {
    let mut store = Store::start("postgres");
    let database = Database::of(&store).await;
    database.run(USERS).await;
    let session = session(1, 100);
    database.create(&session, "users", COLUMNS, "'retry_delay' '1ms'").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    store.kill();
    store.restart();
    drop(connect(&store).await);
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
}
