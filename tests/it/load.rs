//! Many rows over a server that fails, limits or is gone: no row is lost, and nothing is left behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, CallOptions,
    Declaration,
};
use serde_json::{Value, json};

use crate::support::remote::{add_table, create, rows, session};
use crate::support::server::{Script, ServerBuilder, TestServer};

/// A session with `big`, a table of `id` from 0 in batches of 1,000, and model `m` at a server.
async fn setup(rows: i64, server: ServerBuilder, options: &str) -> (FarcallSession, TestServer) {
    let (session, server) = (session(2), server.start());
    add_table(&session, "big", rows, 2, 1_000);
    create(&session, &server.url(), options).await;
    (session, server)
}

/// Checks that no request of any query is left at the server; of the session, `rows` has checked it.
async fn nothing_is_left_at(server: &TestServer) {
    server.until("nothing in flight", |server| server.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_rows_come_back_right_from_a_server_that_fails_now_and_then() {
    let server =
        TestServer::builder().seed(4).fault(0.02, Script::unavailable()).fault(0.01, Script::Drop);
    let options = "'max_batch_size' = '64', 'max_attempts' = '6', 'retry_delay' = '5ms'";
    let (session, server) = setup(100_000, server, options).await;
    let sql = "SELECT count(*) AS n, count(v) AS v, sum(CASE WHEN v = 2 * id + 1 THEN 1 ELSE 0 END) AS fine \
               FROM (SELECT id, PREDICT(m, id) AS v FROM big)";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|100000|100000|100000|"]);
    let requests = server.counts().requests;
    assert!(requests > 1_563 + 20, "{requests} requests: hardly any failed");
    nothing_is_left_at(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_error_null_neither_loses_nor_moves_a_row() {
    let server = TestServer::builder()
        .seed(7)
        .fault(0.05, Script::unavailable())
        .fault(0.05, Script::Status(400, vec![], "no".into()))
        .fault(0.03, Script::Drop)
        .fault(0.03, Script::Short)
        .fault(0.03, Script::Hang);
    let options = "'max_batch_size' = '16', 'max_attempts' = '1', 'retry_delay' = '1ms', \
                   'attempt_timeout' = '100ms', 'on_error' = 'null'";
    let (session, server) = setup(4_000, server, options).await;
    let got =
        rows(&session, "SELECT id, PREDICT(m, id) AS v FROM big WHERE id < 2000").await.unwrap();
    assert_eq!(got.len(), 2_000);
    let mut nulls = 0;
    for (id, row) in got.iter().enumerate() {
        nulls += usize::from(*row == format!("|{id}||"));
        assert!(
            *row == format!("|{id}||") || *row == format!("|{id}|{}|", 2 * id + 1),
            "{id}: {row}"
        );
    }
    assert!((1..1_000).contains(&nulls), "{nulls} rows without a value");
    nothing_is_left_at(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_for_ten_seconds_is_waited_for() {
    let options = "'max_attempts' = '50', 'max_retry_delay' = '1s', 'timeout' = '60s'";
    let (session, server) = setup(2_000, TestServer::builder(), options).await;
    server.set_down(true);
    let begun = Instant::now();
    let gone = Duration::from_secs(10);
    let back = async {
        tokio::time::sleep(gone).await;
        server.set_down(false);
    };
    let sql = "SELECT count(v) AS v FROM (SELECT PREDICT(m, id) AS v FROM big)";
    let (got, ()) = tokio::join!(rows(&session, sql), back);
    assert_eq!(got.unwrap(), ["|2000|"]);
    assert!((gone..Duration::from_secs(40)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    nothing_is_left_at(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_server_hardly_refuses_once_its_limit_is_learned() {
    // How much of the limit is used is measured where nothing runs beside it: benches/dispatch.rs.
    const LIMIT: usize = 500;
    let server = TestServer::builder().max_requests_per_second(LIMIT);
    let rows_of_20_seconds = 20 * LIMIT as i64;
    let (session, server) = setup(rows_of_20_seconds, server, "'max_batch_size' = '1'").await;
    let sql = "SELECT count(v) AS v, sum(CASE WHEN v = 2 * id + 1 THEN 1 ELSE 0 END) AS fine \
               FROM (SELECT id, PREDICT(m, id) AS v FROM big)";
    let all = rows_of_20_seconds;
    assert_eq!(rows(&session, sql).await.unwrap(), [format!("|{all}|{all}|")]);
    let counts = server.counts();
    let warm = counts.starts[0] + Duration::from_secs(8);
    let after = |times: &[Duration]| times.iter().filter(|time| **time >= warm).count();
    let (asked, refused) = (after(&counts.starts), after(&counts.throttled));
    assert!(refused * 100 < asked * 2, "{refused} of {asked} requests were refused");
    nothing_is_left_at(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poison_row_of_a_thousand_is_an_error_beside_999_values() {
    let poison = |input: &Value| input == &json!(617);
    let server = TestServer::builder().poison(poison).start();
    let session = session(1);
    add_table(&session, "big", 1_000, 1, 1_000);
    session.register(AsyncFunction::batch(Remote::new(server.url())));
    let sql = "SELECT count(f['value']) AS v, sum(CASE WHEN f['value'] = 2 * id + 1 THEN 1 ELSE 0 END) AS fine, \
               count(f['error']) AS e, max(f['error']['code']) AS code \
               FROM (SELECT id, try_remote(id) AS f FROM big)";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|999|999|1|rejected|"]);
    let extra = server.counts().requests - 1_000_usize.div_ceil(64);
    assert!((1..=2 * 6).contains(&extra), "{extra} extra requests for a batch of 64");
    nothing_is_left_at(&server).await;
}

/// A function of the user that posts 64 rows in a request.
#[derive(Debug)]
struct Remote {
    declaration: Declaration,
    client: reqwest::Client,
    url: String,
}

impl Remote {
    fn new(url: String) -> Self {
        let declaration = Declaration::new("remote", vec![DataType::Int64], DataType::Int64)
            .with_options(CallOptions::new().with_max_batch_size(64));
        // The client wants a provider for the whole process, although it speaks no TLS here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { declaration, client: reqwest::Client::new(), url }
    }
}

#[async_trait]
impl AsyncBatchFunction for Remote {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        let inputs = args.column(0).as_primitive::<Int64Type>().values().to_vec();
        let body = json!({ "inputs": inputs }).to_string();
        let response = self.client.post(&self.url).body(body).send().await;
        let response =
            response.map_err(|error| CallError::transient("remote", error.to_string()))?;
        if response.status().is_client_error() {
            return Err(CallError::rejected("remote", response.status().to_string()));
        }
        let body = response.bytes().await;
        let body = body.map_err(|error| CallError::transient("remote", error.to_string()))?;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let outputs = answer["outputs"].as_array().unwrap().iter();
        let values: Int64Array = outputs.map(Value::as_i64).collect();
        Ok(BatchAnswer::new(Arc::new(values) as ArrayRef))
    }
}
