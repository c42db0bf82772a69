//! Makes a failing query smaller while it still fails.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, Query, SetExpr, Statement, VisitMut, VisitorMut, visit_expressions,
    visit_expressions_mut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

/// The queries that are tried at most.
const MAX_ATTEMPTS: usize = 400;

/// Returns the smallest query found that still fails.
pub async fn shrink(sql: &str, mut fails: impl AsyncFnMut(&str) -> bool) -> String {
    let mut best = sql.to_owned();
    let mut attempts = 0;
    'again: loop {
        for candidate in candidates(&best) {
            attempts += 1;
            if attempts > MAX_ATTEMPTS {
                return best;
            }
            if fails(&candidate).await {
                best = candidate;
                continue 'again;
            }
        }
        return best;
    }
}

/// Returns queries that are shorter, the shortest first.
fn candidates(sql: &str) -> Vec<String> {
    let Ok(statements) = Parser::parse_sql(&GenericDialect {}, sql) else { return vec![] };
    let [statement] = &statements[..] else { return vec![] };
    let mut found = Vec::new();
    for at in 0.. {
        let Some(changed) = without_clauses(statement, at) else { break };
        found.extend(changed);
    }
    found.extend(with_smaller_expressions(statement));
    let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.retain(|candidate| candidate.len() < sql.len());
    found.sort_by_key(String::len);
    found.dedup();
    found
}

/// Returns the statement without one clause of its query number `at`; `None` behind the last query.
fn without_clauses(statement: &Statement, at: usize) -> Option<Vec<Statement>> {
    let mut found = Vec::new();
    for change in 0.. {
        let mut changed = statement.clone();
        let mut visitor = DropClause { at, change, seen: 0, done: Done::NoQuery };
        let _ = VisitMut::visit(&mut changed, &mut visitor);
        match visitor.done {
            Done::NoQuery => return None,
            Done::NoChange => break,
            Done::Nothing => {}
            Done::Changed => found.push(changed),
        }
    }
    Some(found)
}

#[derive(PartialEq)]
enum Done {
    NoQuery,
    NoChange,
    Nothing,
    Changed,
}

struct DropClause {
    at: usize,
    change: usize,
    seen: usize,
    done: Done,
}

impl VisitorMut for DropClause {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.seen += 1;
        if self.seen <= self.at {
            return ControlFlow::Continue(());
        }
        self.done = drop_clause(query, self.change);
        ControlFlow::Break(())
    }
}

/// Drops clause number `change` of a query.
fn drop_clause(query: &mut Query, change: usize) -> Done {
    let changed = |yes: bool| if yes { Done::Changed } else { Done::Nothing };
    match change {
        0 => {
            query.limit_clause = None;
            return changed(query.order_by.take().is_some());
        }
        1 => return changed(query.limit_clause.take().is_some()),
        _ => {}
    }
    if let SetExpr::SetOperation { left, right, .. } = &*query.body {
        let side = match change {
            2 => left.clone(),
            3 => right.clone(),
            _ => return Done::NoChange,
        };
        query.body = side;
        return Done::Changed;
    }
    let SetExpr::Select(select) = &mut *query.body else { return Done::NoChange };
    match change {
        2 => changed(select.selection.take().is_some()),
        3 => changed(select.having.take().is_some()),
        4 => changed(select.qualify.take().is_some()),
        5 => changed(select.distinct.take().is_some()),
        6 => {
            let none = GroupByExpr::Expressions(vec![], vec![]);
            changed(std::mem::replace(&mut select.group_by, none.clone()) != none)
        }
        7 => changed(select.from.iter_mut().any(|from| from.joins.pop().is_some())),
        item if item - 8 < select.projection.len() => {
            if select.projection.len() == 1 {
                return Done::Nothing;
            }
            select.projection.remove(item - 8);
            Done::Changed
        }
        _ => Done::NoChange,
    }
}

/// Returns the statement with one expression replaced by one inside it.
fn with_smaller_expressions(statement: &Statement) -> Vec<Statement> {
    let mut inner: Vec<Vec<Expr>> = Vec::new();
    let _ = visit_expressions(statement, |expr| {
        let mut parts = Vec::new();
        let _ = visit_expressions(expr, |part| {
            if part != expr && parts.len() < 8 {
                parts.push(part.clone());
            }
            ControlFlow::<()>::Continue(())
        });
        inner.push(parts);
        ControlFlow::<()>::Continue(())
    });
    let mut found = Vec::new();
    for (at, parts) in inner.into_iter().enumerate() {
        for part in parts {
            let mut changed = statement.clone();
            let mut seen = 0;
            let _ = visit_expressions_mut(&mut changed, |expr| {
                seen += 1;
                if seen == at + 1 {
                    *expr = part.clone();
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            found.push(changed);
        }
    }
    found
}
