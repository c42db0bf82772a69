//! [`after`], moments that no duration overflows.

use std::time::Duration;

use tokio::time::Instant;

/// A time beyond the clock's range is no limit: a century will do.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Returns the moment `duration` after `start`, whatever the duration.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    start.checked_add(duration).unwrap_or_else(|| start + CENTURY)
}
