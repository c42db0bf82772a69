//! The provider against a real server: what is sent, what comes back, what failures mean.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use farcall_udf::{ArgBatch, BatchAnswer, CallContext, CallError, ErrorClass, Opened, Resources};
use reqwest::Url;

use super::*;
use crate::http::classify;
use crate::http::client::HttpClients;
use crate::test_server::{Script, SilentListener, TestServer, refusing_addr};

#[tokio::test]
async fn answers_each_row_in_order() {
    let server = TestServer::builder().start();
    let answer =
        call(&model(&server.url(), &[]), int64(vec![Some(1), None, Some(3)])).await.unwrap();
    let values = answer.values().as_primitive::<Int64Type>();
    assert_eq!(values.iter().collect::<Vec<_>>(), [Some(3), None, Some(7)]);
}

#[tokio::test]
async fn sends_its_headers_and_the_key_of_the_request() {
    let server = TestServer::builder().keep_requests().start();
    let headers = "Authorization: Bearer ${env:CARGO_PKG_NAME}; X-Team: a";
    call(&model(&server.url(), &[("headers", headers)]), int64(vec![Some(1)])).await.unwrap();
    let sent = &server.requests()[0].headers;
    assert_eq!(sent["authorization"], concat!("Bearer ", env!("CARGO_PKG_NAME")));
    assert_eq!(sent["x-team"], "a");
    assert_eq!(sent["content-type"], "application/json");
    assert_eq!(sent["idempotency-key"], "query-1-7");
    assert_eq!(sent["user-agent"], concat!("farcall/", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_missing_variable_stops_the_query_when_it_opens() {
    let model = model("http://127.0.0.1:1", &[("headers", "X-Key: ${env:NO_SUCH_VARIABLE}")]);
    let error = open(&model).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "m is not set up correctly: header x-key: environment variable NO_SUCH_VARIABLE is not set"
    );
}

#[tokio::test]
async fn a_hundred_requests_at_once_share_a_hundred_connections() {
    let server = TestServer::builder().latency(Duration::from_millis(200), Duration::ZERO).start();
    let model = model(&server.url(), &[]);
    let opened = open(&model).await.unwrap();
    for _ in 0..2 {
        let calls = (0..100).map(|x| eval(&model, int64(vec![Some(x)]), &opened));
        for answer in futures::future::join_all(calls).await {
            answer.unwrap();
        }
    }
    assert_eq!(server.counts().in_flight_max, 100);
    assert_eq!(server.connections_accepted(), 100);
}

#[tokio::test]
async fn dropping_a_call_aborts_its_request() {
    let server = TestServer::builder().always(Script::Hang).start();
    let model = model(&server.url(), &[]);
    let called =
        tokio::time::timeout(Duration::from_millis(200), call(&model, int64(vec![Some(1)])));
    assert!(called.await.is_err());
    server.until("aborted", |server| server.counts().aborted == 1).await;
}

#[tokio::test]
async fn a_row_that_json_cannot_hold_fails_alone_and_is_not_sent() {
    let server = TestServer::builder().nth(1, Script::RowError(1, "too big".into())).start();
    let model = typed_model(&server.url(), &[], DataType::Float64, DataType::Float64);
    let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0, 2.0, 3.0]));
    let answer = call(&model, column).await.unwrap();
    let rows: Vec<_> = answer.errors().iter().map(|(row, error)| (*row, error.class())).collect();
    assert_eq!(rows, [(0, ErrorClass::Internal), (2, ErrorClass::Rejected)]);
    assert!(answer.values().is_valid(1) && answer.values().is_valid(3));
    assert_eq!(server.counts().batches, [3]);
}

#[tokio::test]
async fn rows_that_cannot_be_sent_make_no_request() {
    let server = TestServer::builder().start();
    let model = typed_model(&server.url(), &[], DataType::Float64, DataType::Float64);
    let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY]));
    let answer = call(&model, column).await.unwrap();
    assert_eq!((answer.values().len(), answer.errors().len()), (2, 2));
    assert_eq!(server.counts().requests, 0);
}

#[tokio::test]
async fn failures_have_their_class_and_say_what_happened() {
    for (script, class, told) in [
        (
            Script::unavailable(),
            ErrorClass::Transient,
            "the server answered 503 Service Unavailable: overloaded",
        ),
        (
            Script::throttled(Duration::from_millis(70)),
            ErrorClass::Throttled,
            "slow down (retry after 70ms)",
        ),
        (
            Script::Status(401, vec![], "bad key".into()),
            ErrorClass::Configuration,
            "401 Unauthorized: bad key",
        ),
        (
            Script::Drop,
            ErrorClass::Transient,
            "m could not be reached: the connection to 127.0.0.1:",
        ),
        (Script::Short, ErrorClass::Malformed, "m answered 1 row for a request of 2 rows"),
        (Script::Long, ErrorClass::Malformed, "m answered 3 rows for a request of 2 rows"),
        (Script::Body("<html>".into()), ErrorClass::Malformed, "the body is not JSON"),
        (Script::Body(String::new()), ErrorClass::Malformed, "the body is not JSON"),
        (
            Script::WrongType,
            ErrorClass::Malformed,
            "in row 1 of 2 where BIGINT (column y) is declared",
        ),
    ] {
        let server = TestServer::builder().always(script).start();
        let model = model(&server.url(), &[]);
        let error = call(&model, int64(vec![Some(1), Some(2)])).await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_named_without_the_query_of_its_url() {
    let addr = refusing_addr();
    let model = model(&format!("http://{addr}/p?key=sk-42"), &[]);
    let error = call(&model, int64(vec![Some(1)])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("m could not be reached: no connection to {addr}: connection refused")
    );
    assert!(!format!("{error:?} {model:?}").contains("sk-42"));
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_a_transport_failure() {
    let error =
        call(&model("http://no-such-host.invalid/", &[]), int64(vec![Some(1)])).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    assert!(error.to_string().contains("no-such-host.invalid:80"), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_transport_failure() {
    let server = TestServer::builder().start();
    let model = model(&server.url().replace("http:", "https:"), &[]);
    // Without certificates on the machine, the model cannot be opened, and says so.
    let error = call(&model, int64(vec![Some(1)])).await.unwrap_err();
    let is_told = error.class() == ErrorClass::Transient || error.to_string().contains("TLS");
    assert!(is_told, "{error}");
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_told_with_the_option() {
    // The listener takes the connection but never answers the TLS handshake, which belongs to it.
    let silent = SilentListener::start();
    let plain = Url::parse(&format!("http://{}/", silent.addr())).unwrap();
    let timeout = Duration::from_millis(50);
    let client = HttpClients::of(&Resources::default()).client(&plain, timeout).unwrap();
    let request = client.get(format!("https://{}/", silent.addr())).send();
    let error = classify::transport("m", "host:1", timeout, request.await.unwrap_err());
    assert_eq!(
        error.to_string(),
        "m could not be reached: no connection to host:1 within 50ms (connect_timeout)"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_can_be_given_up() {
    let silent = SilentListener::start();
    let model = model(&format!("http://{}/", silent.addr()), &[]);
    let called =
        tokio::time::timeout(Duration::from_millis(200), call(&model, int64(vec![Some(1)])));
    assert!(called.await.is_err());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = TestServer::builder().start();
    let to = vec![("location", format!("{}?token=sk-42", other.url()))];
    let server = TestServer::builder().always(Script::Status(307, to, String::new())).start();
    let headers = [("headers", "Authorization: Bearer sk-43")];
    let error = call(&model(&server.url(), &headers), int64(vec![Some(1)])).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Configuration);
    assert!(error.to_string().contains(&other.url()) && !error.to_string().contains("sk-4"));
    assert_eq!(other.counts().requests, 0);
}

#[tokio::test]
async fn a_key_that_the_server_repeats_is_not_shown() {
    let scripts = [
        Script::Status(401, vec![], "wrong key sk-42-secret".into()),
        Script::Body("no JSON: sk-42-secret".into()),
        Script::Body(r#"{"outputs": ["sk-42-secret"]}"#.into()),
        Script::Body(r#"{"sk-42-secret": []}"#.into()),
    ];
    for script in scripts {
        let server = TestServer::builder().always(script).start();
        let model = model(&server.url(), &[("headers", "Authorization: Bearer sk-42-secret")]);
        let error = call(&model, int64(vec![Some(1)])).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        assert!(error.to_string().contains("***"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let body = format!(r#"{{"outputs": [{}]}}"#, "1".repeat(5_000));
    let server = TestServer::builder().always(Script::Body(body)).start();
    let model = model(&server.url(), &[("max_response_bytes", "1000")]);
    let error = call(&model, int64(vec![Some(1)])).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Malformed);
    assert!(error.to_string().contains("the limit is 1000 (max_response_bytes)"), "{error}");
}

#[tokio::test]
async fn the_start_of_a_long_error_is_shown() {
    let server =
        TestServer::builder().always(Script::Status(500, vec![], "x".repeat(1 << 20))).start();
    let error = call(&model(&server.url(), &[]), int64(vec![Some(1)])).await.unwrap_err();
    assert!(error.to_string().len() < 300, "{}", error.to_string().len());
}

#[tokio::test]
async fn a_call_before_open_is_an_error() {
    let error = eval(&model("http://127.0.0.1:1", &[]), int64(vec![Some(1)]), &Opened::nothing())
        .await
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Configuration);
}

#[test]
fn columns_that_json_cannot_hold_are_refused_when_the_model_is_created() {
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    let told = declare(vec![field("x", DataType::Int64)], vec![field("d", interval)]);
    assert!(told.contains("model m: output column d: INTERVAL has no JSON form"), "{told}");
}

#[test]
fn columns_are_declared_and_declared_once() {
    let x = || field("x", DataType::Int64);
    assert!(declare(vec![x()], vec![]).contains("no output column is declared"));
    assert!(declare(vec![x(), x()], vec![x()]).contains("input column x is declared twice"));
}

#[test]
fn header_values_are_secret() {
    assert!(HttpProvider.is_secret("headers"));
    assert!(!HttpProvider.is_secret("endpoint"));
}

#[test]
fn an_endpoint_is_shown_without_its_query() {
    assert_eq!(without_query("http://h/p?key=sk-42"), "http://h/p");
    assert_eq!(without_query("http://h/p"), "http://h/p");
}

fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn definition(
    options: &[(&str, &str)],
    input: Vec<FieldRef>,
    output: Vec<FieldRef>,
) -> ModelDefinition {
    let options: BTreeMap<_, _> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ModelDefinition { name: "m".into(), input, output, provider: "http".into(), options }
}

fn declare(input: Vec<FieldRef>, output: Vec<FieldRef>) -> String {
    let definition = definition(&[("endpoint", "http://h")], input, output);
    let declaration = Declaration::new("m", vec![], DataType::Null);
    HttpProvider.function(&definition, declaration).unwrap_err().to_string()
}

fn model(endpoint: &str, options: &[(&str, &str)]) -> Arc<dyn AsyncBatchFunction> {
    typed_model(endpoint, options, DataType::Int64, DataType::Int64)
}

fn typed_model(
    endpoint: &str,
    options: &[(&str, &str)],
    input: DataType,
    output: DataType,
) -> Arc<dyn AsyncBatchFunction> {
    let mut all = vec![("endpoint", endpoint)];
    all.extend(options);
    let declaration = Declaration::new("m", vec![input.clone()], output.clone());
    let definition = definition(&all, vec![field("x", input)], vec![field("y", output)]);
    HttpProvider.function(&definition, declaration).unwrap()
}

fn int64(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

async fn open(model: &Arc<dyn AsyncBatchFunction>) -> Result<Opened, CallError> {
    model.open(&crate::test_context::opening(Arc::default())).await
}

async fn eval(
    model: &Arc<dyn AsyncBatchFunction>,
    column: ArrayRef,
    opened: &Opened,
) -> Result<BatchAnswer, CallError> {
    // These models answer the type that they are sent.
    let output = field("m", column.data_type().clone());
    let args = ArgBatch::new(
        vec![Arc::clone(&column)],
        vec![Arc::clone(&output)].into(),
        output,
        column.len(),
    );
    let ctx: CallContext = crate::test_context::calling(7, opened);
    model.eval_batch(args, &ctx).await
}

async fn call(
    model: &Arc<dyn AsyncBatchFunction>,
    column: ArrayRef,
) -> Result<BatchAnswer, CallError> {
    let opened = open(model).await?;
    eval(model, column, &opened).await
}
