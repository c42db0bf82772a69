//! Right rows, and only the calls that are needed: plans and counts against synchronous twins.

use farcall::plans;

use crate::support::twins::Twins;

/// Checks rows and calls at one and at four partitions.
async fn check(sql: &str, calls: &[(&str, usize)]) {
    for partitions in [1, 4] {
        Twins::new(partitions).check(sql, calls).await;
    }
}

async fn plan(sql: &str) -> plans::PlanSnapshot {
    plans::snapshot(&Twins::new(1).farcall, sql).await.unwrap()
}

macro_rules! check_query {
    ($name:ident, $sql:expr, $calls:expr, @$plan:literal) => {
        #[tokio::test]
        async fn $name() {
            check($sql, &$calls).await;
            insta::assert_snapshot!(plan($sql).await, @$plan);
        }
    };
}

check_query!(
    a_nested_call_is_two_operators,
    "SELECT x, f(g(x)) AS v FROM t",
    [("f", 10_000), ("g", 10_000)],
    @"
logical_plan:
  Projection: t.x, __async_0 AS v
    AsyncCalc: f(__async_1) AS __async_0
      AsyncCalc: g(t.x) AS __async_1
        TableScan: t projection=[x]
physical_plan:
  ProjectionExec: expr=[x@0 as x, __async_0@2 as v]
    AsyncCalcExec: f(__async_1@1) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
      AsyncCalcExec: g(x@0) AS __async_1 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
        DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: f 1, g 1
"
);

check_query!(
    two_functions_run_beside_each_other,
    "SELECT f(x) AS a, g(x) AS b FROM t",
    [("f", 10_000), ("g", 10_000)],
    @"
logical_plan:
  Projection: __async_0 AS a, __async_1 AS b
    AsyncCalc: g(t.x) AS __async_1
      AsyncCalc: f(t.x) AS __async_0
        TableScan: t projection=[x]
physical_plan:
  ProjectionExec: expr=[__async_0@1 as a, __async_1@2 as b]
    AsyncCalcExec: f(x@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)], g(x@0) AS __async_1 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
      DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: f 1, g 1
"
);

check_query!(
    a_call_in_select_and_where_is_made_once,
    "SELECT x, f(x) AS v FROM t WHERE f(x) > 1005000",
    [("f", 10_000)],
    @"
logical_plan:
  Projection: t.x, __async_0 AS v
    Filter: __async_0 > Int64(1005000)
      AsyncCalc: f(t.x) AS __async_0
        TableScan: t projection=[x]
physical_plan:
  ProjectionExec: expr=[x@0 as x, __async_0@1 as v]
    StreamingFilterExec: __async_0@1 > 1005000
      AsyncCalcExec: f(x@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
        DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: f 1
"
);

check_query!(
    a_cheap_condition_comes_first,
    "SELECT x FROM t WHERE p(x) AND k < 10",
    [("p", 1_000)],
    @"
logical_plan:
  Projection: t.x
    Filter: __async_0
      Projection: t.x, __async_0
        AsyncCalc: p(t.x) AS __async_0
          Filter: t.k < Int64(10)
            TableScan: t projection=[x, k]
physical_plan:
  StreamingFilterExec: __async_0@1, projection=[x@0]
    ProjectionExec: expr=[x@0 as x, __async_0@2 as __async_0]
      AsyncCalcExec: p(x@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
        FilterExec: k@1 < 10
          DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: p 1
"
);

check_query!(
    a_case_calls_for_its_rows_only,
    "SELECT CASE WHEN k < 10 THEN f(x) END AS v FROM t",
    [("f", 1_000)],
    @"
logical_plan:
  Projection: CASE WHEN t.k < Int64(10) THEN __async_0 END AS v
    AsyncCalc: f(t.x) AS __async_0 WHEN t.k < Int64(10) IS TRUE
      TableScan: t projection=[x, k]
physical_plan:
  ProjectionExec: expr=[CASE WHEN k@1 < 10 THEN __async_0@2 END as v]
    AsyncCalcExec: f(x@0) AS __async_0 WHEN (k@1 < 10) IS NOT DISTINCT FROM true [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
      DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: f 1
"
);

check_query!(
    a_guarded_argument_is_evaluated_for_its_rows_only,
    "SELECT CASE WHEN k <> 0 THEN f(x / k) END AS v FROM t",
    // x / k takes 1,032 values over the 9,900 rows where k is not 0; equal ones are one call.
    [("f", 1_032)],
    @"
logical_plan:
  Projection: CASE WHEN t.k != Int64(0) THEN __async_0 END AS v
    AsyncCalc: f(t.x / t.k) AS __async_0 WHEN t.k != Int64(0) IS TRUE
      TableScan: t projection=[x, k]
physical_plan:
  ProjectionExec: expr=[CASE WHEN k@1 != 0 THEN __async_0@2 END as v]
    AsyncCalcExec: f(x@0 / k@1) AS __async_0 WHEN (k@1 != 0) IS NOT DISTINCT FROM true [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
      DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: f 1
"
);

check_query!(
    two_aggregates_have_their_own_calls,
    "SELECT sum(f(x)) AS a, sum(g(x)) AS b FROM t",
    [("f", 10_000), ("g", 10_000)],
    @"
logical_plan:
  Projection: sum(f(t.x)) AS a, sum(g(t.x)) AS b
    Aggregate: groupBy=[[]], aggr=[[sum(__async_0) AS sum(f(t.x)), sum(__async_1) AS sum(g(t.x))]]
      Projection: __async_0, __async_1
        AsyncCalc: g(t.x) AS __async_1
          AsyncCalc: f(t.x) AS __async_0
            TableScan: t projection=[x]
physical_plan:
  ProjectionExec: expr=[sum(f(t.x))@0 as a, sum(g(t.x))@1 as b]
    AggregateExec: mode=Final, gby=[], aggr=[sum(__async_0) as sum(f(t.x)), sum(__async_1) as sum(g(t.x))]
      CoalescePartitionsExec
        AggregateExec: mode=Partial, gby=[], aggr=[sum(__async_0) as sum(f(t.x)), sum(__async_1) as sum(g(t.x))]
          ProjectionExec: expr=[__async_0@1 as __async_0, __async_1@2 as __async_1]
            AsyncCalcExec: f(x@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)], g(x@0) AS __async_1 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
              DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: f 1, g 1
"
);

check_query!(
    two_fields_of_a_call_are_one_call,
    "SELECT pair(x)['foo'] AS foo, pair(x)['bar'] AS bar FROM t",
    [("pair", 10_000)],
    @r#"
logical_plan:
  Projection: get_field(__async_0, Utf8("foo")) AS foo, get_field(__async_0, Utf8("bar")) AS bar
    AsyncCalc: pair(t.x) AS __async_0
      TableScan: t projection=[x]
physical_plan:
  ProjectionExec: expr=[get_field(__async_0@1, foo) as foo, get_field(__async_0@1, bar) as bar]
    AsyncCalcExec: pair(x@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3)]
      DataSourceExec: partitions=.., partition_sizes=[..]
call_sites: pair 1
"#
);

#[tokio::test]
async fn shapes_of_select_and_where_give_the_twins_rows() {
    for (sql, calls) in [
        ("SELECT x FROM t WHERE k < 90 OR p(x)", &[("p", 1_000)][..]),
        ("SELECT x FROM t WHERE p(x) AND q(x)", &[("p", 10_000), ("q", 5_000)]),
        ("SELECT nvl(n, f(x)) AS v FROM t", &[("f", 5_000)]),
        ("SELECT f(n) AS v FROM t", &[("f", 5_000)]),
        ("SELECT f(x) AS a, f(x) + 1 AS b FROM t", &[("f", 10_000)]),
        ("SELECT f(1) AS v", &[("f", 1)]),
        ("SELECT count(*) FROM (SELECT f(x) AS v FROM t) q", &[]),
        ("SELECT v FROM (SELECT x, f(x) AS v FROM t) q WHERE v > 1005000", &[("f", 10_000)]),
        ("SELECT v FROM (SELECT x, k, f(x) AS v FROM t) q WHERE k < 10", &[("f", 1_000)]),
        ("SELECT pair(x)['foo'] AS v FROM t WHERE pair(x)['bar'] < -5000", &[("pair", 10_000)]),
        ("SELECT f(s['foo']) AS v FROM t", &[("f", 10_000)]),
        ("SELECT f(CAST(CAST(x AS INT) AS BIGINT)) AS v FROM t", &[("f", 10_000)]),
        ("SELECT concat(shout(txt), '?') AS v FROM t", &[("shout", 10_000)]),
        ("SELECT sum(f(x)) FILTER (WHERE k < 10) AS v FROM t", &[("f", 1_000)]),
        ("SELECT sum(x) FILTER (WHERE p(x)) AS v FROM t", &[("p", 10_000)]),
        ("SELECT f(k) AS v, count(*) AS n FROM t GROUP BY f(k)", &[("f", 100)]),
        (
            "SELECT k, sum(f(x)) AS v, max(h(x)) AS w FROM t GROUP BY k",
            &[("f", 10_000), ("h", 10_000)],
        ),
        ("SELECT count(DISTINCT f(k)) AS v FROM t", &[("f", 100)]),
        ("SELECT k, sum(x) AS v FROM t GROUP BY k HAVING p(sum(x))", &[("p", 100)]),
        ("SELECT DISTINCT f(k) AS v FROM t", &[("f", 100)]),
        ("SELECT x FROM t ORDER BY h(x) LIMIT 5", &[("h", 10_000)]),
        ("SELECT f(x) AS v FROM t WHERE x < 0", &[]),
        ("SELECT f(x) AS v FROM t WHERE 1 = 0", &[]),
        ("SELECT f(x) AS v FROM t LIMIT 0", &[]),
        ("SELECT x FROM t WHERE p(n) IS NULL", &[("p", 5_000)]),
        (
            "SELECT CASE WHEN f(x) > 1005000 THEN g(x) ELSE h(x) END AS v FROM t",
            &[("f", 10_000), ("g", 4_999), ("h", 5_001)],
        ),
        ("SELECT k FROM t WHERE k < 3 UNION ALL SELECT f(y) FROM b", &[("f", 100)]),
        (
            "WITH q AS (SELECT x, f(x) AS v FROM t) SELECT * FROM q WHERE v < 1000100",
            &[("f", 10_000)],
        ),
    ] {
        check(sql, calls).await;
    }
}

#[tokio::test]
async fn volatile_calls_of_different_places_are_not_merged() {
    check("SELECT fv(x) AS a, fv(x) AS b FROM t", &[("fv", 20_000)]).await;
    check("SELECT fv(k) AS a FROM t", &[("fv", 10_000)]).await;
    check("SELECT x FROM t WHERE fv(x) BETWEEN 10 AND 20", &[("fv", 10_000)]).await;
}

#[tokio::test]
async fn the_try_form_gives_errors_as_values() {
    use farcall::udf::{CallError, async_fn};

    let session = farcall::FarcallSession::new().unwrap();
    session.register(async_fn("root", |x: f64| async move {
        match x >= 0.0 {
            true => Ok(x.sqrt()),
            false => Err(CallError::rejected("root", "a negative number")),
        }
    }));
    let sql = "SELECT x, try_root(x)['value'] AS v, try_root(x)['error']['code'] AS code \
               FROM (VALUES (4.0), (-1.0)) AS t (x)";
    let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(crate::support::twins::lines(&rows), ["|4.0|2.0||", "|-1.0||rejected|"]);
    let error = session.sql("SELECT root(-1.0)").await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().contains("root rejected the request: a negative number"), "{error}");
}

#[tokio::test]
async fn unordered_output_lets_later_rows_pass_a_slow_one() {
    use std::time::Duration;

    use farcall::udf::{CallError, async_fn};

    let session = farcall::FarcallSession::new().unwrap();
    session.register(async_fn("slow_first", |x: i64| async move {
        tokio::time::sleep(Duration::from_millis(if x == 1 { 200 } else { 1 })).await;
        Ok::<i64, CallError>(10 * x)
    }));
    let sql = "SELECT value, slow_first(value) AS v FROM generate_series(1, 50) AS s (value)";
    let rows = || async {
        crate::support::twins::lines(&session.sql(sql).await.unwrap().collect().await.unwrap())
    };
    let ordered = rows().await;
    session.sql("SET farcall.async_scalar.output_mode = 'allow_unordered'").await.unwrap();
    let mut unordered = rows().await;
    assert_eq!((&ordered[0], &unordered[49]), (&"|1|10|".to_owned(), &"|1|10|".to_owned()));
    let number = |row: &String| row.split('|').nth(1).and_then(|x| x.parse::<i64>().ok());
    unordered.sort_by_key(number);
    assert_eq!(unordered, ordered);
    let sorted = format!("{sql} ORDER BY value");
    let sorted = session.sql(&sorted).await.unwrap().collect().await.unwrap();
    assert_eq!(crate::support::twins::lines(&sorted), ordered);
}
