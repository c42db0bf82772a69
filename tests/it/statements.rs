//! Calls in every kind of statement, and options at every level.

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use farcall::udf::{CallError, CallOptions, async_fn};
use farcall::{FarcallSession, plans};

use crate::support::remote::{Remote, add_table, create, expected, rows, session};
use crate::support::server::{Script, TestServer};

/// What EXPLAIN says of time-outs and retries that nobody set.
const PATIENCE: &str = "timeout=1m/3m, retry=exponential_backoff(3)";

async fn remote() -> Remote {
    Remote::new(TestServer::builder(), "").await
}

#[tokio::test]
async fn a_prepared_statement_calls_with_its_parameters() {
    let remote = remote().await;
    remote.session.register(async_fn("next", |x: i64| async move { Ok::<i64, CallError>(x + 1) }));
    for (prepare, execute, value) in [
        ("PREPARE a AS SELECT PREDICT(m, $1) AS v", "EXECUTE a(20)", "|41|"),
        ("PREPARE b(BIGINT) AS SELECT PREDICT(m, $1) AS v", "EXECUTE b(21)", "|43|"),
        ("PREPARE c AS SELECT next($1) AS v", "EXECUTE c(4)", "|5|"),
        (
            "PREPARE d AS SELECT PREDICT(m, id) AS v FROM t WHERE PREDICT(m, id) = $1",
            "EXECUTE d(7)",
            "|7|",
        ),
        (
            "PREPARE e AS SELECT CASE WHEN $1 THEN PREDICT(m, $2) END AS v",
            "EXECUTE e(false, 1)",
            "||",
        ),
    ] {
        remote.rows(prepare).await.unwrap_or_else(|error| panic!("{prepare}: {error}"));
        for _ in 0..2 {
            let rows = remote.rows(execute).await;
            assert_eq!(rows, Ok(vec![value.to_owned()]), "{prepare}; {execute}");
        }
    }
}

#[tokio::test]
async fn an_executed_statement_calls_no_more_than_a_plain_one() {
    let remote = remote().await;
    remote.rows("PREPARE q AS SELECT PREDICT(m, id) AS v FROM t WHERE id < $1").await.unwrap();
    assert_eq!(remote.rows("EXECUTE q(15)").await.unwrap().len(), 15);
    assert_eq!(remote.server.counts().rows, 15);
}

#[tokio::test]
async fn a_view_uses_the_model_of_the_moment() {
    let remote = remote().await;
    remote.rows("CREATE VIEW v AS SELECT id, PREDICT(m, id) AS p FROM t").await.unwrap();
    let sql = "SELECT p FROM v WHERE id = 3";
    assert_eq!(remote.rows(sql).await.unwrap(), ["|7|"]);
    assert_eq!(remote.server.counts().rows, 1, "the condition comes first");
    let other = TestServer::builder().answer(|_| serde_json::json!(0)).start();
    create(&remote.session, &other.url(), "").await;
    assert_eq!(remote.rows(sql).await.unwrap(), ["|0|"]);
    remote.rows("DROP MODEL m").await.unwrap();
    assert_eq!(
        remote.rows(sql).await.unwrap_err(),
        "no model 'm', the session has none; CREATE MODEL makes one"
    );
}

#[tokio::test]
async fn a_plan_keeps_the_model_it_was_made_with() {
    let remote = remote().await;
    let frame = remote.session.sql("SELECT PREDICT(m, id) AS v FROM t LIMIT 2").await.unwrap();
    remote.rows("DROP MODEL m").await.unwrap();
    let batches = frame.collect().await.unwrap();
    assert_eq!(crate::support::twins::lines(&batches), ["|1|", "|3|"]);
}

#[tokio::test]
async fn rows_are_written_by_insert_and_create_table_and_copy() {
    let remote = remote().await;
    let query = "SELECT id, PREDICT(m, id) AS v FROM t";
    remote.rows(&format!("CREATE TABLE a AS {query}")).await.unwrap();
    assert_eq!(remote.rows("SELECT * FROM a").await, Ok(expected(&[])));
    remote.rows("CREATE TABLE b (id BIGINT, v BIGINT)").await.unwrap();
    assert_eq!(remote.rows(&format!("INSERT INTO b {query}")).await.unwrap(), ["|100|"]);
    assert_eq!(remote.rows("SELECT * FROM b ORDER BY id").await, Ok(expected(&[])));
    assert_eq!(remote.rows("INSERT INTO b SELECT -1, PREDICT(m, 7)").await.unwrap(), ["|1|"]);
    assert_eq!(remote.rows("SELECT v FROM b WHERE id = -1").await.unwrap(), ["|15|"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.csv");
    let copy = format!("COPY ({query}) TO '{}'", file.display());
    assert_eq!(remote.rows(&copy).await.unwrap(), ["|100|"]);
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!((text.lines().count(), text.lines().nth(1)), (101, Some("0,1")));
    assert_eq!(remote.server.counts().rows, 301);
}

#[tokio::test]
async fn fields_are_read_as_datafusion_reads_them() {
    let remote = remote().await;
    let create = "CREATE TABLE f AS SELECT named_struct('a', 1, 'b', named_struct('c', 2)) AS s";
    remote.rows(create).await.unwrap();
    for field in ["s['a']", "f.s['a']", "f.s.a", "s.b['c'] - 1", "f.s['b'].c - 1"] {
        let sql = format!("SELECT {field} FROM f");
        assert_eq!(remote.rows(&sql).await, Ok(vec!["|1|".to_owned()]), "{sql}");
    }
}

#[tokio::test]
async fn a_failed_call_leaves_no_table_behind() {
    let remote =
        Remote::new(TestServer::builder().always(Script::Status(404, vec![], "".into())), "").await;
    assert!(remote.rows("CREATE TABLE a AS SELECT PREDICT(m, id) AS v FROM t").await.is_err());
    assert!(remote.rows("SELECT * FROM a").await.unwrap_err().contains("not found"));
}

#[tokio::test]
async fn calls_stand_in_ctes_and_subqueries() {
    let remote = remote().await;
    for (sql, got, sent) in [
        ("WITH c AS (SELECT PREDICT(m, id) AS v FROM t) SELECT sum(v) FROM c", "|10000|", 100),
        (
            "SELECT count(*) FROM t WHERE id IN (SELECT PREDICT(m, id) FROM t WHERE id < 10)",
            "|10|",
            10,
        ),
        ("SELECT (SELECT max(PREDICT(m, id)) FROM t) AS v", "|199|", 100),
        (
            "SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM t WHERE PREDICT(m, id) < 0)",
            "|0|",
            100,
        ),
        (
            "SELECT count(*) FROM t WHERE NOT EXISTS \
             (SELECT 1 FROM t AS u WHERE PREDICT(m, u.id) = t.id)",
            "|50|",
            100,
        ),
        ("SELECT sum(v) FROM (SELECT PREDICT(m, id) AS v FROM t LIMIT 4) q", "|16|", 4),
    ] {
        remote.server.reset();
        assert_eq!(remote.rows(sql).await, Ok(vec![got.to_owned()]), "{sql}");
        assert_eq!(remote.server.counts().rows, sent, "{sql}");
    }
}

/// Returns the brackets behind the call of the physical plan.
async fn shown(session: &FarcallSession, call: &str) -> String {
    let plan = plans::snapshot(session, &format!("SELECT {call} AS v FROM t")).await.unwrap();
    let line = plan.physical().unwrap().lines().find(|line| line.contains("AsyncCalcExec"));
    let line = line.unwrap();
    line[line.rfind('[').unwrap()..].to_owned()
}

#[tokio::test]
async fn the_narrowest_option_wins_and_explain_shows_it() {
    let session = session(1);
    let with = "'buffer_capacity' = '5'";
    create(&session, "http://localhost:1/m", "").await;
    let run = async |sql: &str| {
        session.sql(sql).await.unwrap();
    };
    let window = async |window: &str, call: &str| {
        let shown = shown(&session, call).await;
        let expected = format!("[async, ordered, batch=10, window={window}, {PATIENCE}]");
        assert_eq!(shown, expected, "{call}");
    };
    let call = "PREDICT(m, id)";
    window("100", call).await;
    run("SET farcall.async_scalar.buffer_capacity = 2").await;
    window("2", call).await;
    run("SET farcall.ml_predict.buffer_capacity = 3").await;
    window("3", call).await;
    create(&session, "http://localhost:1/m", with).await;
    window("5", call).await;
    run("SET farcall.function.m.buffer_capacity = 6").await;
    window("6", call).await;
    window("7", "PREDICT(m, id, buffer_capacity => 7)").await;
    window("8", "PREDICT(m, id, max_concurrent_operations => 8)").await;
    run("RESET farcall.function.m.buffer_capacity").await;
    window("5", call).await;
    create(&session, "http://localhost:1/m", "").await;
    window("3", call).await;
    run("RESET farcall.ml_predict").await;
    window("2", call).await;
    run("RESET farcall.async_scalar.buffer_capacity").await;
    window("100", call).await;
    run("SET table.exec.async-scalar.buffer-capacity = 9").await;
    window("9", call).await;
    let sync = shown(&session, "PREDICT(m, id, mode => 'sync', max_concurrency => 4)").await;
    let expected = format!("[sync, ordered, batch=10, window=1, max_concurrency=4, {PATIENCE}]");
    assert_eq!(sync, expected);
}

#[tokio::test]
async fn settings_are_shown() {
    let session = session(1);
    session.sql("SET farcall.function.f.timeout = '5s'").await.unwrap();
    session.sql("SET farcall.async_scalar.on_error = 'default:x'").await.unwrap();
    for (name, value) in [
        ("farcall.async_scalar.timeout", "3m"),
        ("farcall.async_scalar.on_error", "default:x"),
        ("farcall.function.f.timeout", "5s"),
        ("farcall.planner.parallel_calls", "true"),
    ] {
        let shown = rows(&session, &format!("SHOW {name}")).await.unwrap();
        assert_eq!(shown, [format!("|{name}|{value}|")]);
    }
    let unknown = rows(&session, "SHOW farcall.async_scalar.colour").await.unwrap_err();
    assert!(unknown.contains("farcall.async_scalar.colour"), "{unknown}");
}

#[tokio::test]
async fn explain_analyze_counts_what_happened() {
    let server = TestServer::builder().nth(2, Script::unavailable());
    let remote = Remote::new(server, crate::support::remote::FAST).await;
    let sql = "EXPLAIN ANALYZE SELECT PREDICT(m, id % 50) AS v FROM t";
    let text = remote.rows(sql).await.unwrap().join("\n");
    let line = text.lines().find(|line| line.contains("AsyncCalcExec")).unwrap();
    for metric in [
        "output_rows=100",
        "requests=5",
        "calls=50",
        " rows=100",
        "attempts=6",
        "retries=1",
        "dedup_hits=50",
        "failures=0",
        "timeouts=0",
        "in_flight_max=",
        "request_time=",
    ] {
        assert!(line.contains(metric), "{metric} is not in {line}");
    }
}

#[tokio::test]
async fn a_session_around_a_state_keeps_what_that_had() {
    let mut config = SessionConfig::new().with_target_partitions(3).with_batch_size(77);
    config.options_mut().execution.parquet.pushdown_filters = true;
    let plain = SessionContext::new_with_state(
        SessionStateBuilder::new().with_config(config).with_default_features().build(),
    );
    plain.sql("CREATE TABLE kept AS VALUES (1), (2)").await.unwrap().collect().await.unwrap();
    plain.sql("CREATE VIEW seen AS SELECT column1 + 1 AS y FROM kept").await.unwrap();
    let udf = datafusion::logical_expr::create_udf(
        "twice",
        vec![arrow::datatypes::DataType::Int64],
        arrow::datatypes::DataType::Int64,
        datafusion::logical_expr::Volatility::Immutable,
        Arc::new(|args| {
            let args = datafusion::logical_expr::ColumnarValue::values_to_arrays(args)?;
            let sum = arrow::compute::kernels::numeric::add(&args[0], &args[0])?;
            Ok(datafusion::logical_expr::ColumnarValue::Array(sum))
        }),
    );
    plain.register_udf(udf);
    let session = FarcallSession::builder().with_state(plain.state()).build().unwrap();
    session.register(async_fn("next", |x: i64| async move { Ok::<i64, CallError>(x + 1) }));
    let sql = "SELECT next(twice(y)) AS v FROM seen WHERE next(y) > 0 ORDER BY v";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|5|", "|7|"]);
    let state = session.context().state();
    let options = state.config_options();
    assert_eq!(options.execution.target_partitions, 3);
    assert_eq!(options.execution.batch_size.get(), 77);
    assert!(options.execution.parquet.pushdown_filters);
    let again = FarcallSession::builder().with_state(session.context().state()).build();
    assert!(again.unwrap_err().to_string().contains("belongs to a farcall session already"));
}

#[tokio::test]
async fn options_of_the_caller_reach_a_registered_function() {
    let session = session(1);
    let options = CallOptions::new().with_buffer_capacity(3);
    let slow = async_fn("slow", |x: i64| async move {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        Ok::<i64, CallError>(x)
    });
    session.register(slow.with_options(options));
    let expected = format!("[async, ordered, batch=1, window=3, {PATIENCE}]");
    assert_eq!(shown(&session, "slow(id)").await, expected);
    assert_eq!(rows(&session, "SELECT slow(id) FROM t").await.unwrap().len(), 100);
}

#[tokio::test]
async fn sessions_of_one_runtime_have_their_own_models_and_settings() {
    let one = remote().await;
    let two =
        FarcallSession::builder().with_runtime(Arc::clone(one.session.runtime())).build().unwrap();
    add_table(&two, "t", 10, 1, 5);
    let error = rows(&two, "SELECT PREDICT(m, id) FROM t").await.unwrap_err();
    assert_eq!(
        error,
        "no model 'm', the session has none; CREATE MODEL makes one at Line: 1, Column: 8"
    );
    one.rows("SET farcall.async_scalar.mode = 'sync'").await.unwrap();
    create(&two, &one.server.url(), "").await;
    let expected =
        |mode, window| format!("[{mode}, ordered, batch=10, window={window}, {PATIENCE}]");
    assert_eq!(shown(&two, "PREDICT(m, id)").await, expected("async", 100));
    assert_eq!(shown(&one.session, "PREDICT(m, id)").await, expected("sync", 1));
}

#[tokio::test]
async fn a_model_with_several_inputs_and_outputs_is_a_struct() {
    let server = TestServer::builder()
        .answer(|row| {
            let sum = row["a"].as_i64().unwrap() + row["b"].as_str().unwrap().len() as i64;
            serde_json::json!({"sum": sum, "text": row["b"]})
        })
        .start();
    let session = session(1);
    let sql = format!(
        "CREATE MODEL n INPUT (a BIGINT, b VARCHAR) OUTPUT (sum BIGINT, text VARCHAR) \
         WITH ('provider' = 'http', 'endpoint' = '{}')",
        server.url()
    );
    session.sql(&sql).await.unwrap();
    let sql = "SELECT PREDICT(n, id, 'xyz')['sum'] AS s, PREDICT(n, id, 'xyz').text AS x \
               FROM t WHERE PREDICT(n, id, 'xyz').sum BETWEEN 5 AND 6";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|5|xyz|", "|6|xyz|"]);
    assert_eq!(server.counts().rows, 100);
}
