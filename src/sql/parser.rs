//! Reads a script: farcall's own statements by looking ahead, everything else by DataFusion.

use datafusion::error::Result;
use datafusion::sql::parser::{DFParser, DFParserBuilder};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::sql::dialect::dialect;
use crate::sql::system_time::{self, SystemTime};
use crate::sql::tokens::{located, unexpected};
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
