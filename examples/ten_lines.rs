//! Ten lines: a closure as an async function. `cargo run -p farcall --example ten_lines`
use farcall::FarcallSession;
use farcall::udf::{CallError, async_fn};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = FarcallSession::new()?;
    session.register(async_fn("double", |x: i64| async move { Ok::<i64, CallError>(2 * x) }));
    session.sql("SELECT double(21) AS answer").await?.show().await
}
