//! Reading tokens: words ahead, options in parentheses, errors with their place.

use std::collections::BTreeMap;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use crate::catalog::IfExists;
use crate::catalog::option_names::given_twice;

pub(crate) fn skip(parser: &mut Parser<'_>, tokens: usize) {
    for _ in 0..tokens {
        parser.advance_token();
    }
}

/// Reads IF NOT EXISTS and says what it means beside OR REPLACE.
pub(crate) fn if_exists(
    parser: &mut Parser<'_>,
    or_replace: bool,
) -> Result<IfExists, ParserError> {
    let start = parser.peek_token_ref().span.start;
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    match (or_replace, if_not_exists) {
        (true, true) => Err(error_at("OR REPLACE and IF NOT EXISTS exclude each other", start)),
        (true, false) => Ok(IfExists::Replace),
        (false, true) => Ok(IfExists::Keep),
        (false, false) => Ok(IfExists::Fail),
    }
}

pub(crate) fn text(parser: &mut Parser<'_>, expected: &str) -> Result<String, ParserError> {
    match &parser.peek_token_ref().token {
        Token::SingleQuotedString(text) => {
            let text = text.clone();
            parser.advance_token();
            Ok(text)
        }
        _ => Err(unexpected(expected, parser)),
    }
}

/// Reads the options behind WITH, or behind OPTIONS, where DataFusion wants no `=`.
pub(crate) fn options(
    parser: &mut Parser<'_>,
    clause: &str,
) -> Result<BTreeMap<String, String>, ParserError> {
    let mut options = BTreeMap::new();
    if !parser.consume_token(&Token::LParen) {
        return Err(unexpected(&format!("{clause} ('option' = 'value', ..)"), parser));
    }
    if parser.consume_token(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let start = parser.peek_token_ref().span.start;
        let name = match word_ahead(parser, 0) {
            Some(word) => {
                let word = word.to_lowercase();
                parser.advance_token();
                word
            }
            None => text(parser, "an option's name")?,
        };
        if !parser.consume_token(&Token::Eq) && clause == "WITH" {
            return Err(unexpected(&format!("= after option '{name}'"), parser));
        }
        let value = option_value(parser, &name)?;
        if options.contains_key(&name) {
            return Err(error_at(given_twice(&name), start));
        }
        options.insert(name, value);
        if parser.consume_token(&Token::RParen) {
            return Ok(options);
        }
        if !parser.consume_token(&Token::Comma) {
            return Err(unexpected("',' or ')' after an option", parser));
        }
    }
}

pub(crate) fn option_value(parser: &mut Parser<'_>, name: &str) -> Result<String, ParserError> {
    let sign = if parser.consume_token(&Token::Minus) { "-" } else { "" };
    let value = match &parser.peek_token_ref().token {
        Token::SingleQuotedString(text) if sign.is_empty() => text.clone(),
        Token::Number(digits, _) => format!("{sign}{digits}"),
        Token::Word(word)
            if sign.is_empty()
                && ["true", "false"].contains(&word.value.to_lowercase().as_str()) =>
        {
            word.value.to_lowercase()
        }
        _ => return Err(unexpected(&format!("a text as value of option '{name}'"), parser)),
    };
    parser.advance_token();
    Ok(value)
}

/// Says where the end of the script is, which the parser's own message does not.
pub(crate) fn located(error: DataFusionError, sql: &str) -> DataFusionError {
    match error {
        DataFusionError::SQL(parser_error, backtrace) => match *parser_error {
            ParserError::ParserError(message) if message.ends_with("found: EOF") => {
                let last_line = sql.rsplit('\n').next().unwrap_or_default();
                let line = sql.matches('\n').count() as u64 + 1;
                let column = last_line.chars().count() as u64 + 1;
                let end = Location { line, column };
                DataFusionError::SQL(Box::new(error_at(message, end)), backtrace)
            }
            other => DataFusionError::SQL(Box::new(other), backtrace),
        },
        DataFusionError::Diagnostic(diagnostic, inner) => {
            DataFusionError::Diagnostic(diagnostic, Box::new(located(*inner, sql)))
        }
        other => other,
    }
}

/// Makes an error that names line and column.
pub(crate) fn error_at(message: impl std::fmt::Display, location: Location) -> ParserError {
    ParserError::ParserError(format!("{message}{location}"))
}

/// Makes the error for the next token, which is not what must stand there.
///
/// A text is not repeated: it may be a header or a key.
pub(crate) fn unexpected(expected: &str, parser: &Parser<'_>) -> ParserError {
    let found = parser.peek_token_ref();
    let text = match &found.token {
        Token::Word(word) if word.quote_style.is_some() => "found a quoted name".to_owned(),
        Token::Word(_)
        | Token::Number(..)
        | Token::EOF
        | Token::Comma
        | Token::Period
        | Token::Eq
        | Token::LParen
        | Token::RParen
        | Token::SemiColon => format!("found: {found}"),
        Token::SingleQuotedString(_) => "found a text".to_owned(),
        _ => "found something else".to_owned(),
    };
    error_at(format_args!("Expected: {expected}, {text}"), found.span.start)
}

/// Returns an unquoted word that is still to be read, `n` tokens ahead.
pub(crate) fn word_ahead<'p>(parser: &'p Parser<'_>, n: usize) -> Option<&'p str> {
    match &parser.peek_nth_token_ref(n).token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

/// Says whether these unquoted words follow, in any case.
pub(crate) fn words_ahead(parser: &Parser<'_>, from: usize, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(offset, word)| {
        word_ahead(parser, from + offset).is_some_and(|ahead| ahead.eq_ignore_ascii_case(word))
    })
}

/// Takes an unquoted word if it is the next token.
pub(crate) fn take_word(parser: &mut Parser<'_>, word: &str) -> bool {
    let found = words_ahead(parser, 0, &[word]);
    if found {
        parser.advance_token();
    }
    found
}
