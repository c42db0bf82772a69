//! [`PostgresOptions`], what CREATE says about the server and the table behind a lookup table.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use datafusion_common::error::Result;
use farcall_udf::LookupDefinition;
use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::common::options::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_RESPONSE_BYTES, OptionReader, Owner,
};
use crate::common::secrets::Secrets;
use crate::common::template::Template;
use crate::common::{keepalive, userinfo};
use crate::stores::postgres::names::TableName;

/// Connections at most unless `pool_size` or `buffer_capacity` say otherwise; a server takes 100 of
/// all its clients unless it is told otherwise.
const DEFAULT_POOL_SIZE: usize = 10;
/// How this program is named among a server's connections unless `application_name` says otherwise.
const APPLICATION_NAME: &str = "farcall";

/// The largest answer that there can be: Arrow's columns of bytes hold no more.
const MAX_RESPONSE_BYTES: usize = i32::MAX as usize;

/// The options that are handed to the server's client as they are, under libpq's names.
const KEYWORDS: [&str; 8] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "application_name",
    "options",
    "target_session_attrs",
];

const EXPECTED_URL: &str = "expected a URL like 'postgres://user@host:5432/database'";

/// How much a server has to prove, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verify {
    /// No TLS.
    Disable,
    /// TLS if the server has it, with any certificate.
    #[default]
    Prefer,
    /// TLS, with any certificate, or with one that `sslrootcert` signed if there is one.
    Require,
    /// TLS with a certificate that is trusted.
    Ca,
    /// TLS with a certificate that is trusted and is the host's.
    Full,
}

impl FromStr for Verify {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "disable" => Ok(Verify::Disable),
            "prefer" => Ok(Verify::Prefer),
            "require" => Ok(Verify::Require),
            "verify-ca" => Ok(Verify::Ca),
            "verify-full" => Ok(Verify::Full),
            _ => Err("accepted are disable, prefer, require, verify-ca, verify-full".to_owned()),
        }
    }
}

/// How connections are made: equal ones share a pool.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) verify: Verify,
    /// The file with the certificates that are trusted; the machine's own without it.
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) pool_size: usize,
    pub(crate) connect_timeout: Duration,
}

impl Server {
    /// Returns host and port, as messages show them.
    pub(crate) fn place(&self) -> String {
        let ports = self.config.get_ports();
        let place = |(index, host): (usize, &Host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        };
        let places: Vec<String> = self.config.get_hosts().iter().enumerate().map(place).collect();
        places.join(",")
    }

    /// Returns what no message may show.
    pub(crate) fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        if let Some(password) = self.config.get_password() {
            secrets.add(&String::from_utf8_lossy(password));
        }
        secrets
    }
}

/// The options of connector `postgres`.
#[derive(Debug, Clone)]
pub(crate) struct PostgresOptions {
    url: Option<Template>,
    keywords: BTreeMap<&'static str, Template>,
    sslmode: Option<Verify>,
    sslrootcert: Option<Template>,
    connect_timeout: Option<Duration>,
    pub(crate) table: TableName,
    pub(crate) pool_size: usize,
    /// The largest answer to one request, in bytes.
    pub(crate) max_response_bytes: usize,
}

impl PostgresOptions {
    /// Reads the options of a table; errors name table and option and repeat no secret.
    ///
    /// As many connections are of use as the table's own `buffer_capacity` says.
    pub(crate) fn parse(owner: Owner<'_>, table: &LookupDefinition) -> Result<Self> {
        let mut reader = OptionReader::new(owner, &table.options);
        let own_table = table.name.rsplit('.').next().unwrap_or(&table.name);
        let window = table.call_options.buffer_capacity();
        let url = reader.parse("url", |value| Template::parse(value.trim()))?;
        let mut keywords = BTreeMap::new();
        for keyword in KEYWORDS {
            if let Some(value) = reader.parse(keyword, Template::parse)? {
                keywords.insert(keyword, value);
            }
        }
        let pool_size = reader.positive("pool_size", "number of connections")?;
        let bytes = reader.positive("max_response_bytes", "number of bytes")?;
        let bytes = bytes.unwrap_or(DEFAULT_MAX_RESPONSE_BYTES);
        let options = Self {
            url,
            keywords,
            table: reader
                .parse("table", TableName::parse)?
                .unwrap_or_else(|| TableName::exact(own_table)),
            sslmode: reader.parse("sslmode", str::parse)?,
            sslrootcert: reader.parse("sslrootcert", |value| Template::parse(value.trim()))?,
            connect_timeout: reader.duration("connect_timeout")?,
            pool_size: pool_size.or(window).unwrap_or(DEFAULT_POOL_SIZE),
            max_response_bytes: bytes.min(MAX_RESPONSE_BYTES),
        };
        if options.url.is_none() && !options.keywords.contains_key("host") {
            return Err(reader.bad("url", format!("missing, {EXPECTED_URL}")));
        }
        for both in ["host", "port", "dbname"] {
            if options.url.is_some() && options.keywords.contains_key(both) {
                return Err(reader.bad(both, "is part of 'url' already"));
            }
        }
        // A part of a URL, a port for instance, is as likely behind a placeholder as the whole.
        let whole = options.url.as_ref().is_some_and(Template::starts_with_placeholder);
        if !whole {
            let checked = options.resolve(|_| Some("1".to_owned()));
            checked.map_err(|(option, message)| reader.bad(option, message))?;
        }
        reader.finish()?;
        Ok(options)
    }

    /// Fills in the environment; errors name the option and the variable and repeat no value.
    pub(crate) fn resolve(
        &self,
        env: impl Fn(&str) -> Option<String> + Copy,
    ) -> Result<Server, (&'static str, String)> {
        let mut config = Config::new();
        config
            .keepalives_idle(keepalive::IDLE)
            .keepalives_interval(keepalive::INTERVAL)
            .keepalives_retries(keepalive::RETRIES);
        let mut server = Server {
            config,
            verify: Verify::default(),
            root_cert: None,
            pool_size: self.pool_size,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        };
        if let Some(url) = &self.url {
            let named = |message| ("url", message);
            let url = url.resolve_url(env).map_err(named)?;
            read_url(&url, &mut server).map_err(named)?;
        }
        for name in KEYWORDS {
            let Some(value) = self.keywords.get(name) else { continue };
            let value = value.resolve(env).map_err(|message| (name, message))?;
            set_keyword(&mut server.config, name, &value).map_err(|message| (name, message))?;
        }
        if let Some(file) = &self.sslrootcert {
            let file = file.resolve(env).map_err(|message| ("sslrootcert", message))?;
            server.root_cert = Some(file.into());
        }
        server.verify = self.sslmode.unwrap_or(server.verify);
        server.connect_timeout = self.connect_timeout.unwrap_or(server.connect_timeout);
        server.config.connect_timeout(server.connect_timeout);
        server.config.ssl_mode(match server.verify {
            Verify::Disable => SslMode::Disable,
            Verify::Prefer => SslMode::Prefer,
            Verify::Require | Verify::Ca | Verify::Full => SslMode::Require,
        });
        if server.config.get_application_name().is_none() {
            server.config.application_name(APPLICATION_NAME);
        }
        Ok(server)
    }
}

/// Reads a URL as libpq does; two of its words the client does not know.
fn read_url(url: &str, server: &mut Server) -> Result<(), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(EXPECTED_URL.to_owned());
    }
    userinfo::check(url)?;
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let text = |name: &str, value| {
            let text = percent_decode_str(value).decode_utf8();
            text.map(Cow::into_owned).map_err(|_| format!("{name}: not UTF-8"))
        };
        match parameter.split_once('=') {
            Some((name @ "sslmode", value)) => {
                let verify = text(name, value)?.parse();
                server.verify = verify.map_err(|accepted| format!("{name}: {accepted}"))?;
            }
            Some((name @ "sslrootcert", value)) => {
                server.root_cert = Some(text(name, value)?.into());
            }
            _ => rest.push(parameter),
        }
    }
    // What is said twice counts as it was said last.
    let keepalives = format!(
        "keepalives_idle={}&keepalives_interval={}&keepalives_retries={}",
        keepalive::IDLE.as_secs(),
        keepalive::INTERVAL.as_secs(),
        keepalive::RETRIES
    );
    // The client's own message may repeat what it could not read, so it is not shown.
    server.config = format!("{base}?{keepalives}&{}", rest.join("&")).parse().map_err(|_| {
        format!("{EXPECTED_URL}, with parameters that libpq knows behind a question mark")
    })?;
    if server.config.get_hosts().is_empty() {
        return Err(EXPECTED_URL.to_owned());
    }
    if let Some(timeout) = server.config.get_connect_timeout() {
        server.connect_timeout = *timeout;
    }
    Ok(())
}

fn set_keyword(config: &mut Config, name: &str, value: &str) -> Result<(), String> {
    match name {
        "host" => value.split(',').for_each(|host| {
            config.host(host.trim());
        }),
        "port" => {
            for port in value.split(',') {
                let port = port.trim().parse().map_err(|_| "expected a number of a port")?;
                config.port(port);
            }
        }
        "user" => {
            config.user(value);
        }
        "password" => {
            config.password(value);
        }
        "dbname" => {
            config.dbname(value);
        }
        "application_name" => {
            config.application_name(value);
        }
        "options" => {
            config.options(value);
        }
        _ => {
            use tokio_postgres::config::TargetSessionAttrs::{Any, ReadOnly, ReadWrite};
            config.target_session_attrs(match value.trim() {
                "any" => Any,
                "read-write" => ReadWrite,
                "read-only" => ReadOnly,
                _ => return Err("accepted are any, read-write, read-only".to_owned()),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use farcall_udf::CallOptions;

    use super::*;
    use crate::common::testing::table;

    const URL: (&str, &str) = ("url", "postgres://me@h:1/d");

    #[test]
    fn a_url_and_keywords_say_the_same() {
        let by_url =
            server(&[("url", "postgresql://me:pw-42@h:1/d?sslmode=require&options=-cx%3D1")]);
        let by_keywords = server(&[
            ("host", "h"),
            ("port", "1"),
            ("user", "me"),
            ("password", "${env:PW}"),
            ("dbname", "d"),
            ("sslmode", "require"),
            ("options", "-cx=1"),
        ]);
        assert!(by_url == by_keywords);
        assert_eq!((by_url.place().as_str(), by_url.pool_size), ("h:1", DEFAULT_POOL_SIZE));
    }

    #[test]
    fn options_win_over_the_url() {
        let server = server(&[
            ("url", "postgres://me@h/d?sslmode=disable&connect_timeout=3&sslrootcert=%2Fa%20b"),
            ("user", "you"),
            ("sslmode", "verify-full"),
            ("connect_timeout", "7s"),
        ]);
        assert_eq!(server.config.get_user(), Some("you"));
        assert_eq!((server.verify, server.connect_timeout.as_secs()), (Verify::Full, 7));
        assert_eq!(server.root_cert, Some("/a b".into()));
        assert_eq!(server.config.get_application_name(), Some("farcall"));
    }

    #[test]
    fn a_silent_connection_is_asked_for_a_sign_of_life_as_the_url_says() {
        let seconds = |options: &[(&str, &str)]| {
            let config = server(options).config;
            let interval = config.get_keepalives_interval().unwrap().as_secs();
            let idle = config.get_keepalives_idle().as_secs();
            (config.get_keepalives(), idle, interval, config.get_keepalives_retries())
        };
        assert_eq!(seconds(&[("host", "h")]), (true, 30, 10, Some(3)));
        assert_eq!(seconds(&[URL]), (true, 30, 10, Some(3)));
        let url = "postgres://h/d?keepalives_idle=7200&keepalives_retries=9&keepalives=0";
        assert_eq!(seconds(&[("url", url)]), (false, 7200, 10, Some(9)));
    }

    #[test]
    fn values_of_a_url_are_percent_encoded_and_no_form() {
        let root_cert = |value: &str| {
            let url = format!("postgres://h/d?sslmode=verify%2Dca&sslrootcert={value}");
            let server = server(&[("url", &url)]);
            assert_eq!(server.verify, Verify::Ca);
            server.root_cert
        };
        for (value, file) in [
            ("/certs/env=prod/ca.pem", "/certs/env=prod/ca.pem"),
            ("/a+b%20c%2b.pem", "/a+b c+.pem"),
        ] {
            assert_eq!(root_cert(value), Some(file.into()));
        }
        let error = parse(&[("url", "postgres://h/d?sslrootcert=%FF")]).unwrap_err().to_string();
        assert!(error.contains("sslrootcert: not UTF-8"), "{error}");
    }

    #[test]
    fn a_password_from_the_environment_may_hold_any_letter() {
        let password = "hunter2@prod:/?#%41 é";
        let options = parse(&[("url", "postgres://me:${env:PW}@h:1/d")]).unwrap();
        let server = options.resolve(|_| Some(password.to_owned())).ok().unwrap();
        assert_eq!(server.config.get_password(), Some(password.as_bytes()));
        assert_eq!((server.place().as_str(), server.config.get_dbname()), ("h:1", Some("d")));
        let options = parse(&[("url", "${env:URL}")]).unwrap();
        let url = "postgres://me:hunter2@prod@h/d";
        let Err((option, message)) = options.resolve(|_| Some(url.to_owned())) else {
            panic!("a host prod@h")
        };
        assert!(message.contains("percent-encode"), "{option}: {message}");
        assert!(!message.contains("prod") && !message.contains("hunter"), "{message}");
    }

    #[test]
    fn there_are_as_many_connections_as_the_table_has_requests_in_flight() {
        let mut table = definition(&[URL]);
        table.call_options = CallOptions::new().with_buffer_capacity(3);
        assert_eq!(parse_table(&table).unwrap().pool_size, 3);
        assert_eq!(server(&[URL, ("pool_size", "4")]).pool_size, 4);
    }

    #[test]
    fn an_answer_has_no_more_than_a_column_holds() {
        let limit = |given: &[(&str, &str)]| {
            let options: Vec<_> = [URL].iter().chain(given).copied().collect();
            parse(&options).unwrap().max_response_bytes
        };
        assert_eq!(limit(&[]), 64 << 20);
        assert_eq!(limit(&[("max_response_bytes", "7")]), 7);
        assert_eq!(limit(&[("max_response_bytes", "10000000000")]), i32::MAX as usize);
    }

    #[test]
    fn bad_values_name_the_option_and_show_no_secret() {
        for (option, value, told) in [
            ("url", "http://h:1/pw-42", EXPECTED_URL),
            ("url", "postgres://me:pw-42@h/d?pw-42=1", "parameters that libpq knows"),
            ("url", "postgres:///d", EXPECTED_URL),
            ("url", "postgres://me:pw-/42@h/d", "percent-encode user and password"),
            ("url", "postgres://me:pw-?42@h/d", "percent-encode user and password"),
            ("url", "postgres://me:pw-#42@h/d", "percent-encode user and password"),
            ("url", "postgres://me:pw@42@h/d", "percent-encode user and password"),
            ("url", "postgres://h/d?sslmode=allow", "sslmode: accepted are disable, prefer"),
            ("sslmode", "on", "accepted are disable, prefer, require, verify-ca, verify-full"),
            ("pool_size", "0", "'0' is not a number of connections greater than 0"),
            ("connect_timeout", "3", "'3' is not a duration greater than 0"),
            ("max_response_bytes", "0", "'0' is not a number of bytes greater than 0"),
            ("host", "h", "is part of 'url' already"),
            ("target_session_attrs", "x", "accepted are any, read-write, read-only"),
            ("password", "${pw-42}", "a placeholder is not of the form ${env:NAME}"),
            ("table", "a..b", "expected the name of a table"),
            (
                "colour",
                "pw-42",
                "option 'colour': no such option, connector 'postgres' accepts url, host",
            ),
        ] {
            let options = [URL, (option, value)];
            let error = parse(&options).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("lookup table u"), "{error}");
            assert!(error.contains(option) && !error.contains("42"), "{error}");
        }
        let error = parse(&[("user", "me")]).unwrap_err().to_string();
        assert!(error.contains("lookup table u: option 'url': missing"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = parse(&[("url", "postgres://me:pw-42@h/d"), ("password", "pw-42")]).unwrap();
        assert!(!format!("{options:?}").contains("42"));
    }

    fn parse(options: &[(&str, &str)]) -> Result<PostgresOptions> {
        parse_table(&definition(options))
    }

    fn parse_table(table: &LookupDefinition) -> Result<PostgresOptions> {
        PostgresOptions::parse(Owner::lookup_table(table, "postgres"), table)
    }

    fn definition(options: &[(&str, &str)]) -> LookupDefinition {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        table("u", options.collect())
    }

    fn server(options: &[(&str, &str)]) -> Server {
        match parse(options).unwrap().resolve(|_| Some("pw-42".into())) {
            Ok(server) => server,
            Err((option, message)) => panic!("{option}: {message}"),
        }
    }
}
