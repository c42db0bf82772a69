//! The server of local models over real HTTP.

use std::time::Duration;

use farcall_udf::Resources;
use reqwest::{Method, Url};

use super::*;
use crate::http::client::HttpClients;

#[tokio::test]
async fn one_wanted_output_is_a_bare_value_and_several_are_an_object() {
    let body = r#"{"inputs": ["I love it", null, {"text": "I hate it"}]}"#;
    let (status, labels) = ask(Method::POST, "/models/sentiment?outputs=label", body).await;
    assert_eq!((status, labels), (200, json!({"outputs": ["positive", null, "negative"]})));
    let (_, both) = ask(Method::POST, "/models/sentiment", body).await;
    assert_eq!(both["outputs"][0]["label"], "positive");
    assert!(both["outputs"][2]["score"].as_f64().unwrap() < -0.05);
    assert_eq!(both["outputs"][1], json!({"label": null, "score": null}));
}

#[tokio::test]
async fn an_embedding_has_the_wanted_length() {
    let body = r#"{"inputs": ["some words"]}"#;
    for (path, length) in [("/models/embedding", 64), ("/models/embedding?dimension=16", 16)] {
        let (_, answer) = ask(Method::POST, path, body).await;
        assert_eq!(answer["outputs"][0].as_array().unwrap().len(), length);
    }
}

#[tokio::test]
async fn an_unknown_model_or_output_is_told_with_those_there_are() {
    for (path, told) in [
        ("/models/mood", "no model mood; there are language, sentiment, embedding"),
        ("/models/language?outputs=label", "language has no output label; it has lang, confidence"),
        ("/models/embedding?dimension=7", "dimension is a number from 8 to 4096"),
    ] {
        let (status, answer) = ask(Method::POST, path, r#"{"inputs": []}"#).await;
        assert_eq!((status, answer), (404, json!({"error": told})));
    }
}

#[tokio::test]
async fn bad_input_is_unprocessable_and_named() {
    for (body, told) in [
        (
            r#"{"inputs": ["a", 7]}"#,
            "inputs[1]: expected a text, null or {\"text\": ..}, got a number",
        ),
        (r#"{"rows": []}"#, "the body has no array \"inputs\""),
        ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
    ] {
        let (status, answer) = ask(Method::POST, "/models/language", body).await;
        assert_eq!((status, answer), (422, json!({"error": told})));
    }
}

#[tokio::test]
async fn models_are_listed_with_their_columns() {
    let (status, answer) = ask(Method::GET, "/models", "").await;
    assert_eq!(status, 200);
    let language = json!({
        "name": "language",
        "inputs": [{"name": "text", "type": "VARCHAR"}],
        "outputs": [{"name": "lang", "type": "VARCHAR"}, {"name": "confidence", "type": "DOUBLE"}],
    });
    assert_eq!(answer["models"][0], language);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = serve("127.0.0.1", 0).await.unwrap();
    let port = server.addr().port();
    let error = serve("127.0.0.1", port).await.unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn a_dropped_server_listens_no_more() {
    let server = serve("127.0.0.1", 0).await.unwrap();
    let addr = server.addr();
    server.run_until(async {}).await;
    // The port is free again, which it is only after the listener is gone.
    let rebound = async {
        while TcpListener::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), rebound).await.unwrap();
}

async fn ask(method: Method, path: &str, body: &str) -> (u16, Value) {
    let server = serve("127.0.0.1", 0).await.unwrap();
    let url = Url::parse(&format!("http://{}{path}", server.addr())).unwrap();
    let clients = HttpClients::of(&Resources::default());
    let client = clients.client(&url, Duration::from_secs(5)).unwrap();
    let response = client.request(method, url).body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}
