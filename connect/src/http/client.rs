//! [`HttpClients`], the HTTP clients of one runtime, with their connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farcall_udf::Resources;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::{ClientConfig, RootCertStore};

use crate::common::tls;

/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The HTTP clients of one runtime: one for each kind of connection that its models ask for.
///
/// A client keeps as many connections alive as were ever needed at once; the window of a call site
/// and the limits of a model bound that number.
#[derive(Debug, Default)]
pub(crate) struct HttpClients {
    clients: Mutex<HashMap<Kind, Client>>,
}

/// What tells clients apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// Whether certificates are checked; plain HTTP works on machines that have none.
    tls: bool,
    /// Whether the machine itself is called, which no proxy can do for it.
    loopback: bool,
    connect_timeout: Duration,
}

impl HttpClients {
    /// Returns the clients of a runtime.
    pub(crate) fn of(resources: &Resources) -> Arc<Self> {
        let clients = resources.resource(|| Ok::<_, std::convert::Infallible>(Self::default()));
        match clients {
            Ok(clients) => clients,
            Err(never) => match never {},
        }
    }

    /// Returns the client for a URL, made at its first use.
    pub(crate) fn client(&self, url: &Url, connect_timeout: Duration) -> Result<Client, String> {
        let kind =
            Kind { tls: url.scheme() == "https", loopback: is_loopback(url), connect_timeout };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = make(kind)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn make(kind: Kind) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("farcall/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls_config(kind.tls)?)
        // One request per connection: a slow answer holds up no other, and a dropped request
        // closes its connection, which is how the remote side learns of it.
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(kind.connect_timeout)
        .pool_max_idle_per_host(usize::MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // A redirect could carry the headers to another host.
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    let builder = if kind.loopback { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| format!("cannot make an HTTP client: {error}"))
}

/// Makes the TLS configuration; without `verify` it trusts nobody, and is not used.
fn tls_config(verify: bool) -> Result<ClientConfig, String> {
    let builder = tls::builder()?;
    let mut config = match verify {
        true => tls::verified(builder)?.with_no_client_auth(),
        false => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_has_one_client_for_each_kind_of_connection() {
        let runtime = Resources::default();
        let second = Duration::from_secs(1);
        for url in ["http://a/x", "http://b/y?z", "http://localhost:1", "http://[::1]:2/x"] {
            HttpClients::of(&runtime).client(&Url::parse(url).unwrap(), second).unwrap();
        }
        assert_eq!(HttpClients::of(&runtime).clients.lock().unwrap().len(), 2);
    }

    #[test]
    fn only_the_machine_itself_is_called_without_a_proxy() {
        let loopback = |url| is_loopback(&Url::parse(url).unwrap());
        assert!(
            loopback("http://127.0.0.1:1/")
                && loopback("http://[::1]/")
                && loopback("http://localhost")
        );
        assert!(!loopback("http://10.0.0.1/") && !loopback("http://localhost.example/"));
    }

    #[test]
    fn making_a_client_sets_no_crypto_provider_for_the_process() {
        make(Kind { tls: false, loopback: true, connect_timeout: IDLE_TIMEOUT }).unwrap();
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }
}
