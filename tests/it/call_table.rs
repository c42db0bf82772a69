//! The table of calls: what a query over 10,000 rows costs, at one and at four partitions.

use std::collections::BTreeMap;

use crate::support::twins::Twins;

/// Queries and the calls of their only function, where x is distinct and `f(x) = x + 1000000`.
///
/// A tenth of the rows has `k < 10`, half of them no `n`, and `k` takes 100 values; the rows of `b`
/// with `y < 5` join a twentieth of `t`.
const TABLE: &[(&str, &str, usize)] = &[
    ("SELECT x FROM t WHERE k < 10 AND p(x)", "p", 1_000),
    ("SELECT x FROM t WHERE p(x) AND k < 10", "p", 1_000),
    ("SELECT CASE WHEN k < 10 THEN f(x) END AS v FROM t", "f", 1_000),
    ("SELECT COALESCE(n, f(x)) AS v FROM t", "f", 5_000),
    ("SELECT x, f(x) AS v FROM t WHERE f(x) > 1005000", "f", 10_000),
    ("SELECT x FROM t WHERE f(x) BETWEEN 1 AND 2", "f", 10_000),
    ("SELECT x, f(x) AS v FROM t ORDER BY x LIMIT 5", "f", 5),
    ("SELECT x, f(x) AS v FROM t LIMIT 10", "f", 10),
    ("SELECT x, f(k) AS v FROM t", "f", 100),
    ("SELECT f(f(x)) AS a, f(f(f(x))) AS b, f(x) AS c FROM t", "f", 30_000),
    ("SELECT x, f(1) AS v FROM t", "f", 1),
    ("SELECT x FROM (SELECT x, f(x) AS v FROM t) q", "f", 0),
    ("SELECT t.x, b.y FROM t JOIN b ON t.k = b.k WHERE b.y < 5 AND p(t.x)", "p", 500),
];

#[tokio::test]
async fn a_query_costs_what_the_table_says() {
    let mut wrong = Vec::new();
    let twins = [Twins::new(1), Twins::new(4)];
    for (sql, function, needed) in TABLE {
        for (twins, partitions) in twins.iter().zip([1, 4]) {
            let made = calls(twins, sql);
            let made = made.await.remove(*function).unwrap_or(0);
            if made != *needed {
                wrong.push(format!("{sql}\n  {made} calls at {partitions}, needed {needed}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the calls of a query whose rows are the twin's: which ones, only a sort says of a LIMIT.
async fn calls(twins: &Twins, sql: &str) -> BTreeMap<String, usize> {
    let (mut expected, mut got, made) = twins.rows(sql).await;
    if sql.contains("LIMIT") && !sql.contains("ORDER BY") {
        assert_eq!(expected.len(), got.len(), "rows of {sql}");
        return made;
    }
    expected.sort();
    got.sort();
    assert!(expected == got, "{sql}\nexpected {expected:.200?}\ngot {got:.200?}");
    made
}
