//! EXPLAIN says of each call what it is, how it is made, and how often at most.

use farcall::FarcallSession;
use farcall::udf::testing::ScriptedFunction;

use crate::support::plans::plan_text;
use crate::support::remote::{add_table, rows};

/// A session over `t` of 1,000 rows in two partitions, with `f` in batches and `send`, which has side
/// effects.
fn session() -> FarcallSession {
    let session = FarcallSession::new().unwrap();
    add_table(&session, "t", 1_000, 2, 100);
    session.register(ScriptedFunction::new("f").build().0);
    let send = ScriptedFunction::new("send");
    session.register(send.with_declaration(|send| send.with_side_effects(true)).build().0);
    session
}

/// Returns the brackets behind the first call of the physical plan.
async fn shown(session: &FarcallSession, sql: &str) -> String {
    let plan = plan_text(session, sql).await;
    let line = plan.lines().find(|line| line.contains("AsyncCalcExec")).unwrap();
    line[line.rfind(" [").unwrap() + 1..].to_owned()
}

#[tokio::test]
async fn time_outs_and_retries_are_shown_as_they_are_set() {
    let session = session();
    let sql = "SELECT f(id) FROM t";
    let usual = "[async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3), \
               calls<=1000, requests~32]";
    assert_eq!(shown(&session, sql).await, usual);
    // Where every option stands, too, with the level that it comes from.
    let verbose = shown(&session, &format!("VERBOSE {sql}")).await;
    let options = usual.replace(']', ", mode=async (default), output_mode=ordered (default), ");
    assert!(verbose.starts_with(&options), "{verbose}");
    for (option, value, expected) in [
        ("attempt_timeout", "5s", ", timeout=5s/3m, "),
        ("timeout", "30s", ", timeout=5s/30s, "),
        ("max_attempts", "5", ", timeout=5s/30s, retry=exponential_backoff(5), "),
        ("retry_strategy", "fixed_delay", ", retry=fixed_delay(5), "),
        ("retry_strategy", "no_retry", ", retry=no_retry(1), "),
        ("rpm", "60", ", window=100, rpm=60, "),
    ] {
        let set = format!("SET farcall.async_scalar.{option} = '{value}'");
        session.sql(&set).await.unwrap();
        let shown = shown(&session, sql).await;
        assert!(shown.contains(expected), "{option}: {shown}");
    }
}

#[tokio::test]
async fn a_function_with_side_effects_is_shown_as_it_is_called() {
    let shown = shown(&session(), "SELECT send(id) FROM t").await;
    let expected = "[sync, ordered, batch=32, window=1, timeout=1m/3m, retry=no_retry(1), \
                    calls<=1000, requests~32]";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn calls_and_requests_are_bounded_by_what_is_known_of_the_rows() {
    let session = session();
    for (sql, expected) in [
        ("SELECT f(id) FROM t", Some("calls<=1000, requests~32")),
        // What a condition leaves is not known, what there was before is.
        ("SELECT f(id) FROM t WHERE id % 3 = 0", Some("calls<=1000, requests~32")),
        ("SELECT f(id) FROM t WHERE id % 3 = 0 LIMIT 40", Some("calls<=40, requests~2")),
        ("SELECT f(id) FROM t ORDER BY id LIMIT 3", Some("calls<=3, requests~1")),
        ("SELECT f(max(id)) FROM t", Some("calls<=1, requests~1")),
        // Equal calls are one.
        ("SELECT f(7), id FROM t", Some("calls<=1, requests~1")),
        ("SELECT f(value) FROM generate_series(1, 5)", None),
    ] {
        let shown = shown(&session, sql).await;
        match expected {
            Some(expected) => assert!(shown.ends_with(&format!(", {expected}]")), "{sql}: {shown}"),
            None => assert!(!shown.contains("calls"), "{sql}: {shown}"),
        }
    }
    session.sql("SET farcall.async_scalar.dedup = false").await.unwrap();
    let shown = shown(&session, "SELECT f(7), id FROM t").await;
    assert!(shown.ends_with("calls<=1000, requests~32]"), "{shown}");
}

#[tokio::test]
async fn a_limit_shows_its_demand_and_not_a_bound_that_it_is_not() {
    let shown = shown(&session(), "SELECT id FROM t WHERE f(id) > 9 LIMIT 20").await;
    let expected = "[async, ordered, batch=32, window=100, demand=20, timeout=1m/3m, \
                    retry=exponential_backoff(3), calls<=1000, requests~32]";
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn several_calls_of_an_operator_are_shown_one_by_one() {
    let session = session();
    let narrow = "SET farcall.function.g.max_batch_size = 5";
    session.register(ScriptedFunction::new("g").build().0);
    session.sql(narrow).await.unwrap();
    let plan = plan_text(&session, "SELECT f(id), CASE WHEN id > 5 THEN g(id) END FROM t").await;
    let line = plan.lines().find(|line| line.contains("AsyncCalcExec")).unwrap();
    insta::assert_snapshot!(line.trim(), @"AsyncCalcExec: f(id@0) AS __async_0 [async, ordered, batch=32, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=1000, requests~32], g(id@0) AS __async_1 WHEN (id@0 > 5) IS NOT DISTINCT FROM true [async, ordered, batch=5, window=100, timeout=1m/3m, retry=exponential_backoff(3), calls<=1000, requests~200]");
}

#[tokio::test]
async fn explain_analyze_shows_what_happened_beside_what_was_expected() {
    let text = rows(&session(), "EXPLAIN ANALYZE SELECT f(id % 10) FROM t").await.unwrap().join("");
    let line = text.lines().find(|line| line.contains("AsyncCalcExec")).unwrap();
    assert!(line.contains("calls<=1000") && line.contains(" calls=10,"), "{line}");
}

#[tokio::test]
async fn nothing_is_said_of_rows_that_nobody_counted() {
    let shown = shown(&session(), "SELECT f(a.id) FROM t a, t b WHERE a.id < b.id").await;
    assert!(!shown.contains("calls<="), "a join multiplies rows: {shown}");
}
