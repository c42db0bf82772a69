//! How often keys are looked up.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::datasource::MemTable;

use crate::support::lookups::{Store, Stores};

/// 100,000 rows with 5,000 distinct keys, of which every other one is in the table.
fn many(max_keys: usize, partitions: usize) -> Stores {
    let mut stores = Stores::new(partitions);
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100_000).map(|x| x % 5_000)));
    let rows = RecordBatch::try_from_iter([("k", keys)]).unwrap();
    let parts = (0..4).map(|part| vec![rows.slice(part * 25_000, 25_000)]).collect();
    let table = MemTable::try_new(rows.schema(), parts).unwrap();
    stores.farcall.context().register_table("many", Arc::new(table)).unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5_000).map(|id| 2 * id)));
    let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    stores.add("even", Store::new(rows.clone(), &["id"]).max_keys(max_keys).scanned(), rows);
    stores
}

const JOIN: &str = "SELECT count(*) AS n FROM many LEFT JOIN even ON many.k = even.id";

#[tokio::test]
async fn each_key_is_looked_up_once_a_query() {
    let stores = many(100, 4);
    for _ in 0..2 {
        assert_eq!(stores.rows(JOIN).await, ["|100000|"]);
        let requests = stores.requests["even"].take();
        assert!(requests.iter().all(|keys| keys.len() <= 32), "32 is the default");
        let mut keys: Vec<String> = requests.into_iter().flatten().collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 5_000);
    }
}

#[tokio::test]
async fn no_key_is_looked_up_twice_while_it_is_cached() {
    let stores = many(100, 4);
    stores.set("cache", "partial").await;
    stores.set("dedup", "false").await;
    for keys in [5_000, 0] {
        assert_eq!(stores.rows(JOIN).await, ["|100000|"]);
        let seen = stores.requests["even"].take_keys();
        assert_eq!((seen.len(), seen.values().sum::<usize>()), (keys, keys));
    }
}

#[tokio::test]
async fn no_key_is_looked_up_in_a_table_that_is_held_as_a_whole() {
    let stores = many(100, 4);
    stores.set("cache", "full").await;
    for _ in 0..2 {
        assert_eq!(stores.rows(JOIN).await, ["|100000|"]);
        assert_eq!((stores.requests["even"].take().len(), stores.requests["even"].scans()), (0, 1));
    }
}

#[tokio::test]
async fn each_key_is_looked_up_once_a_request_without_dedup() {
    let stores = many(1_000, 1);
    stores.set("dedup", "false").await;
    stores.set("max_batch_size", "10000").await;
    assert_eq!(stores.rows(JOIN).await, ["|100000|"]);
    let requests = stores.requests["even"].take();
    assert_eq!(requests.len(), 100);
    for mut keys in requests {
        assert_eq!(keys.len(), 1_000, "the provider's cap");
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 1_000);
    }
}

#[tokio::test]
async fn null_keys_and_rows_that_cannot_match_are_not_looked_up() {
    let stores = Stores::new(1);
    let keys = async |sql: &str| -> Vec<i64> {
        stores.check(sql).await;
        let keys = stores.requests["users"].take_keys();
        let mut keys: Vec<i64> = keys.keys().map(|key| key.parse().unwrap()).collect();
        keys.sort();
        keys
    };
    let all = keys("SELECT t.id, u.name FROM t LEFT JOIN users u ON t.k = u.id").await;
    assert_eq!(all.len(), 40);
    // Conditions on the joined row, or on the key, say beforehand that nothing can match.
    let some = keys(
        "SELECT t.id, u.name FROM t LEFT JOIN users u ON t.k = u.id AND t.a = 1 AND u.id < 10",
    )
    .await;
    assert!(!some.is_empty() && some.len() < 10 && some.iter().all(|key| *key < 10), "{some:?}");
}

#[tokio::test]
async fn a_lookup_that_stands_twice_is_made_once() {
    let stores = Stores::new(1);
    let sql = "SELECT t.id, u.name, v.name AS w FROM t LEFT JOIN users u ON t.k = u.id \
               LEFT JOIN users v ON t.k = v.id";
    stores.check(sql).await;
    assert!(stores.requests["users"].take_keys().values().all(|count| *count == 1));
}

#[tokio::test]
async fn keys_that_are_calls_are_called_once_a_row() {
    let stores = Stores::new(4);
    stores.check("SELECT t.id, u.name FROM t JOIN users u ON f(t.a) - 1000000 = u.id").await;
    assert_eq!(stores.requests["users"].take_keys().len(), 6);
}

#[tokio::test]
async fn rows_keep_their_order_and_their_matches_theirs() {
    let stores = Stores::new(1);
    stores.set("max_batch_size", "3").await;
    let rows =
        stores.rows("SELECT t.id, u.name FROM t JOIN users u ON t.k = u.id WHERE t.id < 12").await;
    let plain = stores.plain.sql("SELECT id, name FROM users").await.unwrap();
    assert!(!plain.collect().await.unwrap().is_empty());
    let ids: Vec<i64> =
        rows.iter().map(|row| row.split('|').nth(1).unwrap().parse().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() > 12, "{ids:?}");
}

#[tokio::test]
async fn a_call_in_the_condition_of_a_left_join_is_made_on_what_was_found() {
    let sql = "SELECT t.id, u.name FROM t \
               LEFT JOIN (SELECT * FROM users WHERE p(z)) u ON t.k = u.id";
    for partitions in [1, 4] {
        let stores = Stores::new(partitions);
        stores.check(sql).await;
        // What is set of lookups is no matter of the call's.
        stores.set("dedup", "false").await;
        stores.check(sql).await;
        // A row may be found for several: without dedup the call stays below the join.
        stores.farcall.sql("SET farcall.async_scalar.dedup = 'false'").await.unwrap();
        assert!(stores.refusal(sql).await.contains("lookup table users cannot be scanned"));
    }
}

#[tokio::test]
async fn the_first_rows_of_a_left_lookup_are_made_of_the_first_rows() {
    let join = "FROM t LEFT JOIN users u ON t.k = u.id";
    for partitions in [1, 4] {
        let stores = Stores::new(partitions);
        for (sql, most) in [
            (format!("SELECT t.id {join} ORDER BY t.id LIMIT 5"), 5),
            (format!("SELECT t.id {join} AND u.z > t.a ORDER BY t.id DESC LIMIT 3 OFFSET 2"), 5),
            (
                format!(
                    "SELECT q.x FROM (SELECT t.id % 50 + 1 AS x, u.name AS n {join}) q \
                     ORDER BY q.x LIMIT 4"
                ),
                4,
            ),
            // A row may have no match, or be sorted by what was found for it.
            (format!("SELECT t.id {} ORDER BY t.id LIMIT 5", join.replace("LEFT ", "")), 40),
            (format!("SELECT u.z {join} ORDER BY u.z LIMIT 5"), 40),
            (format!("SELECT t.id {join} ORDER BY t.id % 2, u.z LIMIT 5"), 40),
        ] {
            stores.check(&sql).await;
            let keys = stores.requests["users"].take_keys();
            assert!(keys.len() <= most && (most < 40 || keys.len() > 5), "{sql}: {}", keys.len());
            assert!(keys.values().all(|times| *times == 1), "{sql}");
        }
    }
}

#[tokio::test]
async fn a_cross_join_below_a_limit_looks_its_constant_key_up() {
    for partitions in [1, 4] {
        let stores = Stores::new(partitions);
        for (sql, rows) in [
            ("SELECT t.id, u.id FROM t CROSS JOIN (SELECT * FROM users WHERE id = 7) u LIMIT 3", 3),
            ("SELECT u.id FROM (SELECT * FROM users WHERE id = 7) AS u, t LIMIT 3 OFFSET 2", 3),
            ("SELECT u.z + 1 FROM t, users u WHERE u.id = 7 LIMIT 500", 360),
            ("SELECT t.id FROM t, (SELECT * FROM users WHERE id = 8) u LIMIT 3", 0),
        ] {
            assert_eq!(stores.rows(sql).await.len(), rows, "{sql}");
            let keys = stores.requests["users"].take_keys();
            assert_eq!(keys.values().sum::<usize>(), 1, "{sql}: {keys:?}");
        }
        let sql = "SELECT u.id FROM t CROSS JOIN (SELECT * FROM users WHERE id = 7) u LIMIT 3";
        assert_eq!(stores.rows(sql).await, ["|7|", "|7|", "|7|"]);
    }
}
