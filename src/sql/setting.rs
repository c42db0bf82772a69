//! Reads SET and RESET of farcall's options and of their synonyms in Flink's words.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::sql::Statement;
use crate::sql::tokens::{unexpected, words_ahead};

/// Flink's prefixes and the groups that they mean here.
const SYNONYMS: [(&str, &str); 4] = [
    ("table.exec.async-scalar.", "async_scalar"),
    ("table.exec.async-table.", "async_table"),
    ("table.exec.async-lookup.", "async_lookup"),
    ("table.exec.async-ml-predict.", "ml_predict"),
];

/// Reads SET or RESET of an option of farcall's; `None`, with nothing taken, if it is another one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Option<Statement>, ParserError> {
    let set = words_ahead(parser, 0, &["SET"]);
    if !set && !words_ahead(parser, 0, &["RESET"]) {
        return Ok(None);
    }
    let (written, tokens) = key_ahead(parser);
    let Some(key) = own_key(&written) else { return Ok(None) };
    for _ in 0..=tokens {
        parser.advance_token();
    }
    if !set {
        return Ok(Some(Statement::Reset { key, written }));
    }
    if !parser.consume_token(&Token::Eq) {
        if !words_ahead(parser, 0, &["TO"]) {
            return Err(unexpected(&format!("= after option '{written}'"), parser));
        }
        parser.advance_token();
    }
    let value = value(parser, &written)?;
    Ok(Some(Statement::Set { key, written, value }))
}

/// Returns the option that stands behind SET or RESET, and of how many tokens it is made.
///
/// DataFusion takes no hyphen in an unquoted key, so it is put together here, up to the first
/// token that cannot be part of one.
fn key_ahead(parser: &Parser<'_>) -> (String, usize) {
    let mut key = String::new();
    let mut tokens = 0;
    loop {
        match &parser.peek_nth_token_ref(tokens + 1).token {
            Token::Word(word) => {
                if tokens > 0 && !key.ends_with(['.', '-']) {
                    break; // SET key TO value
                }
                match word.quote_style {
                    Some(_) => key.push_str(&word.value),
                    None => key.push_str(&word.value.to_lowercase()),
                }
            }
            Token::SingleQuotedString(text) if tokens == 0 => key.push_str(text),
            Token::Period => key.push('.'),
            Token::Minus => key.push('-'),
            _ => break,
        }
        tokens += 1;
    }
    (key, tokens)
}

/// Returns the option without `farcall.`, or `None` for one that is not farcall's.
fn own_key(written: &str) -> Option<String> {
    if let Some(key) = strip(written, "farcall.") {
        return Some(key.to_owned());
    }
    SYNONYMS.iter().find_map(|(prefix, group)| {
        // Hyphen and underscore are equal here too.
        let key = strip(&written.replace('_', "-"), prefix)?.to_owned();
        Some(format!("{group}.{key}"))
    })
}

fn strip<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let head = key.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &key[prefix.len()..])
}

/// Reads a value up to the end of the statement: a text, or tokens such as `30s` or `-1`.
fn value(parser: &mut Parser<'_>, written: &str) -> Result<String, ParserError> {
    let expected = format!("a value for option '{written}'");
    if let Token::SingleQuotedString(text) = &parser.peek_token_ref().token {
        let text = text.clone();
        parser.advance_token();
        return Ok(text);
    }
    let mut value = String::new();
    loop {
        match &parser.peek_token_ref().token {
            Token::Word(word) => value.push_str(&word.value),
            Token::Number(digits, _) => value.push_str(digits),
            Token::Minus => value.push('-'),
            Token::Period => value.push('.'),
            Token::Colon => value.push(':'),
            Token::EOF | Token::SemiColon if !value.is_empty() => return Ok(value),
            _ => return Err(unexpected(&expected, parser)),
        }
        parser.advance_token();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql;

    #[test]
    fn keys_of_farcall_are_read_in_every_spelling() {
        for (sql, key, value) in [
            ("SET farcall.async_scalar.timeout = '30s'", "async_scalar.timeout", "30s"),
            ("set FARCALL.Async-Scalar.timeout to 30s", "async-scalar.timeout", "30s"),
            ("SET 'farcall.async_scalar.timeout' = '30s'", "async_scalar.timeout", "30s"),
            ("SET \"farcall.async_scalar.timeout\" = 30s;", "async_scalar.timeout", "30s"),
            ("SET farcall.function.\"My.F\".mode = sync", "function.My.F.mode", "sync"),
            ("SET farcall.planner.parallel_calls = false", "planner.parallel_calls", "false"),
            ("SET farcall.async_scalar.max_attempts = -3", "async_scalar.max_attempts", "-3"),
            ("SET farcall.async_scalar.on_error = default:x", "async_scalar.on_error", "default:x"),
        ] {
            assert_eq!(read(sql), (key.to_owned(), Some(value.to_owned())), "{sql}");
        }
    }

    #[test]
    fn keys_of_flink_mean_the_groups_of_farcall() {
        for (sql, key, value) in [
            (
                "SET table.exec.async-scalar.buffer-capacity = 5",
                "async_scalar.buffer-capacity",
                "5",
            ),
            ("SET 'table.exec.async-scalar.timeout' = '30 s'", "async_scalar.timeout", "30 s"),
            (
                "SET \"table.exec.async-scalar.fixed-delay\" = '1s'",
                "async_scalar.fixed-delay",
                "1s",
            ),
            (
                "SET table.exec.async-scalar.retry-strategy = FIXED_DELAY",
                "async_scalar.retry-strategy",
                "FIXED_DELAY",
            ),
            ("SET table.exec.async-ml-predict.timeout = 9s", "ml_predict.timeout", "9s"),
        ] {
            assert_eq!(read(sql), (key.to_owned(), Some(value.to_owned())), "{sql}");
        }
    }

    #[test]
    fn reset_reads_the_same_keys() {
        for sql in [
            "RESET farcall.async_scalar.timeout",
            "RESET 'farcall.async_scalar.timeout';",
            "RESET table.exec.async-scalar.timeout",
            "RESET \"table.exec.async-scalar.timeout\"",
        ] {
            assert_eq!(read(sql), ("async_scalar.timeout".to_owned(), None), "{sql}");
        }
    }

    #[test]
    fn other_settings_are_left_to_datafusion() {
        for sql in [
            "SET datafusion.execution.batch_size = 5",
            "SET datafusion.execution.batch_size TO 5",
            "SET timezone = 'UTC'",
            "RESET datafusion.execution.batch_size",
        ] {
            let statement = sql::parse(sql).unwrap().remove(0);
            assert!(matches!(statement, Statement::DataFusion(_)), "{sql}");
        }
    }

    #[test]
    fn a_missing_value_is_located() {
        for (sql, message) in [
            (
                "SET farcall.async_scalar.timeout",
                "= after option 'farcall.async_scalar.timeout', found: EOF",
            ),
            (
                "SET farcall.async_scalar.timeout = ;",
                "a value for option 'farcall.async_scalar.timeout', found: ; at Line: 1, Column: 36",
            ),
            ("SET farcall.async_scalar.timeout = (1)", "found: ( at Line: 1, Column: 36"),
            (
                "SET farcall.async_scalar.timeout = 'a' 'b'",
                "end of statement, found a text at Line: 1, Column: 40",
            ),
            ("RESET farcall.async_scalar.timeout x", "end of statement, found: x"),
        ] {
            let error = sql::parse(sql).unwrap_err().to_string();
            assert!(error.contains(message), "{sql}: {error}");
        }
    }

    fn read(sql: &str) -> (String, Option<String>) {
        match sql::parse(sql).unwrap().remove(0) {
            Statement::Set { key, value, .. } => (key, Some(value)),
            Statement::Reset { key, .. } => (key, None),
            other => panic!("{other:?}"),
        }
    }
}
