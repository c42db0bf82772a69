//! Plans async table functions in FROM: `LATERAL f(t.x)`, `LATERAL TABLE(f(t.x))`, `f(1)`, `TABLE(f(1))`.

use std::ops::ControlFlow;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    ObjectName, TableAlias, TableFactor, Visit, Visitor, VisitorMut,
};
use farcall_planner::TableCall;
use farcall_udf::AsyncUdf;

use crate::sql::model_statement::normalize;
use crate::sql::statement_parts::visit_queries;

/// Makes every table function that reads columns lateral, as standard SQL has it for functions.
///
/// DataFusion shows the columns beside it in FROM to a relation only where LATERAL is written.
pub(crate) fn rewrite(statement: &mut Statement, context: &SessionContext) {
    let state = context.state_ref();
    let state = state.read();
    let functions = state.scalar_functions();
    let is_ours = |name: &str| functions.get(name).is_some_and(|udf| returns_rows(udf));
    let mut visitor = Laterals(is_ours);
    // The visitor breaks nowhere.
    let _: Option<ControlFlow<()>> = visit_queries(statement, |part| part.visit(&mut visitor));
}

fn returns_rows(udf: &ScalarUDF) -> bool {
    AsyncUdf::find(udf).is_some_and(|udf| udf.function().declaration().returns_rows())
}

struct Laterals<F>(F);

impl<F: Fn(&str) -> bool> VisitorMut for Laterals<F> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some((name, args)) = called(factor)
            && name.0.len() == 1
            && let Some(ident) = name.0[0].as_ident()
            && self.0(&normalize(ident))
            && args.iter().any(reads_columns)
        {
            let (name, args) = (name.clone(), args.to_vec());
            let alias = take_alias(factor);
            let (lateral, with_ordinality) = (true, false);
            *factor = TableFactor::Function { lateral, name, args, with_ordinality, alias };
        }
        ControlFlow::Continue(())
    }
}

/// Returns what a factor calls, if it says nothing but a call and its alias.
fn called(factor: &TableFactor) -> Option<(&ObjectName, &[FunctionArg])> {
    match factor {
        TableFactor::Table { name, args: Some(args), .. } if args.settings.is_none() => {
            Some((name, &args.args))
        }
        TableFactor::TableFunction { expr: Expr::Function(function), .. } => call_of(function),
        TableFactor::Function { name, args, with_ordinality: false, .. } => {
            match (name.to_string().eq_ignore_ascii_case("table"), args.as_slice()) {
                // `LATERAL TABLE(f(x))` is read as a call of a function named TABLE.
                (true, [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function)))]) => {
                    call_of(function)
                }
                (_, args) => Some((name, args)),
            }
        }
        _ => None,
    }
}

fn call_of(function: &Function) -> Option<(&ObjectName, &[FunctionArg])> {
    match &function.args {
        FunctionArguments::None => Some((&function.name, &[])),
        FunctionArguments::List(list)
            if list.duplicate_treatment.is_none() && list.clauses.is_empty() =>
        {
            Some((&function.name, &list.args))
        }
        _ => None,
    }
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
        let Some((name, args)) = called(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = match name.0.as_slice() {
            [part] => part.as_ident().map(|ident| context.normalize_ident(ident.clone())),
            _ => None,
        };
        let meta =
            function.as_deref().and_then(|name| context.context_provider().get_function_meta(name));
        let (Some(function), true) = (function, meta.is_some_and(|udf| returns_rows(&udf))) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        if let TableFactor::Table { sample: Some(_), .. } = relation {
            return plan_err!("TABLESAMPLE cannot be said of table function {function}");
        }
        let call = Expr::Function(call(name.clone(), args.to_vec()));
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

fn call(name: ObjectName, args: Vec<FunctionArg>) -> Function {
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
            rewrite(&mut statement, session().context());
            let text = statement.to_string();
            assert_eq!(text, format!("SELECT 1 FROM {rewritten}"));
            rewrite(&mut statement, session().context());
            assert_eq!(statement.to_string(), text);
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
