//! [`HttpOptions`], what CREATE MODEL may say about an HTTP endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion_common::error::Result;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::common::options::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_RESPONSE_BYTES, OptionReader, Owner,
};
use crate::common::secrets::Secrets;
use crate::common::template::Template;

/// Headers that belong to the request itself.
const RESERVED: [&str; 4] =
    ["connection", "content-length", "idempotency-key", "transfer-encoding"];

/// Bounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The largest answer that is read, in bytes.
    pub(crate) max_response_bytes: usize,
    /// How long a connection may take.
    pub(crate) connect_timeout: Duration,
}

impl Limits {
    fn read(reader: &mut OptionReader<'_>) -> Result<Self> {
        let default = Self::default();
        let bytes = reader.positive("max_response_bytes", "number of bytes")?;
        let timeout = reader.duration("connect_timeout")?;
        Ok(Self {
            max_response_bytes: bytes.unwrap_or(default.max_response_bytes),
            connect_timeout: timeout.unwrap_or(default.connect_timeout),
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        }
    }
}

/// The options of provider `http`.
#[derive(Debug, Clone)]
pub(crate) struct HttpOptions {
    endpoint: Template,
    headers: Vec<(HeaderName, Template)>,
    pub(crate) limits: Limits,
}

impl HttpOptions {
    /// Reads the options of an endpoint; errors name owner and option and repeat no value.
    pub(crate) fn parse(owner: Owner<'_>, given: &BTreeMap<String, String>) -> Result<Self> {
        let mut reader = OptionReader::new(owner, given);
        let endpoint =
            reader.required("endpoint", "expected an http or https URL", parse_endpoint)?;
        let headers = reader.parse("headers", parse_headers)?.unwrap_or_default();
        let limits = Limits::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { endpoint, headers, limits })
    }

    /// Returns the URL as a message may show it: without its query and, if the environment has a
    /// part in it, without its path.
    pub(crate) fn shown(&self, url: &Url) -> String {
        let origin = url.origin().ascii_serialization();
        match self.endpoint.has_placeholder() {
            true => origin,
            false => format!("{origin}{}", url.path()),
        }
    }

    /// Fills in the environment; errors name the variable and repeat no value.
    pub(crate) fn resolve(
        &self,
        env: impl Fn(&str) -> Option<String> + Copy,
    ) -> Result<(Url, HeaderMap, Secrets), String> {
        let url =
            check_url(&self.endpoint.resolve(env).map_err(|error| format!("endpoint: {error}"))?)
                .map_err(|error| format!("endpoint: {error}"))?;
        let mut secrets = Secrets::default();
        url.query_pairs().for_each(|(_, value)| secrets.add(&value));
        url.query().iter().for_each(|query| secrets.add(query));
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let text = template.resolve(env).map_err(|error| format!("header {name}: {error}"))?;
            let mut value = HeaderValue::from_str(text.trim())
                .map_err(|_| format!("header {name}: {NOT_ALLOWED}"))?;
            value.set_sensitive(true);
            secrets.add(text.trim());
            headers.append(name, value);
        }
        Ok((url, headers, secrets))
    }
}

const NOT_ALLOWED: &str = "the value holds a character that HTTP does not allow in a header";

fn parse_endpoint(value: &str) -> Result<Template, String> {
    let template = Template::parse(value.trim())?;
    // A port is as likely behind a placeholder as a path, so a number stands in for it.
    let example = template.resolve(|_| Some("1".to_owned()))?;
    if !template.starts_with_placeholder() {
        check_url(&example)?;
    }
    Ok(template)
}

fn check_url(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "expected an http or https URL, like 'http://localhost:8080/score'";
    let mut url = Url::parse(text).map_err(|error| format!("{EXPECTED} ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(EXPECTED.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password; use option 'headers', like \
                    'Authorization: Basic ${env:TOKEN}'"
            .to_owned());
    }
    url.set_fragment(None);
    Ok(url)
}

/// Reads `Name: value; Name: value`, or a JSON object, which may hold values with a semicolon.
fn parse_headers(value: &str) -> Result<Vec<(HeaderName, Template)>, String> {
    let value = value.trim();
    let mut pairs: Vec<(String, String)> = Vec::new();
    if value.starts_with('{') {
        let object: BTreeMap<String, String> = serde_json::from_str(value).map_err(|_| {
            "expected a JSON object of texts, like '{\"X-Team\": \"a\"}'".to_owned()
        })?;
        pairs.extend(object);
    } else {
        let parts = value.split([';', '\n']).map(str::trim).filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            let (name, value) = part.split_once(':').ok_or_else(|| {
                format!(
                    "part {} has no colon; accepted is 'Name: value; Name: value', or a JSON \
                     object if a value holds a semicolon",
                    index + 1
                )
            })?;
            pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    let mut headers: Vec<(HeaderName, Template)> = Vec::new();
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("part {} has no valid header name", index + 1))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("header {name} is set by farcall itself"));
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(format!("header {name} is given twice"));
        }
        let template =
            Template::parse(&value).map_err(|error| format!("header {name}: {error}"))?;
        if !template.has_placeholder() && HeaderValue::from_str(&value).is_err() {
            return Err(format!("header {name}: {NOT_ALLOWED}"));
        }
        headers.push((name, template));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use farcall_udf::ModelDefinition;

    use super::*;

    #[test]
    fn headers_are_read_in_both_forms() {
        for headers in [
            "Authorization: Bearer ${env:TOKEN}; X-Team: a",
            r#"{"Authorization": "Bearer ${env:TOKEN}", "X-Team": "a"}"#,
        ] {
            let options = parse(&[("endpoint", "http://h/p"), ("headers", headers)]).unwrap();
            let (_, map, _) = options.resolve(|_| Some("sk-42".into())).unwrap();
            assert_eq!(map["authorization"], "Bearer sk-42");
            assert_eq!(map["x-team"], "a");
        }
    }

    #[test]
    fn header_values_are_marked_as_sensitive_and_never_shown() {
        let headers = "Authorization: Bearer sk-42-secret; X-Key: ${env:TOKEN}";
        let options = parse(&[("endpoint", "http://h/p?key=qq-42"), ("headers", headers)]).unwrap();
        let (_, map, secrets) = options.resolve(|_| Some("tt-42".into())).unwrap();
        assert!(map.values().all(HeaderValue::is_sensitive));
        let shown = format!("{options:?} {map:?} {secrets:?}");
        assert!(!shown.contains("42"), "{shown}");
        assert_eq!(secrets.excerpt("sk-42-secret tt-42 qq-42"), "*** *** ***");
    }

    #[test]
    fn a_missing_variable_is_named_with_its_header() {
        let options =
            parse(&[("endpoint", "http://h"), ("headers", "X-Key: ${env:NO_KEY}")]).unwrap();
        let error = options.resolve(|_| None).unwrap_err();
        assert_eq!(error, "header x-key: environment variable NO_KEY is not set");
    }

    #[test]
    fn an_endpoint_from_the_environment_is_checked_when_it_is_known() {
        let options = parse(&[("endpoint", "${env:MODEL_URL}/score")]).unwrap();
        let (url, ..) = options.resolve(|_| Some("https://h:1".into())).unwrap();
        assert_eq!(url.as_str(), "https://h:1/score");
        let error = options.resolve(|_| Some("ftp://h".into())).unwrap_err();
        assert!(error.starts_with("endpoint: expected an http or https URL"), "{error}");
    }

    #[test]
    fn unknown_options_are_named_with_the_accepted_ones() {
        assert_eq!(
            failure(&[("endpoint", "http://h"), ("endpiont", "x")]),
            "Error during planning: model m: option 'endpiont': no such option, provider 'http' \
             accepts endpoint, headers, max_response_bytes, connect_timeout and the call options"
        );
    }

    #[test]
    fn a_missing_endpoint_is_asked_for() {
        assert_eq!(
            failure(&[]),
            "Error during planning: model m: option 'endpoint': missing, expected an http or https URL"
        );
    }

    #[test]
    fn bad_values_name_the_option_and_what_is_accepted() {
        for (option, value, told) in [
            ("endpoint", "localhost:80", "expected an http or https URL"),
            ("endpoint", "http://", "expected an http or https URL"),
            ("endpoint", "http://u:pw@h/", "must not hold a user or a password"),
            ("max_response_bytes", "0", "'0' is not a number of bytes greater than 0"),
            ("connect_timeout", "fast", "'fast' is not a duration greater than 0"),
            ("headers", "Bearer pw", "part 1 has no colon"),
            ("headers", "Content-Length: 1", "header content-length is set by farcall itself"),
            ("headers", "A: 1; a: pw", "header a is given twice"),
            ("headers", "{\"A\": 1}", "expected a JSON object of texts"),
            ("headers", "A: ${key:pw}", "header a: a placeholder"),
        ] {
            let error = failure(&[("endpoint", "http://h"), (option, value)]);
            assert!(error.contains(told) && error.contains(option), "{error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn limits_are_read() {
        let options = parse(&[
            ("endpoint", "http://h"),
            ("max_response_bytes", "10"),
            ("connect_timeout", "2s"),
        ]);
        let expected = Limits { max_response_bytes: 10, connect_timeout: Duration::from_secs(2) };
        assert_eq!(options.unwrap().limits, expected);
    }

    fn failure(options: &[(&str, &str)]) -> String {
        parse(options).unwrap_err().to_string()
    }

    fn parse(options: &[(&str, &str)]) -> Result<HttpOptions> {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let model = ModelDefinition {
            name: "m".to_owned(),
            input: vec![],
            output: vec![],
            provider: "http".to_owned(),
            options: options.collect(),
        };
        HttpOptions::parse(Owner::model(&model), &model.options)
    }
}
