//! Dates and times as the server counts them.

use std::ops::Range;

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};

/// The dates that the server has, in its own days: from 4714-11-24 BC to 5874897-12-31.
const DATES: Range<i32> = -2_451_545..2_145_031_949;

/// The times that the server has, in its own microseconds: from that day to the end of 294276.
const TIMESTAMPS: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Returns a date, in days since 1970, as the server counts it; `None` for one that it refuses.
pub(crate) fn date(days: i32) -> Option<i32> {
    days.checked_sub(EPOCH_DAYS).filter(|days| DATES.contains(days))
}

/// Returns a time, in microseconds since 1970, as the server counts it; `None` for one that it
/// refuses.
pub(crate) fn timestamp(micros: i64) -> Option<i64> {
    micros.checked_sub(EPOCH_MICROS).filter(|micros| TIMESTAMPS.contains(micros))
}
