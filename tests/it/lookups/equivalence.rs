//! Random joins with lookup tables, held against the same joins over plain tables.
//!
//! `FARCALL_FUZZ_LOOKUPS` says how many queries, `FARCALL_FUZZ_SEED` where to begin.

use crate::generator::random::Random;
use crate::support::lookups::{Store, Stores};
use crate::support::postgres::Database;
use crate::support::redis::Redis;

/// Queries in a run of CI.
const QUERIES: u64 = 60;
const SEED: u64 = 7_000;

#[tokio::test]
async fn random_joins_have_the_rows_of_plain_joins_in_every_mode() {
    for partitions in [1, 4] {
        check_random_joins(&Stores::scanned(partitions), partitions).await;
    }
}

#[tokio::test]
async fn random_joins_with_postgres_have_the_rows_of_plain_joins_in_every_mode() {
    for partitions in [1, 4] {
        let database = Database::new().await;
        check_random_joins(&Stores::in_postgres(partitions, &database).await, partitions).await;
    }
}

#[tokio::test]
async fn random_joins_with_redis_have_the_rows_of_plain_joins_in_every_mode() {
    for partitions in [1, 4] {
        let redis = Redis::shared().await;
        check_random_joins(&Stores::in_redis(partitions, &redis).await, partitions).await;
    }
}

async fn check_random_joins(stores: &Stores, partitions: usize) {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let queries = number("FARCALL_FUZZ_LOOKUPS", QUERIES);
    let seed = number("FARCALL_FUZZ_SEED", SEED);
    for seed in seed..seed + queries {
        let mut random = Random::new(seed);
        let sql = query(&mut random);
        let modes = modes(&mut random);
        for (option, value) in &modes {
            stores.set(option, value).await;
        }
        println!("seed {seed}, {partitions} partitions, {modes:?}\n{sql}");
        stores.check(&sql).await;
    }
}

#[tokio::test]
async fn every_kind_of_join_has_the_rows_of_a_plain_join_in_every_mode() {
    let kinds = [
        "SELECT t.id, u.name FROM t JOIN users u ON t.k = u.id",
        "SELECT t.id, u.name, u.z FROM t LEFT JOIN users u ON t.k = u.id AND u.z > 0",
        "SELECT t.id, u.name FROM users u RIGHT JOIN t ON t.k = u.id",
        "SELECT t.id FROM t WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = t.k AND u.z < t.a)",
        "SELECT t.id FROM t WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = t.k)",
        "SELECT t.id FROM t WHERE t.k IN (SELECT id FROM users WHERE z > 0)",
        "SELECT t.id, c.v FROM t LEFT JOIN cells c ON t.a = c.a AND t.k % 5 = c.b",
    ];
    for partitions in [1, 4] {
        for output_mode in ["ordered", "allow_unordered"] {
            for (cache, dedup) in
                [("none", "true"), ("none", "false"), ("partial", "true"), ("full", "true")]
            {
                let stores = Stores::scanned(partitions);
                stores.set("output_mode", output_mode).await;
                stores.set("cache", cache).await;
                stores.set("dedup", dedup).await;
                for sql in kinds {
                    stores.check(sql).await;
                }
                let asked = stores.requests["users"].take().len();
                assert_eq!(
                    (asked == 0, stores.requests["users"].scans() > 0),
                    match cache {
                        "full" => (true, true),
                        _ => (false, false),
                    }
                );
            }
        }
    }
}

fn modes(random: &mut Random) -> Vec<(&'static str, &'static str)> {
    let cache = *random.pick(&["none", "partial", "full"]);
    // A table that does not fit is no full cache.
    let max_rows: &[&str] = if cache == "partial" { &["none", "3"] } else { &["none"] };
    vec![
        ("output_mode", *random.pick(&["ordered", "allow_unordered"])),
        ("cache", cache),
        ("cache_max_rows", *random.pick(max_rows)),
        ("cache_missing_keys", *random.pick(&["true", "false"])),
        ("dedup", *random.pick(&["true", "false"])),
        ("max_batch_size", *random.pick(&["1", "7", "32", "1000"])),
        ("buffer_capacity", *random.pick(&["1", "3", "100"])),
    ]
}

/// A lookup table with ways to reach its key, and conditions on it.
struct Table {
    name: &'static str,
    alias: &'static str,
    keys: &'static [&'static str],
    conditions: &'static [&'static str],
    columns: &'static [&'static str],
    /// The table with something between it and the join.
    derived: &'static [&'static str],
}

const TABLES: &[Table] = &[
    Table {
        name: "users",
        alias: "u",
        keys: &[
            "t.k = u.id",
            "u.id = t.k + 1",
            "abs(t.k - 20) = u.id",
            "t.a = u.id",
            "CAST(t.a AS INT) = u.id",
            "coalesce(t.k, t.a) = u.id",
            "f(t.a) - 1000000 = u.id",
            "u.id = 7",
        ],
        conditions: &[
            "u.z > t.a",
            "u.name <> 'n3'",
            "u.z IS NULL",
            "t.a > 2",
            "u.id < 15",
            "t.id + u.id > 40",
            "coalesce(u.z, 0) = t.a",
            "u.name LIKE 'n%' AND u.z BETWEEN -1 AND 2",
        ],
        columns: &["u.id", "u.name", "u.z", "u.z + t.a AS e", "coalesce(u.name, '-') AS c"],
        derived: &[
            "users",
            "(SELECT * FROM users WHERE z < 3)",
            "(SELECT id, upper(name) AS name, coalesce(z, -1) AS z FROM users)",
            "(SELECT z, id, 'x' || name AS name FROM users WHERE id > 3)",
        ],
    },
    Table {
        name: "cells",
        alias: "c",
        keys: &[
            "t.a = c.a AND t.k % 5 = c.b",
            "c.b = t.a AND c.a = t.a + 1",
            "t.a = c.a AND c.b = 2",
        ],
        conditions: &["c.v > 'v3'", "c.a + c.b > t.a", "t.k IS NOT NULL", "c.b <> 1"],
        columns: &["c.a", "c.b", "c.v", "c.a * 10 + c.b AS ab"],
        derived: &["cells", "(SELECT v, a, b FROM cells WHERE v <> 'v4')"],
    },
    Table {
        name: "names",
        alias: "n",
        keys: &["t.s = n.code", "n.code = concat('c', t.a)", "lower(t.s) = n.code"],
        conditions: &["n.n > 2", "n.n = t.a", "n.n IS NULL", "n.code <> 'c3'", "n.n < t.k"],
        columns: &["n.code", "n.n", "n.n IS NULL AS missing"],
        derived: &["names", "(SELECT code, n FROM names WHERE n < 8)"],
    },
];

fn query(random: &mut Random) -> String {
    let table = random.pick(TABLES);
    if random.chance(25) {
        return exists(table, random);
    }
    let mut columns = vec!["t.id", "t.k"];
    let mut from = "t".to_owned();
    let mut filters = Vec::new();
    let second = TABLES.iter().filter(|other| other.name != table.name && random.chance(20));
    for table in std::iter::once(table).chain(second.collect::<Vec<_>>()) {
        let (join, swapped) = *random.pick(&[
            ("JOIN", false),
            ("LEFT JOIN", false),
            ("LEFT JOIN", false),
            ("RIGHT JOIN", true),
            ("JOIN", true),
        ]);
        let side = format!("{} {}", random.pick(table.derived), table.alias);
        let on = condition(table, random);
        from = match swapped && from == "t" {
            true => format!("{side} {join} {from} ON {on}"),
            false => format!("{from} {} {side} ON {on}", join.replace("RIGHT", "LEFT")),
        };
        columns.extend(table.columns.iter().filter(|_| random.chance(60)));
        if random.chance(30) {
            filters.push(*random.pick(table.conditions));
        }
    }
    let filter = if filters.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", filters.join(" AND "))
    };
    match random.chance(15) {
        true => format!("SELECT count(*), sum(t.id) FROM {from}{filter}"),
        false => format!("SELECT {} FROM {from}{filter}", columns.join(", ")),
    }
}

fn exists(table: &Table, random: &mut Random) -> String {
    let not = *random.pick(&["", "NOT "]);
    let on = condition(table, random);
    format!(
        "SELECT t.id, t.a FROM t WHERE {not}EXISTS (SELECT 1 FROM {} {} WHERE {on})",
        table.name, table.alias
    )
}

fn condition(table: &Table, random: &mut Random) -> String {
    let mut parts = vec![*random.pick(table.keys)];
    parts.extend(table.conditions.iter().filter(|_| random.chance(20)));
    parts.join(" AND ")
}

#[tokio::test]
async fn keys_of_every_type_are_found() {
    for key_type in [
        "Boolean",
        "Int8",
        "Int32",
        "UInt16",
        "UInt64",
        "Float32",
        "Float64",
        "Utf8",
        "LargeUtf8",
        "Utf8View",
        "Binary",
        "Date32",
        "Timestamp(Microsecond, None)",
        "Timestamp(Second, Some(\"+02:00\"))",
        "Decimal128(10, 2)",
    ] {
        let mut stores = Stores::new(2);
        let via = match key_type {
            "Binary" => "'Utf8'), 'Binary'",
            "Date32" => "'Int32'), 'Date32'",
            other => &format!("'Int64'), '{other}'"),
        };
        let cast = |column: &str| format!("arrow_cast(arrow_cast({column}, {via})");
        let sql = format!("SELECT {} AS key, name FROM users", cast("id"));
        let rows = stores.plain.sql(&sql).await.unwrap().collect().await.unwrap();
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        stores.add("typed", Store::new(rows.clone(), &["key"]), rows);
        for join in ["JOIN", "LEFT JOIN"] {
            let sql = format!(
                "SELECT t.id, y.key, y.name FROM t {join} typed y ON {} = y.key",
                cast("t.k")
            );
            stores.check(&sql).await;
        }
        assert!(!stores.requests["typed"].take().is_empty(), "{key_type}");
    }
}

#[tokio::test]
async fn keys_of_a_narrower_type_are_found_by_wider_values() {
    let values = "(VALUES (-300), (-1), (0), (3), (255), (256), (40000), (NULL)) AS w (v)";
    for key_type in ["Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64"] {
        let mut stores = Stores::new(1);
        let sql = format!(
            "SELECT arrow_try_cast(column1, '{key_type}') AS key FROM (VALUES (-1), (0), (3), (255)) \
             WHERE arrow_try_cast(column1, '{key_type}') IS NOT NULL"
        );
        let rows = stores.plain.sql(&sql).await.unwrap().collect().await.unwrap();
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        stores.add("typed", Store::new(rows.clone(), &["key"]), rows);
        stores.check(&format!("SELECT v, key FROM {values} LEFT JOIN typed ON v = key")).await;
        let keys = stores.requests["typed"].take_keys();
        assert!(!keys.is_empty() && !keys.contains_key(""), "{key_type}: {keys:?}");
    }
}
