//! Conditions that go along to the server, and those that stay here.

use crate::support::plans::plan_text;
use crate::support::postgres::{Database, session};
use crate::support::remote::rows;

const TABLE: &str = "CREATE TABLE items (id bigint PRIMARY KEY, n int, s text COLLATE \"und-x-icu\", x float8, d date,
        ts timestamp, tz timestamptz, p numeric(8, 2), b boolean, y bytea);
    INSERT INTO items SELECT i, i % 7, CASE WHEN i % 5 > 0 THEN chr(64 + i % 40) END, i / 4.0,
        '2020-01-01'::date + i, '2020-01-01'::timestamp + i * '1 hour'::interval,
        '2020-01-01 00:00:00+00'::timestamptz + i * '1 hour'::interval, i / 8.0, i % 3 = 0,
        decode(lpad(to_hex(i), 2, '0'), 'hex') FROM generate_series(0, 99) i;";
const COLUMNS: &str = "id BIGINT, n INT, s VARCHAR, x DOUBLE, d DATE, ts TIMESTAMP, \
    tz TIMESTAMP WITH TIME ZONE, p DECIMAL(8, 2), b BOOLEAN, y BYTEA, PRIMARY KEY (id)";

#[tokio::test]
async fn conditions_give_the_same_rows_there_and_here() {
    let database = Database::new().await;
    database.run(TABLE).await;
    let session = session(1, 100);
    database.create(&session, "items", COLUMNS, "").await;
    // The same rows, where DataFusion itself tests conditions.
    let all = "SELECT u.* FROM t JOIN items u ON t.id = u.id";
    let all = session.sql(all).await.unwrap().collect().await.unwrap();
    let plain = arrow::compute::concat_batches(&all[0].schema(), &all).unwrap();
    session.context().register_batch("plain", plain).unwrap();
    for (condition, is_taken) in [
        ("u.n > 3", true),
        ("u.n <> 3 OR u.n IS NULL", true),
        ("NOT (u.n = 3 AND u.s > 'M')", true),
        ("u.s > 'a'", true),
        ("u.s < 'a' AND u.s >= '['", true),
        ("u.s IN ('A', 'z', 'it''s')", true),
        ("u.s NOT IN ('A', 'b')", true),
        ("u.s LIKE '_'", true),
        ("u.s NOT LIKE 'A%'", true),
        ("u.s IS NOT NULL", true),
        ("u.s IS DISTINCT FROM 'A'", true),
        ("u.d BETWEEN DATE '2020-01-10' AND DATE '2020-02-01'", true),
        ("u.ts > TIMESTAMP '2020-01-02 12:00:00'", true),
        ("u.tz <= TIMESTAMP '2020-01-02 12:00:00Z'", true),
        ("u.p >= 3.25", true),
        ("u.b", true),
        ("NOT u.b", true),
        ("u.b IS NOT TRUE", true),
        ("u.y = X'0a'", true),
        ("u.x > 3.5", false),
        ("u.s ILIKE 'a'", false),
        ("upper(u.s) = 'A'", false),
        ("u.n + 1 = 3", false),
    ] {
        let sql =
            format!("SELECT u.id FROM t JOIN items u ON t.id = u.id WHERE {condition} ORDER BY 1");
        let expected = format!("SELECT u.id FROM plain u WHERE {condition} ORDER BY 1");
        let (got, expected) = (rows(&session, &sql).await, rows(&session, &expected).await);
        assert_eq!(got, expected, "{condition}");
        assert!((1..100).contains(&got.unwrap().len()), "{condition}");
        let plan = plan_text(&session, &sql).await;
        let line = plan.lines().find(|line| line.contains("AsyncCalcExec: items"));
        let line = line.unwrap_or_else(|| panic!("{plan}"));
        assert_eq!(line.contains(" WHERE "), is_taken, "{condition}\n{plan}");
    }
}
