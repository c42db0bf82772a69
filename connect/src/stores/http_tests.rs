use std::collections::BTreeMap;

use arrow::array::Int64Array;
use arrow::datatypes::Schema;
use farcall_udf::ErrorClass;
use serde_json::json;

use super::*;
use crate::test_context::{calling, opening};
use crate::test_server::{Script, TestServer};

#[tokio::test]
async fn a_key_is_found_not_once_or_several_times() {
    let server = TestServer::builder().keep_requests().answer(|key| match key.as_i64() {
        Some(1) => json!({"id": 1, "name": "ann"}),
        Some(2) => json!([{"name": "bob"}, {"name": null, "more": [1]}]),
        Some(3) => json!([]),
        _ => json!(null),
    });
    let server = server.start();
    let answer = lookup(&server, &["name"], &[2, 1, 3, 4]).await.unwrap();
    let names: Vec<_> = answer.columns()[0].as_string::<i32>().iter().collect();
    assert_eq!(names, [Some("bob"), None, Some("ann")]);
    assert_eq!(answer.keys(), [0, 0, 1]);
    assert_eq!(server.requests()[0].inputs, [json!(2), json!(1), json!(3), json!(4)]);
}

#[tokio::test]
async fn whether_a_key_is_there_needs_no_column() {
    let server = TestServer::builder().answer(|key| match key.as_i64() {
        Some(1) => json!({}),
        _ => json!(null),
    });
    let answer = lookup(&server.start(), &[], &[1, 2]).await.unwrap();
    assert_eq!((answer.columns().len(), answer.keys()), (0, &[0][..]));
}

#[tokio::test]
async fn a_key_with_an_error_fails_alone() {
    let server = TestServer::builder().answer(|key| match key.as_i64() {
        Some(2) => json!({"error": "locked"}),
        _ => json!({"name": "x"}),
    });
    let answer = lookup(&server.start(), &["name"], &[1, 2, 3]).await.unwrap();
    assert_eq!(answer.keys(), [0, 2]);
    let [(1, error)] = answer.errors() else { panic!("{answer:?}") };
    assert_eq!(error.class(), ErrorClass::Rejected);
    assert_eq!(error.to_string(), "users rejected the request: locked");
}

#[tokio::test]
async fn malformed_answers_say_what_and_where() {
    for (script, message) in [
        (Script::Short, "users answered 1 row for a request of 2 rows"),
        (Script::Body("{\"rows\": 1}".into()), "the body has no array \"rows\""),
        (Script::Body("{\"outputs\": []}".into()), "the body has no array \"rows\""),
        (Script::Body("rows".into()), "the body is not JSON"),
        (Script::Body("{\"rows\": [null, 7]}".into()), "number in row 2 of 2"),
        (Script::Body("{\"rows\": [[null], []]}".into()), "null in row 1 of 2"),
        (Script::Body("{\"rows\": [{\"nam\": \"x\"}, null]}".into()), "column name"),
        (Script::Body("{\"rows\": [null, {\"name\": 7}]}".into()), "column name"),
    ] {
        let server = TestServer::builder().always(script).start();
        let error = lookup(&server, &["name"], &[1, 2]).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Malformed, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_is_classified_as_that_of_a_model() {
    let server = TestServer::builder().always(Script::unavailable()).start();
    let error = lookup(&server, &["name"], &[1]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[test]
fn options_and_columns_are_checked_when_the_table_is_made() {
    for (options, message) in [
        (vec![], "lookup table users: option 'endpoint': missing"),
        (vec![("endpoint", "h")], "lookup table users: option 'endpoint': expected an http"),
        (
            vec![("endpoint", "http://h"), ("colour", "red")],
            "lookup table users: option 'colour': no such option, connector 'http' accepts endpoint, headers",
        ),
    ] {
        let error = HttpConnector.provider(&definition(options)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

fn definition(options: Vec<(&str, &str)>) -> LookupDefinition {
    let fields =
        vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)];
    let options = options.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    LookupDefinition {
        name: "users".into(),
        schema: Arc::new(Schema::new(fields)),
        key: vec![0],
        options: options.collect::<BTreeMap<_, _>>(),
        call_options: CallOptions::new(),
    }
}

/// Looks keys up in the table `users (id BIGINT, name VARCHAR)` behind a server.
async fn lookup(
    server: &TestServer,
    columns: &[&str],
    keys: &[i64],
) -> Result<LookupAnswer, CallError> {
    let table = HttpConnector.provider(&definition(vec![("endpoint", &server.url())])).unwrap();
    let columns = columns.iter().map(|name| table.schema().index_of(name).unwrap());
    let function = table.lookup(&LookupQuery::new(columns)).unwrap();
    let opened = function.open(&opening(Arc::default())).await?;
    let field: FieldRef = Arc::new(Field::new("id", DataType::Int64, true));
    let column: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
    let keys = ArgBatch::new(vec![column], [Arc::clone(&field)].into(), field, keys.len());
    function.lookup_batch(keys, &calling(1, &opened)).await
}
