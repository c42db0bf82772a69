//! [`Pool`], the connections to a server that all tables of a runtime share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farcall_udf::Resources;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::{Pipeline, Value};
use tokio_rustls::TlsConnector;

use super::classify::Failure;
use super::connection::Connection;
use super::options::{Server, TlsFiles};
use crate::common::{pools, tls};

/// A connection that is being made, or was; whoever needs it waits for the same one.
type Dial = Shared<BoxFuture<'static, Result<Arc<Connection>, Failure>>>;

/// The connections to one server.
///
/// A request takes the connection with the fewest others on their way, and a new one as long as
/// there are fewer than `pool_size`: so up to that many requests never wait for each other, and
/// more of them are pipelined.
pub(crate) struct Pool {
    server: Arc<Server>,
    tls: Option<TlsConnector>,
    slots: Mutex<Vec<Slot>>,
}

#[derive(Default)]
struct Slot {
    /// Requests that took the slot's connection.
    users: usize,
    dial: Option<Dial>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.server).finish()
    }
}

impl Slot {
    /// Says whether a request can begin at once.
    fn is_open(&self) -> bool {
        let made = self.dial.as_ref().and_then(Shared::peek);
        matches!(made, Some(Ok(connection)) if connection.is_usable())
    }

    /// Says whether what is here is of no use: it failed, ended, or nobody goes on with it.
    fn is_spent(&self) -> bool {
        match self.dial.as_ref().map(Shared::peek) {
            None => true,
            Some(None) => self.users == 0,
            Some(Some(_)) => !self.is_open(),
        }
    }
}

impl Pool {
    fn new(server: Server) -> Result<Self, String> {
        let tls = match &server.tls {
            None => None,
            Some(TlsFiles { roots, certificate, key }) => {
                let identity = certificate.as_deref().zip(key.as_deref());
                Some(Arc::new(tls::client(roots.as_deref(), identity)?).into())
            }
        };
        let slots = (0..server.bounds.pool_size).map(|_| Slot::default()).collect();
        Ok(Self { server: Arc::new(server), tls, slots: Mutex::new(slots) })
    }

    /// Sends commands and returns an answer to each, which may be an error of the server.
    ///
    /// Cancel: the connection takes no further request and is closed when its other requests are
    /// answered, since the answer may never come.
    pub(crate) async fn request(
        self: &Arc<Self>,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        self.send(commands).await.map_err(|failure| failure.at(&self.server))
    }

    async fn send(self: &Arc<Self>, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let (mut lease, dial) = self.take();
        let connection = dial.await?;
        lease.connection = Some(Arc::clone(&connection));
        let answers = connection.request(commands).await?;
        lease.is_answered = true;
        Ok(answers)
    }

    /// Takes the slot with the fewest requests.
    fn take(self: &Arc<Self>) -> (Lease, Dial) {
        let mut slots = self.lock();
        // There is at least one.
        let order = |index: &usize| (slots[*index].users, !slots[*index].is_open());
        let index = (0..slots.len()).min_by_key(order).unwrap_or_default();
        let slot = &mut slots[index];
        if slot.is_spent() {
            slot.dial = None;
        }
        let dial = slot.dial.get_or_insert_with(|| {
            let connection = Connection::open(Arc::clone(&self.server), self.tls.clone());
            connection.map(|made| made.map(Arc::new)).boxed().shared()
        });
        let dial = dial.clone();
        slot.users += 1;
        (Lease { pool: Arc::clone(self), index, connection: None, is_answered: false }, dial)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's place at a connection.
struct Lease {
    pool: Arc<Pool>,
    index: usize,
    connection: Option<Arc<Connection>>,
    is_answered: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.as_ref().filter(|_| !self.is_answered) {
            connection.retire();
        }
        let mut slots = self.pool.lock();
        let slot = &mut slots[self.index];
        slot.users -= 1;
        if slot.users == 0 && slot.is_spent() {
            slot.dial = None;
        }
    }
}

/// The pools of one runtime.
pub(crate) type Pools = pools::Pools<Server, Pool>;

impl Pool {
    /// Returns the pool of a server; nothing is connected yet.
    ///
    /// The error names the file that TLS cannot use.
    pub(crate) fn of(resources: &Resources, server: &Server) -> Result<Arc<Self>, String> {
        Pools::of(resources).pool(server, || Self::new(server.clone()), |_| {})
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
