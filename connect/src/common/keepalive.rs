//! How soon a connection is given up whose other end is gone without a word.

use std::time::Duration;

/// How long a connection is silent until its other end is asked whether it is still there.
///
/// With the two below a dead one is noticed within a minute; most firewalls forget a silent one
/// after some minutes, and the system's own default is two hours.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// How long until it is asked again.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// How often it is asked.
pub(crate) const RETRIES: u32 = 3;
