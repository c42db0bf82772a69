//! Tests of whole queries: the plan, the rows of the synchronous twin, and the number of calls.

use crate::presence::plan_has_call;
use crate::testing::{
    assert_plan, assert_twin_rows, calls, columns, optimized, optimized_in_one_pass,
    optimized_without, rows, try_optimized, twin_rows,
};
use crate::{check_calls, optimizer_rules};

/// Queries with calls in every clause that is split, with the calls that a lazy row-at-a-time
/// evaluator with a memo per row makes.
const QUERIES: &[(&str, &str)] = &[
    ("SELECT x, f(x) AS v FROM t", "f 60"),
    ("SELECT f(g(x)) FROM t", "f 60, g 60"),
    ("SELECT f(f(x)), f(f(f(x))), f(x) FROM t", "f 180"),
    ("SELECT y FROM b o WHERE EXISTS (SELECT 1 FROM t WHERE t.k = o.k AND p(t.x))", "p 60"),
    ("SELECT f(abs(g(x))), g(x) FROM t", "f 60, g 60"),
    ("SELECT f(x), g(x), f(x) + g(x) FROM t", "f 60, g 60"),
    ("SELECT fv(x) AS v, fv(x) AS w FROM t", "fv 120"),
    ("SELECT x, f(x) FROM t WHERE f(x) > 30", "f 60"),
    ("SELECT v FROM (SELECT x, f(x) AS v FROM t) q WHERE v > 30", "f 60"),
    ("SELECT v FROM (SELECT x, k, f(x) AS v FROM t) q WHERE k < 5", "f 30"),
    ("SELECT x FROM t WHERE p(x) AND k < 5", "p 30"),
    ("SELECT x FROM t WHERE k < 5 AND q(x) AND p(x)", "p 10, q 30"),
    ("SELECT x FROM t WHERE k < 5 OR p(x)", "p 30"),
    ("SELECT x FROM t WHERE n < 30 OR p(x)", "p 45"),
    ("SELECT x FROM t WHERE n < 30 AND (p(x) OR k > 7)", "p 12"),
    ("SELECT n < 30 AND p(x), n < 30 OR q(x) FROM t", "p 45, q 45"),
    ("SELECT x FROM t WHERE f(x) BETWEEN 10 AND 20", "f 60"),
    ("SELECT x FROM t WHERE f(x) IN (3, 5, 7)", "f 60"),
    ("SELECT x FROM t WHERE f(x) IN (g(k), h(k))", "f 60, g 60, h 60"),
    ("SELECT x IN (1, 2, 3, 4, f(x)), x NOT IN (1, 2, 3, 4, 5, g(x)) FROM t", "f 56, g 55"),
    ("SELECT x FROM t WHERE f(x) IN (3, g(k), 5)", "f 60, g 58"),
    ("SELECT x FROM t WHERE NOT (k < 5 OR p(x))", "p 30"),
    ("SELECT CASE WHEN k <> 0 THEN f(x / k) END FROM t", "f 54"),
    ("SELECT CASE k WHEN 1 THEN f(x) WHEN 2 THEN g(x) ELSE h(x) END FROM t", "f 6, g 6, h 48"),
    ("SELECT CASE WHEN p(x) THEN f(x) ELSE g(x) END FROM t", "f 28, g 32, p 60"),
    (
        "SELECT CASE WHEN p(x) THEN 1 WHEN q(x) THEN 2 WHEN f(x) > 9 THEN 3 END FROM t",
        "f 23, p 60, q 32",
    ),
    ("SELECT coalesce(n, f(x)), nvl(n, g(x)) FROM t", "f 30, g 30"),
    ("SELECT CASE WHEN k < 5 THEN f(x) END, CASE WHEN n > 3 THEN f(x) END FROM t", "f 48"),
    ("SELECT CASE WHEN k < 5 THEN f(x) END, f(x) FROM t", "f 60"),
    ("SELECT CASE WHEN k < 5 THEN f(x) END FROM t WHERE CASE WHEN k < 5 THEN f(x) END > 5", "f 30"),
    ("SELECT x FROM t ORDER BY f(x)", "f 60"),
    ("SELECT f(x) AS v FROM t ORDER BY v DESC LIMIT 5", "f 60"),
    ("SELECT f(k), count(*) FROM t GROUP BY f(k)", "f 60"),
    ("SELECT f(k) AS v, sum(x) FROM t GROUP BY v HAVING p(f(k))", "f 60, p 60"),
    ("SELECT count(*) FROM t GROUP BY f(k)", "f 60"),
    ("SELECT f(k), n, count(*) FROM t GROUP BY ROLLUP(f(k), n)", "f 60"),
    ("SELECT f(k), g(n), count(*) FROM t GROUP BY CUBE(f(k), g(n))", "f 60, g 60"),
    ("SELECT fv(k), n, count(*) FROM t GROUP BY GROUPING SETS ((fv(k)), (fv(k), n))", "fv 60"),
    ("SELECT sum(f(x)), sum(g(x)) FROM t", "f 60, g 60"),
    ("SELECT k, sum(f(x)), max(h(x)) FROM t GROUP BY k", "f 60, h 60"),
    ("SELECT sum(f(x)) FILTER (WHERE k < 5) FROM t", "f 30"),
    ("SELECT sum(x) FILTER (WHERE p(x)), sum(f(x)) FILTER (WHERE p(x)) FROM t", "f 28, p 60"),
    ("SELECT count(DISTINCT f(k)) FROM t", "f 60"),
    ("SELECT count(DISTINCT f(k)), sum(x) FROM t", "f 60"),
    ("SELECT array_agg(f(x) ORDER BY g(x) DESC) FROM t", "f 60, g 60"),
    ("SELECT array_agg(DISTINCT fv(k) ORDER BY fv(k)) FROM t", "fv 60"),
    ("SELECT k, first_value(x ORDER BY f(x) DESC) FROM t GROUP BY k", "f 60"),
    ("SELECT k, sum(x) FROM t GROUP BY k HAVING p(sum(x))", "p 10"),
    ("SELECT f(sum(x)) FROM t GROUP BY k", "f 10"),
    ("SELECT DISTINCT f(k) FROM t", "f 60"),
    ("SELECT DISTINCT ON (f(k)) f(k), x FROM t ORDER BY f(k), x", "f 60"),
    ("SELECT DISTINCT ON (k) k, f(x) FROM t ORDER BY k, x", "f 10"),
    ("SELECT x, sum(f(x)) OVER (PARTITION BY k ORDER BY x) FROM t", "f 60"),
    ("SELECT x, row_number() OVER (PARTITION BY f(k) ORDER BY g(x)) FROM t", "f 60, g 60"),
    ("SELECT x, rank() OVER (ORDER BY fv(k)), sum(x) OVER (ORDER BY fv(k)) FROM t", "fv 60"),
    ("SELECT x FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY f(x)) = 1", "f 60"),
    ("SELECT t.x, b.y FROM t JOIN b ON f(t.x) = b.y", "f 60"),
    ("SELECT t.x, b.y FROM t LEFT JOIN b ON f(t.x) = g(b.y)", "f 60, g 10"),
    ("SELECT t.x, b.y FROM t JOIN b ON t.k = b.k AND p(t.x)", "p 60"),
    ("SELECT t.x, b.y FROM t JOIN b ON t.k = b.k AND p2(t.x, b.y)", "p2 60"),
    ("SELECT t.x, b.y FROM t, b WHERE t.k = b.k AND p2(t.x, b.y) AND b.z > 4", "p2 36"),
    ("SELECT t.x, b.y FROM t LEFT JOIN b ON t.k = b.k AND p(b.y)", "p 60"),
    ("SELECT f(t.x), b.y FROM t JOIN b ON t.k = b.k WHERE b.y < 5", "f 30"),
    ("SELECT y FROM b WHERE f(y) IN (SELECT x FROM t)", "f 10"),
    ("SELECT y FROM b WHERE y IN (SELECT f(x) FROM t)", "f 60"),
    ("SELECT y, (SELECT max(f(x)) FROM t WHERE t.k = o.k) FROM b o", "f 60"),
    ("SELECT f((SELECT max(x) FROM t))", "f 1"),
    ("SELECT y, (SELECT max(f(x)) FROM t) FROM b", "f 60"),
    ("SELECT y FROM b WHERE y > (SELECT min(f(x)) FROM t) AND p(y)", "f 60, p 8"),
    ("SELECT f(x) FROM t UNION ALL SELECT f(y) FROM b", "f 70"),
    ("SELECT unnest([f(x), g(x)]) FROM t", "f 60, g 60"),
    ("SELECT fs(x)['a'], fs(x)['b'] FROM t WHERE fs(x)['a'] > 30", "fs 60"),
    ("SELECT v['b'] FROM (SELECT fs(x) AS v FROM t) q WHERE v['a'] > 30", "fs 60"),
    ("SELECT f(s['a']), f(CAST(k AS INT)) FROM t", "f 120"),
    ("SELECT f(x + 1) FROM t WHERE f(x + 1) > 30", "f 60"),
    ("SELECT x FROM (SELECT x, f(x) AS v FROM t) q", ""),
    ("SELECT count(*) FROM (SELECT f(x) AS v FROM t) q", ""),
    (
        "WITH q AS (SELECT x, f(x) AS v FROM t) SELECT a.v, c.v FROM q a JOIN q c ON a.x = c.x",
        "f 120",
    ),
    ("SELECT f(1)", "f 1"),
    ("SELECT CASE WHEN k < 5 THEN v END FROM (SELECT k, f(x) AS v FROM t) q", "f 30"),
    // Calls wait for what drops rows.
    ("SELECT x, f(x) AS v FROM t ORDER BY x LIMIT 5", "f 5"),
    ("SELECT f(x) AS v FROM t ORDER BY k DESC, x LIMIT 5 OFFSET 5", "f 5"),
    ("SELECT f(g(x)), g(x), x + 1 AS y FROM t ORDER BY y LIMIT 5", "f 5, g 5"),
    ("SELECT g(x), x FROM t ORDER BY f(x) DESC LIMIT 5", "f 60, g 5"),
    ("SELECT v FROM (SELECT x, f(x) AS v, k FROM t) q ORDER BY q.k, q.x LIMIT 3", "f 3"),
    ("SELECT send(x) FROM t ORDER BY x LIMIT 5", "send 60"),
    ("SELECT fv(x) FROM t ORDER BY x LIMIT 5", "fv 5"),
    ("SELECT CASE WHEN k <> 0 THEN f(x / k) END FROM t ORDER BY x LIMIT 5", "f 4"),
    ("SELECT v FROM (SELECT f(x) AS v, p(x) AS w FROM t) q WHERE w", "f 28, p 60"),
    ("SELECT v FROM (SELECT f(x) AS v, p(x) AS w FROM t) q WHERE w AND v > 30", "f 28, p 60"),
    ("SELECT x, f(x) FROM t WHERE p(x) ORDER BY x LIMIT 5", "f 5, p 60"),
    ("SELECT x FROM t WHERE p(x) AND EXISTS (SELECT 1 FROM b o WHERE o.y = t.x)", "p 10"),
    ("SELECT x FROM t WHERE p(x) AND q(x) AND x IN (SELECT y FROM b)", "p 10, q 5"),
    ("SELECT x, f(x) FROM t WHERE p(x) AND x NOT IN (SELECT y FROM b)", "f 23, p 50"),
    (
        "SELECT q.v, o.m FROM (SELECT x, f(x) AS v FROM t) q JOIN (SELECT k, max(y) AS m FROM b GROUP BY k) o ON q.x = o.k",
        "f 5",
    ),
    (
        "SELECT q.v, o.m FROM (SELECT x, f(x) AS v FROM t) q JOIN (SELECT k, max(y) AS m FROM b GROUP BY k) o ON q.v = o.k",
        "f 60",
    ),
    ("SELECT q.v, o.y FROM (SELECT x, f(x) AS v FROM t) q JOIN b o ON q.x = o.k", "f 10"),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS v UNION ALL SELECT f(v) FROM r WHERE v < 5) SELECT * FROM r",
        "f 4",
    ),
    ("VALUES (1, f(5)), (2, f(6))", "f 2"),
    ("VALUES (f(g(1)), 'a'), (f(g(2)), 'b')", "f 2, g 2"),
    ("SELECT * FROM (VALUES (f(5)), (7), (g(8) + 1)) AS q(v) WHERE v > 6", "f 1, g 1"),
    ("SELECT CASE WHEN random() < 2 AND k < 5 THEN f(x) END AS v FROM t", "f 30"),
    ("SELECT CASE WHEN random() > 2 THEN f(x) ELSE g(x) END AS v FROM t", "g 60"),
    // Joins whose rows survive a condition that fails.
    ("SELECT t.x, o.y FROM t LEFT JOIN b o ON t.k = o.k AND p2(t.x, o.y)", "p2 60"),
    ("SELECT t.x, o.y FROM t LEFT JOIN b o ON t.k = o.k AND p(t.x)", "p 60"),
    (
        "SELECT t.x, o.y FROM t LEFT JOIN b o ON t.k = o.k AND o.z > 4 AND p2(t.x, o.y) AND q(t.x)",
        "p2 36, q 6",
    ),
    ("SELECT t.x, o.y FROM b o RIGHT JOIN t ON t.k = o.k AND p2(t.x, o.y)", "p2 60"),
    ("SELECT t.x, o.y FROM t LEFT JOIN b o ON t.k > o.y AND p2(t.x, o.y) WHERE t.x < 5", "p2 10"),
    ("SELECT y FROM b o WHERE EXISTS (SELECT 1 FROM t WHERE t.k = o.k AND p2(t.x, o.y))", "p2 60"),
    (
        "SELECT y FROM b o WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.k = o.k AND p2(t.x, o.y))",
        "p2 60",
    ),
    (
        "SELECT y FROM b o WHERE y < 3 OR EXISTS (SELECT 1 FROM t WHERE t.k = o.k AND p2(t.x, o.y))",
        "p2 42",
    ),
    ("SELECT y FROM b o WHERE z IN (SELECT x FROM t WHERE p2(t.x, o.y))", "p2 9"),
    ("SELECT t.x, o.y FROM t LEFT JOIN b o ON f(t.x) = o.y AND p2(t.x, o.y)", "f 60, p2 9"),
    ("SELECT t.x, o.y FROM t FULL JOIN b o ON t.x = o.z AND p2(t.k, o.y)", "p2 9"),
    (
        "SELECT t.x, o.y FROM t FULL JOIN b o ON t.k = o.k AND p2(t.x, o.y) AND q(o.y)",
        "p2 60, q 30",
    ),
    ("SELECT t.x, o.y FROM t FULL JOIN b o ON t.n = o.z AND p(t.x)", ""),
    ("SELECT t.x, o.y FROM t FULL JOIN b o ON p2(t.x, o.y) AND t.x > 57", "p2 20"),
    ("SELECT t.x, o.y FROM t FULL JOIN b o ON f(t.x) = o.y AND p2(t.x, o.k)", "f 60, p2 9"),
    ("SELECT v FROM (SELECT min(k) AS v FROM t) q WHERE g(7) < 7", "g 1"),
    (
        "SELECT o.y, q.v, q.w FROM b o LEFT JOIN (SELECT x, f(x) AS v, coalesce(n, 5) + g(x) AS w FROM t) q ON q.x = o.k",
        "f 10, g 10",
    ),
    ("SELECT q.x, o.y FROM (SELECT x, 4 AS c FROM t WHERE p(x)) q JOIN b o ON q.c = o.y", "p 60"),
    ("SELECT f(k) FROM t INTERSECT SELECT f(y) FROM b", "f 70"),
    ("SELECT f(k) FROM t UNION SELECT g(y) FROM b", "f 60, g 10"),
    // A call without columns is made on both sides of an aggregate, which is no part of a chain.
    (
        "SELECT f(v) FROM (SELECT f(k) AS v FROM t GROUP BY k) o WHERE p(0) AND (p(0) OR q(v))",
        "f 20, p 70",
    ),
];

#[test]
fn rows_are_those_of_the_synchronous_twin_and_no_call_is_made_twice() {
    let mut wrong = Vec::new();
    for (sql, expected) in QUERIES {
        let made = calls(sql);
        if made != *expected {
            wrong.push(format!("{sql}\n  expected {expected}\n  made     {made}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn calls_in_derived_tables_are_split_as_well() {
    let nested = QUERIES.iter().filter(|(sql, _)| !sql.starts_with("WITH"));
    for (sql, _) in nested {
        let names: Vec<String> = (0..columns(sql)).map(|column| format!("c{column}")).collect();
        let names = names.join(", ");
        let sql = format!(
            "WITH inner_query ({names}) AS ({sql}) \
             SELECT {names} FROM inner_query WHERE 1 = 1 UNION ALL SELECT {names} FROM inner_query"
        );
        assert_twin_rows(&sql);
    }
}

#[test]
fn without_a_rule_a_plan_is_whole_or_refused() {
    for rule in optimizer_rules() {
        for (sql, _) in QUERIES {
            if let Ok(plan) = optimized_without(rule.name(), sql)
                && check_calls(&plan).is_ok()
            {
                // Accepted: then an operator can be made of each node that holds a call.
                assert!(crate::testing::calls_stand_alone(&plan), "{sql} without {}", rule.name());
            }
        }
    }
}

#[test]
fn each_rule_makes_a_difference() {
    for rule in optimizer_rules() {
        let differs =
            QUERIES.iter().chain(EXTRA).any(|(sql, _)| match optimized_without(rule.name(), sql) {
                Ok(plan) => {
                    plan.display_indent().to_string() != optimized(sql).display_indent().to_string()
                }
                Err(_) => true,
            });
        assert!(differs, "{} changes no plan", rule.name());
    }
}

/// Queries whose calls cannot be counted, or that exercise what `QUERIES` does not.
const EXTRA: &[(&str, &str)] = &[
    ("SELECT v FROM (SELECT x, random() AS r, f(x) AS v FROM t) WHERE r < 2.0 AND v > 1", "f 60"),
    ("SELECT p(x) AND (p(x) OR q(k)) FROM t", "p 60"),
    ("SELECT x FROM t JOIN b ON t.x = b.y WHERE fv(t.x) < 50", "fv 60"),
];

#[test]
fn not_in_with_a_call_gives_the_rows_that_sql_demands() {
    // DataFusion's own null-aware join is no oracle: it ignores the further condition.
    let got =
        rows("SELECT x FROM t WHERE n NOT IN (SELECT z FROM b o WHERE p2(t.x, o.y) AND y <> 3)");
    let expected = "SELECT x FROM t WHERE NOT EXISTS
        (SELECT 1 FROM b o WHERE (t.n = o.z) IS NOT FALSE AND p2(t.x, o.y) AND y <> 3)";
    assert_eq!(got, twin_rows(expected));
    assert_eq!(got.len(), 30);
}

#[test]
fn plans_without_calls_are_left_alone() {
    let plan = optimized("SELECT k, sum(x) FROM t WHERE n > 3 GROUP BY k ORDER BY k LIMIT 3");
    assert!(!plan_has_call(&plan).unwrap());
}

#[test]
fn a_call_in_select_and_where_is_one_node() {
    assert_plan!("SELECT x, f(x) AS v FROM t WHERE f(x) > 5 AND k < 5", @r"
    Projection: t.x, __async_0 AS v
      Filter: __async_0 > Int64(5)
        Projection: t.x, __async_0
          AsyncCalc: f(t.x) AS __async_0
            Filter: t.k < Int64(5)
              TableScan: t projection=[x, k]
    ");
}

#[test]
fn independent_calls_are_neighbours() {
    assert_plan!("SELECT f(x), g(k), concat(ask(txt), '!') FROM t WHERE k < 5", @r#"
    Projection: __async_0 AS f(t.x), __async_1 AS g(t.k), concat(__async_2, Utf8("!")) AS concat(ask(t.txt),Utf8("!"))
      AsyncCalc: ask(t.txt) AS __async_2
        AsyncCalc: g(t.k) AS __async_1
          AsyncCalc: f(t.x) AS __async_0
            Filter: t.k < Int64(5)
              TableScan: t projection=[x, k, txt]
    "#);
}

#[test]
fn a_guard_may_depend_on_a_call() {
    assert_plan!("SELECT CASE WHEN p(x) THEN f(g(x)) ELSE h(x) END FROM t", @r"
    Projection: CASE WHEN __async_0 THEN __async_1 ELSE __async_2 END AS CASE WHEN p(t.x) THEN f(g(t.x)) ELSE h(t.x) END
      AsyncCalc: h(t.x) AS __async_2 WHEN __async_0 IS NOT TRUE
        AsyncCalc: f(__async_3) AS __async_1 WHEN __async_0 IS TRUE
          AsyncCalc: g(t.x) AS __async_3 WHEN __async_0 IS TRUE
            AsyncCalc: p(t.x) AS __async_0
              TableScan: t projection=[x]
    ");
}

#[test]
fn refusals_name_the_clause() {
    let refused = [
        "SELECT x FROM t LIMIT f(1)",
        "SELECT o.y, q.v FROM b o, LATERAL (SELECT f(o.y) AS v) q",
        "DELETE FROM t WHERE p(x)",
        "UPDATE t SET k = 1 WHERE p(x)",
    ];
    let messages: Vec<String> = refused.iter().map(|sql| message(sql)).collect();
    insta::assert_snapshot!(messages.join("\n"), @r"
    Error during planning: async function f cannot be called in LIMIT or OFFSET; write a number, which must be known before the query runs
    Error during planning: async function f(outer_ref(o.y)) cannot be called on columns of the outer query in this subquery; join the outer table to it and call it in the SELECT list
    Error during planning: async function p cannot be called in DELETE on t, whose conditions the table evaluates itself; select the keys with the call first, and write by key
    Error during planning: async function p cannot be called in UPDATE on t, whose conditions the table evaluates itself; select the keys with the call first, and write by key
    ");
}

fn message(sql: &str) -> String {
    match try_optimized(sql).and_then(|plan| check_calls(&plan)) {
        Ok(()) => format!("accepted: {sql}"),
        Err(error) => error.strip_backtrace(),
    }
}

#[test]
fn one_pass_of_the_optimizer_is_enough() {
    for (sql, _) in QUERIES.iter().chain(EXTRA) {
        let plan = optimized_in_one_pass(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        check_calls(&plan).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}
