//! What the headers of an answer say about how much more the remote side takes.

use std::time::{Duration, SystemTime};

use farcall_udf::RateHints;
use reqwest::header::HeaderMap;

/// A number of seconds beyond this is a point in time: nobody's period is thirty years long.
const FIRST_TIMESTAMP: f64 = 1e9;
/// The headers of one kind of server: requests left, tokens left, the end of the period.
const HEADERS: [[&str; 3]; 4] = [
    [
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
    ],
    [
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    ["ratelimit-remaining", "ratelimit-remaining-tokens", "ratelimit-reset"],
    ["x-ratelimit-remaining", "x-ratelimit-remaining-tokens", "x-ratelimit-reset"],
];

/// Reads the hints; what cannot be read is not known.
pub(crate) fn rate_hints(headers: &HeaderMap, now: SystemTime) -> RateHints {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let count = |name: &str| text(name)?.parse::<u64>().ok();
    let hints = HEADERS.iter().map(|[requests, tokens, reset]| RateHints {
        remaining_requests: count(requests),
        remaining_tokens: count(tokens),
        reset_after: text(reset).and_then(|text| until(text, now)),
    });
    hints.into_iter().find(|hints| *hints != RateHints::default()).unwrap_or_default()
}

/// Reads when a period ends: seconds, a duration such as `6m0.5s`, or a point in time.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let left = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    match text.parse::<f64>() {
        Ok(seconds) if seconds >= FIRST_TIMESTAMP => {
            let since = Duration::try_from_secs_f64(seconds).ok()?;
            Some(left(SystemTime::UNIX_EPOCH.checked_add(since)?))
        }
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => duration(text).or_else(|| Some(left(humantime::parse_rfc3339_weak(text).ok()?))),
    }
}

/// Reads a duration with a unit behind each number, as Go writes it.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &unit[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_usual_servers_send() {
        let openai = hints(&[
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-tokens", "1490"),
            ("x-ratelimit-reset-requests", "1m0.5s"),
        ]);
        assert_eq!(openai, expected(Some(59), Some(1490), Some(60_500)));
        let anthropic = hints(&[
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("anthropic-ratelimit-requests-reset", "2001-09-09T01:46:50Z"),
        ]);
        assert_eq!(anthropic, expected(Some(7), None, Some(10_000)));
        let draft = hints(&[("ratelimit-remaining", "3"), ("ratelimit-reset", "20")]);
        assert_eq!(draft, expected(Some(3), None, Some(20_000)));
        let epoch = hints(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1000000005")]);
        assert_eq!(epoch, expected(Some(3), None, Some(5_000)));
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        assert_eq!(hints(&[]), RateHints::default());
        let odd = hints(&[
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "soon"),
        ]);
        assert_eq!(odd, RateHints::default());
    }

    #[test]
    fn a_period_that_has_ended_ends_now() {
        let past = hints(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "1000000000")]);
        assert_eq!(past, expected(Some(0), None, Some(0)));
    }

    /// Reads headers at the billionth second, which is 2001-09-09 01:46:40 UTC.
    fn hints(headers: &[(&'static str, &'static str)]) -> RateHints {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        rate_hints(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
    }

    fn expected(requests: Option<u64>, tokens: Option<u64>, millis: Option<u64>) -> RateHints {
        RateHints {
            remaining_requests: requests,
            remaining_tokens: tokens,
            reset_after: millis.map(Duration::from_millis),
        }
    }
}
