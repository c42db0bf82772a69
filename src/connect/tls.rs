//! How connections are encrypted: rustls with ring, certificates checked as the machine checks them.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
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
