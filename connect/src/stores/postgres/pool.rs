//! [`Pool`], the connections to one server, shared by all queries of a runtime.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Client, Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts,
};
use farcall_udf::{CallError, Resources};
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::types::BorrowToSql;
use tokio_postgres::{Error, Row, RowStream, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Asked, lacks_letter, survives};
use super::options::Server;
use super::verify;
use crate::common::pools::Pools;
use crate::common::secrets::Secrets;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long the server may take to hear that a statement is cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that a connection keeps prepared; beyond that it forgets all of them.
const MAX_STATEMENTS: usize = 64;
/// The part of an attempt's time in which a connection must be found, so that there is time left to
/// say that there was none.
const WAITING_SHARE: f64 = 0.9;

/// The connections to one server.
pub(crate) struct Pool {
    connections: deadpool_postgres::Pool,
    tls: MakeRustlsConnect,
    place: String,
    secrets: Secrets,
    connect_timeout: Duration,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Pool {
    /// Returns the pool of a server; nothing is connected yet, and what is idle for long is closed.
    ///
    /// # Errors
    /// A text that says why connections cannot be set up.
    pub(crate) fn of(resources: &Resources, server: &Server) -> Result<Arc<Self>, String> {
        let close_idle = |pool: &Self| {
            pool.connections.retain(|_, usage| usage.last_used() < IDLE_TIMEOUT);
        };
        Pools::of(resources).pool(server, || Self::new(server), close_idle)
    }

    fn new(server: &Server) -> Result<Self, String> {
        let tls = verify::connector(server)?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(server.config.clone(), tls.clone(), recycling);
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(server.pool_size)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| format!("cannot make a pool of connections: {error}"))?;
        Ok(Self {
            connections,
            tls,
            place: server.place(),
            secrets: server.secrets(),
            connect_timeout: server.connect_timeout,
        })
    }

    /// Names who asks, for messages.
    pub(crate) fn asked<'a>(&'a self, function: &'a str) -> Asked<'a> {
        Asked { function, place: &self.place, secrets: &self.secrets }
    }

    /// Takes a connection, waiting until one is free, but not longer than an attempt may take.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        function: &str,
        deadline: Option<Instant>,
        users: &Users,
    ) -> Result<Connection, CallError> {
        let asked = Instant::now();
        let wait = deadline
            .map(|deadline| deadline.saturating_duration_since(asked).mul_f64(WAITING_SHARE));
        let timeouts = Timeouts { wait, create: Some(self.connect_timeout), recycle: None };
        match self.connections.timeout_get(&timeouts).await {
            Ok(client) => {
                let (pool, function) = (Arc::clone(self), function.to_owned());
                let (client, user) = (Some(client), Some(users.enter()));
                let (state, lacks_parameter) = (State::Idle, false);
                Ok(Connection { pool, function, client, state, lacks_parameter, user })
            }
            Err(error) => Err(self.unconnected(function, asked.elapsed(), error)),
        }
    }

    fn unconnected(&self, function: &str, waited: Duration, error: PoolError) -> CallError {
        let place = &self.place;
        match error {
            PoolError::Backend(error) => self.asked(function).classify(&error),
            PoolError::Timeout(TimeoutType::Wait) => {
                let status = self.connections.status();
                let (used, most) =
                    (status.size - status.available.min(status.size), status.max_size);
                let waited =
                    humantime::format_duration(Duration::from_millis(waited.as_millis() as u64));
                CallError::transient(
                    function,
                    format!(
                        "no connection to {place} became free within {waited}: {used} of {most} are in use (pool_size)"
                    ),
                )
            }
            PoolError::Timeout(_) => {
                let limit = humantime::format_duration(self.connect_timeout);
                CallError::transient(
                    function,
                    format!("{place} took no connection within {limit} (connect_timeout)"),
                )
            }
            other => CallError::function(function, other),
        }
    }
}

/// Counts the connections that one function uses, so that its end can be waited for.
#[derive(Debug, Default)]
pub(crate) struct Users(Arc<watch::Sender<usize>>);

impl Users {
    fn enter(&self) -> User {
        self.0.send_modify(|users| *users += 1);
        User(Arc::clone(&self.0))
    }

    /// Waits until no connection is in use, at most until statements have been cancelled.
    pub(crate) async fn gone(&self) {
        let mut users = self.0.subscribe();
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, users.wait_for(|users| *users == 0)).await;
    }
}

/// One connection in use.
#[derive(Debug)]
struct User(Arc<watch::Sender<usize>>);

impl Drop for User {
    fn drop(&mut self) {
        self.0.send_modify(|users| *users -= 1);
    }
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing: somebody else may have it.
    Idle,
    /// A statement runs.
    Busy,
    /// It is of no use any more.
    Broken,
}

/// A connection that works for one request.
///
/// Dropped while a statement runs, as when a query is cancelled, it cancels that and closes.
pub(crate) struct Connection {
    pool: Arc<Pool>,
    function: String,
    /// Taken when it is dropped.
    client: Option<Client>,
    state: State,
    /// Whether the latest statement was refused for a parameter with a letter that the server lacks.
    lacks_parameter: bool,
    user: Option<User>,
}

impl Connection {
    /// Prepares a statement, once for all that use this connection.
    pub(crate) async fn prepared(&mut self, sql: &str) -> Result<Statement, CallError> {
        self.state = State::Busy;
        let prepared = match &self.client {
            None => return Err(self.gone()),
            Some(client) => {
                if client.statement_cache.size() >= MAX_STATEMENTS {
                    client.statement_cache.clear();
                }
                client.prepare_cached(sql).await
            }
        };
        self.settle(prepared)
    }

    /// Prepares a statement that is used once.
    pub(crate) async fn prepare(&mut self, sql: &str) -> Result<Statement, CallError> {
        self.state = State::Busy;
        let prepared = match &self.client {
            None => return Err(self.gone()),
            Some(client) => client.prepare(sql).await,
        };
        self.settle(prepared)
    }

    /// Sends a prepared statement; its rows are read by [`Connection::next`].
    pub(crate) async fn query<P: BorrowToSql>(
        &mut self,
        statement: &Statement,
        parameters: impl IntoIterator<Item = P, IntoIter: ExactSizeIterator>,
    ) -> Result<Pin<Box<RowStream>>, CallError> {
        self.state = State::Busy;
        let rows = match &self.client {
            None => return Err(self.gone()),
            Some(client) => client.query_raw(statement, parameters).await,
        };
        // What the server says at once is about the parameters: it has not read a row yet.
        self.lacks_parameter = rows.as_ref().err().is_some_and(lacks_letter);
        let rows = self.settle(rows)?;
        self.state = State::Busy;
        Ok(Box::pin(rows))
    }

    /// Says whether the statement was refused since no text of the server can be equal to one of its
    /// parameters.
    pub(crate) fn lacks_parameter(&self) -> bool {
        self.lacks_parameter
    }

    /// Reads the next row of the statement that runs, `None` after the last.
    pub(crate) async fn next(
        &mut self,
        rows: &mut Pin<Box<RowStream>>,
    ) -> Result<Option<Row>, CallError> {
        // The client takes a reader that asks on after the end for one of a broken connection.
        if self.state != State::Busy {
            return Ok(None);
        }
        match rows.next().await {
            Some(Ok(row)) => Ok(Some(row)),
            Some(Err(error)) => self.settle(Err(error)),
            None => {
                self.state = State::Idle;
                Ok(None)
            }
        }
    }

    fn settle<T>(&mut self, outcome: Result<T, Error>) -> Result<T, CallError> {
        self.state = match &outcome {
            Err(error) if !survives(error) => State::Broken,
            _ => State::Idle,
        };
        outcome.map_err(|error| self.pool.asked(&self.function).classify(&error))
    }

    fn gone(&self) -> CallError {
        CallError::function(&self.function, "a connection was used after its end")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if self.state == State::Idle {
            return;
        }
        let (token, closing) = (client.cancel_token(), Closing(Some(client)));
        let (tls, user) = (self.pool.tls.clone(), self.user.take());
        // The server would go on, and nobody may wait in a drop: so this runs detached, with a
        // deadline. Outside a runtime there is nobody who could send anything.
        if self.state == State::Busy
            && let Ok(handle) = Handle::try_current()
        {
            handle.spawn(async move {
                let cancelled = tokio::time::timeout(CANCEL_TIMEOUT, token.cancel_query(tls)).await;
                if !matches!(cancelled, Ok(Ok(()))) {
                    tracing::debug!(target: "farcall", "a statement could not be cancelled");
                }
                drop(closing);
                drop(user);
            });
        }
    }
}

/// A connection that closes instead of going back to its pool.
struct Closing(Option<Client>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Client::take(client));
        }
    }
}
