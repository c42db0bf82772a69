//! Which certificates of a server are trusted, as libpq's `sslmode` and `sslrootcert` say.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::{Server, Verify};
use crate::common::tls;

/// Makes what encrypts connections to a server.
///
/// # Errors
/// A text that names the file of certificates that cannot be read.
pub(crate) fn connector(server: &Server) -> Result<MakeRustlsConnect, String> {
    let builder = tls::builder()?;
    let roots = server.root_cert.as_deref().map(read).transpose()?;
    let config = match (server.verify, roots) {
        (Verify::Full, None) => tls::verified(builder)?.with_no_client_auth(),
        (Verify::Ca, None) => {
            return Err("sslmode verify-ca needs sslrootcert, the file of certificates to trust; \
                        verify-full trusts what the machine trusts"
                .to_owned());
        }
        (verify, roots) => {
            let chain = match verify {
                Verify::Disable | Verify::Prefer => None,
                Verify::Require | Verify::Ca | Verify::Full => roots,
            };
            dangerous(builder, Trust::new(chain, verify == Verify::Full)?)
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn dangerous(builder: tls::Unverified, trust: Trust) -> ClientConfig {
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust));
    builder.with_no_client_auth()
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("sslrootcert: cannot read {}: {error}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let found: Vec<CertificateDer<'static>> =
        found.collect::<Result<_, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(format!("sslrootcert: {} holds no certificate", file.display())),
        false => Ok(found),
    }
}

/// Checks a server's certificate as far as libpq does.
#[derive(Debug)]
struct Trust {
    provider: CryptoProvider,
    /// What checks that a certificate is signed by a trusted one; `None` trusts any.
    chain: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    /// Whether the certificate must be the host's.
    names_host: bool,
}

impl Trust {
    fn new(chain: Option<Vec<CertificateDer<'static>>>, names_host: bool) -> Result<Self, String> {
        let provider = rustls::crypto::ring::default_provider();
        let Some(trusted) = chain else {
            return Ok(Self { provider, chain: None, trusted: vec![], names_host });
        };
        let mut roots = RootCertStore::empty();
        for root in &trusted {
            roots.add(root.clone()).map_err(tls::explain)?;
        }
        let chain = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(provider.clone()),
        );
        let chain = chain.build().map_err(tls::explain)?;
        Ok(Self { provider, chain: Some(chain), trusted, names_host })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The chain was right, or the names would not have been compared.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.names_host => Ok(ServerCertVerified::assertion()),
            // What `openssl req -x509` makes calls itself an authority; whoever trusts that very
            // certificate trusts its owner. It is in its time, which is looked at before.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.trusted.iter().any(|trusted| trusted == certificate) =>
            {
                if self.names_host {
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
