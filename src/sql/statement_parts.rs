//! [`visit_queries`], which finds the parts of a statement that hold queries.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{Query, Statement as AstStatement};

/// A part of a statement that may hold queries.
pub(crate) enum Part<'a> {
    /// A whole statement.
    Statement(&'a mut AstStatement),
    /// The query of COPY.
    Query(&'a mut Query),
}

impl Part<'_> {
    /// Visits the part.
    pub(crate) fn visit<V: datafusion::sql::sqlparser::ast::VisitorMut>(
        self,
        visitor: &mut V,
    ) -> ControlFlow<V::Break> {
        use datafusion::sql::sqlparser::ast::VisitMut;
        match self {
            Part::Statement(statement) => statement.visit(visitor),
            Part::Query(query) => query.visit(visitor),
        }
    }
}

/// Visits the part of a statement that holds queries, inside EXPLAIN and COPY too; `None` if none
/// does.
pub(crate) fn visit_queries<B>(
    statement: &mut Statement,
    visit: impl FnOnce(Part<'_>) -> ControlFlow<B>,
) -> Option<ControlFlow<B>> {
    match statement {
        Statement::Statement(statement) => Some(visit(Part::Statement(statement))),
        Statement::Explain(explain) => visit_queries(&mut explain.statement, visit),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => Some(visit(Part::Query(query))),
            CopyToSource::Relation(_) => None,
        },
        Statement::CreateExternalTable(_) | Statement::Reset(_) => None,
    }
}
