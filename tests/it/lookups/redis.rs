//! Lookup tables in a real Redis: every kind of value, key and join, and what is asked of the server.

use crate::support::redis::Redis;
use crate::support::remote::{add_table, rows, session};

/// Writes 100 users of every kind of value: each even id once, and those that 4 divides twice as
/// documents; `age` is missing where 3 divides the id.
async fn fill_users(redis: &Redis) {
    let mut commands = Vec::new();
    for id in (0..100).step_by(2) {
        let age = (id % 3 != 0).then_some(id + 20);
        let document = |name: &str| match age {
            Some(age) => format!(r#"{{"name": "{name}{id}", "age": {age}, "more": [1]}}"#),
            None => format!(r#"{{"name": "{name}{id}"}}"#),
        };
        let documents = match id % 4 {
            0 => format!("[{}, {}]", document("a"), document("b")),
            _ => document("a"),
        };
        commands.push(vec!["SET".to_owned(), redis.key("json", id), documents]);
        let mut hash =
            vec!["HSET".to_owned(), redis.key("hash", id), "name".into(), format!("a{id}")];
        hash.extend(age.into_iter().flat_map(|age| ["age".to_owned(), age.to_string()]));
        commands.push(hash);
        commands.push(vec!["SET".to_owned(), redis.key("string", id), format!("a{id}")]);
    }
    redis.fill(&commands).await;
}

const USERS: &str = "id BIGINT, name VARCHAR, age INT, PRIMARY KEY (id)";

/// The rows of a LEFT JOIN of `t (id)` with users, `several` saying whether some have two rows.
fn expected(several: bool) -> Vec<String> {
    let row = |id: i64| {
        let age = if id % 3 == 0 { String::new() } else { (id + 20).to_string() };
        match (id % 2, id % 4 == 0 && several) {
            (0, true) => vec![format!("|{id}|a{id}|{age}|"), format!("|{id}|b{id}|{age}|")],
            (0, false) => vec![format!("|{id}|a{id}|{age}|")],
            _ => vec![format!("|{id}|||")],
        }
    };
    (0..100).flat_map(row).collect()
}

fn left_join(table: &str) -> String {
    format!(
        "SELECT t.id, u.name, u.age FROM t LEFT JOIN {table} u ON t.id = u.id ORDER BY t.id, u.name"
    )
}

#[tokio::test]
async fn documents_are_rows_asked_for_by_one_command_a_batch() {
    let redis = Redis::own().await;
    fill_users(&redis).await;
    let session = session(2);
    redis.create(&session, "json", USERS, "'max_batch_size' '10'").await;
    redis.take_commands().await;
    assert_eq!(rows(&session, &left_join("json")).await.unwrap(), expected(true));
    let commands = redis.take_commands().await;
    assert_eq!((commands["mget"], commands["exists"]), (10, 10));
    assert!(!commands.contains_key("type") && !commands.contains_key("get"), "{commands:?}");
}

#[tokio::test]
async fn hashes_are_rows_of_which_a_missing_field_is_null_and_a_missing_key_none() {
    let redis = Redis::own().await;
    fill_users(&redis).await;
    let session = session(2);
    redis.create(&session, "hash", USERS, "'value' 'hash', 'max_batch_size' '10'").await;
    redis.take_commands().await;
    assert_eq!(rows(&session, &left_join("hash")).await.unwrap(), expected(false));
    let commands = redis.take_commands().await;
    assert_eq!((commands["hmget"], commands["exists"]), (100, 10));
    assert!(!commands.contains_key("hgetall"), "{commands:?}");
    // Half of the keys are there; without a name to tell, 17 of them seem not to be.
    let sql = "SELECT count(*), count(u.age) FROM t JOIN hash u ON t.id = u.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|50|33|"]);
    let commands = redis.take_commands().await;
    assert!(commands["hgetall"] >= 17 && commands["hgetall"] <= 67, "{commands:?}");
}

#[tokio::test]
async fn a_string_is_the_only_other_column() {
    let redis = Redis::shared().await;
    fill_users(&redis).await;
    let session = session(2);
    let columns = "id BIGINT, name VARCHAR, PRIMARY KEY (id)";
    redis.create(&session, "string", columns, "'value' 'string'").await;
    let sql = "SELECT t.id, u.name FROM t JOIN string u ON t.id = u.id ORDER BY t.id";
    let expected: Vec<_> = (0..100).step_by(2).map(|id| format!("|{id}|a{id}|")).collect();
    assert_eq!(rows(&session, sql).await.unwrap(), expected);
}

#[tokio::test]
async fn whether_a_key_is_there_needs_no_value() {
    let redis = Redis::own().await;
    fill_users(&redis).await;
    let session = session(1);
    for (table, value) in [("json", "json"), ("hash", "hash"), ("string", "string")] {
        let columns = match table {
            "string" => "id BIGINT, name VARCHAR, PRIMARY KEY (id)",
            _ => USERS,
        };
        redis.create(&session, table, columns, &format!("'value' '{value}'")).await;
        redis.take_commands().await;
        for (not, ids) in [("", "|2450|50|"), ("NOT ", "|2500|50|")] {
            let sql = format!(
                "SELECT sum(t.id), count(*) FROM t WHERE {not}EXISTS (SELECT 1 FROM {table} u WHERE u.id = t.id)"
            );
            assert_eq!(rows(&session, &sql).await.unwrap(), [ids], "{sql}");
        }
        let commands = redis.take_commands().await;
        // How many rows a document has is known only to whom reads it.
        assert_eq!(commands.contains_key("type"), table != "json", "{commands:?}");
        assert!(!commands.contains_key("hmget"), "{commands:?}");
    }
}

#[tokio::test]
async fn only_the_fields_that_a_query_reads_are_asked_for() {
    let redis = Redis::shared().await;
    redis.command(&["HSET", &redis.key("hash", 7), "name", "ann", "age", "old"]).await;
    let session = session(1);
    redis.create(&session, "hash", USERS, "'value' 'hash'").await;
    let sql = "SELECT u.id, u.name FROM t JOIN hash u ON t.id = u.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|7|ann|"]);
    let message = rows(&session, &left_join("hash")).await.unwrap_err();
    assert!(message.contains("holds 'old' where INT is declared (column age)"), "{message}");
}

#[tokio::test]
async fn values_of_every_type_are_the_same_from_documents_and_hashes() {
    let redis = Redis::shared().await;
    let columns = "id BIGINT, b BOOLEAN, i TINYINT, u BIGINT UNSIGNED, f REAL, d DOUBLE, m DECIMAL(10, 2), \
                   s VARCHAR, day DATE, at TIMESTAMP, l INT[], PRIMARY KEY (id)";
    let hash = [
        ("b", "true"),
        ("i", "-128"),
        ("u", "18446744073709551615"),
        ("f", "1.5"),
        ("d", "1e300"),
        ("m", "-12345678.90"),
        ("s", "é \"x\""),
        ("day", "2024-02-29"),
        ("at", "2024-02-29T12:00:00.123456789"),
        ("l", "[1,null,3]"),
    ];
    let mut command = vec!["HSET".to_owned(), redis.key("hash", 1)];
    command.extend(hash.iter().flat_map(|(field, value)| [*field, *value]).map(str::to_owned));
    let mut object = serde_json::Map::new();
    for (field, value) in hash {
        let bare = matches!(field, "b" | "i" | "u" | "f" | "d" | "m" | "l");
        let value = match bare {
            true => serde_json::from_str(value).unwrap(),
            false => serde_json::Value::from(value),
        };
        object.insert(field.to_owned(), value);
    }
    let document = serde_json::Value::from(object).to_string();
    let nulls = vec!["HSET".to_owned(), redis.key("hash", 2), "other".into(), "1".into()];
    let documents = [(1, document), (2, "{}".to_owned())]
        .map(|(id, document)| vec!["SET".to_owned(), redis.key("json", id), document]);
    redis.fill(&[command, nulls]).await;
    redis.fill(&documents).await;
    let session = session(1);
    redis.create(&session, "json", columns, "").await;
    redis.create(&session, "hash", columns, "'value' 'hash'").await;
    let read = async |table: &str| {
        let sql = format!("SELECT x.* FROM t JOIN {table} x ON t.id = x.id ORDER BY x.id");
        rows(&session, &sql).await.unwrap()
    };
    let expected = [
        "|1|true|-128|18446744073709551615|1.5|1e300|-12345678.90|é \"x\"|2024-02-29|2024-02-29T12:00:00.123456789|[1, , 3]|",
        "|2|||||||||||",
    ];
    assert_eq!(read("hash").await, expected);
    assert_eq!(read("json").await, expected);
}

#[tokio::test]
async fn keys_of_several_columns_and_of_every_type_are_found() {
    let redis = Redis::shared().await;
    let session = session(1);
    for (index, (data_type, literal, text)) in [
        ("VARCHAR", "'a:b {c}*'", "a:b {c}*"),
        ("BYTEA", "X'00ff'", "\u{0}"),
        ("DATE", "DATE '2024-02-29'", "2024-02-29"),
        ("TIMESTAMP", "TIMESTAMP '2024-02-29 12:00:00'", "2024-02-29T12:00:00"),
        ("DECIMAL(10, 2)", "CAST(1.5 AS DECIMAL(10, 2))", "1.50"),
        ("BOOLEAN", "(t.id >= 0)", "true"),
        ("INT UNSIGNED", "CAST(7 AS INT UNSIGNED)", "7"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("typed{index}");
        let columns = format!("n BIGINT, k {data_type}, v VARCHAR, PRIMARY KEY (n, k)");
        redis.create(&session, &table, &columns, "'value' 'string'").await;
        let mut key = redis.key(&table, "5:").into_bytes();
        key.extend_from_slice(text.as_bytes());
        key.extend((data_type == "BYTEA").then_some(0xff));
        let mut set = redis::cmd("SET");
        set.arg(key).arg("found");
        redis.client().await.send_packed_command(&set).await.unwrap();
        let sql = format!(
            "SELECT x.n, x.v FROM t JOIN {table} x ON t.id = x.n AND x.k = {literal} WHERE t.id < 9"
        );
        assert_eq!(rows(&session, &sql).await.unwrap(), ["|5|found|"], "{data_type}");
    }
}

#[tokio::test]
async fn a_key_that_could_be_another_is_refused_and_not_looked_up() {
    let redis = Redis::shared().await;
    redis.command(&["SET", &redis.key("cells", "x:y:z"), "found"]).await;
    let session = session(1);
    let columns = "a VARCHAR, b VARCHAR, v VARCHAR, PRIMARY KEY (a, b)";
    let join = "SELECT k.a, x.v FROM (VALUES ('x', 'y:z'), ('x:y', 'z')) AS k (a, b) \
                LEFT JOIN cells x ON k.a = x.a AND k.b = x.b";
    redis.create(&session, "cells", columns, "'value' 'string'").await;
    let message = rows(&session, join).await.unwrap_err();
    let says = format!(
        "cells rejected the request: the key cannot be the name of a Redis key: column a holds ':', \
         which ends it in '{}:cells:{{a}}:{{b}}'",
        redis.prefix
    );
    assert!(message.contains(&says), "{message}");
    session.sql("DROP TABLE cells").await.unwrap();
    redis.create(&session, "cells", columns, "'value' 'string', 'on_error' 'null'").await;
    assert_eq!(rows(&session, join).await.unwrap(), ["|x|found|", "|x:y||"]);
}

#[tokio::test]
async fn without_a_template_a_key_is_the_table_and_its_columns() {
    let redis = Redis::shared().await;
    redis.command(&["SET", "redis_default:5:x", "found"]).await;
    let session = session(1);
    let sql = format!(
        "CREATE TABLE redis_default (a BIGINT, b VARCHAR, v VARCHAR, PRIMARY KEY (a, b)) WITH \
         ('connector' = 'redis', 'url' = '{}', 'password' = '{}', 'value' = 'string')",
        redis.url(),
        redis.password()
    );
    session.sql(&sql).await.unwrap();
    let sql = "SELECT t.id, x.v FROM t JOIN redis_default x ON t.id = x.a AND x.b = 'x'";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|5|found|"]);
}

#[tokio::test]
async fn many_rows_ask_for_each_key_once() {
    let redis = Redis::own().await;
    let commands: Vec<_> = (0..5_000)
        .map(|id| vec!["SET".to_owned(), redis.key("many", id), format!("v{id}")])
        .collect();
    redis.fill(&commands).await;
    let session = session(4);
    add_table(&session, "rows_of_many", 100_000, 4, 8_192);
    let columns = "id BIGINT, v VARCHAR, PRIMARY KEY (id)";
    redis.create(&session, "many", columns, "'value' 'string', 'max_batch_size' '128'").await;
    redis.take_commands().await;
    let sql = "SELECT count(*), count(DISTINCT m.v) FROM rows_of_many r \
               LEFT JOIN many m ON r.id % 5000 = m.id";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|100000|5000|"]);
    let stats = redis.info("stats").await;
    let looked_at = stats.lines().find_map(|line| line.strip_prefix("keyspace_hits:")).unwrap();
    assert_eq!(looked_at.trim(), "10000", "MGET and EXISTS of each key");
    let commands = redis.take_commands().await;
    let requests = commands["mget"];
    assert!((40..80).contains(&requests), "{requests} requests for 40 batches of 128 keys");
    assert_eq!(commands["exists"], requests);
}

#[tokio::test]
async fn connections_are_shared_and_bounded() {
    let redis = Redis::own().await;
    fill_users(&redis).await;
    let session = session(4);
    for (table, value) in [("json", "json"), ("hash", "hash")] {
        let options = format!("'value' '{value}', 'pool_size' '3', 'max_batch_size' '1'");
        redis.create(&session, table, USERS, &options).await;
        rows(&session, &left_join(table)).await.unwrap();
    }
    let connections = redis.connections().await;
    assert!((1..=3).contains(&connections.len()), "{connections:?}");
}

#[tokio::test]
async fn a_table_that_cannot_be_made_says_why() {
    let redis = Redis::shared().await;
    let session = session(1);
    for (columns, options, says) in [
        (USERS, "'url' ''", "option 'url': expected a URL like 'redis://localhost:6379/0'"),
        (USERS, "'url' 'http://h'", "option 'url': expected a URL like 'redis://localhost:6379/0'"),
        (USERS, "'url' 'redis://:hush@h/x'", "the database is no number"),
        (USERS, "'value' 'list'", "'list' is not accepted, accepted are 'json', 'hash', 'string'"),
        (USERS, "'key' 'user'", "option 'key': 'user': key column {id} is missing in it"),
        (USERS, "'pool_size' '0'", "'0' is not a number of connections greater than 0"),
        (USERS, "'connect_timeout' '0s'", "'0s' is not a duration greater than 0"),
        (USERS, "'tls_cert_file' 'x'", "option 'tls_cert_file': needs option 'tls_key_file', too"),
        (
            USERS,
            "'host' 'h'",
            "option 'host': no such option, connector 'redis' accepts url, user, password",
        ),
        (USERS, "'value' 'string'", "'string' is the value of one column beside the key, not of 2"),
        ("x DOUBLE, PRIMARY KEY (x)", "", "column x: DOUBLE cannot be part of a Redis key"),
        ("x BIGINT, v INTERVAL, PRIMARY KEY (x)", "", "column v: INTERVAL has no JSON form"),
    ] {
        let message = redis.try_create(&session, "users", columns, options).await.unwrap_err();
        assert!(message.contains("lookup table users") && message.contains(says), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
}
