//! Reads a script: farcall's own statements by looking ahead, everything else by DataFusion.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::{DFParser, DFParserBuilder};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::sql::dialect::dialect;
use crate::sql::system_time::{self, SystemTime};
use crate::sql::{Statement, lookup_statement, model_statement, setting};

/// Parses a script into its statements.
///
/// # Errors
/// The error of a statement that cannot be read names line and column.
pub fn parse(sql: &str) -> Result<Vec<Statement>> {
    parse_script(sql).map_err(|error| located(error, sql))
}

fn parse_script(sql: &str) -> Result<Vec<Statement>> {
    let dialect = dialect();
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
    let (tokens, mut times) = system_time::take(tokens.map_err(ParserError::from)?, &dialect)?;
    let mut parser = DFParserBuilder::new(tokens).with_dialect(&dialect).build()?;
    let mut statements = Vec::new();
    loop {
        while parser.parser.consume_token(&Token::SemiColon) {}
        if parser.parser.peek_token_ref().token == Token::EOF {
            system_time::check_all_put_back(&times)?;
            return Ok(statements);
        }
        statements.push(parse_statement(&mut parser, &mut times)?);
        let next = parser.parser.peek_token_ref();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Err(unexpected("end of statement", &parser.parser).into());
        }
    }
}

fn parse_statement(parser: &mut DFParser<'_>, times: &mut Vec<SystemTime>) -> Result<Statement> {
    if let Some(statement) = model_statement::parse(&mut parser.parser)? {
        return Ok(statement);
    }
    if let Some(statement) = lookup_statement::parse(&mut parser.parser)? {
        return Ok(statement);
    }
    if let Some(statement) = setting::parse(&mut parser.parser)? {
        return Ok(statement);
    }
    let mut statement = parser.parse_statement()?;
    system_time::put_back(&mut statement, times);
    Ok(Statement::DataFusion(Box::new(statement)))
}

/// Says where the end of the script is, which the parser's own message does not.
fn located(error: DataFusionError, sql: &str) -> DataFusionError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_script_with_comments_and_empty_statements_is_read() {
        let sql = "-- first\n;; CREATE MODEL m INPUT (t VARCHAR) OUTPUT (l VARCHAR) \
                   WITH ('provider' = 'x');\nSELECT ';' /* ; */; SHOW MODELS;\
                   EXPLAIN SELECT 1; DROP MODEL m;;  -- last";
        let kinds: Vec<&str> = parse(sql).unwrap().iter().map(kind).collect();
        assert_eq!(kinds, ["create", "datafusion", "show", "datafusion", "drop"]);
    }

    #[test]
    fn an_empty_script_has_no_statements() {
        assert!(parse("  -- nothing\n ; ").unwrap().is_empty());
    }

    #[test]
    fn broken_sql_is_located_in_its_statement() {
        for (sql, position) in [
            ("SELECT 1;\nSELECT a FROM t WHERE )", "Line: 2, Column: 23"),
            ("SELECT 1;\nSELECT (1", "found: EOF at Line: 2, Column: 10"),
            ("EXPLAIN FORMAT", "found: EOF at Line: 1, Column: 15"),
            ("SELECT 1 SELECT", "Line: 1, Column: 10"),
            ("SHOW MODELS;\n  DROP MODEL", "found: EOF at Line: 2, Column: 13"),
            ("SELECT 'open", "Line: 1, Column: 8"),
            ("SELECT 1;\n)", "Line: 2, Column: 1"),
        ] {
            let error = parse(sql).unwrap_err().to_string();
            assert!(error.contains(position), "{sql}: {error}");
        }
    }

    #[test]
    fn tables_called_model_stay_tables() {
        for sql in ["SELECT model FROM models", "DESCRIBE model", "SHOW TABLES", "DROP TABLE model"]
        {
            assert_eq!(kind(&parse(sql).unwrap()[0]), "datafusion", "{sql}");
        }
    }

    fn kind(statement: &Statement) -> &'static str {
        match statement {
            Statement::DataFusion(_) => "datafusion",
            Statement::CreateModel(_) => "create",
            Statement::CreateLookupTable(_) => "create table",
            Statement::DropModel { .. } => "drop",
            Statement::ShowModels => "show",
            Statement::ShowCreateModel { .. } => "show create",
            Statement::DescribeModel { .. } => "describe",
            Statement::Set { .. } => "set",
            Statement::Reset { .. } => "reset",
        }
    }
}
