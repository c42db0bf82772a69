//! An option that is given twice is refused in the same words everywhere, also under two names.

use super::cases::{create_model, create_table, hint, predict};
use farcall::FarcallSession;

use crate::support::remote::message;

/// Two ways to name an option that is then given twice.
const TWICE: [(&str, &str, &str); 5] = [
    ("timeout", "timeout", "timeout"),
    ("timeout", "Timeout", "timeout"),
    ("batch_timeout", "batch-timeout", "batch_timeout"),
    ("buffer_capacity", "capacity", "buffer_capacity"),
    ("fixed_delay", "retry_delay", "retry_delay"),
];

#[tokio::test]
async fn an_option_that_is_given_twice_is_refused_everywhere_in_the_same_words() {
    let mut wrong = Vec::new();
    for (first, second, name) in TWICE {
        let value = if name == "buffer_capacity" { "3" } else { "3s" };
        let options = [(first, value), (second, value)];
        let with = create_table(&options).replace("EXTERNAL ", "").replace("' '", "' = '");
        let with = with.replace("STORED AS LOOKUP OPTIONS", "WITH");
        let places = [
            ("PREDICT", select(&predict(&options.map(named))), true),
            ("hint", look_up(&options), true),
            ("WITH of a model", create_model(&options), false),
            ("OPTIONS of a lookup table", create_table(&options), false),
            ("WITH of a lookup table", with, false),
        ];
        for (place, sql, defined) in places {
            let refused = refusal(&sql, defined).await;
            let expected = format!("option '{name}' is given twice");
            if !refused.as_ref().is_some_and(|told| told.contains(&expected)) {
                wrong.push(format!("{place}, '{first}' and '{second}': {refused:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

/// Quotes a name that is no identifier of its own.
fn named<'s>((name, value): (&'s str, &'s str)) -> (&'s str, &'s str) {
    match name {
        "batch-timeout" => ("\"batch-timeout\"", value),
        name => (name, value),
    }
}

fn select(call: &str) -> String {
    format!("SELECT {call} FROM (VALUES (1)) AS t (id)")
}

fn look_up(options: &[(&str, &str)]) -> String {
    format!(
        "SELECT {} u.name FROM (VALUES (1)) AS t (id) JOIN users u ON t.id = u.id",
        hint(options)
    )
}

/// Runs a statement, where the model and the table are there if it needs them.
async fn refusal(sql: &str, defined: bool) -> Option<String> {
    let session = FarcallSession::new().unwrap();
    let rows = "CREATE TABLE stored (id BIGINT, name VARCHAR) AS VALUES (1, 'ann')";
    session.sql(rows).await.unwrap().collect().await.unwrap();
    if defined {
        session.sql(&create_model(&[])).await.unwrap();
        session.sql(&create_table(&[])).await.unwrap();
    }
    session.sql(sql).await.err().map(|error| message(&error))
}
