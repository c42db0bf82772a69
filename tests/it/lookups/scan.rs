//! Lookup tables that can be scanned, where a query has no key.

use crate::support::lookups::Stores;
use crate::support::plans::plan_text;

#[tokio::test]
async fn a_table_is_read_where_there_is_no_key() {
    let stores = Stores::scanned(2);
    for sql in [
        "SELECT * FROM users",
        "SELECT count(*) FROM users",
        "SELECT name FROM users WHERE z > 0 AND id < 20",
        "SELECT n.code FROM names n WHERE n.n > 2 AND n.code LIKE 'c%'",
        "SELECT u.id, c.v FROM users u JOIN cells c ON u.z = c.b AND c.v <> 'v3'",
        "SELECT t.id, u.name FROM t FULL JOIN users u ON t.k = u.id",
        "SELECT u.id, t.id FROM users u LEFT JOIN t ON t.k = u.id AND t.a = 2",
        "SELECT id FROM t WHERE k NOT IN (SELECT id FROM users WHERE z > 0)",
        "SELECT id FROM t WHERE a = 1 OR EXISTS (SELECT 1 FROM users u WHERE u.id = t.k)",
        "SELECT t.id, u.id FROM t JOIN users u ON t.k > u.id",
    ] {
        stores.check(sql).await;
        let asked = ["users", "cells", "names"].map(|table| stores.requests[table].take().len());
        assert_eq!(asked, [0, 0, 0], "{sql}");
    }
    assert!(stores.requests["users"].scans() >= 8);
}

#[tokio::test]
async fn a_join_by_key_still_looks_up() {
    let stores = Stores::scanned(2);
    let sql = "SELECT t.id, n.n FROM t JOIN names n ON t.s = n.code AND n.n > 2 WHERE n.n < 8";
    stores.check(sql).await;
    assert!(!stores.requests["names"].take().is_empty());
    assert_eq!(stores.requests["names"].scans(), 0);
}

#[tokio::test]
async fn columns_and_conditions_go_to_the_provider() {
    let stores = Stores::scanned(1);
    let sql = "SELECT code FROM names WHERE n > 2 AND length(code) = 2";
    insta::assert_snapshot!(plan_text(&stores.farcall, sql).await, @r"
    Filter: character_length(names.code) = Int32(2)
      TableScan: names projection=[code], full_filters=[names.n > Int64(2)]
    FilterExec: character_length(code@0) = 2
      StreamingTableExec: partition_sizes=1, projection=[code]
    ");
    stores.check(sql).await;
    stores.check("SELECT count(*) FROM names WHERE n > 2").await;
}

#[tokio::test]
async fn a_limit_ends_the_reading() {
    let stores = Stores::scanned(1);
    assert_eq!(stores.rows("SELECT id FROM users LIMIT 3").await.len(), 3);
}
