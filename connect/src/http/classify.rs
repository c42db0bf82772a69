//! What an HTTP status, its headers or a broken connection mean, as DESIGN section 8 has it.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use farcall_udf::CallError;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};

use crate::common::secrets::Secrets;
use crate::json::{Kind, key_is, members, text_of};

/// The longest delay taken over from a remote side; option `timeout` ends a request far earlier.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Words by which a 429 says that waiting does not help.
const NO_QUOTA: [&str; 6] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "enforced_spend_limit_reached",
    "spend_limit",
    "spend limit",
];

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    /// The model's name.
    pub(crate) function: &'a str,
    /// The URL as messages may show it.
    pub(crate) endpoint: &'a str,
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
    /// The beginning of the body.
    pub(crate) body: &'a str,
    /// What messages must not show.
    pub(crate) secrets: &'a Secrets,
}

impl Refusal<'_> {
    /// Turns the answer into the error of its class.
    pub(crate) fn classify(&self) -> CallError {
        let function = self.function.to_owned();
        let message = self.message();
        let retry_after = retry_after(self.headers, SystemTime::now());
        let should_retry = header(self.headers, "x-should-retry");
        let remote = |function, message| CallError::Remote { function, message, retry_after };
        match self.status.as_u16() {
            429 if should_retry == Some("false") || self.has_no_quota() => {
                CallError::Exhausted { function, message }
            }
            429 => CallError::Throttled { function, message, retry_after },
            402 => CallError::Exhausted { function, message },
            _ if should_retry == Some("true") => remote(function, message),
            300..=399 => {
                let message = format!("{message}; redirects are not followed, change the endpoint");
                CallError::Configuration { function, message }
            }
            // The rest of these say that the endpoint, its method or its format is another one.
            401 | 403 | 404 | 405 | 406 | 407 | 410 | 411 | 415 | 426 | 431 | 501 | 505 | 511 => {
                CallError::Configuration { function, message }
            }
            // 421 to 424 depend on something behind the endpoint, not on the rows.
            408 | 409 | 421 | 423 | 424 | 425 | 500.. if should_retry == Some("false") => {
                CallError::Function {
                    function,
                    message: format!("{message}; it asks not to retry"),
                }
            }
            408 | 409 | 421 | 423 | 424 | 425 | 500.. => remote(function, message),
            _ => CallError::Rejected { function, message },
        }
    }

    fn has_no_quota(&self) -> bool {
        let body = self.body.to_ascii_lowercase();
        NO_QUOTA.iter().any(|word| body.contains(word))
    }

    /// Says the status, and what the remote side says about it.
    fn message(&self) -> String {
        let mut message = format!("the server answered {}", self.status.as_u16());
        if let Some(reason) = self.status.canonical_reason() {
            message = format!("{message} {reason}");
        }
        // Where the address is to blame, it is shown.
        if matches!(self.status.as_u16(), 300..=399 | 404 | 405 | 410 | 501) {
            message = format!("{message} at {}", self.endpoint);
        }
        if let Some(location) = self.headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
            let shown = location.split(['?', '#']).next().unwrap_or_default();
            // A location with a user in it is not worth showing.
            if !shown.contains('@') {
                message = format!("{message} to {}", self.secrets.excerpt(shown));
            }
        }
        let said = said(self.body).unwrap_or_else(|| self.body.to_owned());
        let said = self.secrets.excerpt(&said);
        if said.is_empty() { message } else { format!("{message}: {said}") }
    }
}

/// Finds the text in the usual JSON forms of an error.
fn said(body: &str) -> Option<String> {
    let body = body.trim_ascii();
    serde_json::from_str::<serde::de::IgnoredAny>(body).ok()?;
    let mut object = body;
    for _ in 0..3 {
        if Kind::of(object) != Kind::Object {
            return None;
        }
        let (_, value) = members(object)
            .find(|(key, _)| ["error", "message", "detail"].iter().any(|name| key_is(key, name)))?;
        match Kind::of(value) {
            Kind::String => return text_of(value),
            _ => object = value,
        }
    }
    None
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Reads how long the remote side asks to wait: milliseconds, seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |text: &str, unit: f64| {
        let seconds = text.parse::<f64>().ok().filter(|number| number.is_finite())? * unit;
        let limited = seconds.min(MAX_RETRY_AFTER.as_secs_f64());
        Duration::try_from_secs_f64(limited).ok()
    };
    let millis = ["retry-after-ms", "x-ms-retry-after-ms"]
        .iter()
        .find_map(|name| number(header(headers, name)?, 0.001));
    millis.or_else(|| {
        let text = header(headers, RETRY_AFTER.as_str())?;
        number(text, 1.0).or_else(|| {
            let date = httpdate::parse_http_date(text).ok()?;
            // A date that has passed means now.
            Some(date.duration_since(now).unwrap_or_default().min(MAX_RETRY_AFTER))
        })
    })
}

/// Turns a request that got no complete answer into an error that shows no URL.
pub(crate) fn transport(
    function: &str,
    host: &str,
    connect_timeout: Duration,
    error: reqwest::Error,
) -> CallError {
    let function = function.to_owned();
    let error = error.without_url();
    if error.is_builder() {
        let message = format!("the request cannot be made: {}", innermost(&error));
        return CallError::Configuration { function, message };
    }
    if let Some(tls) = find::<rustls::Error>(&error)
        && matches!(tls, rustls::Error::InvalidCertificate(_))
    {
        return CallError::Configuration { function, message: format!("{host}: {tls}") };
    }
    let message = match (error.is_connect(), error.is_timeout()) {
        (true, true) => format!(
            "no connection to {host} within {} (connect_timeout)",
            humantime::format_duration(connect_timeout)
        ),
        (true, false) => format!("no connection to {host}: {}", innermost(&error)),
        _ => format!("the connection to {host} broke: {}", innermost(&error)),
    };
    CallError::Transport { function, message }
}

/// Finds an error of one type among the causes, also inside those of std's io.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Returns what the first cause says; the errors around it only say that there is one.
fn innermost(error: &(dyn Error + 'static)) -> String {
    if let Some(io) = find::<io::Error>(error) {
        match io.kind() {
            io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
            io::ErrorKind::ConnectionReset => return "connection reset".to_owned(),
            io::ErrorKind::BrokenPipe => return "broken pipe".to_owned(),
            io::ErrorKind::UnexpectedEof => return "unexpected end".to_owned(),
            _ => {}
        }
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use farcall_udf::ErrorClass;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn statuses_have_the_classes_of_the_design() {
        for (statuses, class) in [
            (vec![408, 409, 425, 500, 502, 503, 504, 529], ErrorClass::Transient),
            (vec![429], ErrorClass::Throttled),
            (vec![402], ErrorClass::Exhausted),
            (vec![400, 413, 422], ErrorClass::Rejected),
            (vec![401, 403, 404], ErrorClass::Configuration),
            (vec![301, 302, 307, 308, 405, 415, 501], ErrorClass::Configuration),
            (vec![424, 507, 520, 598], ErrorClass::Transient),
            (vec![418, 451], ErrorClass::Rejected),
        ] {
            for status in statuses {
                assert_eq!(refusal(status, &[], "").class(), class, "{status}");
            }
        }
    }

    #[test]
    fn a_used_up_quota_is_not_retried() {
        let body = r#"{"error": {"message": "You exceeded it", "code": "insufficient_quota"}}"#;
        let error = refusal(429, &[("retry-after", "1")], body);
        assert_eq!(
            error.to_string(),
            "m has no quota left: the server answered 429 Too Many Requests: You exceeded it"
        );
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        for (name, value, millis) in [
            ("retry-after", "3", 3_000),
            ("retry-after", "0.5", 500),
            ("retry-after-ms", "20", 20),
            ("x-ms-retry-after-ms", "1500.5", 1_500),
            ("retry-after", "Thu, 01 Jan 1970 00:01:40 GMT", 40_000),
            ("retry-after", "Thu, 01 Jan 1970 00:00:10 GMT", 0),
            ("retry-after", "1e300", 86_400_000),
        ] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
            let read = retry_after(&headers(&[(name, value)]), now).map(|delay| delay.as_millis());
            assert_eq!(read, Some(millis), "{name}: {value}");
        }
    }

    #[test]
    fn a_retry_after_that_is_none_is_ignored() {
        for value in ["soon", "-3", "NaN", ""] {
            let read = retry_after(&headers(&[("retry-after", value)]), SystemTime::now());
            assert_eq!(read, None, "{value}");
        }
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let both = headers(&[("retry-after", "9"), ("retry-after-ms", "5")]);
        assert_eq!(retry_after(&both, SystemTime::now()), Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_busy_server_may_say_when_to_come_back() {
        let error = refusal(503, &[("retry-after", "2")], "");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_server_may_overrule_its_status() {
        let no = [("x-should-retry", "false")];
        let yes = [("x-should-retry", "true")];
        assert_eq!(refusal(500, &no, "").class(), ErrorClass::Internal);
        assert_eq!(refusal(429, &no, "").class(), ErrorClass::Exhausted);
        assert_eq!(refusal(400, &yes, "").class(), ErrorClass::Transient);
        assert_eq!(refusal(429, &yes, "").class(), ErrorClass::Throttled);
    }

    #[test]
    fn the_usual_forms_of_an_error_are_read() {
        for body in [
            r#"{"error": "too long"}"#,
            r#"{"error": {"type": "x", "message": "too long"}}"#,
            r#"{"detail": "too long"}"#,
            "too long\n",
        ] {
            let told = refusal(422, &[], body).to_string();
            assert_eq!(
                told,
                "m rejected the request: the server answered 422 Unprocessable Entity: too long"
            );
        }
    }

    #[test]
    fn a_key_that_the_server_repeats_is_not_shown() {
        let error = refusal(401, &[], r#"{"error": "Incorrect API key provided: sk-42-secret"}"#);
        assert!(error.to_string().ends_with("Incorrect API key provided: ***"), "{error}");
    }

    #[test]
    fn a_redirect_is_shown_without_query_and_user() {
        let told = |to| refusal(307, &[("location", to)], "").to_string();
        assert!(told("https://other/path?token=sk#x").contains("to https://other/path;"));
        assert!(!told("https://u:p@other/path").contains("other"));
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn refusal(status: u16, pairs: &[(&str, &str)], body: &str) -> CallError {
        let mut secrets = Secrets::default();
        secrets.add("Bearer sk-42-secret");
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers(pairs));
        Refusal {
            function: "m",
            endpoint: "http://h/m",
            status,
            headers: &headers,
            body,
            secrets: &secrets,
        }
        .classify()
    }
}
