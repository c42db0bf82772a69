//! Lookup tables that are tables of a real PostgreSQL.

mod faults;
mod filters;
mod scan;
mod tls;
mod types;

use datafusion_proto::bytes::logical_plan_to_bytes_with_extension_codec;

use crate::support::postgres::{Database, create, session};
use crate::support::remote::{counted, rows};

/// Rows `id` of 0 to 99: none of the odd ones, two of those that 4 divides.
const USERS: &str = "CREATE TABLE users (id bigint, name text);
    CREATE INDEX ON users (id);
    INSERT INTO users SELECT i, 'a' || i FROM generate_series(0, 99, 2) i;
    INSERT INTO users SELECT i, 'b' || i FROM generate_series(0, 99, 4) i;";
const COLUMNS: &str = "id BIGINT, name VARCHAR, PRIMARY KEY (id)";
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

async fn users(partitions: usize, options: &str) -> (Database, farcall::FarcallSession) {
    let database = Database::new().await;
    database.run(USERS).await;
    let session = session(partitions, 100);
    database.create(&session, "users", COLUMNS, options).await;
    (database, session)
}

#[tokio::test]
async fn one_statement_answers_a_batch_of_keys() {
    let (_database, session) = users(1, "'max_batch_size' '10'").await;
    assert_eq!(rows(&session, JOIN).await.unwrap(), expected());
    assert_eq!(counted(&session, "users", "requests").await, 10);
    assert_eq!(counted(&session, "users", "calls").await, 100);
}

#[tokio::test]
async fn every_kind_of_join_has_its_rows() {
    let (_database, session) = users(2, "'max_batch_size' '7'").await;
    for (sql, expected) in [
        ("SELECT count(*), count(DISTINCT t.id) FROM t JOIN users u ON t.id = u.id", "|75|50|"),
        ("SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = t.id)", "|50|"),
        (
            "SELECT count(*) FROM t WHERE t.id NOT IN (1) AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = t.id)",
            "|49|",
        ),
        ("SELECT count(*) FROM t WHERE t.id IN (SELECT id FROM users WHERE name > 'b')", "|25|"),
        ("SELECT count(u.name), count(*) FROM users u RIGHT JOIN t ON u.id = t.id", "|75|125|"),
    ] {
        assert_eq!(rows(&session, sql).await.unwrap(), [expected], "{sql}");
    }
}

#[tokio::test]
async fn keys_of_several_columns_are_found_together() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE cells (a int, b text, c uuid, v float8, PRIMARY KEY (a, b, c));
              INSERT INTO cells SELECT i % 5, 'k' || i % 3, md5((i % 2)::text)::uuid, i FROM generate_series(0, 29) i;")
        .await;
    let session = session(1, 60);
    let columns = "a BIGINT, v DOUBLE, b VARCHAR, c VARCHAR, PRIMARY KEY (a, b, c)";
    database.create(&session, "cells", columns, "").await;
    let sql = "SELECT count(*), sum(c.v), min(c.b) FROM t JOIN cells c ON t.id % 5 = c.a AND \
               concat('k', t.id % 3) = c.b AND md5(CAST(t.id % 2 AS VARCHAR)) = replace(c.c, '-', '')";
    // Without an equality on all of the key, the table is read as a whole.
    assert_eq!(rows(&session, sql).await.unwrap(), ["|60|870.0|k0|"]);
    assert_eq!(counted(&session, "cells", "calls").await, 0);
    let uuid = "regexp_replace(md5(CAST(t.id % 2 AS VARCHAR)), '(.{8})(.{4})(.{4})(.{4})(.*)', '\\1-\\2-\\3-\\4-\\5')";
    let sql = format!(
        "SELECT count(*), sum(c.v) FROM t JOIN cells c ON t.id % 5 = c.a AND \
         concat('k', t.id % 3) = c.b AND {uuid} = c.c"
    );
    assert_eq!(rows(&session, &sql).await.unwrap(), ["|60|870.0|"]);
    assert_eq!(
        rows(&session, &sql.replace(uuid, &format!("upper({uuid})"))).await.unwrap(),
        ["|0||"]
    );
}

#[tokio::test]
async fn each_of_5000_keys_is_asked_for_once() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE even (id bigint PRIMARY KEY, v int);
              INSERT INTO even SELECT 2 * i, i FROM generate_series(0, 2499) i;",
        )
        .await;
    let session = session(4, 100_000);
    let options = "'max_batch_size' '500', 'pool_size' '4'";
    database.create(&session, "even", "id BIGINT PRIMARY KEY, v INT", options).await;
    let sql = "SELECT count(*), count(v), sum(v) FROM t LEFT JOIN even ON t.id % 5000 = even.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|100000|50000|62475000|"]);
    assert_eq!(counted(&session, "even", "calls").await, 5_000);
    let requests = counted(&session, "even", "requests").await;
    assert!((10..=40).contains(&requests), "{requests} requests of at most 500 keys");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'farcall'";
    assert!(database.number(busy).await >= 1);
}

#[tokio::test]
async fn equal_options_share_their_connections() {
    let (database, session) = users(1, "'application_name' 'shared-pool', 'pool_size' '2'").await;
    let more = "'application_name' 'shared-pool', 'pool_size' '2'";
    let options = database.options("users", more);
    create(&session, "again", COLUMNS, &options).await.unwrap();
    for _ in 0..3 {
        let sql = "SELECT count(u.name), count(v.name) FROM t JOIN users u ON t.id = u.id \
                   JOIN again v ON t.id = v.id";
        assert_eq!(rows(&session, sql).await.unwrap(), ["|125|125|"]);
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shared-pool'";
    let open = database.number(open).await;
    assert!((1..=2).contains(&open), "{open} connections");
}

#[tokio::test]
async fn names_are_quoted_and_views_are_tables() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE \"Odd \"\"Name\" (\"the Id\" bigint, \"select\" text);
              INSERT INTO \"Odd \"\"Name\" VALUES (7, 'x');
              CREATE VIEW seven AS SELECT \"the Id\" AS id, \"select\" AS v FROM \"Odd \"\"Name\"",
        )
        .await;
    let session = session(1, 10);
    let options = database.options("\"Odd \"\"Name\"", "");
    let columns = "\"the Id\" BIGINT PRIMARY KEY, \"select\" VARCHAR";
    create(&session, "odd", columns, &options).await.unwrap();
    database.create(&session, "seven", "id BIGINT PRIMARY KEY, v VARCHAR", "").await;
    let sql = "SELECT o.\"the Id\", o.\"select\", s.v FROM t JOIN odd o ON t.id = o.\"the Id\" \
               JOIN seven s ON t.id = s.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|7|x|x|"]);
}

#[tokio::test]
async fn a_name_is_folded_as_the_server_folds_it() {
    let database = Database::new().await;
    database.run("CREATE TABLE ÄRGER (id bigint, v text); INSERT INTO Ärger VALUES (7, 'y')").await;
    let options = format!(
        "'connector' 'postgres', 'url' '{}', 'password' '{}', 'table' '\"{}\" . ÄRGER '",
        database.url(),
        database.password,
        database.schema
    );
    let session = session(1, 10);
    create(&session, "u", "id BIGINT PRIMARY KEY, v VARCHAR", &options).await.unwrap();
    let sql = "SELECT u.v FROM t JOIN u ON t.id = u.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|y|"]);
}

#[tokio::test]
async fn the_pool_bounds_what_is_in_flight_and_explain_says_so() {
    let (_database, session) = users(1, "'pool_size' '3'").await;
    let plan = rows(&session, &format!("EXPLAIN {JOIN}")).await.unwrap().join("\n");
    assert!(plan.contains("max_concurrency=3"), "{plan}");
    let (_database, session) = users(1, "'pool_size' '30', 'max_concurrency' '2'").await;
    let plan = rows(&session, &format!("EXPLAIN {JOIN}")).await.unwrap().join("\n");
    assert!(plan.contains("max_concurrency=2"), "{plan}");
}

#[tokio::test]
async fn no_statement_shows_the_password() {
    let (database, session) = users(1, "").await;
    for sql in [format!("EXPLAIN VERBOSE {JOIN}"), format!("EXPLAIN ANALYZE VERBOSE {JOIN}")] {
        let shown = rows(&session, &sql).await.unwrap().join("\n");
        assert!(shown.contains("users"), "{shown}");
        assert!(!shown.contains(&database.password), "{shown}");
    }
    let frame = session.sql(JOIN).await.unwrap();
    let plan = frame.clone().into_optimized_plan().unwrap();
    let physical = frame.create_physical_plan().await.unwrap();
    let shown = format!("{plan:#?} {physical:#?} {:#?} {session:#?}", session.runtime());
    assert!(!shown.contains(&database.password));
}

#[tokio::test]
async fn plans_travel_with_the_name_of_a_password_and_without_the_password() {
    let session = session(1, 1);
    let bytes = async |password: &str| {
        session.sql("DROP TABLE IF EXISTS users").await.unwrap();
        let options = format!(
            "'connector' 'postgres', 'url' 'postgres://me@h/d?sslmode=require', 'password' '{password}'"
        );
        create(&session, "users", COLUMNS, &options).await.unwrap();
        let sql = "SELECT u.name FROM (VALUES (1), (2)) AS l (id) JOIN users u ON l.id = u.id";
        let plan = session.sql(sql).await.unwrap().into_optimized_plan().unwrap();
        let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &session.codec());
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let written = bytes("hush-42").await.unwrap();
    assert!(written.contains("users") && !written.contains("hush"), "{written}");
    let written = bytes("${env:PGPASSWORD}").await.unwrap();
    assert!(written.contains("${env:PGPASSWORD}") && written.contains("postgres://me@h/d"));
}
