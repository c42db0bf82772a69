//! Servers that fail: nothing is lost, nothing is asked twice in vain, and the message says why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::remote::{FAST, Remote, create, expected, line, rows, session};
use crate::support::server::{Script, SilentListener, TestServer, refusing_addr};

fn server() -> crate::support::server::ServerBuilder {
    TestServer::builder()
}

fn status(status: u16, body: &str) -> Script {
    Script::Status(status, vec![], body.into())
}

/// Answers everything but one row as it should.
fn all_but(bad: i64, wrong: Value) -> impl Fn(&Value) -> Value + Send + Sync + 'static {
    move |input| match input.as_i64() {
        Some(id) if id == bad => wrong.clone(),
        id => json!(2 * id.unwrap() + 1),
    }
}

async fn message(server: crate::support::server::ServerBuilder, options: &str) -> String {
    Remote::new(server, options).await.all().await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_recovers_loses_no_row() {
    for fault in [
        Script::unavailable(),
        status(500, "oops"),
        status(408, ""),
        status(529, ""),
        Script::Drop,
        Script::Short,
        Script::Long,
        Script::WrongType,
        Script::Body("{\"outputs\": [1, ".into()),
        Script::Body("<html>".into()),
        Script::Body(String::new()),
    ] {
        let remote = Remote::new(server().nth(1, fault.clone()).nth(5, fault.clone()), FAST).await;
        assert_eq!(remote.all().await, Ok(expected(&[])), "{fault:?}");
        assert_eq!(remote.requests(), 12, "{fault:?}");
    }
}

#[tokio::test]
async fn random_failures_lose_no_row() {
    for seed in 0..5 {
        let server = server()
            .seed(seed)
            .latency(Duration::from_millis(2), Duration::ZERO)
            .fault(0.1, Script::unavailable())
            .fault(0.1, Script::Drop)
            .fault(0.1, Script::Short)
            .fault(0.1, Script::throttled(Duration::from_millis(3)));
        let options = format!("{FAST}, 'max_attempts' = '20', 'buffer_capacity' = '4'");
        let remote = Remote::with_partitions(1, server, &options).await;
        assert_eq!(remote.all().await, Ok(expected(&[])), "seed {seed}");
    }
}

#[tokio::test]
async fn a_throttled_request_waits_as_long_as_it_is_told_and_uses_up_no_attempt() {
    let wait = Duration::from_millis(150);
    let script = Script::throttled(wait);
    let server = server().nth(1, script.clone()).nth(11, script.clone());
    let remote = Remote::new(server, "'max_attempts' = '1'").await;
    let start = Instant::now();
    assert_eq!(remote.all().await, Ok(expected(&[])));
    assert!(start.elapsed() >= 2 * wait, "{:?}", start.elapsed());
    assert_eq!(remote.requests(), 12);
}

#[tokio::test]
async fn a_server_that_throttles_for_ever_ends_with_the_time() {
    let server = server().always(Script::throttled(Duration::from_millis(20)));
    let message = message(server, "'timeout' = '110ms'").await;
    assert!(message.starts_with("m timed out after 110ms and "), "{message}");
    let end = " attempts (timeout): m was throttled: the server answered 429 Too Many Requests: \
               slow down (retry after 20ms)";
    assert!(message.ends_with(end), "{message}");
}

#[tokio::test]
async fn a_server_that_is_down_is_named_with_the_attempts() {
    let session = session(1);
    let addr = refusing_addr();
    create(&session, &format!("http://{addr}/m"), FAST).await;
    let message = rows(&session, "SELECT PREDICT(m, id) FROM t").await.unwrap_err();
    assert_eq!(
        message,
        format!(
            "m failed after 3 of 3 attempts: m could not be reached: no connection to {addr}: \
             connection refused"
        )
    );
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    let session = session(1);
    create(&session, "http://no-such-host.invalid/m?key=hush", FAST).await;
    let message = rows(&session, "SELECT PREDICT(m, id) FROM t").await.unwrap_err();
    assert!(message.contains("no connection to no-such-host.invalid:80: "), "{message}");
    assert!(!message.contains("hush"), "{message}");
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_with_the_attempts() {
    let silent = SilentListener::start();
    let session = session(1);
    let options = format!("{FAST}, 'attempt_timeout' = '40ms', 'max_attempts' = '2'");
    create(&session, &format!("http://{}/m", silent.addr()), &options).await;
    let message = rows(&session, "SELECT PREDICT(m, id) FROM t").await.unwrap_err();
    assert_eq!(
        message,
        "m failed after 2 of 2 attempts: m timed out after 40ms on attempt 2 (attempt_timeout)"
    );
}

#[tokio::test]
async fn a_request_that_hangs_ends_with_its_time() {
    let remote = Remote::new(server().always(Script::Hang), "'timeout' = '100ms'").await;
    let message = remote.all().await.unwrap_err();
    assert!(message.starts_with("m timed out after 100ms and 1 attempt"), "{message}");
    remote.server.until("nothing in flight", |server| server.in_flight() == 0).await;
}

#[tokio::test]
async fn a_slow_attempt_is_given_up_and_tried_again() {
    let slow = Script::Delay(Duration::from_secs(30));
    let options = format!("{FAST}, 'attempt_timeout' = '200ms'");
    let remote = Remote::new(server().nth(4, slow), &options).await;
    assert_eq!(remote.all().await, Ok(expected(&[])));
    remote.server.until("the slow one is gone", |server| server.counts().aborted == 1).await;
    assert_eq!(remote.requests(), 11);
}

#[tokio::test]
async fn what_the_server_says_is_in_the_message() {
    for (script, said) in [
        (
            status(500, "out of order"),
            "m failed after 3 of 3 attempts: m failed: the server answered 500 Internal Server \
             Error: out of order",
        ),
        (Script::Body("<html>not json".into()), "m answered something malformed: "),
        (Script::Body("{\"answers\": []}".into()), "outputs"),
        (Script::Body("{\"outputs\": 7}".into()), "outputs"),
        (Script::Short, "m answered 0 rows for a request of 1 row"),
        (Script::Long, "m answered 2 rows for a request of 1 row"),
        (
            Script::Drop,
            "m failed after 3 of 3 attempts: m could not be reached: the connection to HOST broke: ",
        ),
        (status(402, "pay"), "m has no quota left: the server answered 402 Payment Required: pay"),
        (
            status(
                429,
                "{\"error\": {\"code\": \"insufficient_quota\", \"message\": \"used up\"}}",
            ),
            "m has no quota left: the server answered 429 Too Many Requests: used up",
        ),
        (
            status(302, ""),
            "m is not set up correctly: the server answered 302 Found at http://HOST/predict; redirects are not \
             followed, change the endpoint",
        ),
    ] {
        let message = message(server().always(script.clone()), FAST).await;
        assert!(message.contains(said), "{script:?}\n{message}");
    }
}

#[tokio::test]
async fn a_wrong_key_or_address_ends_the_query_with_one_request() {
    for (code, text) in [
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found at http://HOST/predict"),
    ] {
        for on_error in ["fail", "null", "default:7"] {
            let options = format!("'mode' = 'sync', 'on_error' = '{on_error}'");
            let remote = Remote::new(server().always(status(code, "no")), &options).await;
            let message = remote.all().await.unwrap_err();
            assert_eq!(
                message,
                format!("m is not set up correctly: the server answered {text}: no")
            );
            assert_eq!(remote.requests(), 1);
        }
    }
}

#[tokio::test]
async fn a_body_above_its_limit_is_refused_before_it_is_read() {
    let long = Script::Body("x".repeat(500_000));
    let options = format!("{FAST}, 'max_response_bytes' = '1000'");
    let message = message(server().always(long), &options).await;
    assert_eq!(
        message,
        "m answered something malformed: the body has 500000 bytes, the limit is 1000 \
         (max_response_bytes)"
    );
}

#[tokio::test]
async fn a_row_of_a_wrong_type_fails_alone() {
    for (on_error, value) in [("null", ""), ("default:-1", "-1")] {
        for wrong in [json!("five"), json!(1.5), json!({"a": 1}), json!([1]), json!(true)] {
            let options = format!("{FAST}, 'on_error' = '{on_error}'");
            let remote = Remote::new(server().answer(all_but(37, wrong)), &options).await;
            assert_eq!(remote.all().await, Ok(expected(&[(37, value)])));
        }
    }
}

#[tokio::test]
async fn the_message_of_a_wrong_type_shows_value_and_type() {
    let message = message(server().answer(all_but(37, json!("five"))), FAST).await;
    assert!(message.contains("\"five\"") && message.contains("BIGINT"), "{message}");
}

#[tokio::test]
async fn a_poison_row_is_found_and_all_others_are_right() {
    for (on_error, value) in [("null", ""), ("default:0", "0")] {
        let options = format!("{FAST}, 'on_error' = '{on_error}'");
        let poison = |input: &Value| input == &json!(37);
        let remote = Remote::new(server().poison(poison), &options).await;
        assert_eq!(remote.all().await, Ok(expected(&[(37, value)])));
        // 10 requests; the one with the poison is halved: 10 = 5 + 5, 5 = 2 + 3, 3 = 1 + 2 at most.
        assert!(remote.requests() <= 10 + 8, "{}", remote.requests());
    }
}

#[tokio::test]
async fn a_poison_row_that_may_not_fail_ends_the_query_with_what_the_server_says() {
    let message = message(server().poison(|input| input == &json!(37)), FAST).await;
    assert_eq!(
        message,
        "m rejected the request: the server answered 422 Unprocessable Entity: a row is poison"
    );
}

#[tokio::test]
async fn on_error_decides_about_every_kind_of_failure() {
    let hang = format!("{FAST}, 'attempt_timeout' = '30ms', 'max_attempts' = '2'");
    let total = "'timeout' = '60ms'".to_owned();
    for (script, options) in [
        (status(500, ""), FAST.to_owned()),
        (status(400, ""), FAST.to_owned()),
        (Script::Drop, FAST.to_owned()),
        (Script::Short, FAST.to_owned()),
        (Script::WrongType, FAST.to_owned()),
        (Script::Body("x".into()), FAST.to_owned()),
        (Script::Hang, hang),
        (Script::Hang, total),
    ] {
        for (on_error, value) in [("null", Some("")), ("default:42", Some("42")), ("fail", None)] {
            let options = format!("{options}, 'on_error' = '{on_error}'");
            let remote = Remote::new(server().always(script.clone()), &options).await;
            let rows = remote.rows("SELECT id, PREDICT(m, id) AS v FROM t WHERE id < 20").await;
            match value {
                None => assert!(rows.unwrap_err().starts_with("m "), "{script:?}"),
                Some(value) => {
                    let expected: Vec<_> = (0..20).map(|id| line(id, value)).collect();
                    assert_eq!(rows, Ok(expected), "{script:?} {on_error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn allow_partial_gives_null_for_what_came_too_late_and_nothing_else() {
    let options = "'timeout' = '150ms', 'timeout_policy' = 'allow_partial'";
    let remote = Remote::new(server().nth(1, Script::Hang), options).await;
    let rows = remote.all().await.unwrap();
    assert_eq!(rows.len(), 100);
    assert_eq!(rows.iter().filter(|row| row.ends_with("||")).count(), 10);
    let refused = Remote::new(server().always(status(400, "no")), options).await;
    assert!(refused.all().await.unwrap_err().starts_with("m rejected the request"));
}

#[tokio::test]
async fn an_error_through_other_operators_reads_the_same() {
    let said =
        "m is not set up correctly: the server answered 404 Not Found at http://HOST/predict: no";
    for sql in [
        "SELECT sum(PREDICT(m, id)) FROM t",
        "SELECT PREDICT(m, id) AS v, count(*) FROM t GROUP BY v ORDER BY v",
        "SELECT id FROM t ORDER BY PREDICT(m, id) LIMIT 3",
        "SELECT a.id FROM t a JOIN (SELECT PREDICT(m, id) AS v FROM t) b ON a.id = b.v",
        "SELECT id FROM t WHERE id IN (SELECT PREDICT(m, id) FROM t)",
        "SELECT id, (SELECT max(PREDICT(m, id)) FROM t) FROM t",
        "SELECT id FROM t UNION ALL SELECT PREDICT(m, id) FROM t",
        "CREATE TABLE c AS SELECT PREDICT(m, id) AS v FROM t",
    ] {
        for partitions in [1, 4] {
            let server = server().always(status(404, "no"));
            let remote = Remote::with_partitions(partitions, server, "").await;
            assert_eq!(remote.rows(sql).await.unwrap_err(), said, "{partitions}: {sql}");
        }
    }
}
