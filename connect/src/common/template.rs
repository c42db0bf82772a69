//! [`Template`], an option value in which `${env:NAME}` stands for an environment variable.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 3986 lets stand for itself in no part of a URL.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_BUT_COLON: &AsciiSet = &RESERVED.remove(b':');

/// An option value with placeholders, resolved when a query opens the model.
///
/// `Debug` shows names only: the texts between them may be secret too.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Env(String),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().filter_map(|part| match part {
            Part::Env(name) => Some(name),
            Part::Text(_) => None,
        });
        f.debug_tuple("Template").field(&names.collect::<Vec<_>>()).finish()
    }
}

impl Template {
    /// Reads a text with placeholders; the error repeats none of it but a placeholder's kind.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str = "accepted is ${env:NAME}";
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (inner, after) = after
                .split_once('}')
                .ok_or_else(|| format!("a placeholder is not closed by }}; {ACCEPTED}"))?;
            let name = inner.strip_prefix("env:").ok_or_else(|| {
                format!("a placeholder is not of the form ${{env:NAME}}; {ACCEPTED}")
            })?;
            let is_name = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                return Err(format!("a placeholder names no environment variable; {ACCEPTED}"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Env(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Says whether the whole value is known only when it is resolved.
    pub(crate) fn starts_with_placeholder(&self) -> bool {
        matches!(self.0.first(), Some(Part::Env(_)))
    }

    /// Says whether there is a placeholder.
    pub(crate) fn has_placeholder(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Env(_)))
    }

    /// Fills in the placeholders; the error names the variable that is missing.
    pub(crate) fn resolve(&self, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        self.fill(env, |_, value| value)
    }

    /// As [`Template::resolve`], for a URL: values of user and password are percent-encoded, so
    /// that they may hold any letter and end nothing.
    ///
    /// Where the URL itself has no colon between user and password, a value may bring it.
    pub(crate) fn resolve_url(
        &self,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<String, String> {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Env(_) => String::new(),
        };
        let texts: Vec<String> = self.0.iter().map(text).collect();
        let start = texts.iter().position(|text| text.contains("://"));
        let end = texts.iter().rposition(|text| text.contains('@'));
        let (Some(start), Some(end)) = (start, end) else { return self.resolve(env) };
        let literal = texts.concat();
        let (user, _) = literal.rsplit_once('@').unwrap_or_default();
        let (_, user) = user.split_once("://").unwrap_or_default();
        let reserved = if user.contains(':') { RESERVED } else { RESERVED_BUT_COLON };
        self.fill(env, |index, value| match start < index && index < end {
            true => utf8_percent_encode(&value, reserved).to_string(),
            false => value,
        })
    }

    /// Fills in the placeholders; `write` gets the position of each, and its value.
    fn fill(
        &self,
        env: impl Fn(&str) -> Option<String>,
        write: impl Fn(usize, String) -> String,
    ) -> Result<String, String> {
        let mut text = String::new();
        for (index, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Env(name) => match env(name) {
                    Some(value) => text.push_str(&write(index, value)),
                    None => return Err(format!("environment variable {name} is not set")),
                },
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() {
        let template = Template::parse("Bearer ${env:A}-${env:B_2}!").unwrap();
        let resolved = template.resolve(|name| Some(format!("<{name}>")));
        assert_eq!(resolved.unwrap(), "Bearer <A>-<B_2>!");
    }

    #[test]
    fn values_of_user_and_password_end_nothing() {
        let env =
            |name: &str| Some(if name == "CRED" { "me:p@ss" } else { "p@s/s:é%41" }.to_owned());
        for (text, resolved) in [
            ("a://me:${env:PW}@h/d", "a://me:p%40s%2Fs%3A%C3%A9%2541@h/d"),
            ("a://${env:CRED}@h/d", "a://me:p%40ss@h/d"),
            ("a://${env:CRED}:${env:PW}@h", "a://me%3Ap%40ss:p%40s%2Fs%3A%C3%A9%2541@h"),
            ("a://me@${env:PW}/d", "a://me@p@s/s:é%41/d"),
            ("${env:PW}", "p@s/s:é%41"),
            ("a://${env:PW}", "a://p@s/s:é%41"),
        ] {
            assert_eq!(Template::parse(text).unwrap().resolve_url(env).unwrap(), resolved);
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let template = Template::parse("${env:NO_SUCH_TOKEN}").unwrap();
        let error = template.resolve(|_| None).unwrap_err();
        assert_eq!(error, "environment variable NO_SUCH_TOKEN is not set");
    }

    #[test]
    fn other_placeholders_are_refused_without_repeating_them() {
        for text in ["${TOKEN-42}", "${env:}", "${env:1X}", "${env:A", "${vault:sk-42}"] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains("${env:NAME}") && !error.contains("42"), "{error}");
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let template = Template::parse("Bearer sk-42 ${env:TOKEN}").unwrap();
        assert_eq!(format!("{template:?}"), r#"Template(["TOKEN"])"#);
    }
}
