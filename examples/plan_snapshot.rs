//! A query's plans and calls as text that is the same on every machine, for a golden-file test.
//!
//! `cargo run --example plan_snapshot`

use farcall::udf::{CallError, async_fn};
use farcall::{FarcallSession, plans};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = FarcallSession::new()?;
    session.register(async_fn("score", |text: String| async move {
        // Anything asynchronous may stand here: a model server, a database, a web service.
        Ok::<i64, CallError>(text.len() as i64)
    }));
    let reviews = "(VALUES (1, 'fine'), (5, 'fine'), (2, 'awful'), (1, 'fine')) AS r (stars, text)";
    let sql = format!("SELECT stars, score(text) AS v FROM {reviews} WHERE stars < 3");
    let run = plans::run_with_plan(&session, &sql).await?;
    // Three rows have less than three stars, and two of them ask the same.
    assert_eq!(run.calls().of("score"), 2);
    // In a test: insta::assert_snapshot!(run), or a comparison with a file.
    println!("{run}");
    Ok(())
}
