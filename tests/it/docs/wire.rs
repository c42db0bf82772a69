//! [`Servers`], which answer in the place of the services of pages, and tell what went over the wire.

use serde_json::{Value, json};

use crate::support::server::{Received, TestServer};

/// Words that the model of the pages takes for a complaint.
const COMPLAINTS: [&str; 5] = ["never", "worst", "screwed", "junk", "poor"];

/// A service that scores texts, and one that finds users.
pub struct Servers {
    pub models: TestServer,
    pub users: TestServer,
}

impl Servers {
    pub fn start() -> Self {
        Self {
            models: TestServer::builder().answer(mood).keep_requests().start(),
            users: TestServer::builder().answer(user).keep_requests().start(),
        }
    }

    /// Forgets the requests of an earlier page.
    pub fn forget(&self) {
        self.models.reset();
        self.users.reset();
    }

    /// Checks that a body, or the answer to one, went over the wire.
    pub fn exchanged(&self, text: &str) -> Result<(), String> {
        let body: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let models = self.models.requests().into_iter().flat_map(|request| {
            let outputs: Vec<Value> = request.inputs.iter().map(mood).collect();
            [json!({"inputs": request.inputs}), json!({"outputs": outputs})]
        });
        let users = self.users.requests().into_iter().flat_map(|Received { inputs, .. }| {
            let rows: Vec<Value> = inputs.iter().map(user).collect();
            [json!({"keys": inputs}), json!({"rows": rows})]
        });
        let exchanged: Vec<Value> = models.chain(users).collect();
        match exchanged.contains(&body) {
            true => Ok(()),
            false => {
                let exchanged = exchanged.iter().map(|body| format!("{body}\n"));
                Err(format!("not on the wire; there were\n{}", exchanged.collect::<String>()))
            }
        }
    }
}

fn mood(text: &Value) -> Value {
    let Some(text) = text.as_str() else { return Value::Null };
    match COMPLAINTS.iter().any(|word| text.contains(word)) {
        true => json!({"label": "negative", "score": -0.5}),
        false => json!({"label": "positive", "score": 0.5}),
    }
}

fn user(id: &Value) -> Value {
    match id.as_i64() {
        Some(2) => json!({"name": "Blaise", "city": "Paris"}),
        Some(5) => {
            json!([{"name": "Emmy", "city": "Göttingen"}, {"name": "Emmy", "city": "Bryn Mawr"}])
        }
        _ => Value::Null,
    }
}
