//! Connectors: how a request travels.
