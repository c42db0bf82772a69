//! [`RedisOptions`], what CREATE EXTERNAL TABLE may say about a table in Redis.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use datafusion_common::error::Result;
use redis::IntoConnectionInfo;
use url::Url;

use super::ValueKind;
use crate::common::options::{
    DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_RESPONSE_BYTES, OptionReader, Owner,
};
use crate::common::secrets::Secrets;
use crate::common::template::Template;
use crate::common::userinfo;

/// Connections to a server unless `pool_size` says otherwise.
const DEFAULT_POOL_SIZE: usize = 8;
/// The port of Redis where a URL names none.
const DEFAULT_PORT: u16 = 6379;

/// The options of connector `redis`.
///
/// `Debug` shows no value that may be secret: a [`Template`] shows names only.
#[derive(Debug, Clone)]
pub(crate) struct RedisOptions {
    url: Template,
    user: Option<Template>,
    password: Option<Template>,
    /// The template of the keys, as it was written.
    pub(crate) key: Option<String>,
    pub(crate) value: ValueKind,
    bounds: Bounds,
    tls_files: TlsFiles,
}

/// Bounds of connections and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// Connections to the server.
    pub(crate) pool_size: usize,
    /// How long a connection may take until it can be used.
    pub(crate) connect_timeout: Duration,
    /// The largest answer to one request, in bytes.
    pub(crate) max_response_bytes: usize,
}

impl Bounds {
    fn read(reader: &mut OptionReader<'_>) -> Result<Self> {
        let default = Self::default();
        let size = reader.positive("pool_size", "number of connections")?;
        let timeout = reader.duration("connect_timeout")?;
        let bytes = reader.positive("max_response_bytes", "number of bytes")?;
        Ok(Self {
            pool_size: size.unwrap_or(default.pool_size),
            connect_timeout: timeout.unwrap_or(default.connect_timeout),
            max_response_bytes: bytes.unwrap_or(default.max_response_bytes),
        })
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pool_size: DEFAULT_POOL_SIZE,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
        }
    }
}

/// Files in PEM form: what the server's certificate is checked against, and our own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsFiles {
    pub(crate) roots: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TlsFiles {
    fn read(reader: &mut OptionReader<'_>) -> Result<Self> {
        let files = Self {
            roots: reader.take("tls_ca_cert_file").map(PathBuf::from),
            certificate: reader.take("tls_cert_file").map(PathBuf::from),
            key: reader.take("tls_key_file").map(PathBuf::from),
        };
        let half = match (&files.certificate, &files.key) {
            (Some(_), None) => ("tls_cert_file", "tls_key_file"),
            (None, Some(_)) => ("tls_key_file", "tls_cert_file"),
            _ => return Ok(files),
        };
        let (given, missing) = half;
        Err(reader.bad(given, format_args!("needs option '{missing}', too")))
    }
}

/// A server and how it is reached; equal ones share their connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: i64,
    /// `None` for a connection without TLS.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) bounds: Bounds,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.to_string()).finish()
    }
}

impl RedisOptions {
    /// Reads the options of a table; errors name table and option and repeat no secret.
    pub(crate) fn parse(owner: Owner<'_>, given: &BTreeMap<String, String>) -> Result<Self> {
        let mut reader = OptionReader::new(owner, given);
        let options = Self {
            url: reader.required("url", EXPECTED_URL, parse_url)?,
            user: reader.parse("user", Template::parse)?,
            password: reader.parse("password", Template::parse)?,
            key: reader.take("key").map(str::to_owned),
            value: reader.parse("value", str::parse)?.unwrap_or(ValueKind::Json),
            bounds: Bounds::read(&mut reader)?,
            tls_files: TlsFiles::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(options)
    }

    /// Fills in the environment; errors name the variable and repeat no value.
    pub(crate) fn resolve(
        &self,
        env: impl Fn(&str) -> Option<String> + Copy,
    ) -> Result<(Server, Secrets), String> {
        let told = |option: &'static str| move |error: String| format!("{option}: {error}");
        let text = self.url.resolve_url(env).map_err(told("url"))?;
        let mut server = read_url(&text).map_err(told("url"))?;
        for (option, template, value) in [
            ("user", &self.user, &mut server.user),
            ("password", &self.password, &mut server.password),
        ] {
            let Some(template) = template else { continue };
            if value.is_some() {
                return Err(format!("{option}: the url holds one, too"));
            }
            *value = Some(template.resolve(env).map_err(told(option))?);
        }
        if server.user.is_some() && server.password.is_none() {
            return Err("user: it needs a password".to_owned());
        }
        server.bounds = self.bounds;
        match &mut server.tls {
            Some(files) => *files = self.tls_files.clone(),
            None if self.tls_files != TlsFiles::default() => {
                return Err("url: options 'tls_..' need a URL rediss://".to_owned());
            }
            None => {}
        }
        let mut secrets = Secrets::default();
        server.password.iter().for_each(|password| secrets.add(password));
        Ok((server, secrets))
    }
}

const EXPECTED_URL: &str = "expected a URL like 'redis://localhost:6379/0', or rediss:// for TLS";

fn parse_url(value: &str) -> Result<Template, String> {
    let template = Template::parse(value.trim())?;
    // A port or a database may stand behind a placeholder, so a number stands in for it.
    let example = template.resolve(|_| Some("1".to_owned()))?;
    if !template.starts_with_placeholder() {
        read_url(&example)?;
    }
    Ok(template)
}

/// Reads a URL; what it does not say has its default.
fn read_url(text: &str) -> Result<Server, String> {
    userinfo::check(text)?;
    let mut url = Url::parse(text.trim()).map_err(|error| format!("{EXPECTED_URL} ({error})"))?;
    let tls = match url.scheme() {
        "redis" => None,
        "rediss" => Some(TlsFiles::default()),
        _ => return Err(EXPECTED_URL.to_owned()),
    };
    let host = match url.host() {
        Some(url::Host::Domain(host)) if !host.is_empty() => host.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        _ => return Err(format!("{EXPECTED_URL} (no host)")),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{EXPECTED_URL}, with nothing behind the database"));
    }
    let port = url.port().unwrap_or(DEFAULT_PORT);
    // The client's own reading undoes the escapes; what it says of a failure may hold a value.
    url.set_scheme("redis").map_err(|()| EXPECTED_URL.to_owned())?;
    let read = url.into_connection_info().map_err(|_| {
        format!("{EXPECTED_URL} (the database is no number, or user or password no text)")
    })?;
    let settings = read.redis_settings();
    if settings.db() < 0 {
        return Err(format!("{EXPECTED_URL} (the database is below 0)"));
    }
    Ok(Server {
        host,
        port,
        user: settings.username().map(str::to_owned),
        password: settings.password().map(str::to_owned),
        database: settings.db(),
        tls,
        bounds: Bounds::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::table;

    fn parse(options: &[(&str, &str)]) -> Result<RedisOptions> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let table = table("users", options.collect());
        RedisOptions::parse(Owner::lookup_table(&table, "redis"), &table.options)
    }

    fn resolve(options: &[(&str, &str)]) -> Result<Server, String> {
        let env = |name: &str| (name != "NO").then(|| format!("hush-{name}"));
        parse(options).unwrap().resolve(env).map(|(server, _)| server)
    }

    #[test]
    fn a_url_says_host_port_database_and_who_asks() {
        let server = resolve(&[("url", "redis://me:p%40ss@h:7/3")]).unwrap();
        let (user, password) = (server.user.as_deref(), server.password.as_deref());
        assert_eq!((server.to_string().as_str(), server.database), ("h:7", 3));
        assert_eq!((user, password, server.tls), (Some("me"), Some("p@ss"), None));
        let server = resolve(&[("url", "rediss://[::1]")]).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.database), ("::1", 6379, 0));
        assert_eq!(server.tls, Some(TlsFiles::default()));
    }

    #[test]
    fn user_and_password_may_come_from_the_environment() {
        let options = [("url", "redis://h"), ("user", "${env:A}"), ("password", "${env:B}")];
        let server = resolve(&options).unwrap();
        assert_eq!(server.user.as_deref(), Some("hush-A"));
        assert_eq!(server.password.as_deref(), Some("hush-B"));
        let error = resolve(&[("url", "redis://h"), ("password", "${env:NO}")]).unwrap_err();
        assert_eq!(error, "password: environment variable NO is not set");
    }

    #[test]
    fn a_password_from_the_environment_may_hold_any_letter() {
        let password = "hunter2@prod:/?#%41 é";
        let options = parse(&[("url", "redis://:${env:PW}@h:7/3")]).unwrap();
        let (server, _) = options.resolve(|_| Some(password.to_owned())).unwrap();
        assert_eq!(server.password.as_deref(), Some(password));
        assert_eq!((server.to_string().as_str(), server.database), ("h:7", 3));
        for url in
            ["redis://:hush/1@h", "redis://:1?hush@h", "redis://:1#hush@h", "redis://:hush@1@h"]
        {
            let error = parse(&[("url", url)]).unwrap_err().to_string();
            assert!(error.contains("percent-encode user and password"), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_told_without_a_secret() {
        for (options, told) in [
            (vec![("url", "redis://:hush@h"), ("password", "hush")], "password: the url holds one"),
            (vec![("url", "redis://h"), ("user", "me")], "user: it needs a password"),
            (vec![("url", "${env:URL}")], "url: expected a URL like"),
        ] {
            let error = resolve(&options).unwrap_err();
            assert!(error.contains(told) && !error.contains("hush"), "{error}");
        }
        for url in ["h:1", "redis://", "redis://:hush@h/1?x=y", "redis://:hush@h/-1"] {
            let error = parse(&[("url", url)]).unwrap_err().to_string();
            assert!(error.contains("option 'url': expected a URL") && !error.contains("hush"));
        }
        let error = parse(&[]).unwrap_err().to_string();
        assert!(error.contains("lookup table users: option 'url': missing, expected a URL"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = [("url", "redis://me:hush-1@h"), ("pool_size", "3")];
        let debug = format!("{:?} {:?}", parse(&options).unwrap(), resolve(&options).unwrap());
        assert!(debug.contains("pool_size: 3") && !debug.contains("hush"), "{debug}");
    }
}
