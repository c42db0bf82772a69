//! Tables in a Redis read as a whole: the rows that a lookup of every key would give.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use farcall::connect::RedisConnector;
use farcall::udf::{CallError, CallOptions, FunctionContext, LookupQuery};
use farcall::udf::{LookupConnector, LookupDefinition};
use futures::TryStreamExt;

use crate::support::redis::Redis;
use crate::support::twins::lines;

/// Reads columns of a table `(id <type>, name VARCHAR)` as a whole.
async fn scan(
    redis: &Redis,
    id: DataType,
    columns: &[usize],
    more: &[(&str, &str)],
) -> Result<Vec<String>, CallError> {
    let fields = vec![Field::new("id", id, true), Field::new("name", DataType::Utf8, true)];
    let (url, key) = (redis.url(), redis.key("user[*]", "{id}"));
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    let all = [("url", url.as_str()), ("password", redis.password()), ("key", &key)];
    for (option, value) in all.iter().chain(more) {
        options.insert((*option).to_owned(), (*value).to_owned());
    }
    let table = LookupDefinition {
        name: "users".into(),
        schema: Arc::new(Schema::new(fields)),
        key: vec![0],
        options,
        call_options: CallOptions::new(),
    };
    let query = LookupQuery::new(columns.iter().copied());
    let table = RedisConnector.provider(&table).unwrap();
    let scan = table.scan(&query).unwrap().expect("a template is read backwards");
    let context = FunctionContext::new("query", Arc::default());
    let batches: Vec<RecordBatch> = scan.scan(&context).await?.try_collect().await?;
    let mut rows = lines(&batches);
    rows.sort();
    Ok(rows)
}

#[tokio::test]
async fn every_row_is_read_once_among_many_other_keys() {
    let redis = Redis::shared().await;
    let set = |key: String, value: String| vec!["SET".to_owned(), key, value];
    let mut commands = Vec::new();
    for id in 0..2_500 {
        commands.push(set(redis.key("user[*]", id), format!(r#"{{"name": "n{id}"}}"#)));
        commands.push(set(redis.key("user*", id), "other".into()));
    }
    redis.fill(&commands).await;
    let mut expected: Vec<_> = (0..2_500).map(|id| format!("|n{id}|{id}|")).collect();
    expected.sort();
    assert_eq!(scan(&redis, DataType::Int64, &[1, 0], &[]).await.unwrap(), expected);
}

#[tokio::test]
async fn large_values_are_read_in_as_many_requests_as_they_need() {
    let redis = Redis::own().await;
    let length = |id: usize| if id == 77 { 19_000 } else { 4_000 };
    let set = |id: usize| {
        let value = format!(r#"{{"name": "{}"}}"#, "x".repeat(length(id)));
        vec!["SET".to_owned(), redis.key("user[*]", id), value]
    };
    redis.fill(&(0..300).map(set).collect::<Vec<_>>()).await;
    redis.take_commands().await;
    let strict = [("max_response_bytes", "20000")];
    let got = scan(&redis, DataType::Int64, &[0, 1], &strict).await.unwrap();
    let row = |id: usize| format!("|{id}|{}|", "x".repeat(length(id)));
    let mut expected: Vec<String> = (0..300).map(row).collect();
    expected.sort();
    assert!(got == expected, "{} rows", got.len());
    // 128 in one request are too many, and so are 64, 32, 16 and 8; 4 are not, but where the
    // largest value is among them.
    let requests = redis.take_commands().await["mget"];
    assert!((80..320).contains(&requests), "{requests} requests");
    redis.command(&["SET", &redis.key("user[*]", 300), &"x".repeat(30_000)]).await;
    let error = scan(&redis, DataType::Int64, &[0, 1], &strict).await.unwrap_err().to_string();
    assert!(error.contains("more than 20000 bytes (max_response_bytes)"), "{error}");
}

#[tokio::test]
async fn values_are_asked_for_128_at_a_time() {
    let redis = Redis::own().await;
    let set = |id: usize| vec!["SET".to_owned(), redis.key("user[*]", id), "{}".to_owned()];
    redis.fill(&(0..400).map(set).collect::<Vec<_>>()).await;
    redis.take_commands().await;
    assert_eq!(scan(&redis, DataType::Int64, &[0], &[]).await.unwrap().len(), 400);
    assert_eq!(redis.take_commands().await["mget"], 4);
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_no_row() {
    let redis = Redis::shared().await;
    for (key, value) in [("1", r#"[{"name": "a"}, {"name": "b"}]"#), ("007", "{}"), ("x", "{}")] {
        redis.command(&["SET", &redis.key("user[*]", key), value]).await;
    }
    redis.command(&["RPUSH", &redis.key("user[*]", 2), "a list"]).await;
    redis.command(&["SET", &redis.key("user[*]", 3), "null"]).await;
    assert_eq!(scan(&redis, DataType::Int64, &[0, 1], &[]).await.unwrap(), ["|1|a|", "|1|b|"]);
    let texts = scan(&redis, DataType::Utf8, &[0], &[]).await.unwrap();
    assert_eq!(texts, ["|007|", "|1|", "|1|", "|x|"]);
}

#[tokio::test]
async fn hashes_and_strings_are_read_as_well() {
    let redis = Redis::shared().await;
    redis.command(&["HSET", &redis.key("user[*]", 1), "name", "a"]).await;
    redis.command(&["HSET", &redis.key("user[*]", 2), "other", "b"]).await;
    redis.command(&["SET", &redis.key("user[*]", 3), "c"]).await;
    let hash = scan(&redis, DataType::Int64, &[0, 1], &[("value", "hash")]).await.unwrap();
    assert_eq!(hash, ["|1|a|", "|2||"]);
    let string = scan(&redis, DataType::Int64, &[0, 1], &[("value", "string")]).await.unwrap();
    assert_eq!(string, ["|3|c|"]);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_ends_the_reading() {
    let redis = Redis::shared().await;
    redis.command(&["SET", &redis.key("user[*]", 1), "{"]).await;
    let error = scan(&redis, DataType::Int64, &[0, 1], &[]).await.unwrap_err().to_string();
    assert!(error.contains(&redis.key("user[*]", 1)) && error.contains("no JSON"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_told_and_not_shown() {
    let redis = Redis::shared().await;
    let wrong = [("password", "hush-42")];
    let error = scan(&redis, DataType::Int64, &[0], &wrong).await.unwrap_err().to_string();
    assert!(error.contains("WRONGPASS") && !error.contains("hush"), "{error}");
}
