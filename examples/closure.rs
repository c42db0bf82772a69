//! An async function from a closure: the short form.
//!
//! `cargo run -p farcall --example closure`

use farcall::FarcallSession;
use farcall::udf::{CallError, async_fn};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = FarcallSession::new()?;
    session.register(async_fn("greet", |name: String, excited: Option<bool>| async move {
        // Anything asynchronous may stand here: a model server, a database, a web service.
        let mark = if excited.unwrap_or(false) { "!" } else { "." };
        Ok::<String, CallError>(format!("Hello, {name}{mark}"))
    }));
    let people =
        "(VALUES (1, 'Ada', true), (2, 'Grace', NULL), (3, NULL, false)) AS p (id, name, glad)";
    session
        .sql(&format!("SELECT id, greet(name, glad) FROM {people} ORDER BY id"))
        .await?
        .show()
        .await
}
