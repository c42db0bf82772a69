//! Connector `redis`: a lookup table whose rows are values of a Redis.
//!
//! ```text
//! CREATE EXTERNAL TABLE users (id BIGINT, name VARCHAR, age INT, PRIMARY KEY (id))
//!   STORED AS LOOKUP OPTIONS ('connector' 'redis', 'url' 'redis://localhost:6379/0',
//!                             'password' '${env:REDIS_PASSWORD}', 'key' 'user:{id}', 'value' 'hash')
//! ```
//! The columns of the key make the name of a Redis key, `user:42`; its value is the row:
//!
//! * `json`: a JSON object by column name, or a list of objects for several rows;
//! * `hash`: a hash with a field for each column, as text; only the fields that a query reads are
//!   asked for (`HMGET`);
//! * `string`: the value of the only other column, as text.
//!
//! A request is one round trip on one of a few connections that all tables of the runtime share.

mod classify;
mod connection;
mod decode;
mod documents;
mod find;
mod keep_alive;
mod key;
mod link;
mod options;
mod pool;
mod scan;
mod size;
pub(crate) mod source;
mod table;
mod text;

use std::str::FromStr;

pub use table::RedisConnector;

/// What the value of a Redis key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// A string that is a JSON document.
    Json,
    /// A hash with a field for each column.
    Hash,
    /// A string that is the value of the only column beside the key.
    String,
}

impl ValueKind {
    /// Returns the type of the value as Redis's TYPE names it.
    fn redis_type(self) -> &'static str {
        match self {
            ValueKind::Json | ValueKind::String => "string",
            ValueKind::Hash => "hash",
        }
    }
}

impl FromStr for ValueKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "json" => Ok(ValueKind::Json),
            "hash" => Ok(ValueKind::Hash),
            "string" => Ok(ValueKind::String),
            _ => Err(format!("'{text}' is not accepted, accepted are 'json', 'hash', 'string'")),
        }
    }
}
