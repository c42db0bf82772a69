//! Reads `/*+ LOOKUP('table' = 'u', ..) */` and carries its options to the table that it names.
//!
//! The table `users AS u` becomes `(SELECT * FROM users WHERE __lookup_hint('u', options)) AS u`; the
//! rule `lookup_join` takes the condition off and uses the options.

use std::ops::ControlFlow;

use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, TableAlias, TableFactor, TableWithJoins, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use farcall_planner::LOOKUP_HINT;
use farcall_udf::{CallError, CallOptions, canonical};

use crate::catalog::option_names::{given_twice, option_name};
use crate::sql::dialect::dialect;
use crate::sql::names::normalize;
use crate::sql::placeholder::placeholder;
use crate::sql::statement_parts::visit_queries;
use crate::sql::table_call::called;

/// The options that say together how a miss is tried again, and how Flink writes them.
const RETRY: [(&str, &str); 4] = [
    ("retry_predicate", "retry-predicate"),
    ("retry_strategy", "retry-strategy"),
    ("retry_delay", "fixed-delay"),
    ("max_attempts", "max-attempts"),
];

/// One hint: the table that it names, and the options.
#[derive(Debug, PartialEq)]
struct Hint {
    table: String,
    options: CallOptions,
}

/// Carries the options of every LOOKUP hint to its table.
///
/// # Errors
/// A planning error that names the option and what is accepted, or the table that is not there.
pub(crate) fn rewrite(statement: &mut Statement) -> Result<()> {
    match visit_queries(statement, |part| part.visit(&mut Hints)) {
        Some(ControlFlow::Break(error)) => Err(error),
        Some(ControlFlow::Continue(())) | None => Ok(()),
    }
}

struct Hints;

impl VisitorMut for Hints {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        match rewrite_select(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite_select(select: &mut Select) -> Result<()> {
    let mut known: Vec<String> = Vec::new();
    for hint in std::mem::take(&mut select.optimizer_hints) {
        for Hint { table, options } in read(&hint.text)? {
            if known.contains(&table) {
                return plan_err!("LOOKUP hint: table '{table}' has two hints");
            }
            if !apply(&mut select.from, &table, &options)? {
                return plan_err!(
                    "LOOKUP hint: no table '{table}' in FROM; it is named by its alias if it has one"
                );
            }
            known.push(table);
        }
    }
    Ok(())
}

/// Puts the options below the table of that name; `false` if there is none.
fn apply(from: &mut [TableWithJoins], table: &str, options: &CallOptions) -> Result<bool> {
    for tables in from {
        let joined = tables.joins.iter_mut().map(|join| &mut join.relation);
        for factor in std::iter::once(&mut tables.relation).chain(joined) {
            match factor {
                TableFactor::NestedJoin { table_with_joins, .. } => {
                    if apply(std::slice::from_mut(table_with_joins), table, options)? {
                        return Ok(true);
                    }
                }
                factor => {
                    if apply_to(factor, table, options)? {
                        return Ok(true);
                    }
                }
            }
        }
    }
    Ok(false)
}

fn apply_to(factor: &mut TableFactor, table: &str, options: &CallOptions) -> Result<bool> {
    if let Some((function, shown)) = function_of(factor) {
        if normalize(shown) != table {
            return Ok(false);
        }
        return plan_err!(
            "LOOKUP hint: '{table}' is table function {function}, which is called rather than \
             looked up; it must name a lookup table"
        );
    }
    let TableFactor::Table { name, alias, .. } = factor else { return Ok(false) };
    let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return Ok(false) };
    let shown = alias.as_ref().map_or(last, |alias| &alias.name);
    if normalize(shown) != table {
        return Ok(false);
    }
    let alias = alias.clone().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::clone(last),
        columns: vec![],
        at: None,
    });
    let args: Vec<String> = placeholder(table, options).iter().map(Expr::to_string).collect();
    let text = format!("SELECT * FROM {name} WHERE {LOOKUP_HINT}({})", args.join(", "));
    let subquery = Parser::new(&dialect()).try_with_sql(&text)?.parse_query()?;
    *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
    Ok(true)
}

/// Returns the function that a factor calls, and the name of its rows.
fn function_of(factor: &TableFactor) -> Option<(&Ident, &Ident)> {
    let function = called(factor)?.function()?;
    let alias = match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. } => alias.as_ref(),
        _ => None,
    };
    Some((function, alias.map_or(function, |alias| &alias.name)))
}

/// Reads the LOOKUP hints of one comment; other hints are not ours.
fn read(text: &str) -> Result<Vec<Hint>> {
    let bad = |message: &str| plan_err!("LOOKUP hint: {message}");
    let tokens = Tokenizer::new(&dialect(), text).tokenize();
    let tokens = match tokens {
        Ok(tokens) => tokens,
        Err(_) if !names_lookup(text) => return Ok(vec![]),
        Err(error) => {
            return plan_err!("LOOKUP hint: the comment /*+{text}*/ cannot be read: {error}");
        }
    };
    let tokens: Vec<Token> =
        tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let mut hints = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let is_lookup =
            matches!(first, Token::Word(word) if word.value.eq_ignore_ascii_case("lookup"));
        if !is_lookup {
            continue;
        }
        let Some((Token::LParen, behind)) = rest.split_first() else {
            return bad("expected ('table' = '..', ..)");
        };
        let Some(end) = behind.iter().position(|token| *token == Token::RParen) else {
            return bad("the closing parenthesis is missing");
        };
        hints.push(read_hint(&behind[..end])?);
        rest = &behind[end + 1..];
    }
    Ok(hints)
}

/// Says whether LOOKUP stands in a text as a word.
fn names_lookup(text: &str) -> bool {
    let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.any(|word| word.eq_ignore_ascii_case("lookup"))
}

fn read_hint(tokens: &[Token]) -> Result<Hint> {
    let mut table = None;
    let mut given: Vec<String> = Vec::new();
    let mut options = CallOptions::new();
    for pair in tokens.split(|token| *token == Token::Comma) {
        let [key, Token::Eq, value] = pair else {
            return plan_err!("LOOKUP hint: an option is written 'key' = 'value'");
        };
        let (Some(key), Some(value)) = (text_of(key), text_of(value)) else {
            return plan_err!("LOOKUP hint: an option is written 'key' = 'value'");
        };
        let name = match option_name(key).as_str() {
            // Flink's word for the mode.
            "async" => "mode".to_owned(),
            name => name.to_owned(),
        };
        if given.contains(&name) {
            return plan_err!("LOOKUP hint: {}", given_twice(&name));
        }
        if name == "table" {
            table = Some(value.clone());
        } else {
            set(&mut options, key, &name, value)?;
        }
        given.push(name);
    }
    let Some(table) = table else {
        return plan_err!("LOOKUP hint: option 'table' is missing, the alias or the table's name");
    };
    let missing: Vec<&str> = RETRY
        .into_iter()
        .filter(|(name, _)| !given.iter().any(|given| given == name))
        .map(|(_, shown)| shown)
        .collect();
    if !missing.is_empty() && missing.len() < RETRY.len() {
        return plan_err!(
            "LOOKUP hint: the options {} go together, missing {}",
            quoted(RETRY.map(|(_, shown)| shown)),
            quoted(missing)
        );
    }
    Ok(Hint { table, options })
}

fn set(options: &mut CallOptions, key: &str, name: &str, value: &str) -> Result<()> {
    let bad =
        |message: String| DataFusionError::Plan(format!("LOOKUP hint: option '{key}': {message}"));
    let value = match (canonical(key).as_str(), value.to_lowercase().as_str()) {
        ("async", "true") => "async",
        ("async", "false") => "sync",
        ("async", _) => {
            let accepted = quoted(["true", "false"]);
            return Err(bad(format!("value '{value}' is not accepted, accepted are {accepted}")));
        }
        _ => value,
    };
    options.set(name, value).map_err(|error| match error {
        CallError::BadOption { message, .. } if CallOptions::is_option(name) => bad(message),
        CallError::BadOption { message, .. } => bad(format!("{message}, 'table', 'async'")),
        other => other.into(),
    })
}

/// Lists words.
fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
}

fn text_of(token: &Token) -> Option<&String> {
    match token {
        Token::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_flinks_words_and_ours() {
        let text = " LOOKUP('table'='u', 'async'='true', 'output-mode'='allow_unordered', \
                    'capacity'='10', 'timeout'='180s', 'retry-predicate'='lookup_miss', \
                    'retry-strategy'='fixed_delay', 'fixed-delay'='10s', 'max-attempts'='3') ";
        let hints = read(text).unwrap();
        assert_eq!((hints.len(), hints[0].table.as_str()), (1, "u"));
        let options = hints[0].options.entries();
        let options: Vec<_> =
            options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            options.join(" "),
            "mode=async output_mode=allow_unordered buffer_capacity=10 timeout=3m \
             retry_strategy=fixed_delay retry_delay=10s max_attempts=3 retry_predicate=lookup_miss"
        );
    }

    #[test]
    fn several_hints_stand_beside_those_of_others() {
        let hints = read("BROADCAST(t), lookup('table'='a','cache'='full') LOOKUP('table'='b')");
        let tables: Vec<String> = hints.unwrap().into_iter().map(|hint| hint.table).collect();
        assert_eq!(tables, ["a", "b"]);
    }

    #[test]
    fn a_hint_that_cannot_be_read_is_refused_and_other_comments_are_not() {
        let error = read(" LOOKUP('table'='u, 'capacity'='3') ").unwrap_err().strip_backtrace();
        let message = "LOOKUP hint: the comment /*+ LOOKUP('table'='u, 'capacity'='3') */ cannot be \
                       read: Unterminated string literal at Line: 1, Column:";
        assert!(error.contains(message), "{error}");
        assert_eq!(read(" it's no LOOKUPS ").unwrap(), []);
    }

    #[test]
    fn mistakes_name_the_option_and_what_is_accepted() {
        for (hint, message) in [
            ("LOOKUP", "expected ('table' = '..', ..)"),
            ("LOOKUP('table'='u'", "the closing parenthesis is missing"),
            ("LOOKUP(table='u')", "an option is written 'key' = 'value'"),
            ("LOOKUP('async'='true')", "option 'table' is missing"),
            (
                "LOOKUP('tableName'='u')",
                "option 'tableName': no such option, accepted are 'mode', 'output_mode', 'buffer_capacity',",
            ),
            (
                "LOOKUP('table'='u', 'time-out'='1s')",
                "option 'time-out': no such option, accepted are",
            ),
            (
                "LOOKUP('table'='u', 'async'='yes')",
                "option 'async': value 'yes' is not accepted, accepted are 'true', 'false'",
            ),
            (
                "LOOKUP('table'='u', 'output-mode'='both')",
                "option 'output-mode': value 'both' is not accepted, accepted are 'ordered', 'allow_unordered'",
            ),
            (
                "LOOKUP('table'='u', 'timeout'='300 si')",
                "option 'timeout': value '300 si' is not accepted, accepted are durations",
            ),
            (
                "LOOKUP('table'='u', 'capacity'='0')",
                "option 'capacity': value 0 is not accepted, the least is 1",
            ),
            (
                "LOOKUP('table'='u', 'cache'='some')",
                "option 'cache': value 'some' is not accepted, accepted are 'none', 'partial', 'full'",
            ),
            (
                "LOOKUP('table'='u', 'cache-max-rows'='0')",
                "option 'cache-max-rows': value 0 is not accepted, the least is 1",
            ),
            (
                "LOOKUP('table'='u', 'timeout'='1s', 'timeout'='2s')",
                "option 'timeout' is given twice",
            ),
            ("LOOKUP('table'='u', 'async'='true', 'Mode'='sync')", "option 'mode' is given twice"),
            (
                "LOOKUP('table'='u', 'capacity'='1', 'buffer-capacity'='2')",
                "option 'buffer_capacity' is given twice",
            ),
            ("LOOKUP('table'='u', 'table'='v')", "option 'table' is given twice"),
            (
                "LOOKUP('table'='u', 'max-attempts'='3')",
                "go together, missing 'retry-predicate', 'retry-strategy', 'fixed-delay'",
            ),
            (
                "LOOKUP('table'='u', 'retry-predicate'='exception', 'retry-strategy'='fixed_delay', 'fixed-delay'='1s', 'max-attempts'='3')",
                "option 'retry-predicate': value 'exception' is not accepted, accepted are 'failure', 'lookup_miss'",
            ),
        ] {
            let error = read(hint).unwrap_err().to_string();
            assert!(error.contains(message), "{hint}: {error}");
        }
    }
}
