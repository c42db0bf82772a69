//! What of an option's value may be shown: secrets and the secret parts of a URL may not.

/// What stands in place of a secret.
pub const REDACTED: &str = "***";

/// Stands for a reference while the rest of a value is looked at.
const REFERENCE: char = '\u{0}';

/// Replaces every `${env:NAME}` by [`REFERENCE`].
fn without_references(value: &str) -> String {
    let mut kept = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${env:") {
        let name = after.split_once('}').filter(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        let Some((_, behind)) = name else { break };
        kept.push_str(before);
        kept.push(REFERENCE);
        rest = behind;
    }
    kept + rest
}

fn only_references(text: &str) -> bool {
    text.contains(REFERENCE) && text.chars().all(|c| c == REFERENCE || c.is_whitespace())
}

/// Says whether a value holds nothing but references such as `${env:TOKEN}`.
///
/// A reference names a secret and is none.
pub fn is_reference(value: &str) -> bool {
    only_references(&without_references(value))
}

/// Says whether a value is made of headers whose values are references.
///
/// `Authorization: Bearer ${env:TOKEN}; X-Key: ${env:KEY}` holds no secret, `X-Key: a` may be one.
fn is_headers_of_references(value: &str) -> bool {
    let quotes = |c: char| c.is_whitespace() || c == '"';
    without_references(value)
        .split([';', ',', '\n', '{', '}'])
        .map(|header| header.trim_matches(quotes))
        .filter(|header| !header.is_empty())
        .all(|header| {
            let (_, value) = header.split_once(':').unwrap_or(("", header));
            let value = value.trim_matches(quotes);
            let schemes = ["Bearer ", "Basic ", "Token "];
            let scheme = schemes.iter().find_map(|scheme| value.strip_prefix(scheme));
            only_references(scheme.unwrap_or(value))
        })
}

/// Returns a value as it may be shown.
pub fn shown(value: &str, secret: bool) -> String {
    if is_reference(value) {
        return value.to_owned();
    }
    if secret {
        return REDACTED.to_owned();
    }
    match UrlParts::find(value) {
        None => value.to_owned(),
        Some(url) => {
            let user = if url.user.is_some() { "***@" } else { "" };
            let query = if url.query.is_some() { "?***" } else { "" };
            format!("{}{user}{}{query}", url.scheme, url.host_and_path)
        }
    }
}

/// Says whether a value may travel in a plan: it is no literal secret, as far as one can tell.
///
/// Any user or query part of a URL counts as secret unless its values are references; of a
/// PostgreSQL's URL the password does, wherever it stands.
pub fn may_travel(value: &str, secret: bool) -> bool {
    if secret {
        return is_headers_of_references(value);
    }
    let Some(url) = UrlParts::find(value) else { return true };
    let scheme = url.scheme.trim_start().to_ascii_lowercase();
    let names_user = matches!(scheme.as_str(), "postgres://" | "postgresql://");
    let is_open = |parameter: &str| names_user && !parameter.contains("password");
    let parameter = |part: &str| match part.split_once('=') {
        Some((name, value)) => is_open(name) || is_reference(value),
        None => is_reference(part),
    };
    let is_open_user = |user: &str| match names_user {
        true => user.split_once(':').is_none_or(|(_, password)| is_reference(password)),
        false => user.split(':').all(is_reference),
    };
    url.user.is_none_or(is_open_user)
        && url.query.is_none_or(|query| query.split('&').all(parameter))
}

/// A URL cut where secrets begin and end; nothing is normalized.
struct UrlParts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host_and_path: &'a str,
    query: Option<&'a str>,
}

impl<'a> UrlParts<'a> {
    fn find(value: &'a str) -> Option<Self> {
        let (scheme, rest) = value.split_at(value.find("://")? + 3);
        // Of http all readers agree that a slash ends user and password; clients of other schemes
        // take more for them, and some of them all up to the last `@`.
        let is_http = matches!(scheme.trim_start(), "http://" | "https://");
        let end = rest.find(['/', '?', '#']).filter(|_| is_http).unwrap_or(rest.len());
        let (user, rest) = match rest[..end].rfind('@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (host_and_path, query) = match rest.find(['?', '#']) {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        Some(Self { scheme, user, host_and_path, query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_references_are_references() {
        for value in ["${env:TOKEN}", " ${env:A} ${env:B_2} ", "${env:A}${env:B}"] {
            assert!(is_reference(value), "{value}");
        }
        for value in
            ["", "x", "Bearer ${env:TOKEN}", "${env:}", "${env:A}x", "${file:A}", "${env:A"]
        {
            assert!(!is_reference(value), "{value}");
        }
    }

    #[test]
    fn a_secret_is_shown_only_as_a_reference() {
        assert_eq!(shown("Authorization: Bearer abc", true), "***");
        assert_eq!(shown("${env:TOKEN}", true), "${env:TOKEN}");
        assert_eq!(shown("64", false), "64");
    }

    #[test]
    fn the_user_and_the_query_of_an_url_are_not_shown() {
        assert_eq!(shown("http://h:1/score", false), "http://h:1/score");
        assert_eq!(shown("https://me:pw@h/a/b?key=1&x=2#f", false), "https://***@h/a/b?***");
        assert_eq!(shown("https://h/#token", false), "https://h/?***");
        assert_eq!(shown("https://h/a@b", false), "https://h/a@b");
    }

    #[test]
    fn whatever_a_client_takes_for_user_and_password_is_secret() {
        for scheme in ["postgres", "postgresql", "redis", "rediss", " POSTGRES"] {
            for user in ["me:pa/ss", "me:pa@ss", "me:pa?ss", "me:pa#ss", ":/pa", "me:${env:A}/pa"] {
                let url = format!("{scheme}://{user}@h:1/d");
                assert!(!may_travel(&url, false), "{url}");
                assert_eq!(shown(&url, false), format!("{scheme}://***@h:1/d"));
            }
        }
        assert!(may_travel("redis://h/0", false) && may_travel("postgres://h/d?sslmode=a", false));
    }

    #[test]
    fn a_literal_secret_may_not_travel() {
        assert!(may_travel("http://h/score", false));
        assert!(may_travel("${env:H}", true));
        assert!(may_travel("Authorization: Bearer ${env:A}; X-Key: ${env:B}", true));
        assert!(may_travel(r#"{"Authorization": "Bearer ${env:A}", "X-Key": "${env:B}"}"#, true));
        assert!(may_travel("https://h/score?key=${env:KEY}", false));
        for value in ["X-Key: 1", "X-Key: a${env:B}", "Bearer abc", "A: ${env:A}; B: b", "${env:A"]
        {
            assert!(!may_travel(value, true), "{value}");
        }
        assert!(!may_travel("https://h/score?key=1", false));
        assert!(!may_travel("https://me:pw@h/score", false));
        assert!(may_travel("postgres://me@h/d?sslmode=require", false));
        assert!(may_travel("postgres://me:${env:PW}@h/d", false));
        for value in ["postgres://me:pw@h/d", "postgresql://h/d?password=pw", "postgres://h/d?pw"] {
            assert!(!may_travel(value, false), "{value}");
        }
    }
}
