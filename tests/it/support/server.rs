//! [`TestServer`], a model server in this process that counts, delays and fails as it is told.
//!
//! It speaks the wire form of provider and connector `http` at every path: rows and their answers,
//! keys and what is found for each. It runs on a thread of its own with a
//! runtime of its own, so a test may pause its clock, and a bench measures one core of server.
//! Delays are those of tokio: rounded up to the next millisecond and about 1 ms late, for every
//! client alike.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;

#[path = "listener.rs"]
mod listener;

use listener::{Broken, Connections, CountingListener, bind};
pub use listener::{SilentListener, refusing_addr};

/// What a request gets instead of its answer.
#[derive(Debug, Clone)]
pub enum Script {
    /// A status with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// One output less than inputs.
    Short,
    /// One output more than inputs.
    Long,
    /// A body that is sent as it is, with status 200.
    Body(String),
    /// Outputs that are objects nobody asked for.
    WrongType,
    /// `{"error": text}` for the row at a position.
    RowError(usize, String),
    /// No answer, until the client gives up.
    Hang,
    /// A connection that closes without an answer.
    Drop,
    /// The right answer, later.
    Delay(Duration),
}

impl Script {
    /// A 503.
    pub fn unavailable() -> Self {
        Script::Status(503, vec![], "overloaded".into())
    }

    /// A 429 that asks to wait.
    pub fn throttled(retry_after: Duration) -> Self {
        let headers = vec![("retry-after-ms", retry_after.as_millis().to_string())];
        Script::Status(429, headers, "slow down".into())
    }
}

type Answer = Arc<dyn Fn(&Value) -> Value + Send + Sync>;
type Poison = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// What a server does; [`ServerBuilder::start`] starts it.
#[derive(Clone)]
pub struct ServerBuilder {
    answer: Answer,
    base: Duration,
    per_row: Duration,
    /// Median and sigma of latencies with a long tail.
    lognormal: Option<(Duration, f64)>,
    seed: u64,
    faults: Vec<(f64, Script)>,
    poison: Option<Poison>,
    nth: HashMap<usize, Script>,
    always: Option<Script>,
    down_for: usize,
    per_second: Option<usize>,
    keep_requests: bool,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self {
            answer: Arc::new(double_plus_one),
            base: Duration::ZERO,
            per_row: Duration::ZERO,
            lognormal: None,
            seed: 0,
            faults: vec![],
            poison: None,
            nth: HashMap::new(),
            always: None,
            down_for: 0,
            per_second: None,
            keep_requests: false,
        }
    }
}

/// Answers `2 x + 1`, and null for null.
pub fn double_plus_one(input: &Value) -> Value {
    match (input.as_i64(), input.as_f64()) {
        (Some(x), _) => json!(2 * x + 1),
        (None, Some(x)) => json!(2.0 * x + 1.0),
        (None, None) => Value::Null,
    }
}

/// Answers a text in upper case, and null for null.
pub fn upper(input: &Value) -> Value {
    input.as_str().map_or(Value::Null, |text| json!(text.to_uppercase()))
}

/// Answers the number of a text's characters, and null for null.
pub fn length(input: &Value) -> Value {
    input.as_str().map_or(Value::Null, |text| json!(text.chars().count()))
}

impl ServerBuilder {
    /// Computes each output from its input; without it, the server answers `2 x + 1`.
    pub fn answer(mut self, answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        self.answer = Arc::new(answer);
        self
    }

    /// Takes this long for a request, and this much longer for each of its rows.
    pub fn latency(mut self, base: Duration, per_row: Duration) -> Self {
        (self.base, self.per_row) = (base, per_row);
        self
    }

    /// Takes another time for each request, of a lognormal distribution that the seed chooses from.
    pub fn lognormal_latency(mut self, median: Duration, sigma: f64) -> Self {
        self.lognormal = Some((median, sigma));
        self
    }

    /// Chooses which requests the faults hit; equal seeds hit equal request numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Does this instead of answering to a share of the requests, 0 to 1; shares add up.
    pub fn fault(mut self, share: f64, script: Script) -> Self {
        self.faults.push((share, script));
        self
    }

    /// Rejects a request with 422 if one of its rows is poison.
    pub fn poison(mut self, poison: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.poison = Some(Arc::new(poison));
        self
    }

    /// Does this instead of answering to the n-th request, counted from 1.
    pub fn nth(mut self, n: usize, script: Script) -> Self {
        self.nth.insert(n, script);
        self
    }

    /// Does this instead of answering to every request.
    pub fn always(mut self, script: Script) -> Self {
        self.always = Some(script);
        self
    }

    /// Answers 503 to the first requests.
    pub fn down_for_requests(mut self, requests: usize) -> Self {
        self.down_for = requests;
        self
    }

    /// Answers 429 with Retry-After to more requests than this within any second.
    pub fn max_requests_per_second(mut self, requests: usize) -> Self {
        self.per_second = Some(requests);
        self
    }

    /// Keeps headers and inputs of all requests for [`TestServer::requests`].
    pub fn keep_requests(mut self) -> Self {
        self.keep_requests = true;
        self
    }

    /// Starts the server.
    pub fn start(self) -> TestServer {
        let listener = bind();
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(Shared {
            script: self,
            started: Instant::now(),
            connections: Arc::default(),
            counts: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let connections = Arc::clone(&shared.connections);
                let app = Router::new()
                    .fallback(serve)
                    .layer(DefaultBodyLimit::disable())
                    .with_state(shared)
                    .into_make_service_with_connect_info::<Broken>();
                tokio::select! {
                    _ = axum::serve(CountingListener { listener, connections }, app) => {}
                    _ = stopped => {}
                }
            });
        });
        TestServer { addr, state, stop: Some(stop), thread: Some(thread) }
    }
}

/// A request as it came, if the server keeps them.
#[derive(Debug, Clone)]
pub struct Received {
    /// The path with its query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The rows.
    pub inputs: Vec<Value>,
}

/// What a server has counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests that came, whatever became of them.
    pub requests: usize,
    /// Rows in them.
    pub rows: usize,
    /// The most requests in flight at once.
    pub in_flight_max: usize,
    /// Requests whose client went away before the answer.
    pub aborted: usize,
    /// Rows of each request, in order of arrival.
    pub batches: Vec<usize>,
    /// When each request came, since the server was started.
    pub starts: Vec<Duration>,
    /// When each request came that was beyond the rate.
    pub throttled: Vec<Duration>,
    received: Vec<Received>,
}

struct Shared {
    script: ServerBuilder,
    started: Instant,
    connections: Arc<Connections>,
    counts: Mutex<Counts>,
    in_flight: AtomicUsize,
}

/// A running server; dropping it stops it and closes its connections.
pub struct TestServer {
    addr: SocketAddr,
    state: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Starts describing a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Returns the address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns an endpoint of the server.
    pub fn url(&self) -> String {
        format!("http://{}/predict", self.addr)
    }

    /// Returns what was counted so far.
    pub fn counts(&self) -> Counts {
        self.state.counts.lock().unwrap().clone()
    }

    /// Returns the requests, if the server keeps them.
    pub fn requests(&self) -> Vec<Received> {
        self.counts().received
    }

    /// Returns the requests in flight now.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.load(SeqCst)
    }

    /// Returns the connections open now.
    pub fn connections_open(&self) -> usize {
        self.state.connections.open.load(SeqCst)
    }

    /// Returns the connections made so far.
    pub fn connections_accepted(&self) -> usize {
        self.state.connections.accepted.load(SeqCst)
    }

    /// Breaks all connections, new ones too, until it is set back.
    pub fn set_down(&self, down: bool) {
        self.state.connections.down.store(down, SeqCst);
    }

    /// Forgets what was counted; requests are numbered from 1 again.
    pub fn reset(&self) {
        *self.state.counts.lock().unwrap() = Counts::default();
    }

    /// Waits until something about the server holds; panics after 10 seconds.
    pub async fn until(&self, what: &str, holds: impl Fn(&TestServer) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < Duration::from_secs(10), "still not: {what}");
            // A blocking task, since the test's own clock may be paused.
            let nap = || std::thread::sleep(Duration::from_millis(1));
            tokio::task::spawn_blocking(nap).await.unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Counts a request as in flight; dropped unfinished, its client has gone away.
struct InFlight<'a> {
    shared: &'a Shared,
    finished: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, SeqCst);
        if !self.finished {
            self.shared.counts.lock().unwrap().aborted += 1;
        }
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(broken): ConnectInfo<Broken>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (inputs, answers) = match serde_json::from_slice::<HashMap<String, Vec<Value>>>(&body) {
        Ok(mut body) => match body.remove("keys") {
            Some(keys) => (keys, "rows"),
            None => (body.remove("inputs").unwrap_or_default(), "outputs"),
        },
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let number = shared.count(&inputs, || Received {
        path: uri.to_string(),
        headers,
        inputs: inputs.clone(),
    });
    let mut in_flight = InFlight { shared: &shared, finished: false };
    let response = match shared.connections.down.load(SeqCst) {
        true => None,
        false => shared.respond(number, inputs, answers).await,
    };
    in_flight.finished = true;
    response.unwrap_or_else(|| {
        broken.set();
        StatusCode::OK.into_response()
    })
}

impl Shared {
    /// Counts a request and returns its number.
    fn count(&self, inputs: &[Value], received: impl FnOnce() -> Received) -> usize {
        let in_flight = self.in_flight.fetch_add(1, SeqCst) + 1;
        let mut counts = self.counts.lock().unwrap();
        counts.requests += 1;
        counts.rows += inputs.len();
        counts.in_flight_max = counts.in_flight_max.max(in_flight);
        counts.batches.push(inputs.len());
        counts.starts.push(self.started.elapsed());
        if self.script.keep_requests {
            counts.received.push(received());
        }
        counts.requests
    }

    /// Chooses what happens to a request.
    fn script(&self, number: usize) -> Option<Script> {
        let script = &self.script;
        if let Some(scripted) = script.nth.get(&number).or(script.always.as_ref()) {
            return Some(scripted.clone());
        }
        if number <= script.down_for {
            return Some(Script::unavailable());
        }
        if let Some(wait) = self.over_the_rate(number) {
            return Some(Script::throttled(wait));
        }
        let mut dice = unit(script.seed, number);
        for (share, fault) in &script.faults {
            if dice < *share {
                return Some(fault.clone());
            }
            dice -= share;
        }
        None
    }

    /// Says how long a request beyond the rate should have waited.
    fn over_the_rate(&self, number: usize) -> Option<Duration> {
        let per_second = self.script.per_second?;
        let mut counts = self.counts.lock().unwrap();
        let before = *counts.starts.get(number.checked_sub(per_second + 1)?)?;
        let now = *counts.starts.get(number - 1)?;
        let wait = Duration::from_secs(1).checked_sub(now - before)?;
        counts.throttled.push(now);
        Some(wait)
    }

    /// Answers a request under the name `answers`; `None` breaks its connection.
    async fn respond(&self, number: usize, inputs: Vec<Value>, answers: &str) -> Option<Response> {
        let script = self.script(number);
        match &script {
            Some(Script::Status(status, headers, body)) => {
                return Some(status_response(*status, headers, body));
            }
            Some(Script::Hang) => pending::<()>().await,
            Some(Script::Drop) => return None,
            Some(Script::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ => {}
        }
        let tail = self.script.lognormal.map_or(Duration::ZERO, |(median, sigma)| {
            median.mul_f64((sigma * normal(self.script.seed, number)).exp())
        });
        let latency = self.script.base + self.script.per_row * inputs.len() as u32 + tail;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if let Some(poison) = &self.script.poison
            && inputs.iter().any(|input| poison(input))
        {
            return Some(status_response(422, &[], "{\"error\":\"a row is poison\"}"));
        }
        let mut outputs: Vec<Value> =
            inputs.iter().map(|input| (self.script.answer)(input)).collect();
        match script {
            Some(Script::Short) => drop(outputs.pop()),
            Some(Script::Long) => outputs.push(Value::Null),
            Some(Script::WrongType) => outputs.fill(json!({"wrong": true})),
            Some(Script::RowError(row, text)) => outputs[row] = json!({"error": text}),
            Some(Script::Body(body)) => return Some(body.into_response()),
            _ => {}
        }
        let body = serde_json::to_vec(&json!({ answers: outputs })).unwrap();
        let json = HeaderValue::from_static("application/json");
        Some(([(axum::http::header::CONTENT_TYPE, json)], body).into_response())
    }
}

fn status_response(status: u16, headers: &[(&'static str, String)], body: &str) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    response
}

/// Returns a number of the standard normal distribution that depends on seed and request only
/// (Box and Muller's way).
fn normal(seed: u64, number: usize) -> f64 {
    let (radius, angle) = (unit(seed, 2 * number), unit(seed, 2 * number + 1));
    (-2.0 * radius.max(f64::MIN_POSITIVE).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// Returns a number from 0 to 1 that depends on seed and request only (splitmix64).
fn unit(seed: u64, number: usize) -> f64 {
    let mut z = seed.wrapping_add((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
