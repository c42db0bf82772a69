//! `farcall serve-models`.

use std::io::{self, Write};

use datafusion::error::Result;
use farcall::connect::{LocalModel, serve as serve_local};

use super::interrupted;
use super::runner::Ended;

/// Serves the local models until Ctrl-C, and says where and which.
pub async fn serve(host: &str, port: u16) -> Result<Ended> {
    let server = serve_local(host, port).await?;
    let url = format!("http://{}", server.addr());
    let mut out = io::stdout();
    writeln!(out, "listening on {url}")?;
    for model in LocalModel::ALL {
        let outputs: Vec<_> =
            model.outputs().iter().map(|(name, sql_type)| format!("{name} {sql_type}")).collect();
        writeln!(out, "  {url}/models/{}  text VARCHAR -> {}", model.name(), outputs.join(", "))?;
    }
    // Whoever started us in the background waits for these lines.
    out.flush()?;
    server.run_until(interrupted()).await;
    Ok(Ended::Done)
}
