//! Reads `FOR SYSTEM_TIME AS OF`, which DataFusion's dialect does not know, and checks what it is said of.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, ObjectName, TableFactor, TableVersion, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::catalog::table::LookupTableProvider;
use crate::sql::relations::{Found, Versioned, Versions};
use crate::sql::statement_parts::visit_queries;
use crate::sql::tokens::error_at;

/// The words that begin the clause.
const WORDS: [&str; 4] = ["FOR", "SYSTEM_TIME", "AS", "OF"];

/// The functions that say when a row is joined; they take no arguments.
const NOW: [&str; 4] = ["proctime", "now", "current_timestamp", "localtimestamp"];

/// What may stand behind AS OF.
const ACCEPTED: &str = "PROCTIME(), NOW(), CURRENT_TIMESTAMP, LOCALTIMESTAMP or a column of type \
                        TIMESTAMP of a relation beside it in FROM";

/// A clause that was taken out of a script: what it says of the table whose name ends where.
#[derive(Debug)]
pub(crate) struct SystemTime {
    table_end: Location,
    time: Expr,
}

/// Takes every clause out of a script's tokens.
pub(crate) fn take(
    tokens: Vec<TokenWithSpan>,
    dialect: &dyn Dialect,
) -> Result<(Vec<TokenWithSpan>, Vec<SystemTime>), ParserError> {
    let (mut kept, mut taken) = (Vec::with_capacity(tokens.len()), Vec::new());
    let mut next = 0;
    while next < tokens.len() {
        let Some(behind) = clause_ahead(&tokens[next..]) else {
            kept.push(tokens[next].clone());
            next += 1;
            continue;
        };
        let location = tokens[next].span.start;
        let table = kept.iter().rev().find(|token| !is_blank(token));
        let Some(table) = table.filter(|token| matches!(token.token, Token::Word(_))) else {
            return Err(error_at("FOR SYSTEM_TIME AS OF must follow a table", location));
        };
        let table_end = table.span.end;
        next += behind;
        let mut parser = Parser::new(dialect).with_tokens_with_locations(tokens[next..].to_vec());
        let time = parser.parse_expr()?;
        next += parser.index();
        taken.push(SystemTime { table_end, time });
    }
    Ok((kept, taken))
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Returns how many tokens the words of the clause take, if they stand here.
fn clause_ahead(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut next = 0;
    for word in WORDS {
        while next > 0 && is_blank(tokens.get(next)?) {
            next += 1;
        }
        match &tokens.get(next)?.token {
            Token::Word(found) if found.value.eq_ignore_ascii_case(word) => next += 1,
            _ => return None,
        }
    }
    Some(next)
}

/// Puts clauses back where the syntax tree has a place for them; those of other statements stay.
///
/// The clause stands behind the table's name or, as the tree writes it, behind its alias.
pub(crate) fn put_back(statement: &mut SqlStatement, clauses: &mut Vec<SystemTime>) {
    if clauses.is_empty() {
        return;
    }
    let mut visitor = TableFactors(|factor: &mut TableFactor| {
        let TableFactor::Table { name, alias, version, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let ends = [end_of(name), alias.as_ref().map(|alias| alias.name.span.end)];
        let own = clauses.iter().position(|clause| ends.contains(&Some(clause.table_end)));
        if let Some(index) = own {
            *version = Some(TableVersion::ForSystemTimeAsOf(clauses.remove(index).time));
        }
        ControlFlow::Continue(())
    });
    // The visitor breaks nowhere.
    let _: Option<ControlFlow<DataFusionError>> =
        visit_queries(statement, |part| part.visit(&mut visitor));
}

/// Checks that each clause of a script has found its table.
pub(crate) fn check_all_put_back(clauses: &[SystemTime]) -> Result<(), ParserError> {
    match clauses.first() {
        None => Ok(()),
        Some(clause) => Err(error_at("FOR SYSTEM_TIME AS OF follows no table", clause.table_end)),
    }
}

fn end_of(name: &ObjectName) -> Option<Location> {
    name.0.last()?.as_ident().map(|ident| ident.span.end)
}

/// Checks that every clause speaks of a lookup table and of the time at which a row is joined.
///
/// A lookup table is as it is when it is asked: that is processing time. Any other table would
/// ignore the clause, so it is refused there.
///
/// # Errors
/// A planning error that names the table or the time, and what is accepted.
pub(crate) async fn check(statement: &mut SqlStatement, context: &SessionContext) -> Result<()> {
    let mut versions = Versions::default();
    // The visitor breaks nowhere.
    let _: Option<ControlFlow<()>> = visit_queries(statement, |part| part.visit(&mut versions));
    for Versioned { table, version, relations } in versions.found {
        let TableVersion::ForSystemTimeAsOf(time) = version else {
            return plan_err!(
                "{version} follows {table}; accepted is FOR SYSTEM_TIME AS OF after a \
                 lookup table"
            );
        };
        let found = context.table_provider(table.clone()).await.ok();
        if !found.is_some_and(|provider| provider.is::<LookupTableProvider>()) {
            return plan_err!(
                "FOR SYSTEM_TIME AS OF follows {table}, which is no lookup table; its rows \
                 have no other versions"
            );
        }
        let found = match &time {
            Expr::Identifier(column) => relations.find(std::slice::from_ref(column), context).await,
            Expr::CompoundIdentifier(column) => relations.find(column, context).await,
            time if is_now(time) => continue,
            time => {
                return plan_err!(
                    "FOR SYSTEM_TIME AS OF {time}: lookup table {table} is as it is when a row is \
                     joined, accepted are {ACCEPTED}"
                );
            }
        };
        match found {
            Found::Column(DataType::Timestamp(..)) | Found::Unknown => {}
            Found::Column(other) => {
                return plan_err!(
                    "FOR SYSTEM_TIME AS OF {time}: the column is of type {other}, accepted are \
                     {ACCEPTED}"
                );
            }
            Found::Nothing => {
                return plan_err!(
                    "FOR SYSTEM_TIME AS OF {time}: no relation beside lookup table {table} has a \
                     column {time}, accepted are {ACCEPTED}"
                );
            }
        }
    }
    Ok(())
}

fn is_now(time: &Expr) -> bool {
    let Expr::Function(function) = time else { return false };
    let no_arguments = match &function.args {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::Subquery(_) => false,
    };
    no_arguments && NOW.contains(&function.name.to_string().to_lowercase().as_str())
}

/// Visits the tables of a statement.
struct TableFactors<F>(F);

impl<F: FnMut(&mut TableFactor) -> ControlFlow<DataFusionError>> VisitorMut for TableFactors<F> {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<DataFusionError> {
        self.0(factor)
    }
}

#[cfg(test)]
mod tests {
    use crate::sql;

    #[test]
    fn the_clause_is_read_wherever_a_table_may_stand() {
        for (sql, read) in [
            (
                "SELECT 1 FROM t JOIN users FOR SYSTEM_TIME AS OF PROCTIME() AS u ON t.a = u.id",
                vec!["JOIN users AS u FOR SYSTEM_TIME AS OF PROCTIME() ON"],
            ),
            (
                "EXPLAIN SELECT 1 FROM t, users for system_time /* . */ as of t.p u, s.\"B\" \
                 FOR SYSTEM_TIME AS OF now()",
                vec!["users u FOR SYSTEM_TIME AS OF t.p", "s.\"B\" FOR SYSTEM_TIME AS OF now()"],
            ),
            (
                "COPY (SELECT 1 FROM users FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP) TO 'x.csv'",
                vec!["FROM users FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP"],
            ),
        ] {
            let statement = sql::parse(sql).unwrap().remove(0);
            let sql::Statement::DataFusion(statement) = statement else { panic!("{statement:?}") };
            let text = statement.to_string();
            assert!(read.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn the_clause_may_stand_behind_the_alias_as_the_tree_writes_it() {
        let sql = "SELECT 1 FROM t JOIN users FOR SYSTEM_TIME AS OF now() AS u ON t.a = u.id";
        let written = |sql: &str| match sql::parse(sql).unwrap().remove(0) {
            sql::Statement::DataFusion(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        };
        let once = written(sql);
        assert!(once.contains("AS u FOR SYSTEM_TIME"), "{once}");
        assert_eq!(written(&once), once);
    }

    #[test]
    fn statements_of_a_script_keep_their_own() {
        let script = "SELECT 1 FROM a FOR SYSTEM_TIME AS OF now(); SELECT 1 FROM a";
        let versions: Vec<bool> = sql::parse(script)
            .unwrap()
            .iter()
            .map(|statement| format!("{statement:?}").contains("ForSystemTimeAsOf"))
            .collect();
        assert_eq!(versions, [true, false]);
    }

    #[test]
    fn a_clause_without_a_table_is_located() {
        for (sql, message) in [
            ("SELECT (FOR SYSTEM_TIME AS OF now())", "must follow a table at Line: 1, Column: 9"),
            ("SELECT a FOR SYSTEM_TIME AS OF now() FROM t", "follows no table at Line: 1"),
            ("SELECT 1 FROM t FOR SYSTEM_TIME AS OF )", "Line: 1, Column: 39"),
        ] {
            let error = sql::parse(sql).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
