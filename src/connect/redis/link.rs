//! [`Link`], the bytes between us and a server: how many came, and how it ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::classify::Failure;

/// What is known of one connection; the client's own errors keep neither cause nor size.
#[derive(Debug)]
pub(super) struct Link {
    /// The largest answer, in bytes.
    max_response_bytes: usize,
    /// Bytes that may come until the next request begins.
    left: AtomicUsize,
    end: OnceLock<Failure>,
}

impl Link {
    /// Makes the link of a new connection.
    pub(super) fn new(max_response_bytes: usize) -> Self {
        let left = AtomicUsize::new(max_response_bytes);
        Self { max_response_bytes, left, end: OnceLock::new() }
    }

    /// Says that a request begins; requests that share the connection share its bytes.
    pub(super) fn begin(&self) {
        self.left.store(self.max_response_bytes, Ordering::Relaxed);
    }

    /// Says how the connection ended; what is said first stays.
    pub(super) fn end(&self, failure: Failure) {
        let _ = self.end.set(failure);
    }

    /// Returns how the connection ended, `None` while it is open.
    pub(super) fn ended(&self) -> Option<&Failure> {
        self.end.get()
    }

    /// Counts bytes that came.
    fn count(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            self.end(Failure::Unreachable("the server closed the connection".to_owned()));
            return Ok(());
        }
        let take = |left: usize| left.checked_sub(bytes);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => {
                let limit = self.max_response_bytes;
                let message =
                    format!("the answer has more than {limit} bytes (max_response_bytes)");
                self.end(Failure::Malformed(message.clone()));
                Err(io::Error::other(message))
            }
        }
    }

    fn failed(&self, error: io::Error) -> io::Error {
        self.end(failure(&error));
        error
    }
}

/// Classifies an error of a connection: what TLS refuses, it will refuse again.
pub(super) fn failure(error: &io::Error) -> Failure {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => Failure::Configuration(format!("TLS: {error}")),
        None => Failure::Unreachable(error.to_string()),
    }
}

/// A stream whose bytes are counted and whose end is kept.
#[derive(Debug)]
pub(super) struct Linked<S> {
    stream: S,
    link: Arc<Link>,
}

impl<S> Linked<S> {
    /// Wraps a stream.
    pub(super) fn new(stream: S, link: Arc<Link>) -> Self {
        Self { stream, link }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Linked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buf)) {
            Ok(()) if buf.remaining() == 0 && buf.filled().len() == before => Poll::Ready(Ok(())),
            Ok(()) => Poll::Ready(self.link.count(buf.filled().len() - before)),
            Err(error) => Poll::Ready(Err(self.link.failed(error))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Linked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(written.map_err(|error| self.link.failed(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.link.failed(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
