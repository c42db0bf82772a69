//! Connector `memory` in SQL: rows from a file or a table, read when the lookup table is created.

use farcall::FarcallSession;

use crate::support::remote::{message, rows};

/// Files of the same two rows, and one whose codes look like numbers.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("u.csv", "name,id,more\nann,1,x\nbob,2,y\n"),
        ("u.tsv", "name\tid\nann\t1\nbob\t2\n"),
        ("u.json", "{\"id\": 1, \"name\": \"ann\"}\n{\"id\": 2, \"name\": \"bob\"}\n"),
        ("zip.csv", "zip,city\n01067,Dresden\n10115,Berlin\n"),
        ("bad.csv", "id,name\n1,ann\nx,bob\n"),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn create(source: &str) -> String {
    format!(
        "CREATE EXTERNAL TABLE users (id BIGINT, name VARCHAR, PRIMARY KEY (id)) STORED AS LOOKUP \
         OPTIONS ('connector' 'memory', {source})"
    )
}

const JOIN: &str =
    "SELECT t.k, u.name FROM (VALUES (2), (3)) AS t (k) LEFT JOIN users u ON t.k = u.id";

#[tokio::test]
async fn rows_come_from_files_and_tables_by_the_names_of_their_columns() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let session = FarcallSession::new().unwrap();
    let table = "CREATE TABLE stored (name VARCHAR, id INT) AS VALUES ('ann', 1), ('bob', 2)";
    session.sql(table).await.unwrap().collect().await.unwrap();
    let copy = format!("COPY (SELECT * FROM stored) TO '{}'", path("u.parquet"));
    session.sql(&copy).await.unwrap().collect().await.unwrap();
    let mut sources = vec!["'table' 'stored'".to_owned()];
    for name in ["u.csv", "u.tsv", "u.json", "u.parquet"] {
        sources.push(format!("'location' '{}'", path(name)));
    }
    for source in sources {
        session.sql(&create(&source)).await.unwrap();
        assert_eq!(rows(&session, JOIN).await.unwrap(), ["|2|bob|", "|3||"], "{source}");
        let all = "SELECT count(*), sum(id) FROM users WHERE id > 1";
        assert_eq!(rows(&session, all).await.unwrap(), ["|1|2|"], "{source}");
        session.sql("DROP TABLE users").await.unwrap().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_code_keeps_its_zeros() {
    let dir = folder();
    let session = FarcallSession::new().unwrap();
    let create = format!(
        "CREATE TABLE zips (zip VARCHAR PRIMARY KEY, city VARCHAR) \
         WITH ('connector' = 'memory', 'location' = '{}')",
        dir.path().join("zip.csv").display()
    );
    session.sql(&create).await.unwrap();
    let sql = "SELECT z.city FROM (VALUES ('01067')) AS t (k) JOIN zips z ON t.k = z.zip";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|Dresden|"]);
}

#[tokio::test]
async fn a_table_that_is_created_anew_has_new_rows_whatever_is_cached() {
    let dir = folder();
    let path = dir.path().join("u.csv");
    let session = FarcallSession::new().unwrap();
    for cache in ["partial", "full"] {
        for name in ["one", "two"] {
            std::fs::write(&path, format!("id,name\n2,{name}\n")).unwrap();
            let source = format!("'location' '{}', 'cache' '{cache}'", path.display());
            let create = create(&source).replace("CREATE", "CREATE OR REPLACE");
            session.sql(&create).await.unwrap();
            assert_eq!(rows(&session, JOIN).await.unwrap()[0], format!("|2|{name}|"));
        }
    }
}

#[tokio::test]
async fn mistakes_name_the_table_the_option_and_what_is_accepted() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let session = FarcallSession::new().unwrap();
    for (source, said) in [
        (
            "'cache' 'none'".to_owned(),
            "lookup table users: option 'location': missing, expected a file, or the option 'table'",
        ),
        (
            "'location' 'u.xlsx'".to_owned(),
            "option 'location': 'u.xlsx' is no file of a kind that is read, accepted are .csv, .tsv,",
        ),
        (
            "'location' 'u.csv', 'table' 't'".to_owned(),
            "option 'table': goes without 'location': rows have one source",
        ),
        (
            "'path' 'u.csv'".to_owned(),
            "option 'path': no such option, connector 'memory' accepts location, table and the call options",
        ),
        (
            format!("'location' '{}'", path("zip.csv")),
            "no column id among those that its rows are read from: zip, city",
        ),
        (format!("'location' '{}'", path("bad.csv")), "its rows cannot be read"),
        ("'table' 'nowhere'".to_owned(), "its rows cannot be read"),
        (
            format!("'location' '{}', 'ordering_key' 'name'", path("u.csv")),
            "option 'ordering_key': 'name' is no column of the key, accepted are 'id'",
        ),
    ] {
        let error = session.sql(&create(&source)).await.unwrap_err();
        let got = message(&error);
        assert!(got.contains("lookup table users") && got.contains(said), "{source}: {got}");
    }
}

#[tokio::test]
async fn equal_parts_of_a_key_go_one_after_the_other_where_the_table_says_so() {
    let session = FarcallSession::new().unwrap();
    let source = "CREATE TABLE stored (a BIGINT, b BIGINT, v BIGINT) AS VALUES (1, 1, 11), (1, 2, 12), (2, 1, 21)";
    session.sql(source).await.unwrap().collect().await.unwrap();
    let create = "CREATE TABLE cells (a BIGINT, b BIGINT, v BIGINT, PRIMARY KEY (a, b)) \
                  WITH ('connector' = 'memory', 'table' = 'stored', 'ordering-key' = 'a')";
    session.sql(create).await.unwrap();
    let sql = "SELECT c.v FROM (VALUES (1, 1), (1, 2), (2, 1)) AS t (a, b) JOIN cells c ON t.a = c.a AND t.b = c.b";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|11|", "|12|", "|21|"]);
    // One request for a = 1 and a = 2 together, one more for the other row with a = 1.
    let requests =
        "SELECT value FROM farcall.metrics WHERE function = 'cells' AND metric = 'requests'";
    assert_eq!(rows(&session, requests).await.unwrap(), ["|2.0|"]);
}
