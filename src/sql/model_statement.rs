//! Reads the statements about models: CREATE, DROP, SHOW, SHOW CREATE, DESCRIBE.

use std::collections::BTreeMap;
use std::fmt;

use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, ObjectName};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::catalog::IfExists;
use crate::sql::Statement;
use crate::sql::names::{dotted, normalize};
use crate::sql::tokens::{
    error_at, if_exists, options, skip, take_word, text, unexpected, words_ahead,
};

/// `CREATE MODEL`, before its types are known.
///
/// `Debug` shows no option values: they may hold headers or keys.
#[derive(Clone, PartialEq)]
pub struct CreateModel {
    /// What to do when a model of that name exists.
    pub if_exists: IfExists,
    /// The model's name.
    pub name: String,
    /// The columns sent.
    pub input: Vec<ColumnDef>,
    /// The columns answered.
    pub output: Vec<ColumnDef>,
    /// What the model is for.
    pub comment: Option<String>,
    /// All of `WITH (..)`.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for CreateModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateModel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads a statement about models; `None`, with nothing taken, if it is another one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Option<Statement>, ParserError> {
    let statement = if words_ahead(parser, 0, &["CREATE"]) {
        let or_replace = words_ahead(parser, 1, &["OR", "REPLACE"]);
        let next = if or_replace { 3 } else { 1 };
        // All models live as long as their session, so TEMPORARY says nothing new.
        let temporary =
            words_ahead(parser, next, &["TEMPORARY"]) || words_ahead(parser, next, &["TEMP"]);
        let next = next + usize::from(temporary);
        if !words_ahead(parser, next, &["MODEL"]) {
            return Ok(None);
        }
        skip(parser, next + 1);
        Statement::CreateModel(Box::new(create_model(parser, or_replace)?))
    } else if words_ahead(parser, 0, &["DROP", "MODEL"]) {
        skip(parser, 2);
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        Statement::DropModel { name: model_name(parser)?, if_exists }
    } else if words_ahead(parser, 0, &["SHOW", "MODELS"]) {
        skip(parser, 2);
        Statement::ShowModels
    } else if words_ahead(parser, 0, &["SHOW", "CREATE", "MODEL"]) {
        skip(parser, 3);
        Statement::ShowCreateModel { name: model_name(parser)? }
    } else if (words_ahead(parser, 0, &["DESCRIBE", "MODEL"])
        || words_ahead(parser, 0, &["DESC", "MODEL"]))
        && matches!(parser.peek_nth_token_ref(2).token, Token::Word(_))
    {
        skip(parser, 2);
        Statement::DescribeModel { name: model_name(parser)? }
    } else {
        return Ok(None);
    };
    Ok(Some(statement))
}

fn model_name(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    if !matches!(parser.peek_token_ref().token, Token::Word(_)) {
        return Err(unexpected("a model's name", parser));
    }
    let ObjectName(parts) = parser.parse_object_name(false)?;
    Ok(dotted(parts.iter().filter_map(|part| part.as_ident())))
}

fn create_model(parser: &mut Parser<'_>, or_replace: bool) -> Result<CreateModel, ParserError> {
    let if_exists = if_exists(parser, or_replace)?;
    let name = model_name(parser)?;
    let input = columns(parser, "INPUT")?;
    let output = columns(parser, "OUTPUT")?;
    let comment =
        if take_word(parser, "COMMENT") { Some(text(parser, "a comment as text")?) } else { None };
    let options =
        if take_word(parser, "WITH") { options(parser, "WITH")? } else { BTreeMap::new() };
    Ok(CreateModel { if_exists, name, input, output, comment, options })
}

fn columns(parser: &mut Parser<'_>, part: &str) -> Result<Vec<ColumnDef>, ParserError> {
    let expected = format!("{part} (column type, ..)");
    if !take_word(parser, part) || !parser.consume_token(&Token::LParen) {
        return Err(unexpected(&expected, parser));
    }
    let mut columns: Vec<ColumnDef> = Vec::new();
    loop {
        if !matches!(parser.peek_token_ref().token, Token::Word(_)) {
            return Err(unexpected(&format!("a column of {part}"), parser));
        }
        let column = parser.parse_column_def()?;
        check_column(&column, &columns, part)?;
        columns.push(column);
        if parser.consume_token(&Token::RParen) {
            return Ok(columns);
        }
        if !parser.consume_token(&Token::Comma) {
            return Err(unexpected("',' or ')' after a column", parser));
        }
    }
}

fn check_column(column: &ColumnDef, earlier: &[ColumnDef], part: &str) -> Result<(), ParserError> {
    let name = normalize(&column.name);
    let start = column.name.span.start;
    if earlier.iter().any(|earlier| normalize(&earlier.name) == name) {
        return Err(error_at(format_args!("column {name} is given twice in {part}"), start));
    }
    for option in &column.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::Comment(_) => {}
            ColumnOption::NotNull => {
                let message = format!(
                    "column {name} of {part} cannot be NOT NULL: 'null_input' says what happens \
                     to a NULL that is sent, and any answer may be NULL"
                );
                return Err(error_at(message, start));
            }
            other => {
                let message = format!("column {name} of {part} cannot have {other}");
                return Err(error_at(message, start));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql;

    #[test]
    fn every_clause_of_create_model_is_read() {
        let model = create(
            "create or replace temporary model Cat.\"M\" input (Text varchar, n bigint comment 'x')
             output (label varchar) comment 'it''s mine'
             with ('provider' = 'http', max_batch_size = 64, 'dedup' = false, 'x' = -1)",
        );
        assert_eq!((model.name.as_str(), model.if_exists), ("cat.M", IfExists::Replace));
        assert_eq!((model.input.len(), model.output.len()), (2, 1));
        assert_eq!(model.comment.as_deref(), Some("it's mine"));
        let options: Vec<_> = model.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected =
            [("dedup", "false"), ("max_batch_size", "64"), ("provider", "http"), ("x", "-1")];
        assert_eq!(options, expected);
    }

    #[test]
    fn if_not_exists_keeps_what_is_there() {
        let model = create("CREATE MODEL IF NOT EXISTS m INPUT (a INT) OUTPUT (b INT)");
        assert_eq!(model.if_exists, IfExists::Keep);
    }

    #[test]
    fn mistakes_are_located_and_say_what_must_stand_there() {
        for (sql, message) in [
            ("CREATE MODEL", "a model's name, found: EOF"),
            (
                "CREATE MODEL m OUTPUT (b INT)",
                "INPUT (column type, ..), found: OUTPUT at Line: 1, Column: 16",
            ),
            (
                "CREATE MODEL m INPUT (a INT)\nWITH ()",
                "OUTPUT (column type, ..), found: WITH at Line: 2, Column: 1",
            ),
            (
                "CREATE MODEL m INPUT () OUTPUT (b INT)",
                "a column of INPUT, found: ) at Line: 1, Column: 23",
            ),
            (
                "CREATE MODEL m INPUT (a INT, A INT) OUTPUT (b INT)",
                "column a is given twice in INPUT at Line: 1, Column: 30",
            ),
            (
                "CREATE MODEL m INPUT (a INT) OUTPUT (b INT NOT NULL)",
                "column b of OUTPUT cannot be NOT NULL",
            ),
            (
                "CREATE MODEL m INPUT (a INT PRIMARY KEY) OUTPUT (b INT)",
                "column a of INPUT cannot have PRIMARY KEY at Line: 1, Column: 23",
            ),
            ("CREATE MODEL m INPUT (a) OUTPUT (b INT)", "Line: 1, Column: 24"),
            (
                "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('a' = 1, 'a' = 2)",
                "option 'a' is given twice at Line: 1, Column: 60",
            ),
            (
                "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('a' = x)",
                "a text as value of option 'a', found: x at Line: 1, Column: 57",
            ),
            (
                "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) COMMENT x",
                "a comment as text, found: x",
            ),
            (
                "CREATE OR REPLACE MODEL IF NOT EXISTS m INPUT (a INT) OUTPUT (b INT)",
                "exclude each other at Line: 1, Column: 25",
            ),
            (
                "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('a' = '1') x",
                "end of statement, found: x",
            ),
            ("DROP MODEL IF EXISTS", "a model's name, found: EOF"),
            ("SHOW MODELS m", "end of statement, found: m at Line: 1, Column: 13"),
        ] {
            let error = sql::parse(sql).unwrap_err().to_string();
            assert!(error.contains(message), "{sql}: {error}");
        }
    }

    #[test]
    fn mistakes_near_a_secret_do_not_repeat_it() {
        for with in [
            "'headers' 'hush'",
            "'headers' = 'x' 'hush'",
            "'headers' = 'x', 'a' = U&'hush'",
            "'headers' = -'hush'",
            "'a' = \"hush\"",
        ] {
            let sql = format!("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ({with})");
            let error = sql::parse(&sql).unwrap_err().to_string();
            assert!(error.contains("Line: 1") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_option_values() {
        let model = create("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('headers' = 'hush')");
        assert!(!format!("{:?}", Statement::CreateModel(Box::new(model))).contains("hush"));
    }

    #[test]
    fn the_other_statements_name_their_model() {
        let statements = sql::parse(
            "DROP MODEL IF EXISTS A.b; SHOW CREATE MODEL \"M\"; DESCRIBE MODEL m; desc model m",
        )
        .unwrap();
        let shown: Vec<String> = statements.iter().map(|s| format!("{s:?}")).collect();
        assert_eq!(
            shown,
            [
                "DropModel { name: \"a.b\", if_exists: true }",
                "ShowCreateModel { name: \"M\" }",
                "DescribeModel { name: \"m\" }",
                "DescribeModel { name: \"m\" }",
            ]
        );
    }

    fn create(sql: &str) -> CreateModel {
        match sql::parse(sql).unwrap().remove(0) {
            Statement::CreateModel(model) => *model,
            other => panic!("{other:?}"),
        }
    }
}
