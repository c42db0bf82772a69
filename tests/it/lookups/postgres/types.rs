//! Values of every type, as they come out of a server and as they are looked up.

use arrow::array::RecordBatch;
use farcall::FarcallSession;

use crate::support::postgres::{Database, create, session};
use crate::support::remote::rows;

/// A declared type, the server's, and values as the server reads them and as they are shown.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    ("BOOLEAN", "boolean", &[("true", "true"), ("false", "false")]),
    ("SMALLINT", "smallint", &[("-32768", "-32768"), ("32767", "32767")]),
    ("INT", "integer", &[("-2147483648", "-2147483648"), ("2147483647", "2147483647")]),
    ("INT", "smallint", &[("-7", "-7")]),
    (
        "BIGINT",
        "bigint",
        &[
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775807", "9223372036854775807"),
        ],
    ),
    ("BIGINT", "integer", &[("2147483647", "2147483647")]),
    (
        "REAL",
        "real",
        &[
            ("1.5", "1.5"),
            ("'NaN'", "NaN"),
            ("'-Infinity'", "-inf"),
            ("3.4028235e38", "3.4028235e38"),
        ],
    ),
    ("DOUBLE", "double precision", &[("5e-324", "5e-324"), ("'Infinity'", "inf"), ("0.1", "0.1")]),
    ("DOUBLE", "real", &[("0.25", "0.25")]),
    (
        "DECIMAL(10, 2)",
        "numeric",
        &[("-12345678.9", "-12345678.90"), ("0", "0.00"), ("0.01", "0.01")],
    ),
    ("DECIMAL(10, 2)", "integer", &[("10000000", "10000000.00")]),
    (
        "DECIMAL(38, 20)",
        "numeric(38, 20)",
        &[("999999999999999999.99999999999999999999", "999999999999999999.99999999999999999999")],
    ),
    (
        "DECIMAL(76, 3)",
        "numeric",
        &[
            (
                "-9999999999999999999999999999999999999999999999999999999999999999999999999.999",
                "-9999999999999999999999999999999999999999999999999999999999999999999999999.999",
            ),
            ("10000", "10000.000"),
        ],
    ),
    ("VARCHAR", "text", &[("''", ""), ("'it''s \"é\" \\ 漢字 🦀'", "it's \"é\" \\ 漢字 🦀")]),
    ("VARCHAR", "varchar(5)", &[("'abcde'", "abcde")]),
    ("VARCHAR", "char(5)", &[("'ab'", "ab")]),
    ("VARCHAR", "name", &[("'ab'", "ab")]),
    (
        "VARCHAR",
        "uuid",
        &[("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
    ),
    ("VARCHAR", "json", &[("'{\"b\": 1}'", "{\"b\": 1}")]),
    ("VARCHAR", "jsonb", &[("'{\"b\":  [1,null]}'", "{\"b\": [1, null]}")]),
    (
        "VARCHAR",
        "inet",
        &[
            ("'10.1.2.3/8'", "10.1.2.3/8"),
            ("'10.1.2.3'", "10.1.2.3"),
            ("'::1'", "::1"),
            ("'2001:db8::/32'", "2001:db8::/32"),
            ("'0.0.0.0/0'", "0.0.0.0/0"),
        ],
    ),
    (
        "VARCHAR",
        "cidr",
        &[("'10.1.0.0/16'", "10.1.0.0/16"), ("'10.1.2.3'", "10.1.2.3/32"), ("'::1'", "::1/128")],
    ),
    ("VARCHAR", "mood", &[("'sad'", "sad")]),
    ("BYTEA", "bytea", &[("'\\x00ff10'", "00ff10"), ("''", "")]),
    (
        "DATE",
        "date",
        &[
            ("'1969-12-31'", "1969-12-31"),
            ("'0001-01-01'", "0001-01-01"),
            ("'9999-12-31'", "9999-12-31"),
        ],
    ),
    ("TIME", "time", &[("'00:00'", "00:00:00"), ("'23:59:59.999999'", "23:59:59.999999")]),
    (
        "TIMESTAMP",
        "timestamp",
        &[
            ("'1677-10-01 00:00:00.000001'", "1677-10-01T00:00:00.000001"),
            ("'2262-01-01'", "2262-01-01T00:00:00"),
        ],
    ),
    ("TIMESTAMP", "date", &[("'2020-02-29'", "2020-02-29T00:00:00")]),
    ("TIMESTAMP(6)", "timestamp", &[("'0001-01-01'", "0001-01-01T00:00:00")]),
    ("TIMESTAMP(0)", "timestamp", &[("'1969-12-31 23:59:59'", "1969-12-31T23:59:59")]),
    (
        "TIMESTAMP WITH TIME ZONE",
        "timestamptz",
        &[("'2020-01-01 00:00:00+02'", "2019-12-31T22:00:00")],
    ),
    ("INTERVAL", "interval", &[("'1 month 2 days 00:00:03.5'", "1 mons 2 days 3.500000000 secs")]),
    (
        "BIGINT[]",
        "bigint[]",
        &[("'{1,NULL,-3}'", "[1, , -3]"), ("'{}'", "[]"), ("'[5:6]={1,2}'", "[1, 2]")],
    ),
    ("BIGINT[]", "integer[]", &[("'{1,2}'", "[1, 2]")]),
    ("VARCHAR[]", "text[]", &[("'{a,\"b,c\",NULL,\"\"}'", "[a, b,c, , ]")]),
    ("DECIMAL(5, 1)[]", "numeric[]", &[("'{1.5,2}'", "[1.5, 2.0]")]),
    ("VARCHAR[]", "cidr[]", &[("'{10.1.2.3}'", "[10.1.2.3/32]")]),
    ("DATE[]", "date[]", &[("'{2020-01-01}'", "[2020-01-01]")]),
];

/// Makes the table of a case: `id` from 1 with its values, and one row more with NULL.
async fn table(database: &Database, name: &str, case: &Case) {
    let (_, server, values) = case;
    let values: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(index, (value, _))| format!("({}, ({value})::{server})", index + 1))
        .collect();
    database
        .run(&format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, v {server});
             INSERT INTO {name} VALUES {}, (100, NULL)",
            values.join(", ")
        ))
        .await;
}

#[tokio::test]
async fn values_of_every_type_come_as_they_are() {
    let database = Database::new().await;
    database.run("CREATE TYPE mood AS ENUM ('sad', 'glad')").await;
    let session = session(1, 101);
    for (number, case) in CASES.iter().enumerate() {
        let (declared, server, values) = case;
        let name = format!("v{number}");
        table(&database, &name, case).await;
        database.create(&session, &name, &format!("id INT PRIMARY KEY, v {declared}"), "").await;
        let sql = format!("SELECT u.v FROM t JOIN {name} u ON t.id = u.id ORDER BY t.id");
        let mut expected: Vec<String> =
            values.iter().map(|(_, shown)| format!("|{shown}|")).collect();
        expected.push("||".to_owned());
        let got = rows(&session, &sql).await;
        assert_eq!(got.as_ref(), Ok(&expected), "{declared} of {server}");
    }
}

#[tokio::test]
async fn values_of_every_type_are_found_as_keys() {
    let database = Database::new().await;
    database.run("CREATE TYPE mood AS ENUM ('sad', 'glad')").await;
    let session = session(1, 1);
    for (number, case) in CASES.iter().enumerate() {
        let (declared, server, values) = case;
        if declared.ends_with("[]") {
            continue;
        }
        let (name, keys) = (format!("k{number}"), format!("l{number}"));
        table(&database, &name, case).await;
        let columns = format!("id INT, v {declared}, PRIMARY KEY (v)");
        database.create(&session, &name, &columns, "").await;
        // What was read by number is what is looked up.
        let by_id = format!("id INT PRIMARY KEY, v {declared}");
        create(&session, &keys, &by_id, &database.options(&name, "")).await.unwrap();
        add_numbers(&session, &format!("n{number}"), values.len() as i32).await;
        let sql = format!(
            "SELECT w.id FROM n{number} n JOIN {keys} u ON n.id = u.id JOIN {name} w ON u.v = w.v ORDER BY w.id"
        );
        let expected: Vec<String> = (1..=values.len()).map(|id| format!("|{id}|")).collect();
        assert_eq!(rows(&session, &sql).await.as_ref(), Ok(&expected), "{declared} of {server}");
    }
}

#[tokio::test]
async fn a_date_or_time_that_the_server_does_not_have_has_no_row() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE u (d date, s timestamp, v int);
              INSERT INTO u VALUES ('4714-11-24 BC', '4714-11-24 BC', 1),
                ('5874897-12-31', '294247-01-10 04:00:54.775807', 2)",
        )
        .await;
    let session = session(1, 1);
    // The server's first and last, those beside them, and Arrow's first and last.
    let days =
        [-2_440_588_i64, -2_440_589, 2_145_042_905, 2_145_042_906, -(1 << 31), i32::MAX.into()];
    let micros = [
        -210_866_803_200_000_000,
        -210_866_803_200_000_001,
        i64::MAX,
        i64::MIN + 1,
        0,
        i64::MIN + 2,
    ];
    for (declared, values, arrow) in [
        ("d DATE", days, "Int32'), 'Date32'"),
        ("s TIMESTAMP(6)", micros, "Int64'), 'Timestamp(Microsecond, None)'"),
    ] {
        session.sql("DROP TABLE IF EXISTS u").await.unwrap();
        let name = &declared[..1];
        let columns = format!("{declared}, v INT, PRIMARY KEY ({name})");
        database.create(&session, "u", &columns, "").await;
        let value = |value: &i64| format!("(arrow_cast(arrow_cast({value}, '{arrow}))");
        let values: Vec<String> = values.iter().map(value).collect();
        let keys = format!("(VALUES {}) AS l (k)", values.join(", "));
        let sql = format!("SELECT u.v FROM {keys} JOIN u ON l.k = u.{name} ORDER BY 1");
        assert_eq!(rows(&session, &sql).await.unwrap(), ["|1|", "|2|"], "{declared}");
        let before = format!("u.{name} < {}", values[1]);
        let sql = format!("SELECT count(*) FROM {keys} JOIN u ON l.k = u.{name} WHERE {before}");
        assert_eq!(rows(&session, &sql).await.unwrap(), ["|0|"], "{declared}");
    }
}

#[tokio::test]
async fn a_text_with_a_letter_that_the_server_lacks_has_no_row() {
    let database = Database::new().await;
    let name = format!("latin_{}", database.schema);
    database
        .run(&format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ))
        .await;
    let url = format!("postgres://farcall@127.0.0.1:{}/{name}", database.port);
    let inside = url.replace("farcall@", &format!("farcall:{}@", database.password));
    let (client, connection) =
        tokio_postgres::connect(&inside, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE u (k text, v int); INSERT INTO u VALUES ('a', 1), ('é', 2)")
        .await
        .unwrap();
    let session = session(1, 1);
    let options =
        format!("'connector' 'postgres', 'url' '{url}', 'password' '{}'", database.password);
    create(&session, "u", "k VARCHAR PRIMARY KEY, v INT", &options).await.unwrap();
    let keys = "(VALUES ('a'), ('漢'), ('é'), ('🦀')) AS l (k)";
    let sql = format!("SELECT l.k, u.v FROM {keys} LEFT JOIN u ON l.k = u.k ORDER BY 1");
    assert_eq!(rows(&session, &sql).await.unwrap(), ["|a|1|", "|é|2|", "|漢||", "|🦀||"]);
}

#[tokio::test]
async fn an_address_without_a_mask_meets_a_condition_as_it_is_shown() {
    let database = Database::new().await;
    database.run("CREATE TABLE u (id int, v inet); INSERT INTO u VALUES (1, '10.1.2.3')").await;
    let session = session(1, 3);
    database.create(&session, "u", "id BIGINT PRIMARY KEY, v VARCHAR", "").await;
    let sql = "SELECT u.v FROM t JOIN u ON t.id = u.id WHERE u.v";
    for condition in ["= '10.1.2.3'", "IN ('10.1.2.3', 'x')", "LIKE '%.3'", "> '10.1.2'"] {
        let got = rows(&session, &format!("{sql} {condition}")).await.unwrap();
        assert_eq!(got, ["|10.1.2.3|"], "{condition}");
    }
}

async fn add_numbers(session: &FarcallSession, name: &str, count: i32) {
    let ids: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int32Array::from_iter_values((1..=count).chain([100])));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    session.context().register_batch(name, batch).unwrap();
}

#[tokio::test]
async fn a_value_that_does_not_fit_fails_its_key_alone() {
    for (declared, server, value, what) in [
        ("DECIMAL(10, 2)", "numeric", "'NaN'", "is not a number"),
        ("DECIMAL(10, 2)", "numeric", "'Infinity'", "is infinite"),
        ("DECIMAL(4, 2)", "numeric", "100", "has more digits than are declared"),
        ("DECIMAL(4, 2)", "numeric", "0.001", "has more digits behind the point than are declared"),
        ("DATE", "date", "'infinity'", "is infinite"),
        ("TIMESTAMP", "timestamp", "'-infinity'", "is infinite"),
        ("TIMESTAMP", "timestamp", "'2300-01-01'", "is out of range"),
        ("TIMESTAMP(0)", "timestamp", "'2000-01-01 00:00:00.5'", "is finer than its type"),
        ("TIME", "time", "'24:00'", "is 24:00, which is no time of a day"),
        ("INT[]", "int[]", "'{{1},{2}}'", "has several dimensions"),
    ] {
        let database = Database::new().await;
        database
            .run(&format!(
                "CREATE TABLE u (id bigint, v {server}); INSERT INTO u SELECT i, NULL FROM generate_series(0, 9) i;
                 UPDATE u SET v = {value} WHERE id = 4"
            ))
            .await;
        let session = session(1, 10);
        let columns = format!("id BIGINT PRIMARY KEY, v {declared}");
        database.create(&session, "u", &columns, "'retry_delay' '1ms'").await;
        let sql = "SELECT t.id, u.v FROM t JOIN u ON t.id = u.id ORDER BY t.id";
        let message = rows(&session, sql).await.unwrap_err();
        assert!(
            message.contains("a value of column v, declared as") && message.contains(what),
            "{message}"
        );
        session.sql("SET farcall.function.u.on_error = 'null'").await.unwrap();
        let got = rows(&session, sql).await.unwrap();
        let expected: Vec<String> =
            (0..10).filter(|id| *id != 4).map(|id| format!("|{id}||")).collect();
        assert_eq!(got, expected, "{declared} of {server}");
    }
}

#[tokio::test]
async fn a_type_that_would_lose_something_is_refused_with_both_names() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE u (id bigint, n numeric, tz timestamptz, d float8, m money, i inet[])")
        .await;
    let session = session(1, 3);
    for (column, told) in [
        ("n DOUBLE", "column n is declared as Float64, table {s}.u has it as numeric"),
        ("tz TIME", "column tz is declared as Time64(ns), table {s}.u has it as timestamptz"),
        ("d REAL", "column d is declared as Float32, table {s}.u has it as float8"),
        ("m VARCHAR", "column m is declared as Utf8View, table {s}.u has it as money"),
        ("d DOUBLE[]", "table {s}.u has it as float8"),
        ("i VARCHAR[]", "table {s}.u has it as inet[]"),
    ] {
        session.sql("DROP TABLE IF EXISTS u").await.unwrap();
        database.create(&session, "u", &format!("id BIGINT PRIMARY KEY, {column}"), "").await;
        let name = column.split(' ').next().unwrap();
        let sql = format!("SELECT u.{name} FROM t JOIN u ON t.id = u.id");
        let message = rows(&session, &sql).await.unwrap_err();
        let told = told.replace("{s}", &database.schema);
        assert!(
            message.contains("u is not set up correctly") && message.contains(&told),
            "{message}"
        );
        // What a query does not read is not its business.
        rows(&session, "SELECT u.id FROM t JOIN u ON t.id = u.id").await.unwrap();
    }
    let options = database.options("u", "");
    for (columns, told) in [
        (
            "id BIGINT UNSIGNED PRIMARY KEY",
            "column id: PostgreSQL has no type UInt64; declare DECIMAL(20, 0)",
        ),
        ("id BIGINT[] PRIMARY KEY", "column id: an array cannot be a key"),
        ("id BIGINT PRIMARY KEY, v BIGINT[][]", "column v: arrays of arrays are not read"),
    ] {
        let message = create(&session, "w", columns, &options).await.unwrap_err();
        assert!(message.contains(told), "{message}");
    }
}

#[tokio::test]
async fn what_only_the_server_calls_equal_is_not_found() {
    let database = Database::new().await;
    database
        .run("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
              CREATE TABLE u (k text COLLATE ci, c char(4), x float8, v int);
              INSERT INTO u VALUES ('a', 'a', 0, 1), ('A', 'A', '-0', 2), ('b', 'b', 1, 3)")
        .await;
    let session = session(1, 1);
    let keys = "(VALUES ('a', CAST(0 AS DOUBLE)), ('A ', CAST(1 AS DOUBLE)), ('A', CAST(2 AS DOUBLE))) AS l (s, x)";
    for (key, join, expected) in [
        ("k VARCHAR", "l.s = u.k", vec!["|A|2|", "|a|1|"]),
        ("c VARCHAR", "l.s = u.c", vec!["|A|2|", "|a|1|"]),
        ("x DOUBLE", "l.x = u.x", vec!["|A|3|", "|a|1|"]),
    ] {
        session.sql("DROP TABLE IF EXISTS u").await.unwrap();
        let name = key.split(' ').next().unwrap();
        let columns = format!("{key}, v INT, PRIMARY KEY ({name})");
        database.create(&session, "u", &columns, "").await;
        let sql = format!("SELECT l.s, u.v FROM {keys} JOIN u ON {join} ORDER BY 1, 2");
        assert_eq!(rows(&session, &sql).await.unwrap(), expected, "{key}");
    }
    session.sql("DROP TABLE u").await.unwrap();
    let columns = "k VARCHAR, v INT, c VARCHAR, PRIMARY KEY (k, c)";
    database.create(&session, "u", columns, "").await;
    let sql = format!("SELECT l.s, u.v FROM {keys} JOIN u ON l.s = u.k AND l.s = u.c ORDER BY 1");
    assert_eq!(rows(&session, &sql).await.unwrap(), ["|A|2|", "|a|1|"]);
}
