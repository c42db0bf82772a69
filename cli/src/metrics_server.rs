//! [`serve`], the endpoint at which Prometheus reads what a runtime counted.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use farcall::udf::FarcallRuntime;
use tokio::net::TcpListener;

use farcall::metrics::{CONTENT_TYPE, exposition};

/// A running endpoint; dropping it stops it.
#[derive(Debug)]
pub struct MetricsServer {
    addr: SocketAddr,
    // Aborted on drop.
    _task: SpawnedTask<()>,
}

impl MetricsServer {
    /// Returns the address that the endpoint listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Answers `GET /metrics` at an address, `HOST:PORT`, with what a runtime counted; port 0 takes a
/// free one.
///
/// # Errors
/// The address that cannot be listened on, with the reason.
pub async fn serve(addr: &str, runtime: Arc<FarcallRuntime>) -> Result<MetricsServer> {
    let explain = |error: std::io::Error| {
        let accepted = "accepted is HOST:PORT, port 0 takes a free one";
        DataFusionError::Execution(format!("cannot serve metrics at '{addr}': {error}; {accepted}"))
    };
    let listener = TcpListener::bind(addr).await.map_err(explain)?;
    let addr = listener.local_addr().map_err(explain)?;
    let read = move || async move {
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition(&runtime)).into_response()
    };
    let app = Router::new().route("/metrics", get(read));
    let task = SpawnedTask::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::warn!(%error, "the endpoint of metrics stopped");
        }
    });
    Ok(MetricsServer { addr, _task: task })
}
