//! [`find`], which asks a server for the values of many keys in one request.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Pipeline, Value};

use super::classify::Failure;
use super::pool::Pool;

/// What a server is asked of each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The value, a string.
    Value,
    /// Fields of the value, a hash.
    Fields(Vec<String>),
    /// Whether there is a value, of the type that TYPE names so.
    Presence(&'static str),
}

/// What a server has of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Missing,
    /// The value, or its fields, as many as were asked for.
    Values(Vec<Option<Vec<u8>>>),
    /// A value of another type, as messages name it.
    OtherType(String),
}

/// Finds the values of keys, in the order of the keys.
///
/// One round trip as a rule: `MGET`, or a pipeline of `HMGET`, with an `EXISTS` over all keys behind
/// it. To both, nothing at all is the same answer as a key of another type, or a hash without the
/// fields; where `EXISTS` counts more keys than there are answers, the silent ones are asked again.
pub(crate) async fn find(
    pool: &Arc<Pool>,
    ask: &Ask,
    keys: &[Vec<u8>],
) -> Result<Vec<Found>, Failure> {
    let mut first = redis::pipe();
    match ask {
        Ask::Value => {
            first.cmd("MGET").arg(keys);
            first.cmd("EXISTS").arg(keys);
        }
        Ask::Fields(fields) => {
            for key in keys {
                first.cmd("HMGET").arg(key).arg(fields);
            }
            first.cmd("EXISTS").arg(keys);
        }
        Ask::Presence(_) => each(&mut first, "TYPE", keys),
    }
    let mut answers = checked(pool.request(&first).await?)?;
    if let Ask::Presence(expected) = ask {
        return answers.into_iter().map(|answer| present(answer, expected)).collect();
    }
    let Some(Value::Int(present)) = answers.pop() else { return Err(unexpected("EXISTS")) };
    let mut found = match ask {
        Ask::Value => values(answers.pop(), keys.len())?,
        _ => answers.into_iter().map(fields_of).collect::<Result<_, _>>()?,
    };
    let silent: Vec<usize> = (0..keys.len()).filter(|key| found[*key] == Found::Missing).collect();
    if !silent.is_empty() && present > (keys.len() - silent.len()) as i64 {
        look_again(pool, ask, keys, &silent, &mut found).await?;
    }
    Ok(found)
}

/// Asks for the keys that did not answer although some of them exist.
async fn look_again(
    pool: &Arc<Pool>,
    ask: &Ask,
    keys: &[Vec<u8>],
    silent: &[usize],
    found: &mut [Found],
) -> Result<(), Failure> {
    let silent_keys = silent.iter().map(|key| &keys[*key]);
    let mut second = redis::pipe();
    match ask {
        Ask::Fields(_) => each(&mut second, "HGETALL", silent_keys),
        _ => each(&mut second, "TYPE", silent_keys),
    }
    let answers = checked(pool.request(&second).await?)?;
    for (key, answer) in silent.iter().zip(answers) {
        found[*key] = match ask {
            Ask::Fields(fields) => hash(answer, fields)?,
            // A string that came in between was not there when it was asked for.
            _ => match present(answer, "string")? {
                Found::Values(_) => Found::Missing,
                other => other,
            },
        };
    }
    Ok(())
}

fn each<'k>(pipeline: &mut Pipeline, command: &str, keys: impl IntoIterator<Item = &'k Vec<u8>>) {
    for key in keys {
        pipeline.cmd(command).arg(key);
    }
}

/// Lets through what are answers to a key; any other error is one of the request.
fn checked(answers: Vec<Value>) -> Result<Vec<Value>, Failure> {
    let error = answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) if !is_wrong_type(answer) => Some(error),
        _ => None,
    });
    match error {
        Some(error) => Err(Failure::said(error)),
        None => Ok(answers),
    }
}

fn is_wrong_type(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "WRONGTYPE")
}

fn wrong_type() -> Found {
    Found::OtherType("a value of another type".to_owned())
}

fn unexpected(command: &str) -> Failure {
    Failure::Malformed(format!("{command} was answered by something else than it should be"))
}

fn bulk(answer: Value, command: &str) -> Result<Option<Vec<u8>>, Failure> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        _ => Err(unexpected(command)),
    }
}

/// Reads the answer to MGET.
fn values(answer: Option<Value>, keys: usize) -> Result<Vec<Found>, Failure> {
    let Some(Value::Array(values)) = answer else { return Err(unexpected("MGET")) };
    if values.len() != keys {
        return Err(Failure::Malformed(format!("{} values for {keys} keys", values.len())));
    }
    let found = |value: Value| {
        Ok(match bulk(value, "MGET")? {
            None => Found::Missing,
            value => Found::Values(vec![value]),
        })
    };
    values.into_iter().map(found).collect()
}

/// Reads the answer to HMGET.
fn fields_of(answer: Value) -> Result<Found, Failure> {
    if is_wrong_type(&answer) {
        return Ok(wrong_type());
    }
    let Value::Array(values) = answer else { return Err(unexpected("HMGET")) };
    let values: Vec<_> =
        values.into_iter().map(|value| bulk(value, "HMGET")).collect::<Result<_, _>>()?;
    Ok(match values.iter().all(Option::is_none) {
        true => Found::Missing,
        false => Found::Values(values),
    })
}

/// Reads the answer to HGETALL, which is empty only for a key that is not there.
fn hash(answer: Value, fields: &[String]) -> Result<Found, Failure> {
    if is_wrong_type(&answer) {
        return Ok(wrong_type());
    }
    let Value::Array(flat) = answer else { return Err(unexpected("HGETALL")) };
    let flat: Vec<_> =
        flat.into_iter().map(|value| bulk(value, "HGETALL")).collect::<Result<_, _>>()?;
    if flat.is_empty() {
        return Ok(Found::Missing);
    }
    let mut pairs = HashMap::new();
    for pair in flat.chunks_exact(2) {
        if let [Some(field), value] = pair {
            pairs.insert(field.as_slice(), value);
        }
    }
    let value = |field: &String| pairs.get(field.as_bytes()).copied().cloned().flatten();
    Ok(Found::Values(fields.iter().map(value).collect()))
}

/// Reads the answer to TYPE.
fn present(answer: Value, expected: &str) -> Result<Found, Failure> {
    match bulk(answer, "TYPE")?.as_deref() {
        Some(b"none") => Ok(Found::Missing),
        Some(name) if name == expected.as_bytes() => Ok(Found::Values(Vec::new())),
        Some(name) => Ok(Found::OtherType(format!("a {}", String::from_utf8_lossy(name)))),
        None => Err(unexpected("TYPE")),
    }
}
