//! What DataFusion's SQL lacks: statements of farcall's own, PREDICT, and SET with the FLIP's keys.

use datafusion::error::Result;
use datafusion::prelude::DataFrame;

use crate::session::FarcallSession;

/// One statement of a script.
#[derive(Debug, Clone)]
pub enum Statement {
    /// A statement that DataFusion plans.
    DataFusion(Box<datafusion::sql::parser::Statement>),
}

/// Parses a script into its statements.
pub fn parse(_sql: &str) -> Result<Vec<Statement>> {
    Ok(vec![])
}

/// Runs a statement up to the point where its rows can be read.
pub async fn execute(session: &FarcallSession, statement: Statement) -> Result<DataFrame> {
    let Statement::DataFusion(statement) = statement;
    let plan = session.context().state().statement_to_plan(*statement).await?;
    session.context().execute_logical_plan(plan).await
}
