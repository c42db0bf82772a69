//! [`Deadline`], the total time of a request, and the limit of one attempt.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::clock::after;

/// The end of a request's time.
///
/// It starts with the first permit and covers attempts and back-off; waiting for a rate limit does
/// not count, so each later wait for a permit moves the end.
#[derive(Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    end: Option<Instant>,
}

impl Deadline {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, end: None }
    }

    /// Counts a permit that took `waited` to come.
    pub(crate) fn got_permit(&mut self, waited: Duration) {
        self.end = Some(match self.end {
            None => after(Instant::now(), self.limit),
            Some(end) => after(end, waited),
        });
    }

    /// Returns the time left; all of it before the first permit.
    pub(crate) fn left(&self) -> Duration {
        match self.end {
            None => self.limit,
            Some(end) => end.saturating_duration_since(Instant::now()),
        }
    }
}

/// What ended an attempt.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    /// It finished.
    Done(T),
    /// It exceeded the time of an attempt.
    TooLong,
    /// It exceeded what was left of the request's time.
    OutOfTime,
}

impl<T> Attempt<T> {
    /// Says in a word what ended the attempt, for the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Attempt::Done(_) => "itself",
            Attempt::TooLong => "attempt_timeout",
            Attempt::OutOfTime => "timeout",
        }
    }
}

/// Runs one attempt within both limits; dropping it aborts the attempt.
pub(crate) async fn within<T>(
    attempt_timeout: Duration,
    left: Duration,
    attempt: impl Future<Output = T>,
) -> Attempt<T> {
    match tokio::time::timeout(attempt_timeout.min(left), attempt).await {
        Ok(done) => Attempt::Done(done),
        Err(_) if left <= attempt_timeout => Attempt::OutOfTime,
        Err(_) => Attempt::TooLong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_later_permit_does_not_count() {
        let mut deadline = Deadline::new(Duration::from_secs(10));
        deadline.got_permit(Duration::from_secs(99));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(deadline.left(), Duration::from_secs(6));
        tokio::time::advance(Duration::from_secs(5)).await;
        deadline.got_permit(Duration::from_secs(5));
        assert_eq!(deadline.left(), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_tighter_limit_names_the_timeout() {
        let never = std::future::pending::<()>;
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!(matches!(within(short, long, never()).await, Attempt::TooLong));
        assert!(matches!(within(long, short, never()).await, Attempt::OutOfTime));
    }
}
