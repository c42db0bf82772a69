//! An async table function: one row in, any number of rows out, joined by LATERAL.
//!
//! `cargo run -p farcall --example table_function`

use std::time::Duration;

use farcall::FarcallSession;
use farcall::udf::{CallError, CallOptions, async_table_fn};

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = FarcallSession::new()?;
    let search = async_table_fn("search", ["rank", "title", "score"], |query: String| async move {
        // Anything asynchronous may stand here: a search service, a model, a database.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let titles = ["Rust in Action", "Rust for Rustaceans", "SQL Antipatterns"];
        let hits = titles.into_iter().filter(|title| title.contains(&query));
        let hits =
            hits.zip(1_i64..).map(|(title, rank)| (rank, title.to_owned(), 1.0 / rank as f64));
        Ok::<Vec<(i64, String, f64)>, CallError>(hits.collect())
    });
    session.register(search.with_options(CallOptions::new().with_buffer_capacity(8).build()?));
    // One call for each distinct word of the rows that pass the WHERE. A row without hits is kept.
    let sql = "
        SELECT r.id, r.word, s.rank, s.title
        FROM (VALUES (1, 'Rust', true), (2, 'SQL', true), (3, 'COBOL', true), (4, 'Rust', false))
             AS r (id, word, wanted)
        LEFT JOIN LATERAL search(r.word) AS s ON s.score > 0.4
        WHERE r.wanted
        ORDER BY r.id, s.rank";
    session.sql(sql).await?.show().await
}
