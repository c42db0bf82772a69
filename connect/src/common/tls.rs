//! How connections are encrypted: rustls with ring, certificates checked as the machine checks them.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;

/// A TLS configuration that does not know yet which certificates it trusts.
pub(crate) type Unverified = ConfigBuilder<ClientConfig, WantsVerifier>;

/// Says why TLS cannot be set up.
pub(crate) fn explain(error: impl std::fmt::Display) -> String {
    format!("cannot set up TLS: {error}")
}

/// Begins a TLS configuration with ring, without touching the process's default provider.
pub(crate) fn builder() -> Result<Unverified, String> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(explain)
}

/// Trusts the certificates that the machine trusts.
pub(crate) fn verified(
    builder: Unverified,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    builder.with_platform_verifier().map_err(explain)
}

/// Makes a client that trusts the certificates of a PEM file, or what the machine trusts, and
/// shows a certificate of its own if it has one with its key.
///
/// Errors name the file.
pub(crate) fn client(
    roots: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, String> {
    let trusting = match roots {
        None => verified(builder()?)?,
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| told(file, &error))?;
            }
            builder()?.with_root_certificates(roots)
        }
    };
    let Some((certificate, key)) = identity else { return Ok(trusting.with_no_client_auth()) };
    // The parser's message could quote from the key.
    let private = PrivateKeyDer::from_pem_reader(open(key)?)
        .map_err(|_| format!("{} holds no private key in PEM form", key.display()))?;
    let config = trusting.with_client_auth_cert(certificates(certificate)?, private);
    config.map_err(|error| told(certificate, &error))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_reader_iter(open(file)?).collect::<Result<Vec<_>, _>>();
    match read.map_err(|error| told(file, &error))? {
        certificates if certificates.is_empty() => {
            Err(format!("{} holds no certificate in PEM form", file.display()))
        }
        certificates => Ok(certificates),
    }
}

fn open(file: &Path) -> Result<BufReader<File>, String> {
    File::open(file).map(BufReader::new).map_err(|error| told(file, &error))
}

fn told(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_it_should_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush").unwrap();
        let name = file.path().display().to_string();
        for (roots, identity, says) in [
            (Some(file.path()), None, format!("{name} holds no certificate in PEM form")),
            (Some(Path::new("/nowhere.pem")), None, "/nowhere.pem: No such file".to_owned()),
            (None, Some((file.path(), file.path())), format!("{name} holds no private key")),
        ] {
            let error = client(roots, identity).unwrap_err();
            assert!(error.contains(&says) && !error.contains("hush"), "{error}");
        }
    }
}
