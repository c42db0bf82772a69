//! [`Connection`], one connection to a server, on which several requests may be on their way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion_common_runtime::SpawnedTask;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, Value,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::classify::Failure;
use super::keep_alive::keep_alive;
use super::link::{self, Link, Linked};
use super::options::Server;
use super::size::size;

/// A connection that was greeted: authenticated, and at its database.
///
/// Dropped, it is closed. The answer of a request that nobody waits for any more is read and thrown
/// away; whether it ever comes is not known, so such a connection is [retired](Connection::retire).
pub(crate) struct Connection {
    client: MultiplexedConnection,
    link: Arc<Link>,
    is_retired: AtomicBool,
    /// Writes requests and reads answers.
    _driver: SpawnedTask<()>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// What a connection's bytes go through.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connection {
    /// Connects to a server within its `connect_timeout`.
    pub(crate) async fn open(
        server: Arc<Server>,
        tls: Option<TlsConnector>,
    ) -> Result<Self, Failure> {
        let limit = server.bounds.connect_timeout;
        match tokio::time::timeout(limit, Self::connect(&server, tls)).await {
            Ok(connection) => connection,
            Err(_) => {
                let limit = humantime::format_duration(limit);
                let message = format!("no connection within {limit} (connect_timeout)");
                Err(Failure::Unreachable(message))
            }
        }
    }

    async fn connect(server: &Server, tls: Option<TlsConnector>) -> Result<Self, Failure> {
        let failed = |error: io::Error| link::failure(&error);
        let stream =
            TcpStream::connect((server.host.as_str(), server.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        keep_alive(&stream).map_err(failed)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(server.host.clone()).map_err(|_| {
                    Failure::Configuration("the host is no name that TLS could check".to_owned())
                })?;
                Box::new(tls.connect(name, stream).await.map_err(failed)?)
            }
        };
        let link = Arc::new(Link::new(server.bounds.max_response_bytes));
        let stream = Linked::new(stream, Arc::clone(&link));
        // The client sends nothing by itself: its greeting would not tell what the server said. How
        // long an answer may take is `attempt_timeout`.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (client, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| failure(&link, &error))?;
        let end = EndOnDrop(Arc::clone(&link));
        let driver = SpawnedTask::spawn(async move {
            let _end = end;
            driver.await;
        });
        let connection = Self { client, link, is_retired: AtomicBool::new(false), _driver: driver };
        connection.greet(server).await?;
        Ok(connection)
    }

    /// Says who we are and which database is meant.
    async fn greet(&self, server: &Server) -> Result<(), Failure> {
        let mut first = match (&server.user, &server.password) {
            (None, None) => redis::cmd("PING"),
            _ => redis::cmd("AUTH"),
        };
        first.arg(server.user.as_deref()).arg(server.password.as_deref());
        let mut others = redis::pipe();
        let selects = server.database != 0;
        if selects {
            others.cmd("SELECT").arg(server.database);
        }
        for (name, value) in [("LIB-NAME", "farcall"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
            others.cmd("CLIENT").arg("SETINFO").arg(name).arg(value);
        }
        // The first stands alone: a full server answers it and closes the connection.
        let (first, others) = futures::join!(self.ask(&first), self.request(&others));
        if let Value::ServerError(error) = first? {
            return Err(Failure::said_at_first(&error));
        }
        // That the names of a client are not known to an older server does no harm.
        match others?.first() {
            Some(Value::ServerError(error)) if selects => Err(Failure::said_at_first(error)),
            _ => Ok(()),
        }
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        let answer = self.client.clone().send_packed_command(command).await;
        answer.map_err(|error| self.failure(&error))
    }

    /// Sends commands and returns an answer to each, which may be an error of the server.
    ///
    /// Cancel: the connection stays usable, but the answers are still on their way.
    pub(crate) async fn request(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        self.link.begin();
        let answers = self.client.clone().send_packed_commands(commands, 0, commands.len()).await;
        let answers = answers.map_err(|error| self.failure(&error))?;
        self.link.finish(answers.iter().map(size).sum())?;
        if answers.len() != commands.len() {
            let (got, sent) = (answers.len(), commands.len());
            return Err(Failure::Malformed(format!("{got} answers to {sent} commands")));
        }
        Ok(answers)
    }

    fn failure(&self, error: &RedisError) -> Failure {
        failure(&self.link, error)
    }

    /// Says that no further request should take the connection.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// Says whether requests may take the connection.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_retired.load(Ordering::Relaxed) && self.link.ended().is_none()
    }
}

/// Says that a connection ended when its driver did, by itself or with the runtime that it ran in.
struct EndOnDrop(Arc<Link>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Failure::Unreachable("the connection was closed".to_owned()));
    }
}

/// Classifies the client's error, by what is known of the connection's end where it ended.
fn failure(link: &Link, error: &RedisError) -> Failure {
    match (error.kind(), link.ended()) {
        (ErrorKind::Parse, _) => {
            Failure::Configuration("the server does not speak the protocol of Redis".to_owned())
        }
        (_, Some(failure)) => failure.clone(),
        (_, None) => Failure::Unreachable(error.to_string()),
    }
}
