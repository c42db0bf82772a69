//! What providers and stores share: options, templates, secrets, TLS, pools.

#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(crate) mod environment;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod keepalive;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(crate) mod opened;
pub(crate) mod options;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod pools;
pub mod redact;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(crate) mod secrets;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(crate) mod template;
#[cfg(all(test, any(feature = "postgres", feature = "redis")))]
pub(crate) mod testing;
#[cfg(any(feature = "http", feature = "postgres", feature = "redis"))]
pub(crate) mod tls;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod userinfo;
