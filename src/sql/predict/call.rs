//! Rewrites PREDICT before planning: `PREDICT(m, a, k => 'v')` becomes
//! `__predict('m', 1, 'k', 'v', a)`.
//!
//! The first argument of PREDICT is a model by its position, which DataFusion's planner would take
//! for a column. What is wrong with a call is said here, with line and column. Fields of what a call
//! answers (`PREDICT(m, a).score`) are put into the form that the planner takes.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, UnaryOperator, Value, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Location;
use farcall_udf::{CallError, CallOptions};

use crate::catalog::ModelRegistry;
use crate::catalog::option_names::{given_twice, option_name};
use crate::sql::names::{dotted, normalize};
use crate::sql::placeholder::{placeholder, text};
use crate::sql::predict::udf::{PLACEHOLDER, PREDICT};
use crate::sql::statement_parts::{Part, visit_queries};

/// Rewrites every PREDICT of a statement, in EXPLAIN and COPY too.
pub(crate) fn rewrite(statement: &mut Statement, registry: &Arc<ModelRegistry>) -> Result<()> {
    let mut rewrite = |expr: &mut Expr| match expr {
        Expr::CompoundFieldAccess { root, access_chain } => {
            // What follows a name at once is a part of the name: `t.s['a']`.
            let name = matches!(root.as_ref(), Expr::Identifier(_));
            let is_part = |access: &&mut AccessExpr| {
                name && matches!(access, AccessExpr::Dot(Expr::Identifier(_)))
            };
            access_chain.iter_mut().skip_while(is_part).for_each(rewrite_access);
            ControlFlow::Continue(())
        }
        Expr::Function(function) => match rewrite_call(function, registry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        },
        _ => ControlFlow::Continue(()),
    };
    let flow = visit_queries(statement, |part| match part {
        Part::Statement(statement) => visit_expressions_mut(statement, &mut rewrite),
        Part::Query(query) => visit_expressions_mut(query, &mut rewrite),
    });
    match flow {
        Some(ControlFlow::Break(error)) => Err(error),
        Some(ControlFlow::Continue(())) | None => Ok(()),
    }
}

/// Writes `f(x).a` as `f(x).'a'`, the only form in which DataFusion's planner takes a field.
fn rewrite_access(access: &mut AccessExpr) {
    if let AccessExpr::Dot(field) = access
        && let Expr::Identifier(ident) = field
    {
        *field = text(&normalize(ident));
    }
}

fn rewrite_call(function: &mut Function, registry: &ModelRegistry) -> Result<()> {
    let ObjectName(name) = &function.name;
    let [part] = name.as_slice() else { return Ok(()) };
    let Some(ident) = part.as_ident() else { return Ok(()) };
    if normalize(ident) != PREDICT {
        return Ok(());
    }
    let span = ident.span;
    let location = span.start;
    let located = |error: DataFusionError| match error {
        DataFusionError::Plan(message) => error_at(message, location),
        other => other,
    };
    let args = take_args(function, location)?;
    let (model, args) = split_model(args, location)?;
    let (args, options) = split_options(args, location)?;
    registry.get(&model).and_then(|model| model.check_arity(args.len())).map_err(located)?;
    let args = placeholder(&model, &options).into_iter().chain(args);
    function.name = ObjectName::from(vec![Ident { span, ..Ident::new(PLACEHOLDER) }]);
    function.args = FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect(),
        clauses: vec![],
    });
    Ok(())
}

fn error_at(message: impl std::fmt::Display, location: Location) -> DataFusionError {
    DataFusionError::Plan(format!("{message}{location}"))
}

/// Takes the arguments out of a call that has arguments and nothing else.
fn take_args(function: &mut Function, location: Location) -> Result<Vec<FunctionArg>> {
    let clause = if function.over.is_some() {
        Some("OVER")
    } else if function.filter.is_some() {
        Some("FILTER")
    } else if !function.within_group.is_empty() {
        Some("WITHIN GROUP")
    } else if function.null_treatment.is_some() {
        Some("NULLS")
    } else if !matches!(function.parameters, FunctionArguments::None) {
        Some("parameters")
    } else {
        None
    };
    if let Some(clause) = clause {
        return Err(error_at(
            format_args!("PREDICT is a scalar function and takes no {clause}"),
            location,
        ));
    }
    match std::mem::replace(&mut function.args, FunctionArguments::None) {
        FunctionArguments::None => Ok(vec![]),
        FunctionArguments::List(list)
            if list.duplicate_treatment.is_none() && list.clauses.is_empty() =>
        {
            Ok(list.args)
        }
        FunctionArguments::List(_) | FunctionArguments::Subquery(_) => {
            let message = "PREDICT takes a model, arguments and named options, nothing else";
            Err(error_at(message, location))
        }
    }
}

/// Splits off the first argument, a model by its position: a name or a text.
fn split_model(
    args: Vec<FunctionArg>,
    location: Location,
) -> Result<(String, impl Iterator<Item = FunctionArg>)> {
    let mut args = args.into_iter();
    let model = match args.next() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => match expr {
            Expr::Identifier(ident) => Some(normalize(&ident)),
            Expr::CompoundIdentifier(parts) => Some(dotted(&parts)),
            Expr::Value(value) => match value.value {
                Value::SingleQuotedString(name) => Some(name),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    match model {
        Some(model) => Ok((model, args)),
        None => Err(error_at(
            "PREDICT needs a model as its first argument, by name or as text: PREDICT(m, ..)",
            location,
        )),
    }
}

/// Splits the arguments behind the model into those sent and the options of the call.
fn split_options(
    args: impl Iterator<Item = FunctionArg>,
    location: Location,
) -> Result<(Vec<Expr>, CallOptions)> {
    let mut sent = Vec::new();
    let mut options = CallOptions::new();
    let mut names: Vec<String> = Vec::new();
    for arg in args {
        let (name, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                sent.push(expr);
                continue;
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (name, value),
            other => {
                return Err(error_at(
                    format_args!("PREDICT cannot take {other} as an argument"),
                    location,
                ));
            }
        };
        let location = if name.span.start.line == 0 { location } else { name.span.start };
        let name = normalize(&name);
        let one_name = option_name(&name);
        if names.contains(&one_name) {
            return Err(error_at(format_args!("PREDICT: {}", given_twice(&name)), location));
        }
        let Some(value) = literal(&value) else {
            return Err(error_at(
                format_args!("option {name} of PREDICT must be a literal text, number or boolean"),
                location,
            ));
        };
        options.set(&name, &value).map_err(|error| match error {
            CallError::BadOption { option, message } => {
                error_at(format_args!("bad option {option} of PREDICT: {message}"), location)
            }
            other => other.into(),
        })?;
        names.push(one_name);
    }
    Ok((sent, options))
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(digits, _) => Some(digits.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => Some(format!("-{digits}")),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::testing::{registry, spec};
    use crate::sql;

    #[test]
    fn the_model_is_a_name_a_dotted_name_or_a_text() {
        for (written, model) in [
            ("m", "m"),
            ("M", "m"),
            ("cat.M", "cat.m"),
            ("\"Q\"", "Q"),
            ("cat.\"Q\"", "cat.Q"),
            ("'m'", "m"),
            ("'Q'", "Q"),
        ] {
            let sql = rewritten(&format!("SELECT Predict({written}, a) FROM t")).unwrap();
            assert_eq!(sql, format!("SELECT __predict('{model}', 0, a) FROM t"));
        }
    }

    #[test]
    fn options_stand_anywhere_behind_the_model() {
        for args in [
            "m, a, timeout => '1s', dedup => false",
            "m, dedup => FALSE, a, timeout => '1s'",
            "m, Timeout := '1s', dedup => 'false', a",
        ] {
            let sql = rewritten(&format!("SELECT PREDICT({args}) FROM t")).unwrap();
            let call = "__predict('m', 2, 'timeout', '1s', 'dedup', 'false', a)";
            assert_eq!(sql, format!("SELECT {call} FROM t"));
        }
    }

    #[test]
    fn every_place_of_a_statement_is_reached() {
        for sql in [
            "EXPLAIN ANALYZE VERBOSE SELECT PREDICT(m, a) FROM t",
            "COPY (SELECT PREDICT(m, a) FROM t) TO 'x.csv'",
            "EXPLAIN COPY (SELECT PREDICT(m, a) FROM t) TO 'x.csv'",
            "CREATE VIEW v AS SELECT PREDICT(m, a) FROM t",
            "CREATE TABLE c AS SELECT PREDICT(m, a) FROM t",
            "INSERT INTO t SELECT PREDICT(m, a) FROM t",
            "PREPARE p AS SELECT PREDICT(m, a) FROM t",
            "WITH c AS (SELECT PREDICT(m, a) FROM t) SELECT * FROM c",
            "SELECT (SELECT PREDICT(m, a)) FROM t",
            "SELECT 1 FROM t WHERE a IN (SELECT PREDICT(m, a) FROM t)",
            "SELECT 1 FROM t GROUP BY PREDICT(m, a)",
            "SELECT 1 FROM t ORDER BY PREDICT(m, a)",
            "SELECT 1 FROM t HAVING PREDICT(m, a) = 'x'",
            "SELECT 1 FROM t JOIN t AS u ON PREDICT(m, t.a) = u.a",
            "SELECT count(*) FILTER (WHERE PREDICT(m, a) = 'x') FROM t",
            "SELECT sum(a) OVER (PARTITION BY PREDICT(m, a)) FROM t",
            "SELECT CASE WHEN a THEN PREDICT(m, a) END FROM t",
            "SELECT 1 UNION ALL SELECT PREDICT(m, a) FROM t",
        ] {
            let text = rewritten(sql).unwrap();
            assert!(text.contains("__predict('m', 0") && !text.contains("PREDICT"), "{text}");
        }
    }

    #[test]
    fn nested_calls_are_all_rewritten() {
        let sql = rewritten("SELECT PREDICT(m, PREDICT('Q', a)) FROM t").unwrap();
        assert_eq!(sql, "SELECT __predict('m', 0, __predict('Q', 0, a)) FROM t");
    }

    #[test]
    fn a_field_of_an_answer_is_read_by_its_name() {
        let sql = rewritten("SELECT PREDICT(m, a).Label, (PREDICT(m, a)).\"B\".c FROM t").unwrap();
        let call = "__predict('m', 0, a)";
        assert_eq!(sql, format!("SELECT {call}.'label', ({call}).'B'.'c' FROM t"));
    }

    #[test]
    fn a_second_rewrite_changes_nothing() {
        let once = rewritten("SELECT PREDICT(m, a, dedup => true) FROM t").unwrap();
        assert_eq!(rewritten(&once).unwrap(), once);
    }

    #[test]
    fn mistakes_are_located_and_say_what_is_accepted() {
        for (call, message) in [
            (
                "PREDICT()",
                "needs a model as its first argument, by name or as text: PREDICT(m, ..) at Line: 1, Column: 8",
            ),
            ("PREDICT(1, a)", "needs a model as its first argument"),
            ("PREDICT(dedup => true, m, a)", "needs a model as its first argument"),
            (
                "PREDICT(x, a)",
                "no model 'x', the session has 'Q', 'cat.Q', 'cat.m', 'm' at Line: 1, Column: 8",
            ),
            ("PREDICT(\"M\", a)", "no model 'M'"),
            (
                "PREDICT(m)",
                "PREDICT(m, ..) takes 1 argument after the model (text VARCHAR), got 0 at Line: 1",
            ),
            ("PREDICT(m, a, b)", "takes 1 argument after the model (text VARCHAR), got 2"),
            ("PREDICT(m, *)", "PREDICT cannot take * as an argument"),
            (
                "PREDICT(m, a, colour => 'red')",
                "bad option colour of PREDICT: no such option, accepted are 'mode', ",
            ),
            (
                "PREDICT(m, a, timeout => '30')",
                "bad option timeout of PREDICT: value '30' is not accepted, a duration needs a unit, such as '30s' or '30ms' at Line: 1, Column: 22",
            ),
            ("PREDICT(m, a, max_batch_size => -1)", "value '-1' is not accepted"),
            (
                "PREDICT(m, a, timeout => a)",
                "option timeout of PREDICT must be a literal text, number or boolean at Line: 1, Column: 22",
            ),
            ("PREDICT(m, a, timeout => NULL)", "must be a literal"),
            ("PREDICT(m, a, timeout => $1)", "must be a literal"),
            (
                "PREDICT(m, a, mode => 'sync', Mode => 'sync')",
                "PREDICT: option 'mode' is given twice",
            ),
            ("PREDICT(m, a) OVER ()", "PREDICT is a scalar function and takes no OVER at Line: 1"),
            ("PREDICT(DISTINCT m, a)", "takes a model, arguments and named options, nothing else"),
        ] {
            let error = rewritten(&format!("SELECT {call} FROM t")).unwrap_err();
            assert!(matches!(error, DataFusionError::Plan(_)), "{call}: {error:?}");
            assert!(error.to_string().contains(message), "{call}: {error}");
        }
    }

    #[test]
    fn a_session_without_models_says_so() {
        let mut statement = parsed("SELECT PREDICT(m, a) FROM t");
        let empty = Arc::new(ModelRegistry::new(vec![]));
        let error = rewrite(&mut statement, &empty).unwrap_err().to_string();
        assert!(error.contains("no model 'm', the session has none; CREATE MODEL"), "{error}");
    }

    fn parsed(sql: &str) -> Statement {
        match sql::parse(sql).unwrap().remove(0) {
            sql::Statement::DataFusion(statement) => *statement,
            other => panic!("{other:?}"),
        }
    }

    fn rewritten(sql: &str) -> Result<String> {
        let registry = registry();
        for name in ["m", "Q", "cat.m", "cat.Q"] {
            registry.create(spec(name), Default::default()).unwrap();
        }
        let mut statement = parsed(sql);
        rewrite(&mut statement, &registry)?;
        Ok(statement.to_string())
    }
}
