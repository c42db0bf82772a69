//! Listeners that count connections, break them, refuse them or leave them unanswered.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What is known about a server's connections.
#[derive(Debug, Default)]
pub struct Connections {
    /// Open now.
    pub open: AtomicUsize,
    /// Accepted so far.
    pub accepted: AtomicUsize,
    /// While set, connections are closed as soon as they are made.
    pub down: AtomicBool,
}

/// A listener that counts its connections.
pub struct CountingListener {
    /// Where connections come from.
    pub listener: TcpListener,
    /// Where they are counted.
    pub connections: Arc<Connections>,
}

impl Listener for CountingListener {
    type Io = CountedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CountedStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if self.connections.down.load(SeqCst) => drop(stream),
                Ok((stream, addr)) => {
                    // Without it, the kernel adds up to 40 ms to a small answer.
                    let _ = stream.set_nodelay(true);
                    self.connections.open.fetch_add(1, SeqCst);
                    self.connections.accepted.fetch_add(1, SeqCst);
                    let connections = Arc::clone(&self.connections);
                    return (
                        CountedStream { stream, connections, broken: Broken::default() },
                        addr,
                    );
                }
                // Out of file descriptors: wait for some to be closed.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A handle by which a request's handler breaks the connection it came on.
#[derive(Clone, Debug, Default)]
pub struct Broken(Arc<AtomicBool>);

impl Broken {
    /// Makes the next write fail, so that the connection closes without an answer.
    pub fn set(&self) {
        self.0.store(true, SeqCst);
    }
}

impl Connected<IncomingStream<'_, CountingListener>> for Broken {
    fn connect_info(stream: IncomingStream<'_, CountingListener>) -> Self {
        stream.io().broken.clone()
    }
}

/// A connection that is counted while it is open.
pub struct CountedStream {
    stream: TcpStream,
    connections: Arc<Connections>,
    broken: Broken,
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, SeqCst);
    }
}

impl CountedStream {
    fn check(&self) -> io::Result<()> {
        match self.broken.0.load(SeqCst) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Returns an address at which nobody listens.
pub fn refusing_addr() -> SocketAddr {
    bind().local_addr().expect("a bound listener has an address")
}

/// Takes connections and never reads or answers.
pub struct SilentListener(std::net::TcpListener);

impl SilentListener {
    /// Starts listening; the kernel takes the connections, and nobody serves them.
    pub fn start() -> Self {
        Self(bind())
    }

    /// Returns the address.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound listener has an address")
    }
}

/// Binds a free port of the loopback interface.
pub fn bind() -> std::net::TcpListener {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}
