//! Random queries with table functions, held against the same joins over a table of all they give.
//!
//! `FARCALL_FUZZ_LATERALS` says how many queries, `FARCALL_FUZZ_SEED` where to begin.

use crate::generator::random::Random;
use crate::support::tables::Tables;

/// Queries in a run of CI, each at 1 and 4 partitions.
const QUERIES: u64 = 60;
const SEED: u64 = 5_000;

const ARGUMENTS: [&str; 6] =
    ["t.x", "t.k", "t.x + t.a", "g(t.k)", "CASE WHEN t.k > 2 THEN t.x END", "7"];
const INNER_CONDITIONS: [&str; 5] =
    ["a > 4", "b IS NOT NULL", "a % 2 = 0", "b > 'b12'", "a IS NULL"];
const COLUMNS: [&str; 6] = [
    "a AS u, b AS v",
    "a + 1 AS u, b AS v",
    "coalesce(a, -1) AS u, 'one' AS v",
    "b AS v, a AS u",
    "g(a) AS u, b AS v",
    "a AS u, upper(b) AS v",
];
const ON: [&str; 7] = [
    "TRUE",
    "q.u > 6",
    "q.u > t.k",
    "t.k < 6",
    "t.a = 1 AND q.v IS NOT NULL",
    "q.v <> 'b3' OR t.k = 2",
    "p(t.k)",
];
const ABOVE: [&str; 5] =
    ["TRUE", "t.id % 3 = 0", "q.u IS NOT NULL", "q.v < 'b2' OR t.k > 4", "p(t.id)"];
const SELECT: [&str; 5] = [
    "t.id, q.u, q.v",
    "q.v, t.x",
    "g(q.u) AS w, t.id",
    "count(*) AS n, max(q.u) AS m",
    "DISTINCT q.u",
];

#[tokio::test]
async fn random_laterals_have_the_rows_of_plain_joins() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let queries = number("FARCALL_FUZZ_LATERALS", QUERIES);
    let first = number("FARCALL_FUZZ_SEED", SEED);
    let mut with_rows = 0;
    for partitions in [1, 4] {
        let tables = Tables::new(partitions);
        for seed in first..first + queries {
            let mut random = Random::new(seed);
            for (option, value) in modes(&mut random) {
                let sql = format!("SET farcall.async_table.{option} = '{value}'");
                tables.rows(&sql).await;
            }
            let (sql, plain) = query(&mut random);
            println!("seed {seed}, {partitions} partitions\n{sql}\n{plain}");
            let rows = tables.check(&sql, &plain).await;
            with_rows += u64::from(rows > 0);
        }
    }
    // A generator of empty answers would prove nothing.
    assert!(with_rows > queries, "{with_rows} of {} have rows", 2 * queries);
}

fn modes(random: &mut Random) -> [(&'static str, &'static str); 3] {
    [
        ("output_mode", *random.pick(&["ordered", "allow_unordered"])),
        ("buffer_capacity", *random.pick(&["1", "3", "100"])),
        ("dedup", *random.pick(&["true", "false"])),
    ]
}

/// Makes a query with `series` and the same one over `given`.
fn query(random: &mut Random) -> (String, String) {
    let join = *random.pick(&["JOIN", "LEFT JOIN"]);
    let argument = *random.pick(&ARGUMENTS);
    let (on, above) = (*random.pick(&ON), *random.pick(&ABOVE));
    let select = *random.pick(&SELECT);
    let function = *random.pick(&["series", "steps"]);
    let (columns, condition) = match random.chance(60) {
        true => (*random.pick(&COLUMNS), *random.pick(&INNER_CONDITIONS)),
        false => ("a AS u, b AS v", "TRUE"),
    };
    // What a call gives inside of LATERAL is not read by the conditions of a LEFT JOIN.
    let on = match columns.contains("g(") && join == "LEFT JOIN" && on.contains("q.u") {
        true => "TRUE",
        false => on,
    };
    let called = match (condition, random.chance(50)) {
        ("TRUE", true) => format!("LATERAL {function}({argument}) AS q (u, v)"),
        ("TRUE", false) => format!("TABLE({function}({argument})) AS q (u, v)"),
        _ => {
            format!("LATERAL (SELECT {columns} FROM {function}({argument}) WHERE {condition}) AS q")
        }
    };
    let given = format!("(SELECT n, {columns} FROM given WHERE {condition}) AS q");
    let sql = format!("SELECT {select} FROM t {join} {called} ON {on} WHERE {above}");
    let plain = format!(
        "SELECT {select} FROM t {join} {given} ON q.n = {argument} AND ({on}) WHERE {above}"
    );
    (sql, plain)
}
