//! The oracle, held against DataFusion's rows and counts worked out by hand.

use super::{Counts, evaluate};
use crate::support::twins::{Twins, lines};

/// Checks the oracle's rows against DataFusion's, and its calls against numbers.
async fn check(sql: &str, calls: &[(&str, usize)]) {
    let twins = Twins::small(1);
    let answer = evaluate(&twins.plain, sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let expected = twins.plain.sql(sql).await.unwrap().collect().await.unwrap();
    let (mut expected, mut rows) = (lines(&expected), answer.rows.clone());
    expected.sort();
    rows.sort();
    assert_eq!(rows, expected, "{sql}");
    let calls: Counts = calls.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert!(answer.allows(&calls), "{sql}\nexpected {calls:?}\ngot {:?}", answer.calls);
}

#[tokio::test]
async fn evaluates_what_is_read() {
    // Of 60 rows, x is NULL in 5 and takes 23 values.
    check("SELECT f(x) FROM t", &[("f", 23)]).await;
    check("SELECT id FROM (SELECT id, f(x) AS v FROM t) q", &[]).await;
    check("SELECT fv(id) FROM t WHERE k < 2", &[("fv", 20)]).await;
}
