//! That the test server counts, delays and fails as it is told.

use reqwest::Client;

use super::*;

#[tokio::test]
async fn answers_rows_in_order_and_counts_them() {
    let server = TestServer::builder().start();
    let (status, body) = ask(&server, "[1, 2.5, null]").await.unwrap();
    assert_eq!((status, body.as_str()), (200, r#"{"outputs":[3,6.0,null]}"#));
    ask(&server, "[4]").await.unwrap();
    let counts = server.counts();
    assert_eq!((counts.requests, counts.rows, counts.batches), (2, 4, vec![3, 1]));
}

#[tokio::test]
async fn takes_its_time_for_the_request_and_for_each_row() {
    let latency = Duration::from_millis(20);
    let server = TestServer::builder().latency(latency, Duration::from_millis(10)).start();
    let start = Instant::now();
    ask(&server, "[1, 2, 3]").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
}

#[tokio::test]
async fn counts_what_is_in_flight_at_once() {
    let server = TestServer::builder().latency(Duration::from_millis(100), Duration::ZERO).start();
    let asked = futures::future::join_all((0..5).map(|_| ask(&server, "[1]")));
    asked.await.into_iter().for_each(|answer| drop(answer.unwrap()));
    assert_eq!(server.counts().in_flight_max, 5);
    assert_eq!(server.in_flight(), 0);
}

#[tokio::test]
async fn notices_a_client_that_goes_away() {
    let server = TestServer::builder().always(Script::Hang).start();
    let asking = tokio::time::timeout(Duration::from_millis(100), ask(&server, "[1]"));
    assert!(asking.await.is_err());
    server.until("aborted", |server| server.counts().aborted == 1).await;
    server.until("closed", |server| server.connections_open() == 0).await;
}

#[tokio::test]
async fn follows_the_script_of_the_nth_request() {
    let server = TestServer::builder()
        .nth(2, Script::Short)
        .nth(3, Script::Long)
        .nth(4, Script::Body("<html>".into()))
        .nth(5, Script::WrongType)
        .nth(6, Script::RowError(1, "no".into()))
        .nth(7, Script::throttled(Duration::from_millis(70)))
        .start();
    let mut answers = vec![];
    for _ in 0..8 {
        answers.push(ask(&server, "[1,2]").await.unwrap());
    }
    let bodies: Vec<_> = answers.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(
        bodies[..3],
        [r#"{"outputs":[3,5]}"#, r#"{"outputs":[3]}"#, r#"{"outputs":[3,5,null]}"#]
    );
    assert_eq!(bodies[3..5], ["<html>", r#"{"outputs":[{"wrong":true},{"wrong":true}]}"#]);
    assert_eq!(bodies[5], r#"{"outputs":[3,{"error":"no"}]}"#);
    assert_eq!((answers[6].0, answers[7].0), (429, 200));
}

#[tokio::test]
async fn drops_the_connection_without_an_answer() {
    let server = TestServer::builder().nth(1, Script::Drop).start();
    assert!(ask(&server, "[1]").await.is_err());
    assert_eq!(ask(&server, "[1]").await.unwrap().0, 200);
}

#[tokio::test]
async fn is_down_while_it_is_told_so() {
    let server = TestServer::builder().start();
    server.set_down(true);
    assert!(ask(&server, "[1]").await.is_err());
    server.set_down(false);
    assert_eq!(ask(&server, "[1]").await.unwrap().0, 200);
}

#[tokio::test]
async fn equal_seeds_hit_equal_requests() {
    let mut seen = vec![];
    for _ in 0..2 {
        let server = TestServer::builder().seed(7).fault(0.3, Script::unavailable()).start();
        let mut statuses = vec![];
        for _ in 0..40 {
            statuses.push(ask(&server, "[1]").await.unwrap().0);
        }
        seen.push(statuses);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].contains(&503) && seen[0].contains(&200), "{seen:?}");
}

#[tokio::test]
async fn rejects_a_request_with_a_poison_row() {
    let server = TestServer::builder().poison(|row| row == &json!(13)).start();
    assert_eq!(ask(&server, "[12, 13]").await.unwrap().0, 422);
    assert_eq!(ask(&server, "[12]").await.unwrap().0, 200);
}

#[tokio::test]
async fn recovers_after_the_first_requests() {
    let server = TestServer::builder().down_for_requests(2).start();
    let mut statuses = vec![];
    for _ in 0..3 {
        statuses.push(ask(&server, "[1]").await.unwrap().0);
    }
    assert_eq!(statuses, [503, 503, 200]);
}

#[tokio::test]
async fn limits_the_requests_of_a_second() {
    let server = TestServer::builder().max_requests_per_second(3).start();
    let mut statuses = vec![];
    for _ in 0..4 {
        statuses.push(ask(&server, "[1]").await.unwrap().0);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[tokio::test]
async fn a_refusing_address_refuses_and_a_silent_one_hangs() {
    let client = client();
    let refused = client.get(format!("http://{}/", refusing_addr())).send().await.unwrap_err();
    assert!(refused.is_connect());
    let silent = SilentListener::start();
    let request = client.get(format!("http://{}/", silent.addr())).send();
    assert!(tokio::time::timeout(Duration::from_millis(100), request).await.is_err());
}

/// Makes a client for plain HTTP; reqwest wants a TLS set-up all the same.
fn client() -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

async fn ask(server: &TestServer, inputs: &str) -> Result<(u16, String), reqwest::Error> {
    let request = client().post(server.url()).body(format!("{{\"inputs\":{inputs}}}"));
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}
