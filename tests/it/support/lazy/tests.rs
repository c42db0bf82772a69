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
async fn computes_what_is_read_once() {
    // Of 60 rows, x is NULL in 5 and takes 23 values in the others.
    check("SELECT f(x) FROM t", &[("f", 23)]).await;
    check("SELECT id FROM (SELECT id, f(x) AS v FROM t) q", &[]).await;
    check("SELECT fv(id) FROM t WHERE k < 2", &[("fv", 20)]).await;
    check("SELECT v + v FROM (SELECT fv(id) AS v FROM t) q", &[("fv", 60)]).await;
}

#[tokio::test]
async fn tests_cheap_conditions_first_wherever_they_stand() {
    check("SELECT id FROM t WHERE p(id) AND k = 1", &[("p", 10)]).await;
    let sql = "SELECT id FROM (SELECT * FROM t WHERE p(id)) q WHERE k = 1";
    check(sql, &[("p", 10)]).await;
    let sql = "SELECT id FROM t JOIN b ON t.id = b.y WHERE p(t.id) AND b.y < 7";
    check(sql, &[("p", 7)]).await;
}

#[tokio::test]
async fn knows_three_valued_logic() {
    // n is NULL in 30 rows, above 3 in 16 and at most 3 in 14.
    check("SELECT n > 3 AND p(id) FROM t", &[("p", 46)]).await;
    check("SELECT n > 3 OR p(id) FROM t", &[("p", 44)]).await;
    check("SELECT id FROM t WHERE (n > 3 AND p(id)) OR false", &[("p", 16)]).await;
    check("SELECT id FROM t WHERE NOT (n > 3 OR p(id))", &[("p", 14)]).await;
    check("SELECT coalesce(n, f(id)) FROM t", &[("f", 30)]).await;
}

#[tokio::test]
async fn computes_groups_and_partitions_that_are_read() {
    let sql = "SELECT k, sum(f(id)) FROM t GROUP BY k HAVING k < 2";
    check(sql, &[("f", 20)]).await;
    let sql =
        "SELECT s FROM (SELECT k, sum(f(id)) OVER (PARTITION BY k) AS s FROM t) q WHERE k < 2";
    check(sql, &[("f", 20)]).await;
    check("SELECT sum(f(id)) FILTER (WHERE k = 1) FROM t", &[("f", 10)]).await;
}

#[tokio::test]
async fn allows_any_order_of_equal_conditions() {
    // Of 60 numbers 30 are even, 20 divisible by 3.
    check("SELECT id FROM t WHERE p(id) AND q(id)", &[("p", 60), ("q", 30)]).await;
    check("SELECT id FROM t WHERE p(id) AND q(id)", &[("p", 20), ("q", 60)]).await;
}

#[tokio::test]
async fn refuses_a_call_too_many() {
    let twins = Twins::small(1);
    let answer = evaluate(&twins.plain, "SELECT f(id) FROM t WHERE k = 1").await.unwrap();
    assert!(answer.exceeded(&Counts::from([("f".to_owned(), 11)])));
    assert!(!answer.allows(&Counts::from([("f".to_owned(), 9)])));
    assert!(!answer.allows(&Counts::from([("f".to_owned(), 10), ("g".to_owned(), 1)])));
}
