//! A secret is shown nowhere: not in plans, answers of SHOW, errors, logs, history or bytes.

use std::io::Write;
use std::sync::{Arc, Mutex};

use datafusion_proto::bytes::logical_plan_to_bytes_with_extension_codec;
use farcall::FarcallSession;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::remote::{Remote, create, message, rows, session};
use crate::support::server::{Script, ServerBuilder, TestServer};

/// Stands in a header as it is, in a model that was created with it.
const LITERAL: &str = "sk-literal-4711";
/// Comes from the environment; cargo's own variable is one that every test process has.
const VARIABLE: &str = "CARGO_MANIFEST_DIR";

fn variable() -> String {
    std::env::var(VARIABLE).unwrap()
}

fn headers() -> String {
    format!("'headers' = 'Authorization: Bearer {LITERAL}; X-Key: ${{env:{VARIABLE}}}'")
}

async fn remote(server: ServerBuilder) -> Remote {
    let remote = Remote::new(server.keep_requests(), "").await;
    let endpoint = format!("{}?key=sk-query-4712", remote.server.url());
    create(&remote.session, &endpoint, &headers()).await;
    remote
}

fn check(what: &str, text: &str) {
    let variable = variable();
    for secret in [LITERAL, "sk-query-4712", &variable] {
        assert!(!text.contains(secret), "{what} shows {secret}:\n{text}");
    }
}

#[tokio::test]
async fn the_headers_reach_the_server() {
    let remote = remote(TestServer::builder()).await;
    assert_eq!(remote.all().await.unwrap().len(), 100);
    for request in remote.server.requests() {
        assert_eq!(request.headers["authorization"], format!("Bearer {LITERAL}"));
        assert_eq!(request.headers["x-key"], variable());
        assert_eq!(request.path, "/predict?key=sk-query-4712");
    }
}

#[tokio::test]
async fn no_statement_shows_a_secret() {
    let remote = remote(TestServer::builder()).await;
    let query = "SELECT id, PREDICT(m, id, timeout => '9s') AS v FROM t WHERE PREDICT(m, id) > 7";
    remote.rows(&format!("CREATE VIEW v AS {query}")).await.unwrap();
    for sql in [
        format!("EXPLAIN {query}"),
        format!("EXPLAIN VERBOSE {query}"),
        format!("EXPLAIN ANALYZE {query}"),
        format!("EXPLAIN ANALYZE VERBOSE {query}"),
        format!("EXPLAIN FORMAT TREE {query}"),
        format!("EXPLAIN FORMAT PGJSON {query}"),
        "SHOW MODELS".into(),
        "SHOW CREATE MODEL m".into(),
        "DESCRIBE MODEL m".into(),
        "SHOW ALL".into(),
        "SELECT * FROM information_schema.df_settings".into(),
        "SELECT * FROM information_schema.views".into(),
        "SELECT * FROM information_schema.tables".into(),
        "SELECT * FROM information_schema.routines WHERE routine_name LIKE '%predict%'".into(),
        "SHOW CREATE TABLE v".into(),
    ] {
        match remote.rows(&sql).await {
            Ok(rows) => {
                assert!(!rows.is_empty(), "{sql}");
                check(&sql, &rows.join("\n"));
            }
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}

#[tokio::test]
async fn no_debug_text_shows_a_secret() {
    let remote = remote(TestServer::builder()).await;
    let frame = remote.session.sql("SELECT PREDICT(m, id) AS v FROM t").await.unwrap();
    check("the data frame", &format!("{frame:?}"));
    check("the logical plan", &format!("{:?}", frame.logical_plan()));
    let plan = frame.clone().into_optimized_plan().unwrap();
    check("the optimized plan", &format!("{plan:?} {plan:#?}"));
    let plan = frame.create_physical_plan().await.unwrap();
    datafusion::physical_plan::collect(Arc::clone(&plan), remote.session.context().task_ctx())
        .await
        .unwrap();
    // After its run, the function has been opened and knows its headers.
    check("the physical plan", &format!("{plan:?} {plan:#?}"));
    check("the session", &format!("{:?} {:?}", remote.session, remote.session.models()));
    check("the runtime", &format!("{:#?}", remote.session.runtime()));
    check("the model", &format!("{:#?}", remote.session.models().get("m").unwrap()));
    check("the codec", &format!("{:#?}", remote.session.codec()));
}

#[tokio::test]
async fn an_error_that_repeats_the_request_is_blotted_out() {
    let said = format!(
        "{{\"error\": \"bad key {LITERAL} or {} at /predict?key=sk-query-4712\"}}",
        variable()
    );
    for status in [400, 401, 402, 404, 429, 500] {
        let server = TestServer::builder().always(Script::Status(status, vec![], said.clone()));
        let remote = remote(server).await;
        remote.session.sql("SET farcall.async_scalar.retry_delay = '1ms'").await.unwrap();
        let sql = "SELECT PREDICT(m, id, timeout => '100ms') AS v FROM t";
        let error = remote.session.sql(sql).await.unwrap().collect().await.unwrap_err();
        assert!(message(&error).contains("bad key *** or ***"), "{}", message(&error));
        check("the message", &message(&error));
        check("the error", &format!("{error} {error:?} {error:#?}"));
    }
}

#[tokio::test]
async fn an_answer_that_repeats_the_request_is_blotted_out() {
    for body in [
        format!("{{\"outputs\": [\"{LITERAL}\"]}}"),
        format!("<html>{LITERAL} {}", variable()),
        format!("{{\"outputs\": [{{\"error\": \"key {LITERAL}\"}}]}}"),
    ] {
        let remote = remote(TestServer::builder().always(Script::Body(body))).await;
        remote.session.sql("SET farcall.async_scalar.retry_delay = '1ms'").await.unwrap();
        check("the message", &remote.rows("SELECT PREDICT(m, 1) AS v").await.unwrap_err());
    }
}

#[tokio::test]
async fn a_definition_that_is_refused_shows_no_secret() {
    let session = session(1);
    for with in [
        format!("'provider' = 'http', {}", headers()),
        format!("'provider' = 'http', 'endpoint' = 'ftp://h?key={LITERAL}'"),
        format!("'provider' = 'http', 'endpoint' = 'http://me:{LITERAL}@h'"),
        format!("'provider' = 'http', 'endpoint' = 'http://h', 'headers' = '{LITERAL}'"),
        format!("'provider' = 'http', 'endpoint' = 'http://h', 'headers' = '{{\"{LITERAL}\"}}'"),
        format!("'provider' = 'http', 'endpoint' = 'http://h', 'headers' = 'A: {LITERAL}\n'"),
        format!("'provider' = 'http', 'endpoint' = 'http://h', 'api_key' = '{LITERAL}'"),
        format!("'provider' = 'htp', {}", headers()),
    ] {
        let sql = format!("CREATE MODEL n INPUT (x INT) OUTPUT (y INT) WITH ({with})");
        if let Err(message) = rows(&session, &sql).await {
            check(&with, &message);
        }
    }
}

#[tokio::test]
async fn no_log_shows_a_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // Tasks of this runtime run on this thread, under this subscriber.
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is on");
    let server = TestServer::builder()
        .nth(2, Script::unavailable())
        .nth(3, Script::Drop)
        .nth(6, Script::Status(400, vec![], format!("no {LITERAL}")));
    let remote = remote(server).await;
    let _ = remote.all().await;
    let text = log.text();
    assert!(text.contains("the log is on"));
    check("the log", &text);
}

#[tokio::test]
async fn plans_travel_without_a_secret() {
    let remote = remote(TestServer::builder()).await;
    check("a plan with a literal key", &bytes(&remote.session).await);
    create(&remote.session, "http://h/m", &format!("'headers' = 'X: ${{env:{VARIABLE}}}'")).await;
    let bytes = bytes(&remote.session).await;
    assert!(bytes.contains(VARIABLE), "a reference travels by its name");
    check("a plan with a reference", &bytes);
}

async fn bytes(session: &FarcallSession) -> String {
    let plan = session.sql("SELECT PREDICT(m, 1) AS v").await.unwrap();
    let plan = plan.into_optimized_plan().unwrap();
    match logical_plan_to_bytes_with_extension_codec(&plan, &session.codec()) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("{error} {error:?}"),
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
