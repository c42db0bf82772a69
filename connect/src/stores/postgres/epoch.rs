//! Dates and times as the server counts them.

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};
use crate::stores::postgres::encode::{DATES, TIMESTAMPS};

/// Returns a date, in days since 1970, as the server counts it; `None` for one that it refuses.
pub(crate) fn date(days: i32) -> Option<i32> {
    days.checked_sub(EPOCH_DAYS).filter(|days| DATES.contains(days))
}

/// Returns a time, in microseconds since 1970, as the server counts it; `None` for one that it
/// refuses.
pub(crate) fn timestamp(micros: i64) -> Option<i64> {
    micros.checked_sub(EPOCH_MICROS).filter(|micros| TIMESTAMPS.contains(micros))
}
