//! Plans async table functions in FROM: `LATERAL f(t.x)`, `LATERAL TABLE(f(t.x))`, `f(1)`, `TABLE(f(1))`.

use std::ops::ControlFlow;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TableAlias, TableFactor, TableFunctionArgs, Visit,
    Visitor, VisitorMut,
};
use farcall_planner::TableCall;
use farcall_udf::AsyncUdf;

use crate::sql::names::normalize;
use crate::sql::statement_parts::visit_queries;

/// Makes every table function that reads columns lateral, as standard SQL has it for functions.
///
/// DataFusion shows the columns beside it in FROM to a relation only where LATERAL is written.
///
/// # Errors
/// A planning error that names the function and the clause that cannot be said of it.
pub(crate) fn rewrite(statement: &mut Statement, context: &SessionContext) -> Result<()> {
    let state = context.state_ref();
    let state = state.read();
    let functions = state.scalar_functions();
    let is_ours = |name: &str| functions.get(name).is_some_and(|udf| returns_rows(udf));
    let mut visitor = Laterals(is_ours);
    match visit_queries(statement, |part| part.visit(&mut visitor)) {
        Some(ControlFlow::Break(error)) => Err(error),
        Some(ControlFlow::Continue(())) | None => Ok(()),
    }
}

fn returns_rows(udf: &ScalarUDF) -> bool {
    AsyncUdf::find(udf).is_some_and(|udf| udf.function().declaration().returns_rows())
}

struct Laterals<F>(F);

impl<F: Fn(&str) -> bool> VisitorMut for Laterals<F> {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<DataFusionError> {
        let Some(call) = called(factor) else { return ControlFlow::Continue(()) };
        let Some(function) = call.function().map(normalize).filter(|name| (self.0)(name)) else {
            return ControlFlow::Continue(());
        };
        if let Err(error) = call.check(&function) {
            return ControlFlow::Break(error);
        }
        if call.args.iter().any(reads_columns) {
            let (name, args) = (call.name.clone(), call.args.to_vec());
            let alias = take_alias(factor);
            let (lateral, with_ordinality) = (true, false);
            *factor = TableFactor::Function { lateral, name, args, with_ordinality, alias };
        }
        ControlFlow::Continue(())
    }
}

/// What a factor calls, and the clauses that it says of the call.
pub(crate) struct Called<'a> {
    name: &'a ObjectName,
    args: &'a [FunctionArg],
    clauses: Vec<&'static str>,
}

impl<'a> Called<'a> {
    /// Returns the name of the function, if it has one part.
    pub(crate) fn function(&self) -> Option<&'a Ident> {
        match self.name.0.as_slice() {
            [part] => part.as_ident(),
            _ => None,
        }
    }

    /// Checks that nothing is said of the function but its arguments and an alias.
    fn check(&self, function: &str) -> Result<()> {
        match self.clauses.first() {
            None => Ok(()),
            Some(clause) => plan_err!(
                "{clause} cannot be said of table function {function}; accepted are its arguments \
                 and an alias"
            ),
        }
    }
}

/// Returns what a factor calls.
pub(crate) fn called(factor: &TableFactor) -> Option<Called<'_>> {
    match factor {
        TableFactor::Table {
            name,
            alias: _,
            args: Some(TableFunctionArgs { args, settings }),
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            let clauses = said([
                ("SETTINGS", settings.is_some()),
                ("WITH (..)", !with_hints.is_empty()),
                ("a version", version.is_some()),
                ("WITH ORDINALITY", *with_ordinality),
                ("PARTITION", !partitions.is_empty()),
                ("a JSON path", json_path.is_some()),
                ("TABLESAMPLE", sample.is_some()),
                ("an index hint", !index_hints.is_empty()),
            ]);
            Some(Called { name, args, clauses })
        }
        TableFactor::TableFunction { expr: Expr::Function(function), .. } => {
            Some(call_of(function))
        }
        TableFactor::Function { lateral: _, name, args, with_ordinality, alias: _ } => {
            let mut call = match (name.to_string().eq_ignore_ascii_case("table"), args.as_slice()) {
                // `LATERAL TABLE(f(x))` is read as a call of a function named TABLE.
                (true, [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function)))]) => {
                    call_of(function)
                }
                (_, args) => Called { name, args, clauses: vec![] },
            };
            call.clauses.extend(said([("WITH ORDINALITY", *with_ordinality)]));
            Some(call)
        }
        _ => None,
    }
}

fn call_of(function: &Function) -> Called<'_> {
    let Function {
        name,
        uses_odbc_syntax: _,
        parameters,
        args,
        filter,
        null_treatment,
        over,
        within_group,
    } = function;
    let mut clauses = said([
        ("a second list of arguments", !matches!(parameters, FunctionArguments::None)),
        ("FILTER", filter.is_some()),
        ("IGNORE or RESPECT NULLS", null_treatment.is_some()),
        ("OVER", over.is_some()),
        ("WITHIN GROUP", !within_group.is_empty()),
    ]);
    let args: &[FunctionArg] = match args {
        FunctionArguments::None => &[],
        FunctionArguments::Subquery(_) => {
            clauses.push("a query without parentheses of its own");
            &[]
        }
        FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment,
            args,
            clauses: inside,
        }) => {
            clauses.extend(said([("DISTINCT or ALL", duplicate_treatment.is_some())]));
            clauses.extend(inside.iter().map(clause_inside));
            args
        }
    };
    Called { name, args, clauses }
}

/// Names a clause that stands behind the last argument.
fn clause_inside(clause: &FunctionArgumentClause) -> &'static str {
    match clause {
        FunctionArgumentClause::IgnoreOrRespectNulls(_) => "IGNORE or RESPECT NULLS",
        FunctionArgumentClause::OrderBy(_) => "ORDER BY",
        FunctionArgumentClause::Limit(_) => "LIMIT",
        FunctionArgumentClause::Having(_) => "HAVING",
        FunctionArgumentClause::Separator(_) => "SEPARATOR",
        FunctionArgumentClause::OnOverflow(_) => "ON OVERFLOW",
        FunctionArgumentClause::JsonNullClause(_) => "a treatment of JSON nulls",
        FunctionArgumentClause::JsonReturningClause(_) => "RETURNING",
    }
}

/// Returns the clauses that were said.
fn said<const N: usize>(clauses: [(&'static str, bool); N]) -> Vec<&'static str> {
    clauses.into_iter().filter_map(|(clause, said)| said.then_some(clause)).collect()
}

fn take_alias(factor: &mut TableFactor) -> Option<TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. } => alias.take(),
        _ => None,
    }
}

fn reads_columns(arg: &FunctionArg) -> bool {
    struct Columns;

    impl Visitor for Columns {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    arg.visit(&mut Columns).is_break()
}

/// Plans the calls of async table functions; DataFusion's own take constants only.
#[derive(Debug)]
pub(crate) struct TableCallPlanner;

impl RelationPlanner for TableCallPlanner {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = called(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = call.function().map(|ident| context.normalize_ident(ident.clone()));
        let meta =
            function.as_deref().and_then(|name| context.context_provider().get_function_meta(name));
        let (Some(function), true) = (function, meta.is_some_and(|udf| returns_rows(&udf))) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        call.check(&function)?;
        let call = Expr::Function(call_with(call.name.clone(), call.args.to_vec()));
        let alias = take_alias(&mut relation);
        let call = context.sql_to_expr(call, &DFSchema::empty())?;
        let plan = TableCall::try_new(call)?.into_plan();
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// Analyzes a plan that calls table functions, and leaves any other as it is.
pub(crate) fn analyze(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let mut calls = false;
    plan.apply_with_subqueries(|node| {
        calls |= TableCall::find(node).is_some();
        Ok(if calls { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !calls {
        return Ok(plan);
    }
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

fn call_with(name: ObjectName, args: Vec<FunctionArg>) -> Function {
    let args = FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] };
    Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }
}

#[cfg(test)]
mod tests {
    use farcall_udf::{CallError, async_table_fn};

    use super::*;
    use crate::{FarcallSession, sql};

    #[test]
    fn functions_that_read_columns_become_lateral() {
        for (from, rewritten) in [
            ("t, f(t.x)", "t, LATERAL f(t.x)"),
            ("t, F(x + 1) AS q (a)", "t, LATERAL F(x + 1) AS q (a)"),
            ("t JOIN TABLE(f(t.x)) q ON true", "t JOIN LATERAL f(t.x) q ON true"),
            ("t, LATERAL TABLE(f(t.x)) q", "t, LATERAL f(t.x) q"),
            ("t, LATERAL f(t.x)", "t, LATERAL f(t.x)"),
            ("f(1)", "f(1)"),
            ("TABLE(f(1))", "TABLE(f(1))"),
            ("t, g(t.x)", "t, g(t.x)"),
            ("t, s.f(t.x)", "t, s.f(t.x)"),
            ("t, UNNEST(t.x)", "t, UNNEST(t.x)"),
        ] {
            let mut statement = parsed(&format!("SELECT 1 FROM {from}"));
            rewrite(&mut statement, session().context()).unwrap();
            let text = statement.to_string();
            assert_eq!(text, format!("SELECT 1 FROM {rewritten}"));
            rewrite(&mut statement, session().context()).unwrap();
            assert_eq!(statement.to_string(), text);
        }
    }

    #[test]
    fn clauses_that_a_function_cannot_take_are_named() {
        for (from, clause) in [
            ("f(t.x) WITH ORDINALITY", "WITH ORDINALITY"),
            ("LATERAL f(t.x) WITH ORDINALITY", "WITH ORDINALITY"),
            ("f(t.x) q TABLESAMPLE BERNOULLI (1)", "TABLESAMPLE"),
            ("f(1) q TABLESAMPLE BERNOULLI (1)", "TABLESAMPLE"),
            ("f(1, SETTINGS a = 1)", "SETTINGS"),
            ("TABLE(f(t.x) FILTER (WHERE false))", "FILTER"),
            ("TABLE(f(7) FILTER (WHERE false))", "FILTER"),
            ("LATERAL TABLE(f(t.x) FILTER (WHERE false))", "FILTER"),
            ("TABLE(f(7) OVER ())", "OVER"),
            ("TABLE(f(7) WITHIN GROUP (ORDER BY 1))", "WITHIN GROUP"),
            ("TABLE(f(7) IGNORE NULLS)", "IGNORE or RESPECT NULLS"),
            ("TABLE(f(7 IGNORE NULLS))", "IGNORE or RESPECT NULLS"),
            ("TABLE(f(7)(t.x))", "a second list of arguments"),
            ("TABLE(f(DISTINCT t.x))", "DISTINCT or ALL"),
            ("TABLE(f(t.x ORDER BY 1))", "ORDER BY"),
        ] {
            let mut statement = parsed(&format!("SELECT 1 FROM t, {from}"));
            let error = rewrite(&mut statement, session().context()).unwrap_err().strip_backtrace();
            let message =
                format!("Error during planning: {clause} cannot be said of table function f;");
            assert!(error.starts_with(&message), "{from}: {error}");
        }
    }

    fn session() -> FarcallSession {
        let session = FarcallSession::new().unwrap();
        session.register(async_table_fn("f", ["a"], |x: i64| async move {
            Ok::<Vec<(i64,)>, CallError>(vec![(x,)])
        }));
        session
    }

    fn parsed(text: &str) -> Statement {
        match sql::parse(text).unwrap().remove(0) {
            sql::Statement::DataFusion(statement) => *statement,
            other => panic!("{other:?}"),
        }
    }
}
