use std::time::Duration;

use datafusion_common_runtime::SpawnedTask;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::stores::redis::options::Bounds;

/// What a connection is greeted with: PING and the two names of the client.
const GREETINGS: usize = 3;

/// A server that answers each command with `+OK`, once it is told to.
struct HeldServer {
    server: Server,
    /// Commands that each connection brought, the greeting aside; `None` for one that was closed.
    asked: watch::Receiver<Vec<Option<usize>>>,
    answers: watch::Sender<bool>,
    _task: SpawnedTask<()>,
}

impl HeldServer {
    async fn start(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (counts, asked) = watch::channel(Vec::new());
        let (answers, may_answer) = watch::channel(false);
        let task = SpawnedTask::spawn(async move {
            let mut served = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counts.send_modify(|counts| counts.push(Some(0)));
                let (index, counts) = (served.len(), counts.clone());
                served.push(SpawnedTask::spawn(serve(stream, index, counts, may_answer.clone())));
            }
        });
        let server = Server {
            host: "127.0.0.1".into(),
            port,
            user: None,
            password: None,
            database: 0,
            tls: None,
            bounds: Bounds { pool_size: connections, ..Bounds::default() },
        };
        Self { server, asked, answers, _task: task }
    }

    fn pool(&self) -> Arc<Pool> {
        Arc::new(Pool::new(self.server.clone()).unwrap())
    }

    /// Waits until the connections brought these commands.
    async fn until_asked(&self, expected: &[Option<usize>]) {
        let mut asked = self.asked.clone();
        let wait = asked.wait_for(|asked| asked == expected);
        let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(waited.is_ok(), "{:?} and not {expected:?}", self.asked.borrow());
    }
}

async fn serve(
    mut stream: TcpStream,
    index: usize,
    counts: watch::Sender<Vec<Option<usize>>>,
    mut may_answer: watch::Receiver<bool>,
) {
    let (mut asked, mut answered, mut buffer) = (0_usize, 0_usize, [0; 1024]);
    loop {
        let ready = if *may_answer.borrow() { asked } else { asked.min(GREETINGS) };
        while answered < ready {
            stream.write_all(b"+OK\r\n").await.unwrap();
            answered += 1;
        }
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let Ok(read @ 1..) = read else { break };
                asked += buffer[..read].iter().filter(|byte| **byte == b'*').count();
                counts.send_modify(|counts| counts[index] = Some(asked.saturating_sub(GREETINGS)));
            }
            changed = may_answer.changed() => if changed.is_err() { break },
        }
    }
    counts.send_modify(|counts| counts[index] = None);
}

fn ask(pool: &Arc<Pool>) -> SpawnedTask<Result<Vec<Value>, Failure>> {
    let pool = Arc::clone(pool);
    SpawnedTask::spawn(async move {
        let mut commands = redis::pipe();
        commands.cmd("GET").arg("k");
        pool.request(&commands).await
    })
}

#[tokio::test]
async fn as_many_requests_as_connections_do_not_wait_for_each_other() {
    let server = HeldServer::start(3).await;
    let pool = server.pool();
    let requests = [ask(&pool), ask(&pool), ask(&pool)];
    server.until_asked(&[Some(1), Some(1), Some(1)]).await;
    server.answers.send_replace(true);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), [Value::Okay]);
    }
    assert_eq!(ask(&pool).await.unwrap().unwrap(), [Value::Okay]);
    assert_eq!(server.asked.borrow().len(), 3, "an idle connection is taken first");
}

#[tokio::test]
async fn more_requests_than_connections_are_pipelined() {
    let server = HeldServer::start(2).await;
    let pool = server.pool();
    let requests: Vec<_> = (0..6).map(|_| ask(&pool)).collect();
    server.until_asked(&[Some(3), Some(3)]).await;
    server.answers.send_replace(true);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), [Value::Okay]);
    }
}

#[tokio::test]
async fn a_connection_whose_answer_nobody_waits_for_is_closed_and_another_made() {
    let server = HeldServer::start(1).await;
    let pool = server.pool();
    let dropped = ask(&pool);
    server.until_asked(&[Some(1)]).await;
    drop(dropped);
    server.until_asked(&[None]).await;
    let request = ask(&pool);
    server.until_asked(&[None, Some(1)]).await;
    server.answers.send_replace(true);
    assert_eq!(request.await.unwrap().unwrap(), [Value::Okay]);
}

#[tokio::test]
async fn requests_beside_a_dropped_one_keep_their_connection() {
    let server = HeldServer::start(1).await;
    let pool = server.pool();
    let (kept, dropped) = (ask(&pool), ask(&pool));
    server.until_asked(&[Some(2)]).await;
    drop(dropped);
    // The next one may not wait behind an answer that may never come.
    let next = ask(&pool);
    server.until_asked(&[Some(2), Some(1)]).await;
    server.answers.send_replace(true);
    assert_eq!(kept.await.unwrap().unwrap(), [Value::Okay]);
    assert_eq!(next.await.unwrap().unwrap(), [Value::Okay]);
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = HeldServer::start(1).await.server;
    server.port = port;
    server.bounds.connect_timeout = Duration::from_millis(20);
    let pool = Arc::new(Pool::new(server).unwrap());
    let failure = ask(&pool).await.unwrap().unwrap_err();
    let message = format!("127.0.0.1:{port}: no connection within 20ms (connect_timeout)");
    assert_eq!(failure, Failure::Unreachable(message));
}

#[test]
fn equal_servers_share_their_connections() {
    let runtime = Resources::default();
    let server = |user: &str| Server {
        host: "h".into(),
        port: 1,
        user: Some(user.into()),
        password: Some("hush-42".into()),
        database: 0,
        tls: None,
        bounds: Bounds::default(),
    };
    let pool = |user: &str| Pool::of(&runtime, &server(user)).unwrap();
    assert!(Arc::ptr_eq(&pool("a"), &pool("a")));
    assert!(!Arc::ptr_eq(&pool("a"), &pool("b")));
    assert!(!format!("{:?} {:?}", pool("a"), Pools::of(&runtime)).contains("hush"));
}
