//! Conditions on calls are tested in the order of what they cost and drop: as declared, else as observed.

use std::sync::Arc;
use std::time::Duration;

use farcall::FarcallSession;
use farcall::udf::{CallError, FarcallRuntime, async_fn};

use crate::support::plans::plan_text;
use crate::support::remote::{add_table, create, rows};

const BOTH: &str = "SELECT id FROM t WHERE p(id) AND q(id)";

/// A session over `t` of 64 rows, with `p`, which takes 100 ms and is TRUE for all, and `q`, which
/// takes 4 ms and is TRUE for every fourth.
fn session(runtime: &Arc<FarcallRuntime>) -> FarcallSession {
    let session = FarcallSession::builder().with_runtime(Arc::clone(runtime)).build().unwrap();
    add_table(&session, "t", 64, 1, 64);
    session.register(async_fn("p", |_: i64| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<bool, CallError>(true)
    }));
    session.register(async_fn("q", |id: i64| async move {
        tokio::time::sleep(Duration::from_millis(4)).await;
        Ok::<bool, CallError>(id % 4 == 0)
    }));
    session
}

/// Returns the calls of a query's operators, the one that is made first in front.
async fn calls(session: &FarcallSession, sql: &str) -> Vec<String> {
    let text = plan_text(session, sql).await;
    let calls = text.lines().filter_map(|line| line.split_once("AsyncCalcExec: "));
    let mut calls: Vec<String> = calls.map(|(_, call)| call.to_owned()).collect();
    calls.reverse();
    calls
}

/// Says whether the calls are those of these functions, in this order.
fn are(calls: &[String], functions: [&str; 2]) -> bool {
    calls.len() == 2 && calls.iter().zip(functions).all(|(call, name)| call.starts_with(name))
}

#[tokio::test(start_paused = true)]
async fn what_earlier_queries_observed_decides_and_explain_says_so() {
    let runtime = Arc::default();
    let session = session(&runtime);
    let before = calls(&session, BOTH).await;
    assert!(are(&before, ["p(", "q("]) && !before[0].contains("cost"), "{before:?}");
    rows(&session, "SELECT p(id) FROM t").await.unwrap();
    // Of q nothing is known yet: the order is as it is written.
    assert!(are(&calls(&session, BOTH).await, ["p(", "q("]));
    rows(&session, "SELECT q(id) FROM t").await.unwrap();
    let after = calls(&session, BOTH).await;
    assert!(are(&after, ["q(", "p("]), "{after:?}");
    assert!(after[0].contains(", observed_cost=0.004, observed_selectivity=0.250"), "{after:?}");
    assert!(after[1].contains(", observed_cost=0.128, observed_selectivity=1.000"), "{after:?}");
    // Another session of the runtime knows as much, another runtime nothing.
    assert!(are(&calls(&self::session(&runtime), BOTH).await, ["q(", "p("]));
    assert!(are(&calls(&self::session(&Arc::default()), BOTH).await, ["p(", "q("]));
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_wins_over_what_was_observed() {
    let session = session(&Arc::default());
    rows(&session, "SELECT p(id), q(id) FROM t").await.unwrap();
    assert!(are(&calls(&session, BOTH).await, ["q(", "p("]));
    session.sql("SET farcall.function.q.cost = '9.5'").await.unwrap();
    session.sql("SET farcall.function.p.selectivity = 0.5").await.unwrap();
    let declared = calls(&session, BOTH).await;
    assert!(are(&declared, ["p(", "q("]), "{declared:?}");
    assert!(declared[0].contains(", selectivity=0.5"), "{declared:?}");
    assert!(declared[1].contains(", cost=9.5"), "{declared:?}");
}

#[tokio::test]
async fn a_model_declares_its_cost_and_selectivity() {
    let session = session(&Arc::default());
    create(&session, "http://localhost:1/m", "'cost' = '3', 'selectivity' = '0.1'").await;
    let sql = "SELECT id FROM t WHERE PREDICT(m, id) > 1 AND p(id)";
    let calls = calls(&session, sql).await;
    assert!(are(&calls, ["p(", "PREDICT(m"]), "{calls:?}");
    assert!(calls[1].contains(", cost=3, selectivity=0.1"), "{calls:?}");
}

#[tokio::test]
async fn a_cost_or_share_that_is_none_is_refused() {
    let session = session(&Arc::default());
    for (option, value, accepted) in [
        ("cost", "-1", "numbers from 0"),
        ("selectivity", "1.5", "numbers from 0 to 1"),
        ("selectivity", "often", "numbers"),
    ] {
        let set = format!("SET farcall.function.p.{option} = '{value}'");
        let error = session.sql(&set).await.unwrap_err().to_string();
        let expected = format!("is not accepted, accepted are {accepted}");
        assert!(error.contains(option) && error.ends_with(&expected), "{error}");
    }
}
