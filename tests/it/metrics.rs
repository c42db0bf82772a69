//! What was counted, as a user sees it: EXPLAIN ANALYZE, the table, the endpoint.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::support::remote::{FAST, Remote};
use crate::support::server::{Script, TestServer};

#[tokio::test]
async fn explain_analyze_shows_distributions_and_what_went_wrong() {
    let refused = Script::Status(400, vec![], "no".into());
    let server =
        TestServer::builder().poison(|input| input == &serde_json::json!(7)).nth(4, refused);
    let options = format!("{FAST}, 'on_error' = 'null', 'max_batch_size' = '64'");
    let remote = Remote::new(server, &options).await;
    let sql = "EXPLAIN ANALYZE SELECT PREDICT(m, id) AS v FROM t";
    let text = remote.rows(sql).await.unwrap().join("\n");
    let line = text.lines().find(|line| line.contains("AsyncCalcExec")).unwrap();
    for metric in
        [" rows=100", "failures_rejected=", "batch_size=p50 ", "max 64", "call_duration=p50 ", "ms"]
    {
        assert!(line.contains(metric), "{metric} is not in {line}");
    }
    for absent in ["failures_transient", "cache_hits", "input_tokens", "throttled"] {
        assert!(!line.contains(absent), "{absent} is in {line}");
    }
}

#[tokio::test]
async fn explain_analyze_adds_up_the_calls_of_an_operator() {
    let remote = Remote::new(TestServer::builder(), "'max_batch_size' = '50'").await;
    let sql = "EXPLAIN ANALYZE SELECT PREDICT(m, id) AS a, PREDICT(m, id + 100) AS b FROM t";
    let text = remote.rows(sql).await.unwrap().join("\n");
    let line = text.lines().find(|line| line.contains("AsyncCalcExec")).unwrap();
    for metric in [" rows=200", "requests=4", "batch_size=p50 50 p95 50 max 50"] {
        assert!(line.contains(metric), "{metric} is not in {line}");
    }
}

#[tokio::test]
async fn the_table_counts_over_queries_and_shows_no_secret() {
    let remote = Remote::new(TestServer::builder(), "'headers' = 'Authorization: hush-4711'").await;
    for _ in 0..2 {
        assert_eq!(remote.all().await.unwrap().len(), 100);
    }
    let sql = "SELECT metric, value FROM farcall.metrics WHERE function = 'm' \
               AND metric IN ('rows', 'requests', 'requests_in_flight', 'buffered_rows')";
    let expected =
        ["|rows|200.0|", "|requests|20.0|", "|requests_in_flight|0.0|", "|buffered_rows|0.0|"];
    assert_eq!(remote.rows(sql).await.unwrap(), expected);
    let all = remote.rows("SELECT * FROM farcall.metrics").await.unwrap().join("\n");
    assert!(!all.contains("hush") && !all.contains("HOST"), "{all}");
}

#[test]
fn the_endpoint_tells_prometheus_and_goes_with_the_program() {
    let sql = "CREATE MODEL s INPUT (text VARCHAR) OUTPUT (label VARCHAR) \
               WITH ('provider' = 'local', 'model' = 'sentiment'); SELECT PREDICT(s, 'fine') AS v";
    let endless = "SELECT value FROM generate_series(1, 1000000000000)";
    let arguments = ["--metrics", "127.0.0.1:0", "-q", "--format", "csv", "-c", sql, "-c", endless];
    let mut child = Running(spawn(&arguments));
    let mut line = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("metrics at http://").unwrap();
    let addr = addr.strip_suffix("/metrics").unwrap().to_owned();
    // The first query has ended when the rows of the second come.
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let head: Vec<String> = stdout.by_ref().lines().take(3).map(Result::unwrap).collect();
    assert_eq!(head[..1], ["v"]);
    let answer = get(&addr, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nfarcall_calls_total{function=\"s\"} 1\n"), "{answer}");
    assert!(get(&addr, "/").starts_with("HTTP/1.1 404"));
    drop(child);
    assert!(TcpStream::connect(&addr).is_err());
}

#[test]
fn an_endpoint_that_cannot_be_had_is_an_error_that_says_what_is_accepted() {
    for addr in ["nonsense", "127.0.0.1:99999999"] {
        let mut child = Running(spawn(&["--metrics", addr, "-c", "SELECT 1"]));
        assert_eq!(child.0.wait().unwrap().code(), Some(1));
        let mut message = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        let said = format!("error: cannot serve metrics at '{addr}': ");
        assert!(
            message.starts_with(&said) && message.contains("accepted is HOST:PORT"),
            "{message}"
        );
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_farcall"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn get(addr: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(addr).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}
