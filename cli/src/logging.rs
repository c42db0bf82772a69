//! Logging to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: RUST_LOG decides, else the number of `-v`.
///
/// Spans and events of farcall hold no header, key, token or URL query, at any level.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "warn,farcall=info,farcall_udf=info,farcall_planner=info",
        2 => "info,farcall=debug,farcall_udf=debug,farcall_planner=debug",
        _ => "debug,farcall=trace,farcall_udf=trace,farcall_planner=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A subscriber that is there already belongs to whoever embeds us, and stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
