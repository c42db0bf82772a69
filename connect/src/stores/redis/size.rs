//! [`size`], how many bytes an answer had on its way here.

use redis::Value;

/// Returns the length of an answer in the protocol's second version, which is the one spoken.
pub(crate) fn size(answer: &Value) -> usize {
    /// A byte that says what follows, and the end of a line.
    const LINE: usize = 3;
    match answer {
        Value::Nil => LINE + "-1".len(),
        Value::Okay => LINE + "OK".len(),
        Value::Int(number) => LINE + usize::from(*number < 0) + digits(number.unsigned_abs()),
        Value::SimpleString(text) => LINE + text.len(),
        Value::BulkString(bytes) => LINE + digits(bytes.len() as u64) + bytes.len() + 2,
        Value::Array(values) => {
            LINE + digits(values.len() as u64) + values.iter().map(size).sum::<usize>()
        }
        Value::ServerError(error) => {
            LINE + error.code().len() + error.details().map_or(0, |details| 1 + details.len())
        }
        // Of the third version.
        _ => 0,
    }
}

fn digits(number: u64) -> usize {
    1 + number.checked_ilog10().unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_it_was() {
        for text in [
            "$-1\r\n",
            "+OK\r\n",
            "+PONG\r\n",
            ":0\r\n",
            ":-120\r\n",
            "$0\r\n\r\n",
            "$10\r\n0123456789\r\n",
            "*0\r\n",
            "*3\r\n$1\r\na\r\n*1\r\n:7\r\n$-1\r\n",
            "-ERR it is so\r\n",
            "-OOM\r\n",
        ] {
            assert_eq!(size(&redis::parse_redis_value(text.as_bytes()).unwrap()), text.len());
        }
    }
}
