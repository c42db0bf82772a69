//! [`Protocol`], what statuses and headers mean to whoever sends requests.

use std::time::SystemTime;

use farcall_udf::{CallError, RateHints};
use reqwest::header::HeaderMap;

use super::classify::Refusal;
use super::rate::rate_hints;

/// What an answer's status and headers mean; a provider overrides what its API says otherwise.
pub(crate) trait Protocol: Send + Sync {
    /// Turns an answer that is no success into the error of its class.
    fn classify(&self, refusal: &Refusal<'_>) -> CallError {
        refusal.classify()
    }

    /// Reads what the remote side says of its limits.
    fn hints(&self, headers: &HeaderMap, now: SystemTime) -> RateHints {
        rate_hints(headers, now)
    }
}

/// Statuses and headers as DESIGN section 8 has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common;

impl Protocol for Common {}
