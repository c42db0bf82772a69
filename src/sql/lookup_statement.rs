//! Reads CREATE EXTERNAL TABLE .. STORED AS LOOKUP, and CREATE TABLE .. WITH ('connector' = ..).

use std::collections::BTreeMap;
use std::fmt;

use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption, Expr, ObjectName, TableConstraint};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::catalog::IfExists;
use crate::sql::Statement;
use crate::sql::names::normalize;
use crate::sql::tokens::{error_at, if_exists, options, skip, take_word, unexpected, words_ahead};

/// `CREATE EXTERNAL TABLE .. STORED AS LOOKUP`, before its types are known.
///
/// `Debug` shows no option values: they may hold headers or keys.
#[derive(Clone, PartialEq)]
pub struct CreateLookupTable {
    /// What to do when a table of that name exists.
    pub if_exists: IfExists,
    /// The table's name, as written.
    pub name: ObjectName,
    /// The columns.
    pub columns: Vec<ColumnDef>,
    /// The columns of the key.
    pub key: Vec<String>,
    /// All of `OPTIONS (..)` or `WITH (..)`.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for CreateLookupTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateLookupTable").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads a statement that makes a lookup table; `None`, with nothing taken, if it is another one.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Option<Statement>, ParserError> {
    if !words_ahead(parser, 0, &["CREATE"]) {
        return Ok(None);
    }
    let or_replace = words_ahead(parser, 1, &["OR", "REPLACE"]);
    let next = if or_replace { 3 } else { 1 };
    let external = words_ahead(parser, next, &["EXTERNAL", "TABLE"]);
    let table = words_ahead(parser, next, &["TABLE"]);
    let ours = (external && is_stored_as_lookup(parser)) || (table && has_connector(parser));
    if !ours {
        return Ok(None);
    }
    skip(parser, next + if external { 2 } else { 1 });
    let if_exists = if_exists(parser, or_replace)?;
    let name = parser.parse_object_name(false)?;
    let (columns, constraints) = parser.parse_columns()?;
    let key = key(parser, &columns, constraints)?;
    let options = if external {
        if !words_ahead(parser, 0, &["STORED", "AS", "LOOKUP"]) {
            return Err(unexpected("STORED AS LOOKUP", parser));
        }
        skip(parser, 3);
        match take_word(parser, "OPTIONS") {
            true => options(parser, "OPTIONS")?,
            false => return Err(unexpected("OPTIONS ('connector' ..)", parser)),
        }
    } else {
        parser.expect_keyword(Keyword::WITH)?;
        options(parser, "WITH")?
    };
    let table = CreateLookupTable { if_exists, name, columns, key, options };
    Ok(Some(Statement::CreateLookupTable(Box::new(table))))
}

/// Looks for a place ahead within the statement.
fn ahead(parser: &Parser<'_>, found: impl Fn(usize) -> bool) -> bool {
    let mut next = 0;
    loop {
        if matches!(parser.peek_nth_token_ref(next).token, Token::SemiColon | Token::EOF) {
            return false;
        }
        if found(next) {
            return true;
        }
        next += 1;
    }
}

fn is_stored_as_lookup(parser: &Parser<'_>) -> bool {
    ahead(parser, |next| words_ahead(parser, next, &["STORED", "AS", "LOOKUP"]))
}

fn has_connector(parser: &Parser<'_>) -> bool {
    let is_connector = |token: &Token| matches!(token, Token::SingleQuotedString(text) if text.eq_ignore_ascii_case("connector"));
    ahead(parser, |next| {
        words_ahead(parser, next, &["WITH"])
            && parser.peek_nth_token_ref(next + 1).token == Token::LParen
            && ahead(parser, |later| {
                later > next && is_connector(&parser.peek_nth_token_ref(later).token)
            })
    })
}

/// Returns the columns of the key: PRIMARY KEY (..), NOT ENFORCED or not, or behind a column.
fn key(
    parser: &mut Parser<'_>,
    columns: &[ColumnDef],
    constraints: Vec<TableConstraint>,
) -> Result<Vec<String>, ParserError> {
    let of_column = columns.iter().filter(|column| {
        let mut options = column.options.iter();
        options.any(|option| matches!(option.option, ColumnOption::PrimaryKey(_)))
    });
    let mut key: Vec<String> = of_column.map(|column| normalize(&column.name)).collect();
    for constraint in constraints {
        let TableConstraint::PrimaryKey(primary) = constraint else {
            return Err(unexpected("PRIMARY KEY as the only constraint", parser));
        };
        for column in primary.columns {
            match column.column.expr {
                Expr::Identifier(ident) => key.push(normalize(&ident)),
                other => {
                    let start = parser.peek_token_ref().span.start;
                    return Err(error_at(format_args!("a key holds columns, not {other}"), start));
                }
            }
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql;
    use crate::sql::names::table_name;

    #[test]
    fn both_forms_are_read() {
        let columns = "(id BIGINT NOT NULL, \"Name\" VARCHAR, PRIMARY KEY (id, \"Name\"))";
        for sql in [
            format!(
                "CREATE EXTERNAL TABLE u {columns} STORED AS LOOKUP OPTIONS ('connector' 'http', 'endpoint' 'http://h')"
            ),
            format!(
                "create external table U {columns} stored as lookup options ('connector' = 'http', 'endpoint' = 'http://h')"
            ),
            format!(
                "CREATE TABLE u {columns} WITH ('connector' = 'http', 'endpoint' = 'http://h')"
            ),
        ] {
            let table = created(&sql);
            assert_eq!((table_name(&table.name).as_str(), table.columns.len()), ("u", 2));
            assert_eq!(table.key, ["id", "Name"]);
            let options: Vec<_> = table.options.iter().collect();
            assert_eq!(options.len(), 2);
            assert_eq!(table.options["endpoint"], "http://h");
        }
    }

    #[test]
    fn the_key_may_stand_behind_its_column() {
        let sql =
            "CREATE OR REPLACE TABLE u (id BIGINT PRIMARY KEY, z INT) WITH ('connector' = 'x')";
        let table = created(sql);
        assert_eq!((table.key, table.if_exists), (vec!["id".to_owned()], IfExists::Replace));
    }

    #[test]
    fn other_tables_stay_datafusions() {
        for sql in [
            "CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION 'x.csv'",
            "CREATE TABLE t (a INT)",
            "CREATE TABLE t AS SELECT 'connector' AS a",
            "CREATE VIEW v AS SELECT 1",
        ] {
            let statement = sql::parse(sql).unwrap().remove(0);
            assert!(matches!(statement, Statement::DataFusion(_)), "{sql}");
        }
    }

    #[test]
    fn mistakes_are_located() {
        for (sql, message) in [
            (
                "CREATE EXTERNAL TABLE u (id INT) STORED AS LOOKUP",
                "OPTIONS ('connector' ..), found: EOF",
            ),
            (
                "CREATE OR REPLACE EXTERNAL TABLE IF NOT EXISTS u (id INT) STORED AS LOOKUP",
                "exclude each other",
            ),
            (
                "CREATE EXTERNAL TABLE u (id INT, UNIQUE (id)) STORED AS LOOKUP OPTIONS ()",
                "PRIMARY KEY as the only constraint",
            ),
        ] {
            let error = sql::parse(sql).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    fn created(sql: &str) -> CreateLookupTable {
        match sql::parse(sql).unwrap().remove(0) {
            Statement::CreateLookupTable(table) => *table,
            other => panic!("{other:?}"),
        }
    }
}
