//! A lookup join over Postgres: farcall against a hand-written loop that asks for the same keys.
//!
//! `cargo bench -p farcall-benches --bench lookup_postgres` starts a server by `scripts/store`, runs
//! five pairs and prints a table; the median of the pairs' ratios is what counts. Both sides have as
//! many connections, which live as long as the run, and as many keys in a request.

#![allow(clippy::expect_used)]

#[path = "../tests/it/support/root.rs"]
#[allow(clippy::panic)]
mod root;
#[path = "../tests/it/support/store.rs"]
#[allow(dead_code, clippy::panic, clippy::unwrap_used)]
mod store;
mod support;

use farcall::FarcallSession;
use futures::{StreamExt, TryStreamExt};
use store::Store;
use support::{PAIRS, in_pairs, join_all, median, report, session_with_keys};
use tokio_postgres::{Client, Error, NoTls, Statement};

const KEYS: usize = 500_000;
const BATCH: usize = 128;
const CONNECTIONS: usize = 8;

fn main() {
    let store = Store::start("postgres");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare(&store));
}

async fn compare(store: &Store) {
    let fill = format!(
        "CREATE TABLE u (id bigint PRIMARY KEY, v bigint);
         INSERT INTO u SELECT i, 2 * i + 1 FROM generate_series(0, {}) i; ANALYZE u",
        KEYS - 1
    );
    connect(store).await.batch_execute(&fill).await.expect("a table");
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = connect(store).await;
        let statement = client.prepare("SELECT id, v FROM u WHERE id = ANY($1)").await;
        clients.push((client, statement.expect("a statement")));
    }
    let session = session(store).await;
    // Connections are made, statements prepared and pages read before the clock runs.
    join_all(&session, KEYS).await;
    run_loop(&clients).await;
    println!("{KEYS} distinct keys, {BATCH} in a request, {CONNECTIONS} connections");
    // The loop knows that its keys are distinct; farcall does if it is told.
    for dedup in ["true", "false"] {
        let set = format!("SET farcall.async_lookup.dedup = '{dedup}'");
        session.sql(&set).await.expect("an option");
        let (mut ours, mut theirs, mut ratios) = in_pairs(
            PAIRS,
            async || join_all(&session, KEYS).await,
            async || run_loop(&clients).await,
        )
        .await;
        println!("dedup {dedup}");
        report("farcall", &mut ours);
        report("hand-written loop", &mut theirs);
        println!("  farcall / loop {:>8.3}", median(&mut ratios));
    }
}

async fn session(store: &Store) -> FarcallSession {
    let session = session_with_keys(KEYS);
    let create = format!(
        "CREATE TABLE u (id BIGINT PRIMARY KEY, v BIGINT) WITH ('connector' = 'postgres', \
         'url' = 'postgres://farcall@127.0.0.1:{}/farcall', 'password' = '{}', \
         'max_batch_size' = '{BATCH}', 'pool_size' = '{CONNECTIONS}')",
        store.port, store.password
    );
    session.sql(&create).await.expect("a lookup table");
    session
}

async fn connect(store: &Store) -> Client {
    let config = format!(
        "host=127.0.0.1 port={} user=farcall dbname=farcall password={}",
        store.port, store.password
    );
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// What a careful programmer would write for this one job: requests in flight as there are
/// connections, each of which works for the request whose turn it is.
async fn run_loop(clients: &[(Client, Statement)]) {
    let keys: Vec<i64> = (0..KEYS as i64).collect();
    let free = tokio::sync::Mutex::new((0..clients.len()).collect::<Vec<_>>());
    let found: Vec<Vec<(i64, i64)>> = futures::stream::iter(keys.chunks(BATCH))
        .map(|keys| async {
            let turn = free.lock().await.pop().expect("as many connections as requests");
            let found = ask(&clients[turn], keys).await;
            free.lock().await.push(turn);
            found
        })
        .buffered(CONNECTIONS)
        .try_collect()
        .await
        .expect("answers");
    let mut found = found.concat();
    found.sort_unstable();
    assert_eq!(found.len(), KEYS, "rows");
    for (next, (key, value)) in found.into_iter().enumerate() {
        assert_eq!((key, value), (next as i64, 2 * key + 1));
    }
}

async fn ask(client: &(Client, Statement), keys: &[i64]) -> Result<Vec<(i64, i64)>, Error> {
    let (client, statement) = client;
    let rows = client.query(statement, &[&keys]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
