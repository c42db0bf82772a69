//! Mistakes of the user: each is refused with a message that names what is wrong and what is right.

use arrow::array::{Float64Array, RecordBatch};
use std::sync::Arc;

use crate::support::remote::{Remote, create, message, rows, session};
use crate::support::server::TestServer;

/// Runs SQL in a session with table `t` and model `m` and returns the message.
async fn refused(sql: &str) -> String {
    let remote = Remote::new(TestServer::builder(), "").await;
    let message = match remote.rows(sql).await {
        Err(message) => message,
        Ok(rows) => panic!("{sql} gave {} rows", rows.len()),
    };
    assert_eq!(remote.requests(), 0, "{sql}");
    message
}

macro_rules! refuses {
    ($($name:ident: $sql:expr => $message:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            assert_eq!(refused($sql).await, $message);
        }
    )+};
}

refuses! {
    an_unknown_model: "SELECT id,\n  PREDICT(mood, id) FROM t" =>
        "no model 'mood', the session has 'm' at Line: 2, Column: 3";
    a_model_with_too_few_arguments: "SELECT PREDICT(m) FROM t" =>
        "PREDICT(m, ..) takes 1 argument after the model (x BIGINT), got 0 at Line: 1, Column: 8";
    a_model_with_too_many_arguments: "SELECT PREDICT(m, id, id) FROM t" =>
        "PREDICT(m, ..) takes 1 argument after the model (x BIGINT), got 2 at Line: 1, Column: 8";
    an_argument_of_a_wrong_type: "SELECT PREDICT(m, [id]) FROM t" => "PREDICT(m, ..): input x is BIGINT, an argument of type ARRAY<BIGINT> cannot be cast to it";
    a_text_that_is_no_number: "SELECT PREDICT(m, 'five')" => "Cast error: Cannot cast string 'five' to value of Int64 type";
    a_call_with_an_unknown_option: "SELECT PREDICT(m, id, colour => 'red') FROM t" => "bad option colour of PREDICT: no such option, accepted are 'mode', 'output_mode', 'buffer_capacity', 'max_batch_size', 'max_batch_bytes', 'batch_timeout', 'max_buffered_rows', 'attempt_timeout', 'timeout', 'timeout_policy', 'retry_strategy', 'retry_delay', 'max_retry_delay', 'retry_multiplier', 'max_attempts', 'retry_predicate', 'on_error', 'null_input', 'max_concurrency', 'rpm', 'tpm', 'adaptive', 'dedup', 'dedup_max_bytes', 'cache', 'cache_max_bytes', 'cache_max_rows', 'cache_ttl', 'cache_ttl_after_access', 'cache_missing_keys', 'cache_reload_interval', 'cost', 'selectivity' at Line: 1, Column: 23";
    a_call_with_a_bad_value: "SELECT PREDICT(m, id, mode => 'fast') FROM t" =>
        "bad option mode of PREDICT: value 'fast' is not accepted, accepted are 'async', 'sync' at Line: 1, Column: 23";
    a_setting_with_a_bad_value: "SET farcall.async_scalar.timeout = '30'" =>
        "bad option farcall.async_scalar.timeout: value '30' is not accepted, a duration needs a unit, such as '30s' or '30ms'";
    a_number_below_the_least: "SET farcall.async_scalar.buffer_capacity = 0" =>
        "bad option farcall.async_scalar.buffer_capacity: value 0 is not accepted, the least is 1";
    a_negative_number: "SET farcall.async_scalar.max_attempts = -1" => "bad option farcall.async_scalar.max_attempts: value '-1' is not accepted, accepted are whole numbers from 1 to 4294967295";
    an_unknown_setting: "SET farcall.async_scalar.colour = 'red'" => "bad option farcall.async_scalar.colour: no such option, accepted are 'mode', 'output_mode', 'buffer_capacity', 'max_batch_size', 'max_batch_bytes', 'batch_timeout', 'max_buffered_rows', 'attempt_timeout', 'timeout', 'timeout_policy', 'retry_strategy', 'retry_delay', 'max_retry_delay', 'retry_multiplier', 'max_attempts', 'retry_predicate', 'on_error', 'null_input', 'max_concurrency', 'rpm', 'tpm', 'adaptive', 'dedup', 'dedup_max_bytes', 'cache', 'cache_max_bytes', 'cache_max_rows', 'cache_ttl', 'cache_ttl_after_access', 'cache_missing_keys', 'cache_reload_interval', 'cost', 'selectivity'";
    a_setting_of_an_unknown_group: "SET farcall.async_scalars.timeout = '1s'" => "bad option farcall.async_scalars.timeout: no such option, accepted are 'farcall.async_scalar.<option>', 'farcall.async_table.<option>', 'farcall.async_lookup.<option>', 'farcall.ml_predict.<option>', 'farcall.function.<name>.<option>', 'farcall.planner.parallel_calls', 'farcall.planner.drop_inferred', 'farcall.planner.join_on_calls', 'farcall.planner.wait_for_conditions'";
    a_model_without_a_provider: "CREATE MODEL n INPUT (x INT) OUTPUT (y INT)" => "model n: option 'provider': missing, accepted are 'http', 'local'";
    a_model_of_an_unknown_provider:
        "CREATE MODEL n INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'htp')" => "model n: option 'provider': no provider 'htp', accepted are 'http', 'local'";
    a_model_without_an_endpoint:
        "CREATE MODEL n INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'http')" => "model n: option 'endpoint': missing, expected an http or https URL";
    a_model_with_an_unknown_option: "CREATE MODEL n INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'http', 'endpoint' = 'http://h', 'colour' = 'red')" => "model n: option 'colour': no such option, provider 'http' accepts endpoint, headers, max_response_bytes, connect_timeout and the call options";
    a_model_with_a_bad_value: "CREATE MODEL n INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'http', 'endpoint' = 'http://h', 'max_batch_size' = 'many')" => "model n: option 'max_batch_size': value 'many' is not accepted, accepted are whole numbers";
    a_model_with_an_endpoint_that_is_none: "CREATE MODEL n INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'http', 'endpoint' = 'localhost:80')" => "model n: option 'endpoint': expected an http or https URL, like 'http://localhost:8080/score'";
    a_model_with_an_unknown_local_model: "CREATE MODEL n INPUT (x VARCHAR) OUTPUT (y VARCHAR) WITH ('provider' = 'local', 'model' = 'gpt')" => "model n: option 'model': no local model 'gpt'; accepted: language, sentiment, embedding";
    a_model_that_exists: "CREATE MODEL m INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'http', 'endpoint' = 'http://h')" => "model 'm' exists; CREATE OR REPLACE MODEL takes its place";
    a_model_without_output: "CREATE MODEL n INPUT (x INT) WITH ('provider' = 'http', 'endpoint' = 'http://h')" => "sql parser error: Expected: OUTPUT (column type, ..), found: WITH at Line: 1, Column: 30";
    a_model_of_an_unknown_type: "CREATE MODEL n INPUT (x HSTORE) OUTPUT (y INT) WITH ('provider' = 'http', 'endpoint' = 'http://h')" => "model n: column x at Line: 1, Column: 23: This feature is not implemented: Unsupported SQL type HSTORE";
    a_dropped_model_that_is_none: "DROP MODEL nothing" => "no model 'nothing', the session has 'm'";
    a_wrong_column: "SELECT PREDICT(m, idd) FROM t" => "No field named idd. Did you mean 't.id'?\nValid fields are t.id.";
    a_wrong_table: "SELECT PREDICT(m, id) FROM tt" => "table 'datafusion.public.tt' not found at Line: 1, Column: 28";
    broken_sql: "SELECT id,\n  PREDICT(m, id FROM t" => "sql parser error: Expected: ), found: FROM at Line: 2, Column: 17";
    a_broken_definition: "CREATE MODEL n INPUT (x INT OUTPUT (y INT)" => "sql parser error: Expected: ',' or ')' after a column, found: OUTPUT at Line: 1, Column: 29";
    a_field_that_is_none: "SELECT PREDICT(m, id).label FROM t" => "Cannot access field at argument 1: type Int64 is not Struct, Map, or Null";
    an_unknown_function: "SELECT predicts(m, id) FROM t" => "Invalid function 'predicts' at Line: 1, Column: 8\nDid you mean 'predict'?";
    a_model_as_a_column: "SELECT PREDICT(id, m) FROM t" => "no model 'id', the session has 'm' at Line: 1, Column: 8";
    a_call_in_delete: "DELETE FROM t WHERE PREDICT(m, id) = 1" => "async function m cannot be called in DELETE on t, whose conditions the table evaluates itself; select the keys with the call first, and write by key";
    a_call_in_update: "UPDATE t SET id = PREDICT(m, id)" => "async function m cannot be called in UPDATE on t, whose conditions the table evaluates itself; select the keys with the call first, and write by key";
    a_default_of_a_wrong_type: "SELECT PREDICT(m, id, on_error => 'default:x') FROM t" => "bad option on_error of m: default 'x' is not a value of type Int64";
    two_statements: "SELECT 1; SELECT 2" => "expected exactly one SQL statement";
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let files = farcall::files::Files::new("/nowhere");
    let session = farcall::files::session(&files).unwrap();
    let message = rows(&session, "SELECT * FROM 'reviews.parquet'").await.unwrap_err();
    assert_eq!(message, "file 'reviews.parquet' not found in /nowhere");
}

#[tokio::test]
async fn a_wrong_column_and_a_wrong_table_are_located_on_the_command_line() {
    let files = farcall::files::Files::new("/nowhere");
    let session = farcall::files::session(&files).unwrap();
    let sql = "SELECT value,\n  valeu FROM generate_series(1, 2)";
    let column = rows(&session, sql).await.unwrap_err();
    assert!(column.contains("valeu") && column.contains(" at Line: 2, Column: 3\n"), "{column}");
    let table = rows(&session, "SELECT 1\nFROM reviews").await.unwrap_err();
    assert_eq!(table, "table 'datafusion.public.reviews' not found at Line: 2, Column: 6");
}

#[tokio::test]
async fn a_value_that_json_cannot_hold_fails_its_row_alone_and_is_not_sent() {
    let server = TestServer::builder().start();
    let session = session(1);
    let values = Float64Array::from(vec![1.0, f64::NAN, 2.0, f64::INFINITY]);
    let batch = RecordBatch::try_from_iter([("v", Arc::new(values) as _)]).unwrap();
    session.context().register_batch("f", batch).unwrap();
    let create = |on_error: &str| {
        format!(
            "CREATE OR REPLACE MODEL n INPUT (x DOUBLE) OUTPUT (y DOUBLE) WITH \
             ('provider' = 'http', 'endpoint' = '{}', 'on_error' = '{on_error}')",
            server.url()
        )
    };
    session.sql(&create("null")).await.unwrap();
    let got = rows(&session, "SELECT PREDICT(n, v) AS y FROM f").await.unwrap();
    assert_eq!(got, ["|3.0|", "||", "|5.0|", "||"]);
    assert_eq!(server.counts().rows, 2);
    session.sql(&create("fail")).await.unwrap();
    let message = rows(&session, "SELECT PREDICT(n, v) AS y FROM f").await.unwrap_err();
    assert_eq!(message, "n cannot convert column x to JSON: row 2 of 4 holds NaN");
}

#[tokio::test]
async fn a_missing_variable_is_named_when_the_query_starts() {
    let server = TestServer::builder().start();
    let session = session(1);
    create(&session, &server.url(), "'headers' = 'X-Key: ${env:FARCALL_NO_SUCH}'").await;
    let message = rows(&session, "SELECT PREDICT(m, id) FROM t").await.unwrap_err();
    assert!(
        message.starts_with("m is not set up correctly: ") && message.contains("FARCALL_NO_SUCH"),
        "{message}"
    );
    assert_eq!(server.counts().requests, 0);
}

#[tokio::test]
async fn no_mistake_is_called_an_internal_error() {
    let session = session(1);
    for sql in ["SELECT PREDICT()", "SELECT PREDICT", "SELECT predict('m')", "SELECT PREDICT(*)"] {
        let error = session.sql(sql).await.unwrap_err();
        assert!(!message(&error).to_lowercase().contains("internal"), "{sql}: {}", message(&error));
    }
}
