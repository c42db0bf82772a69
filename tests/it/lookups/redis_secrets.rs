//! The password of a Redis is shown nowhere.

use std::sync::Arc;

use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
};

use crate::support::redis::Redis;
use crate::support::remote::{rows, session};

const COLUMNS: &str = "id BIGINT, name VARCHAR, PRIMARY KEY (id)";
const JOIN: &str = "SELECT t.id, u.name FROM t JOIN users u ON t.id = u.id";

#[tokio::test]
async fn no_statement_and_no_debug_text_shows_the_password() {
    let redis = Redis::shared().await;
    let with_password = redis.url().replace("redis://", &format!("redis://:{}@", redis.password()));
    for options in ["".to_owned(), format!("'url' '{with_password}'")] {
        let session = session(1);
        let sql = match options.is_empty() {
            true => String::new(),
            false => format!(
                "CREATE EXTERNAL TABLE users ({COLUMNS}) STORED AS LOOKUP OPTIONS ('connector' 'redis', {options})"
            ),
        };
        match sql.is_empty() {
            true => redis.create(&session, "users", COLUMNS, "").await,
            false => drop(session.sql(&sql).await.unwrap()),
        }
        for sql in [
            format!("EXPLAIN VERBOSE {JOIN}"),
            format!("EXPLAIN ANALYZE VERBOSE {JOIN}"),
            "SELECT * FROM information_schema.tables".into(),
            "SELECT * FROM information_schema.views".into(),
            "SHOW CREATE TABLE users".into(),
            "SHOW ALL".into(),
        ] {
            let shown = rows(&session, &sql).await.unwrap_or_else(|error| vec![error]).join("\n");
            assert!(!shown.contains(redis.password()), "{sql}\n{shown}");
        }
        let frame = session.sql(JOIN).await.unwrap();
        let plan = frame.clone().into_optimized_plan().unwrap();
        let physical = frame.create_physical_plan().await.unwrap();
        let task = session.context().task_ctx();
        datafusion::physical_plan::collect(Arc::clone(&physical), task).await.unwrap();
        let runtime = session.runtime();
        let text =
            format!("{plan:?} {physical:#?} {session:?} {runtime:#?} {:#?}", session.codec());
        assert!(text.contains("users") && !text.contains(redis.password()), "{text}");
    }
}

#[tokio::test]
async fn a_plan_travels_with_a_reference_and_without_a_password() {
    let redis = Redis::shared().await;
    let (here, there) = (session(1), session(1));
    let values = "SELECT u.name FROM (VALUES (1)) AS t (k) JOIN users u ON t.k = u.id";
    redis.create(&here, "users", COLUMNS, "").await;
    let plan = here.sql(values).await.unwrap().into_optimized_plan().unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.codec());
    let bytes = bytes.map(|bytes| bytes.to_vec()).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&bytes).contains(redis.password()));
    here.sql("DROP TABLE users").await.unwrap();
    redis.create(&here, "users", COLUMNS, "'password' '${env:REDIS_PASSWORD}'").await;
    let plan = here.sql(values).await.unwrap().into_optimized_plan().unwrap();
    let bytes = logical_plan_to_bytes_with_extension_codec(&plan, &here.codec()).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains("${env:REDIS_PASSWORD}"));
    let task = there.context().task_ctx();
    let back = logical_plan_from_bytes_with_extension_codec(&bytes, &task, &there.codec()).unwrap();
    assert!(back.display_indent().to_string().contains("users[id, name](id = "));
}
