//! Every form in which SQL writes a table function, its rows, and how often it is called.

use crate::support::tables::Tables;
use crate::support::twins::lines;

/// A query, the same one over the table of all that is given, and the distinct arguments that `series`
/// is called on, 0 where it is called in several places on different ones.
type Form = (&'static str, &'static str, usize);

const FORMS: &[Form] = &[
    (
        "SELECT t.id, q.a, q.b FROM t, LATERAL series(t.x) AS q (a, b)",
        "SELECT t.id, q.a, q.b FROM t, given q WHERE q.n = t.x",
        20,
    ),
    (
        "SELECT t.id, q.a, q.b FROM t, LATERAL TABLE(series(x)) AS q (a, b)",
        "SELECT t.id, q.a, q.b FROM t, given q WHERE q.n = t.x",
        20,
    ),
    (
        "SELECT t.id, q.v FROM t CROSS JOIN LATERAL series(t.x) AS q (u, v)",
        "SELECT t.id, q.b FROM t, given q WHERE q.n = t.x",
        20,
    ),
    (
        "SELECT * FROM t LEFT JOIN LATERAL series(t.x) AS q ON TRUE",
        "SELECT t.*, q.a, q.b FROM t LEFT JOIN given q ON q.n = t.x",
        20,
    ),
    (
        "SELECT t.id, q.b FROM t LEFT JOIN LATERAL TABLE(series(t.x)) AS q (a, b) ON q.a > 9",
        "SELECT t.id, q.b FROM t LEFT JOIN given q ON q.n = t.x AND q.a > 9",
        20,
    ),
    (
        "SELECT t.id, q.b FROM t LEFT JOIN series(t.x) AS q ON q.a > t.id AND t.k < 5",
        "SELECT t.id, q.b FROM t LEFT JOIN given q ON q.n = t.x AND q.a > t.id AND t.k < 5",
        10,
    ),
    (
        "SELECT t.id, q.a FROM t JOIN LATERAL series(t.x) AS q ON q.a % 2 = t.k % 2",
        "SELECT t.id, q.a FROM t JOIN given q ON q.n = t.x AND q.a % 2 = t.k % 2",
        20,
    ),
    (
        "SELECT t.id, series.a FROM t, series(t.x) WHERE series.a > 5 AND t.k < 5",
        "SELECT t.id, q.a FROM t, given q WHERE q.n = t.x AND q.a > 5 AND t.k < 5",
        10,
    ),
    ("SELECT a, b FROM series(7)", "SELECT a, b FROM given WHERE n = 7", 1),
    ("SELECT q.a FROM TABLE(series(3 + 4)) AS q (a, b)", "SELECT a FROM given WHERE n = 7", 1),
    (
        "SELECT s.y, q.a FROM series(7) AS q RIGHT JOIN s ON q.a = s.y + 1",
        "SELECT s.y, q.a FROM (SELECT * FROM given WHERE n = 7) q RIGHT JOIN s ON q.a = s.y + 1",
        1,
    ),
    (
        "SELECT t.id, q.c FROM t, LATERAL (SELECT a + 1 AS c FROM series(t.x) AS q (a, v) WHERE a > 2) q",
        "SELECT t.id, q.a + 1 FROM t, given q WHERE q.n = t.x AND q.a > 2",
        20,
    ),
    (
        "SELECT t.id, q.c, q.one, q.id FROM t LEFT JOIN LATERAL \
         (SELECT coalesce(a, 0) + t.k AS c, 1 AS one, id AS id FROM series(t.x) WHERE b IS NULL) q ON TRUE",
        "SELECT t.id, q.c + t.k, q.one, CASE WHEN q.one = 1 THEN t.id END FROM t LEFT JOIN \
         (SELECT n, coalesce(a, 0) AS c, 1 AS one FROM given WHERE b IS NULL) q ON q.n = t.x",
        20,
    ),
    (
        "SELECT t.id, q.a FROM t, s, LATERAL series(t.k + s.y) AS q WHERE t.k = s.k",
        "SELECT t.id, q.a FROM t, s, given q WHERE q.n = t.k + s.y AND t.k = s.k",
        8,
    ),
    (
        "SELECT t.id, q.a, r.a FROM t, LATERAL series(t.x) q, LATERAL series(q.a + 1) r",
        "SELECT t.id, q.a, r.a FROM t, given q, given r WHERE q.n = t.x AND r.n = q.a + 1",
        0,
    ),
    (
        "SELECT t.id, w.u, w.v FROM t, LATERAL \
         (SELECT q.a AS u, r.b AS v FROM series(t.x) q, LATERAL series(q.a + t.k) r WHERE r.a > 8) w",
        "SELECT t.id, q.a, r.b FROM t, given q, given r WHERE q.n = t.x AND r.n = q.a + t.k AND r.a > 8",
        0,
    ),
    (
        "SELECT t.id, w.a, w.b FROM t, LATERAL \
         (SELECT q.a, r.b FROM series(t.x) q LEFT JOIN LATERAL series(q.a) r ON r.a > q.a) w",
        "SELECT t.id, q.a, r.b FROM t JOIN given q ON q.n = t.x LEFT JOIN given r ON r.n = q.a AND r.a > q.a",
        0,
    ),
    (
        "SELECT t.id, w.k FROM t, LATERAL (SELECT s.k FROM series(t.x) q JOIN s ON s.y = q.a) w",
        "SELECT t.id, s.k FROM t, given q, s WHERE q.n = t.x AND s.y = q.a",
        20,
    ),
    (
        "SELECT t.id, q.a, s.k FROM t, LATERAL series(t.x) AS q JOIN s ON s.y = q.a",
        "SELECT t.id, q.a, s.k FROM t, given q, s WHERE q.n = t.x AND s.y = q.a",
        20,
    ),
    (
        "SELECT * FROM t, LATERAL series(t.x) AS q LEFT JOIN s ON s.y = q.a AND q.b IS NOT NULL",
        "SELECT t.*, q.a, q.b, s.* FROM t JOIN given q ON q.n = t.x LEFT JOIN s ON s.y = q.a AND q.b IS NOT NULL",
        20,
    ),
    (
        "SELECT t.id, q.a, s.k FROM t, series(t.x) q LEFT JOIN s ON s.y > q.a + 15 WHERE t.k < 5",
        "SELECT t.id, q.a, s.k FROM t JOIN given q ON q.n = t.x LEFT JOIN s ON s.y > q.a + 15 WHERE t.k < 5",
        10,
    ),
    (
        "SELECT t.id, q.a, s.k, u.y FROM t, series(t.x) q LEFT JOIN s ON s.y = q.a JOIN s u ON u.k = q.a - 9",
        "SELECT t.id, q.a, s.k, u.y FROM t JOIN given q ON q.n = t.x LEFT JOIN s ON s.y = q.a JOIN s u ON u.k = q.a - 9",
        20,
    ),
    (
        "SELECT t.id, q.a, s.k FROM t JOIN (series(t.x) q JOIN s ON s.y = q.a) ON t.k > s.k",
        "SELECT t.id, q.a, s.k FROM t, given q, s WHERE q.n = t.x AND s.y = q.a AND t.k > s.k",
        20,
    ),
    (
        "SELECT t.id, w.k, w.a FROM t, (series(t.x) q JOIN s ON s.y = q.a) AS w",
        "SELECT t.id, s.k, q.a FROM t, given q, s WHERE q.n = t.x AND s.y = q.a",
        20,
    ),
    (
        "SELECT t.id, s.k, q.a FROM t, s JOIN series(t.x) q ON q.a = s.y",
        "SELECT t.id, s.k, q.a FROM t, s, given q WHERE q.n = t.x AND q.a = s.y",
        20,
    ),
    (
        "SELECT t.id, s.k, q.a FROM t, s LEFT JOIN series(t.x) q ON q.a = s.y WHERE t.id < 9",
        "SELECT t.id, s.k, q.a FROM t CROSS JOIN s LEFT JOIN given q ON q.a = s.y AND q.n = t.x WHERE t.id < 9",
        0,
    ),
    (
        "SELECT t.id, q.a, r.a FROM t, series(t.x) q LEFT JOIN series(t.k) r ON r.a > q.a",
        "SELECT t.id, q.a, r.a FROM t JOIN given q ON q.n = t.x LEFT JOIN given r ON r.n = t.k AND r.a > q.a",
        0,
    ),
    (
        "SELECT t.id, u.k, q.a, s.k FROM t, s u, series(t.x + u.k) q JOIN s ON s.y = q.a",
        "SELECT t.id, u.k, q.a, s.k FROM t, s u, given q, s WHERE q.n = t.x + u.k AND s.y = q.a",
        27,
    ),
    (
        "SELECT k, count(q.a), max(q.b) FROM t LEFT JOIN LATERAL series(x) q ON TRUE GROUP BY k",
        "SELECT k, count(q.a), max(q.b) FROM t LEFT JOIN given q ON q.n = t.x GROUP BY k",
        20,
    ),
    (
        "WITH w AS (SELECT t.k, q.a FROM t, series(t.x) q) SELECT u.a, v.k FROM w u JOIN w v ON u.a = v.a",
        "WITH w AS (SELECT t.k, q.a FROM t, given q WHERE q.n = t.x) SELECT u.a, v.k FROM w u JOIN w v ON u.a = v.a",
        0,
    ),
    (
        "SELECT s.k FROM s WHERE s.y IN (SELECT q.a FROM t, series(t.x) q)",
        "SELECT s.k FROM s WHERE s.y IN (SELECT q.a FROM t, given q WHERE q.n = t.x)",
        20,
    ),
    (
        "SELECT s.k FROM s WHERE EXISTS (SELECT 1 FROM t, series(t.x) q WHERE q.a = s.y AND t.k > s.k)",
        "SELECT s.k FROM s WHERE EXISTS (SELECT 1 FROM t, given q WHERE q.n = t.x AND q.a = s.y AND t.k > s.k)",
        20,
    ),
    (
        "SELECT s.k, q.a FROM s, LATERAL series((SELECT max(k) FROM s) + s.k) q",
        "SELECT s.k, q.a FROM s, given q WHERE q.n = 7 + s.k",
        8,
    ),
    (
        "SELECT s.k, (SELECT count(*) FROM t, series(t.x) q WHERE t.k = s.k) FROM s",
        "SELECT s.k, (SELECT count(*) FROM t, given q WHERE q.n = t.x AND t.k = s.k) FROM s",
        20,
    ),
    (
        "SELECT r.a FROM s AS q, LATERAL (SELECT q.k AS a FROM series(q.y) AS q) AS r, series(r.a) AS q2",
        "SELECT q.k FROM s AS q, given r, given q2 WHERE r.n = q.y AND q2.n = q.k",
        0,
    ),
];

#[tokio::test]
async fn every_form_has_the_rows_of_a_plain_join_and_calls_once_an_argument() {
    for partitions in [1, 4] {
        let tables = Tables::new(partitions);
        for (sql, plain, arguments) in FORMS {
            let rows = tables.check(sql, plain).await;
            assert!(rows > 0, "{sql}");
            let calls = tables.take_calls();
            let twice: Vec<_> = calls.iter().filter(|(_, calls)| **calls > 1).collect();
            // Two places of the same function are two call sites: each merges its own.
            if *arguments > 0 {
                assert_eq!(calls.len(), *arguments, "{sql}");
                let places = sql.matches("series(").count();
                assert!(twice.iter().all(|(_, calls)| **calls <= places), "{sql}: {twice:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_lookup_table_is_joined_to_the_rows_of_a_function_beside_it() {
    for (partitions, join) in [(1, "JOIN"), (4, "JOIN"), (1, "LEFT JOIN"), (4, "LEFT JOIN")] {
        let tables = Tables::new(partitions);
        let requests = tables.add_users();
        let sql = format!("SELECT t.id, u.name FROM t, series(t.x) q {join} users u ON q.a = u.id");
        let plain = format!(
            "SELECT t.id, u.name FROM t JOIN given q ON q.n = t.x {join} users u ON q.a = u.id"
        );
        assert!(tables.check(&sql, &plain).await > 0);
        let calls = tables.take_calls();
        assert!(calls.len() == 20 && calls.values().all(|calls| *calls == 1), "{sql}: {calls:?}");
        let asked = requests.take_keys();
        let given = "SELECT DISTINCT q.a FROM t JOIN given q ON q.n = t.x WHERE q.a IS NOT NULL";
        let given = tables.plain.sql(given).await.unwrap().count().await.unwrap();
        assert!(asked.len() == given && asked.values().all(|times| *times == 1), "{asked:?}");
    }
}

#[tokio::test]
async fn a_volatile_function_is_called_for_every_row() {
    let tables = Tables::new(1);
    let plain = "SELECT t.id, q.a FROM t, given q WHERE q.n = t.x AND t.k < 5";
    tables.check("SELECT t.id, q.a FROM t, steps(t.x) q WHERE t.k < 5", plain).await;
    let calls = tables.take_calls().into_iter().map(|(x, calls)| format!("|{x}|{calls}|"));
    let rows = "SELECT x, count(*) FROM t WHERE k < 5 AND x IS NOT NULL GROUP BY x ORDER BY x";
    assert_eq!(calls.collect::<Vec<_>>(), tables.rows(rows).await);
}

#[tokio::test]
async fn arguments_may_call_and_so_may_columns_and_conditions() {
    let tables = Tables::new(4);
    let distinct = "SELECT count(DISTINCT q.a) FROM t, given q WHERE q.n = t.x";
    let passing = format!("{distinct} AND p(q.a)");
    let keys = "SELECT count(DISTINCT k) FROM t";
    for (sql, plain, calls) in [
        (
            "SELECT t.id, q.a FROM t, LATERAL series(g(t.k) + 1) AS q",
            "SELECT t.id, q.a FROM t, given q WHERE q.n = g(t.k) + 1",
            vec![("g", keys)],
        ),
        (
            "SELECT t.id, g(q.a) FROM t, series(t.x) q WHERE p(q.a)",
            "SELECT t.id, g(q.a) FROM t, given q WHERE q.n = t.x AND p(q.a)",
            vec![("g", &passing), ("p", distinct)],
        ),
        (
            "SELECT t.id, q.v FROM t LEFT JOIN LATERAL (SELECT g(a) AS v FROM series(t.x)) q ON TRUE",
            "SELECT t.id, g(q.a) FROM t LEFT JOIN given q ON q.n = t.x",
            vec![("g", distinct)],
        ),
        (
            "SELECT t.id, q.a FROM t LEFT JOIN LATERAL series(t.x) q ON p(t.k) AND q.a > 3",
            "SELECT t.id, q.a FROM t LEFT JOIN given q ON q.n = t.x AND p(t.k) AND q.a > 3",
            vec![("p", keys)],
        ),
        (
            "SELECT t.id, q.v FROM t JOIN LATERAL (SELECT g(a) AS v FROM series(t.x)) q ON q.v > 9",
            "SELECT t.id, g(q.a) FROM t JOIN given q ON q.n = t.x AND g(q.a) > 9",
            vec![("g", distinct)],
        ),
    ] {
        tables.scalar.take();
        tables.check(sql, plain).await;
        let made: Vec<String> = tables
            .scalar
            .take()
            .into_iter()
            .map(|(name, calls)| format!("{name} |{calls}|"))
            .collect();
        let mut expected = Vec::new();
        for (name, count) in calls {
            let counted = tables.plain.sql(count).await.unwrap().collect().await.unwrap();
            expected.push(format!("{name} {}", lines(&counted)[0]));
        }
        assert_eq!(made, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_call_is_made_only_for_rows_that_pass_cheap_conditions() {
    let tables = Tables::new(4);
    for (sql, most) in [
        ("SELECT q.b FROM t, series(t.x) q WHERE t.id < 3", 3),
        ("SELECT q.b FROM t, series(t.x) q WHERE t.a = 1 AND t.id < 3 AND q.a > 1", 1),
        ("SELECT q.b FROM t LEFT JOIN series(t.x) q ON t.id < 3", 3),
        ("SELECT q.a FROM t LEFT JOIN series(t.x) q ON TRUE WHERE t.id < 2", 2),
        ("SELECT q.v FROM t, LATERAL (SELECT b AS v FROM series(t.x) WHERE t.id < 2) q", 2),
        ("SELECT q.b FROM t JOIN s ON t.id = s.y, series(t.id) q WHERE s.k < 3", 3),
        ("SELECT q.b FROM t, series(t.x) q WHERE t.x IS NULL", 0),
    ] {
        tables.rows(sql).await;
        let calls = tables.take_calls();
        assert_eq!(calls.values().sum::<usize>(), most, "{sql}: {calls:?}");
    }
}

#[tokio::test]
async fn a_call_waits_for_the_rows_for_which_something_is_found() {
    for partitions in [1, 4] {
        let tables = Tables::new(partitions);
        tables.add_users();
        let found = "SELECT count(*) FROM t WHERE x BETWEEN 5 AND 14";
        for (sql, calls) in [
            (
                "SELECT w.v, u.name FROM (SELECT x, g(id) AS v FROM t) w JOIN users u ON w.x = u.id",
                found,
            ),
            (
                "SELECT w.v FROM (SELECT x, g(id) AS v FROM t) w WHERE EXISTS \
                 (SELECT 1 FROM users u WHERE u.id = w.x)",
                found,
            ),
            (
                "SELECT w.v FROM (SELECT x, g(id) AS v FROM t) w WHERE NOT EXISTS \
                 (SELECT 1 FROM users u WHERE u.id = w.x)",
                "SELECT count(*) FROM t WHERE x IS NULL OR NOT (x BETWEEN 5 AND 14)",
            ),
            (
                "SELECT w.v, u.name FROM (SELECT u.x AS id, g(u.id) AS v FROM t u) w JOIN users u \
                 ON w.id = u.id AND u.name < w.id",
                "SELECT count(*) FROM t JOIN users u ON t.x = u.id AND u.name < t.x",
            ),
            (
                "SELECT CASE WHEN w.x > 9 THEN w.v END, u.name FROM (SELECT x, g(id) AS v FROM t) w \
                 LEFT JOIN users u ON w.x = u.id",
                "SELECT count(*) FROM t WHERE x > 9",
            ),
            // What the lookup reads is called for every row, and so is what a LEFT JOIN keeps.
            (
                "SELECT w.v, u.name FROM (SELECT g(id) AS v FROM t) w JOIN users u ON w.v = u.id",
                "SELECT count(*) FROM t",
            ),
            (
                "SELECT w.v FROM (SELECT x, g(id) AS v FROM t) w JOIN users u ON w.x = u.id AND u.name < w.v",
                "SELECT count(*) FROM t",
            ),
            (
                "SELECT w.v, u.name FROM (SELECT x, g(id) AS v FROM t) w LEFT JOIN users u ON w.x = u.id",
                "SELECT count(*) FROM t",
            ),
        ] {
            tables.scalar.take();
            tables.check(sql, sql).await;
            let calls = tables.plain.sql(calls).await.unwrap().collect().await.unwrap();
            let made = tables.scalar.take().into_values().sum::<usize>();
            assert_eq!(format!("|{made}|"), lines(&calls)[0], "{sql}");
        }
        let sql = "SELECT w.v, q.a FROM (SELECT x, g(id) AS v FROM t) w, series(w.x) q";
        let plain = "SELECT g(t.id), q.a FROM t, given q WHERE q.n = t.x";
        tables.scalar.take();
        tables.check(sql, plain).await;
        let given = "SELECT count(DISTINCT t.id) FROM t, given q WHERE q.n = t.x";
        let given = tables.plain.sql(given).await.unwrap().collect().await.unwrap();
        let made = tables.scalar.take().into_values().sum::<usize>();
        assert_eq!(format!("|{made}|"), lines(&given)[0]);
    }
}

#[tokio::test]
async fn below_a_limit_calls_begin_with_the_rows_that_it_wants() {
    let tables = Tables::new(4);
    for (sql, most) in [
        ("SELECT q.a FROM t LEFT JOIN series(t.id) q ON TRUE LIMIT 3", 3),
        // A third of the rows gives none.
        ("SELECT q.a FROM t, series(t.id) q LIMIT 3", 6),
    ] {
        assert_eq!(tables.rows(sql).await.len(), 3);
        let calls: usize = tables.take_calls().values().sum();
        assert!((1..=most).contains(&calls), "{sql}: {calls}");
    }
}

#[tokio::test]
async fn views_and_prepared_statements_hold_table_functions() {
    let tables = Tables::new(1);
    tables.rows("CREATE VIEW v AS SELECT t.id, q.a FROM t, series(t.x) q").await;
    let plain = "SELECT t.id, q.a FROM t, given q WHERE q.n = t.x";
    tables.check("SELECT id, a FROM v", plain).await;
    tables.rows("CREATE TABLE c AS SELECT t.id, q.a FROM t, series(t.x) q").await;
    tables.check("SELECT id, a FROM c", plain).await;
    tables.rows("PREPARE p (BIGINT) AS SELECT q.b FROM t, series(t.x + $1) q").await;
    let plain = "SELECT q.b FROM t, given q WHERE q.n = t.x + 2";
    tables.check("EXECUTE p(2)", plain).await;
}

#[tokio::test]
async fn what_datafusion_does_with_lateral_stays() {
    let tables = Tables::new(1);
    let same = [
        "SELECT t.id, q.y FROM t, LATERAL (SELECT y FROM s WHERE s.k = t.k) q",
        "SELECT t.id, q.n FROM t LEFT JOIN LATERAL (SELECT count(*) AS n FROM s WHERE s.k = t.k) q ON TRUE",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT * FROM UNNEST([1, 2, 3])",
    ];
    for sql in same {
        assert!(tables.check(sql, sql).await > 0);
    }
}
