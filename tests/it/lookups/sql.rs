//! What SQL says of lookups: hints, FOR SYSTEM_TIME AS OF, options of the session.

use farcall::udf::{CallError, async_table_fn};

use crate::support::lookups::Stores;
use crate::support::plans::plan_text;

const JOIN: &str = "t LEFT JOIN users FOR SYSTEM_TIME AS OF PROCTIME() AS u ON t.k = u.id";

#[tokio::test]
async fn a_lookup_table_is_joined_as_of_now() {
    let stores = Stores::new(1);
    let sql = format!("SELECT t.id, u.name FROM {JOIN}");
    let plain = sql.replace("FOR SYSTEM_TIME AS OF PROCTIME() ", "");
    assert_eq!(stores.rows(&sql).await, stores.rows(&plain).await);
}

#[tokio::test]
async fn another_table_has_no_versions() {
    let stores = Stores::new(1);
    let sql = "SELECT u.id FROM users u JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON t.k = u.id";
    let message = "FOR SYSTEM_TIME AS OF follows t, which is no lookup table; its rows have no \
                   other versions";
    assert_eq!(stores.refusal(sql).await, message);
}

#[tokio::test]
async fn the_past_cannot_be_looked_up() {
    let sql = "SELECT t.id FROM t JOIN users FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01' AS u \
               ON t.k = u.id";
    let message = Stores::new(1).refusal(sql).await;
    let expected = "lookup table users is as it is when a row is joined, accepted are PROCTIME()";
    assert!(message.contains(expected), "{message}");
}

#[tokio::test]
async fn a_column_of_time_stands_for_the_time_at_which_a_row_is_joined() {
    let stores = Stores::new(1);
    stores.rows("CREATE TABLE events AS SELECT id, k, now() AS p, id AS n FROM t").await;
    let expected =
        stores.rows("SELECT e.id, u.name FROM events e JOIN users u ON e.k = u.id").await;
    for (from, time) in [
        ("events e", "e.p"),
        ("events e", "P"),
        ("events", "events.p"),
        ("(SELECT id, k, now() AS p FROM events) e", "e.p"),
        ("(SELECT * FROM events) e", "e.p"),
        ("(SELECT id, k, p FROM events) AS e (id, k, q)", "e.q"),
        ("events e", "localtimestamp"),
        ("events e", "CURRENT_TIMESTAMP"),
        ("events e", "NOW()"),
    ] {
        let name = from.rsplit(' ').next().unwrap_or_default();
        let name = if name.ends_with(')') { "e" } else { name };
        let sql = format!(
            "SELECT {name}.id, u.name FROM {from} JOIN users FOR SYSTEM_TIME AS OF {time} AS u \
             ON {name}.k = u.id"
        );
        assert_eq!(stores.rows(&sql).await, expected, "{sql}");
    }
    stores
        .rows(
            "WITH e AS (SELECT id, k, p FROM events) SELECT e.id FROM e WHERE EXISTS \
             (SELECT 1 FROM users FOR SYSTEM_TIME AS OF e.p AS u WHERE u.id = e.k)",
        )
        .await;
}

#[tokio::test]
async fn a_time_that_no_relation_has_is_refused() {
    let stores = Stores::new(1);
    let accepted = "PROCTIME(), NOW(), CURRENT_TIMESTAMP, LOCALTIMESTAMP or a column of type \
                    TIMESTAMP of a relation beside it in FROM";
    for (from, time, message) in [
        (
            "t",
            "\"2020-01-01\"",
            "no relation beside lookup table users has a column \"2020-01-01\"",
        ),
        (
            "t",
            "t.no_such_column",
            "no relation beside lookup table users has a column t.no_such_column",
        ),
        ("t", "s.p", "no relation beside lookup table users has a column s.p"),
        ("t", "u.name", "no relation beside lookup table users has a column u.name"),
        (
            "(SELECT id, k FROM t) AS t",
            "t.p",
            "no relation beside lookup table users has a column t.p",
        ),
        ("t", "t.s", "the column is of type Utf8"),
        ("t", "now(3)", "lookup table users is as it is when a row is joined"),
        ("t", "\"current_timestamp()\"", "no relation beside lookup table users has a column"),
    ] {
        let sql = format!(
            "SELECT t.id FROM {from} JOIN users FOR SYSTEM_TIME AS OF {time} AS u ON t.k = u.id"
        );
        let got = stores.refusal(&sql).await;
        let start = format!("FOR SYSTEM_TIME AS OF {time}: {message}");
        assert!(got.starts_with(&start) && got.ends_with(accepted), "{sql}\n{got}");
    }
}

#[tokio::test]
async fn a_hint_sets_the_options_of_its_table_alone() {
    let stores = Stores::new(1);
    let hint = "/*+ LOOKUP('table'='u', 'capacity'='3', 'max-batch-size'='5', 'async'='false', \
                'output-mode'='allow_unordered') */";
    let sql =
        format!("SELECT {hint} t.id, u.name, n.n FROM {JOIN} LEFT JOIN names n ON t.s = n.code");
    let plan = plan_text(&stores.farcall, &sql).await;
    let line = |table: &str| {
        let line = plan.lines().find(|line| line.contains(&format!("AsyncCalcExec: {table}")));
        line.unwrap_or_else(|| panic!("{plan}")).to_owned()
    };
    assert!(
        line("users").contains("[sync, allow_unordered, batch=5, window=1, timeout="),
        "{plan}"
    );
    assert!(line("names").contains("[async, ordered, batch=32, window=100, timeout="), "{plan}");
    stores.rows(&sql).await;
    assert!(stores.requests["users"].take().iter().all(|keys| keys.len() <= 5));
}

#[tokio::test]
async fn a_hint_reaches_subqueries_views_and_tables_without_alias() {
    let stores = Stores::new(1);
    for sql in [
        "SELECT /*+ LOOKUP('table'='users', 'max-batch-size'='2') */ t.id, users.name FROM t \
         JOIN users ON t.k = users.id",
        "SELECT id FROM t WHERE EXISTS (SELECT /*+ LOOKUP('table'='u', 'max-batch-size'='2') */ 1 \
         FROM users u WHERE u.id = t.k)",
        "WITH w AS (SELECT /*+ LOOKUP('table'='u', 'max-batch-size'='2') */ t.id, u.z FROM t \
         LEFT JOIN users u ON t.k = u.id) SELECT sum(z) FROM w",
    ] {
        stores.check(sql).await;
        let requests = stores.requests["users"].take();
        assert!(requests.len() >= 20 && requests.iter().all(|keys| keys.len() <= 2), "{sql}");
    }
}

#[tokio::test]
async fn hints_that_say_nothing_are_refused() {
    let stores = Stores::new(1);
    for (hint, message) in [
        (
            "'table'='x'",
            "LOOKUP hint: no table 'x' in FROM; it is named by its alias if it has one",
        ),
        ("'table'='users'", "LOOKUP hint: no table 'users' in FROM"),
        ("'table'='t'", "LOOKUP hint: 't' is not looked up here"),
        (
            "'table'='u', 'colour'='red'",
            "LOOKUP hint: option 'colour': no such option, accepted are 'mode', 'output_mode'",
        ),
        ("'table'='u') LOOKUP('table'='u'", "LOOKUP hint: table 'u' has two hints"),
    ] {
        let sql = format!("SELECT /*+ LOOKUP({hint}) */ t.id FROM t JOIN users u ON t.k = u.id");
        let got = stores.refusal(&sql).await;
        assert!(got.contains(message), "{got}");
    }
}

#[tokio::test]
async fn a_hint_that_cannot_be_read_or_names_a_function_is_refused() {
    let stores = Stores::new(1);
    stores.farcall.register(async_table_fn("series", ["a"], |n: i64| async move {
        Ok::<_, CallError>(vec![(n,)])
    }));
    let read =
        "SELECT /*+ LOOKUP('table'='u, 'capacity'='3') */ t.id FROM t JOIN users u ON t.k = u.id";
    let got = stores.refusal(read).await;
    assert!(got.contains("cannot be read: Unterminated string literal at Line: 1"), "{got}");
    for from in ["series(t.k) q", "TABLE(series(7)) q", "LATERAL TABLE(series(t.k)) AS q"] {
        let sql = format!("SELECT /*+ LOOKUP('table'='q', 'capacity'='3') */ q.a FROM t, {from}");
        let message = "LOOKUP hint: 'q' is table function series, which is called rather than looked \
                       up; it must name a lookup table";
        assert_eq!(stores.refusal(&sql).await, message, "{sql}");
    }
}

#[tokio::test]
async fn options_are_those_of_lookups_and_of_the_table() {
    let stores = Stores::new(1);
    stores.set("max_batch_size", "4").await;
    stores.farcall.sql("SET farcall.async_scalar.max_batch_size = 99").await.unwrap();
    let sql = "SELECT t.id FROM t JOIN users u ON t.k = u.id";
    let sizes = async || {
        stores.rows(sql).await;
        stores.requests["users"].take().iter().map(Vec::len).max()
    };
    assert_eq!(sizes().await, Some(4));
    stores.farcall.sql("SET farcall.function.users.max_batch_size = 9").await.unwrap();
    assert_eq!(sizes().await, Some(9));
}
