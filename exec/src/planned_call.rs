//! [`PlannedCall`], one call as an operator makes it.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::physical_expr::PhysicalExpr;
use farcall_udf::{AsyncFunction, Estimate, Resolved};

/// One call of the operator: what is called, on which arguments, for which rows.
#[derive(Debug, Clone)]
pub struct PlannedCall {
    /// What is called.
    pub function: AsyncFunction,
    /// The call site's number within the session.
    pub site: u64,
    /// How it is called, and who said so.
    pub options: Resolved,
    /// What was known of its cost and answer when it was planned.
    pub estimate: Estimate,
    /// The arguments, evaluated on the rows that pass the guard.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    /// The rows that need the call are those for which this is true; `None` for all.
    pub guard: Option<Arc<dyn PhysicalExpr>>,
    /// The result column, always nullable.
    pub field: FieldRef,
}

impl fmt::Display for PlannedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args.iter().map(ToString::to_string).collect();
        match self.function.declaration().display() {
            Some(display) => f.write_str(&display(&args))?,
            None => write!(f, "{}({})", self.function.name(), args.join(", "))?,
        }
        write!(f, " AS {}", self.field.name())?;
        if let Some(guard) = &self.guard {
            write!(f, " WHEN {guard}")?;
        }
        Ok(())
    }
}
