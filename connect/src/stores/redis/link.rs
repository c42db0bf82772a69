//! [`Link`], the bytes between us and a server: how many came, and how it ended.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::classify::Failure;

/// What a server may say without being asked, in bytes: that it is full, for instance.
const UNASKED_BYTES: usize = 4096;

/// What is known of one connection; the client's own errors keep neither cause nor size.
#[derive(Debug)]
pub(crate) struct Link {
    /// The largest answer, in bytes.
    max_response_bytes: usize,
    coming: Mutex<Coming>,
    end: OnceLock<Failure>,
}

/// Answers that are on their way, and may be as large as the limit, each.
#[derive(Debug, Default)]
struct Coming {
    requests: usize,
    /// Bytes of those answers that came.
    bytes: usize,
}

impl Link {
    /// Makes the link of a new connection.
    pub(crate) fn new(max_response_bytes: usize) -> Self {
        Self { max_response_bytes, coming: Mutex::default(), end: OnceLock::new() }
    }

    /// Says that a request begins.
    pub(crate) fn begin(&self) {
        self.coming().requests += 1;
    }

    /// Says that a request was answered, by so many bytes.
    ///
    /// One that nobody waits for any more is never answered, and its answer may still come.
    pub(crate) fn finish(&self, bytes: usize) -> Result<(), Failure> {
        let mut coming = self.coming();
        coming.requests = coming.requests.saturating_sub(1);
        coming.bytes = match coming.requests {
            0 => 0,
            _ => coming.bytes.saturating_sub(bytes),
        };
        match bytes > self.max_response_bytes {
            true => Err(self.too_large()),
            false => Ok(()),
        }
    }

    fn coming(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_large(&self) -> Failure {
        let limit = self.max_response_bytes;
        Failure::TooLarge(format!("the answer has more than {limit} bytes (max_response_bytes)"))
    }

    /// Says how the connection ended; what is said first stays.
    pub(crate) fn end(&self, failure: Failure) {
        let _ = self.end.set(failure);
    }

    /// Returns how the connection ended, `None` while it is open.
    pub(crate) fn ended(&self) -> Option<&Failure> {
        self.end.get()
    }

    /// Counts bytes that came.
    fn count(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            self.end(Failure::Unreachable("the server closed the connection".to_owned()));
            return Ok(());
        }
        let is_too_much = {
            let mut coming = self.coming();
            coming.bytes = coming.bytes.saturating_add(bytes);
            let most = self.max_response_bytes.saturating_mul(coming.requests);
            coming.bytes > most.saturating_add(UNASKED_BYTES)
        };
        match is_too_much {
            false => Ok(()),
            true => {
                self.end(self.too_large());
                Err(io::Error::other("too many bytes"))
            }
        }
    }

    fn failed(&self, error: io::Error) -> io::Error {
        self.end(failure(&error));
        error
    }
}

/// Classifies an error of a connection: what TLS refuses, it will refuse again.
pub(crate) fn failure(error: &io::Error) -> Failure {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => Failure::Configuration(format!("TLS: {error}")),
        None => Failure::Unreachable(error.to_string()),
    }
}

/// A stream whose bytes are counted and whose end is kept.
#[derive(Debug)]
pub(crate) struct Linked<S> {
    stream: S,
    link: Arc<Link>,
}

impl<S> Linked<S> {
    /// Wraps a stream.
    pub(crate) fn new(stream: S, link: Arc<Link>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 20_000;

    #[test]
    fn each_answer_in_flight_may_be_as_large_as_the_limit() {
        let link = Link::new(LIMIT);
        (0..3).for_each(|_| link.begin());
        (0..3).for_each(|_| link.count(LIMIT).unwrap());
        (0..3).for_each(|_| link.finish(LIMIT).unwrap());
        link.begin();
        link.count(LIMIT).unwrap();
        assert!(link.count(UNASKED_BYTES + 1).is_err());
    }

    #[test]
    fn requests_that_keep_starting_make_no_room_for_an_answer_without_end() {
        let link = Link::new(LIMIT);
        link.begin();
        // What is answered in between was not a part of it.
        for _ in 0..10 {
            link.begin();
            link.count(100).unwrap();
            link.finish(100).unwrap();
        }
        link.count(LIMIT + UNASKED_BYTES).unwrap();
        assert!(link.count(1).is_err());
        assert_eq!(link.ended(), Some(&link.too_large()));
    }

    #[test]
    fn an_answer_beyond_the_limit_is_refused_though_others_leave_room_for_it() {
        let link = Link::new(LIMIT);
        (0..2).for_each(|_| link.begin());
        link.count(LIMIT + 1).unwrap();
        assert_eq!(link.finish(LIMIT + 1), Err(link.too_large()));
        link.count(5).unwrap();
        assert_eq!(link.finish(5), Ok(()));
        assert_eq!(link.ended(), None);
    }
}
