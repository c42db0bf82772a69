//! A query's plans and calls as text that is the same on every machine, for a golden-file test.
//!
//! `cargo run -p farcall --example plan_snapshot`

use farcall::udf::{CallError, async_fn};
use farcall::{FarcallSession, plans};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = FarcallSession::new()?;
    session.register(async_fn("price", |product: i64| async move {
        // Anything asynchronous may stand here: a model server, a database, a web service.
        Ok::<i64, CallError>(100 * product)
    }));
    let orders =
        "CREATE TABLE orders (id BIGINT, product BIGINT) AS VALUES (1, 7), (2, 1), (3, 2), (4, 1)";
    session.sql(orders).await?;
    let sql = "SELECT id, price(product) AS p FROM orders WHERE product < 3";
    let run = plans::run_with_plan(&session, sql).await?;
    // Three orders are of such a product, and two of them ask the same.
    assert_eq!(run.calls().of("price"), 2);
    // In a test: insta::assert_snapshot!(run), or a comparison with a file.
    println!("{run}");
    Ok(())
}
