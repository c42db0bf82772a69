//! `dedup` of one function is a matter of its calls alone, in the planner and where calls are made.

use std::sync::Arc;

use farcall::FarcallSession;
use farcall::udf::CallOptions;
use farcall::udf::testing::{ScriptedFunction, Seen};

use crate::support::remote::{Remote, add_table, rows};
use crate::support::server::TestServer;

/// Of 200 rows a join keeps two, each five hundred times: the call waits for the join, and equal
/// calls are one.
const FEW: &str = "SELECT count(a.v) AS n FROM (SELECT id, f(id) AS v FROM t) AS a \
                   JOIN b ON a.id = b.id % 2";

/// As [`FEW`], beside a function of which something is set.
const BESIDE: &str = "SELECT count(a.v) AS n, count(c.w) AS m FROM (SELECT id, f(id) AS v FROM t) AS a \
                      JOIN (SELECT id, g(id) AS w FROM b) AS c ON a.id = c.id % 2";

/// Calls with two arguments in 200 rows.
const EQUAL: &str = "SELECT f(id % 2) AS v FROM t";

#[tokio::test]
async fn what_is_set_of_one_function_changes_no_call_of_another() {
    let mut wrong = Vec::new();
    for sql in [FEW, BESIDE, EQUAL] {
        let (session, f) = session(CallOptions::new());
        assert_eq!(calls_of(&session, &f, sql).await, 2, "{sql}");
        session.sql("SET farcall.function.g.dedup = 'false'").await.unwrap();
        let calls = calls_of(&session, &f, sql).await;
        if calls != 2 {
            wrong.push(format!("{calls} calls instead of 2: {sql}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_set_of_a_function_holds_in_the_planner_and_for_its_calls() {
    let off = "SET farcall.function.f.dedup = 'false'";
    let on = "SET farcall.function.f.dedup = 'true'";
    let off_for_all = "SET farcall.async_scalar.dedup = 'false'";
    let declared = || CallOptions::new().with_dedup(false);
    let mut wrong = Vec::new();
    for (options, statements, expected) in [
        (CallOptions::new(), vec![off], 200),
        (CallOptions::new(), vec![off_for_all], 200),
        (declared(), vec![], 200),
        // The narrower level wins.
        (CallOptions::new(), vec![off_for_all, on], 2),
        (declared(), vec![on], 2),
    ] {
        let (session, f) = session(options);
        for statement in &statements {
            session.sql(statement).await.unwrap();
        }
        for sql in [FEW, BESIDE, EQUAL] {
            let calls = calls_of(&session, &f, sql).await;
            if calls != expected {
                wrong.push(format!("{calls} calls instead of {expected}: {statements:?}, {sql}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn what_is_set_of_a_model_or_its_call_holds_in_the_planner_and_for_its_calls() {
    let off_for_models = "SET farcall.ml_predict.dedup = 'false'";
    let mut wrong = Vec::new();
    for (with, statements, call, expected) in [
        ("", vec![], "", 2),
        ("'dedup' = 'false'", vec![], "", 200),
        ("", vec!["SET farcall.function.m.dedup = 'false'"], "", 200),
        ("", vec![off_for_models], "", 200),
        ("", vec!["SET farcall.async_scalar.dedup = 'false'"], "", 200),
        ("", vec![], ", dedup => false", 200),
        // The narrower level wins.
        ("", vec![off_for_models], ", dedup => true", 2),
        ("'dedup' = 'true'", vec![off_for_models], "", 2),
        ("'dedup' = 'false'", vec!["SET farcall.function.m.dedup = 'true'"], "", 2),
        ("'dedup' = 'false'", vec![], ", dedup => true", 2),
    ] {
        let remote = Remote::new(TestServer::builder(), with).await;
        add_tables(&remote.session);
        for statement in &statements {
            remote.session.sql(statement).await.unwrap();
        }
        for sql in [FEW, EQUAL] {
            let predict = |argument| format!("PREDICT(m, {argument}{call})");
            let sql = sql.replace("f(id)", &predict("id")).replace("f(id % 2)", &predict("id % 2"));
            let before = remote.server.counts().rows;
            rows(&remote.session, &sql).await.unwrap();
            let calls = remote.server.counts().rows - before;
            if calls != expected {
                wrong.push(format!(
                    "{calls} calls instead of {expected}: {with} {statements:?} {sql}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.join("\n"));
}

/// Makes a session with `f`, which counts, and `g`.
fn session(options: CallOptions) -> (FarcallSession, Arc<Seen>) {
    let session = FarcallSession::new().unwrap();
    add_tables(&session);
    let f = ScriptedFunction::new("f").with_declaration(|f| f.with_options(options));
    let (f, seen) = f.build();
    session.register(f);
    session.register(ScriptedFunction::new("g").build().0);
    (session, seen)
}

/// Adds the tables `t`, of 200 rows, and `b`, of 1,000.
fn add_tables(session: &FarcallSession) {
    for (name, rows) in [("t", 200), ("b", 1_000)] {
        session.context().deregister_table(name).unwrap();
        add_table(session, name, rows, 1, 100);
    }
}

/// Returns how many calls a query makes.
async fn calls_of(session: &FarcallSession, seen: &Seen, sql: &str) -> usize {
    let before: usize = seen.sizes().iter().sum();
    rows(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    seen.sizes().iter().sum::<usize>() - before
}
