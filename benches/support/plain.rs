//! Plain queries and their tables: what planning costs a query that calls nothing.

use datafusion::prelude::{SessionConfig, SessionContext};

const TABLES: [&str; 2] = [
    "CREATE TABLE t AS SELECT column1 AS x, column2 AS k, column3 AS txt \
     FROM (VALUES (1, 2, 'a'), (3, 4, 'b'))",
    "CREATE TABLE b AS SELECT column1 AS y, column2 AS k FROM (VALUES (1, 2), (3, 4))",
];

/// Queries by name.
pub const QUERIES: [(&str, &str); 5] = [
    ("filter", "SELECT x + 1 AS a, upper(txt) FROM t WHERE k < 10 AND x % 2 = 0"),
    ("aggregate", "SELECT k, sum(x), count(DISTINCT txt) FROM t GROUP BY k HAVING sum(x) > 3"),
    (
        "join",
        "SELECT t.x, b.y FROM t JOIN b ON t.k = b.k AND t.x < b.y LEFT JOIN b AS c ON c.y = t.x",
    ),
    ("window", "SELECT x, sum(x) OVER (PARTITION BY k ORDER BY x) FROM t ORDER BY 2 DESC LIMIT 5"),
    (
        "subquery",
        "SELECT x FROM t WHERE x IN (SELECT y FROM b WHERE b.k = t.k) AND EXISTS (SELECT 1 FROM b)",
    ),
];

/// The same for both rivals.
pub fn config() -> SessionConfig {
    SessionConfig::new().with_target_partitions(2)
}

/// Makes the tables.
pub async fn fill(context: &SessionContext) {
    for table in TABLES {
        context.sql(table).await.expect("a table").collect().await.expect("a table");
    }
}
