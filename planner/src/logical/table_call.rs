//! [`TableCall`], the node of a table function in FROM, until its call is joined to the rows it is for.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion_common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use farcall_udf::rows_of;

use crate::calls::find_call;

/// The rows of one call of a table function; its arguments may be columns of an outer query.
///
/// SQL is planned to it, and the analyzer rule `correlate` puts an [`AsyncCalc`](super::AsyncCalc) below
/// an [`AsyncLookupJoin`](super::AsyncLookupJoin) in its place, so that it is never executed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableCall {
    call: Expr,
    schema: DFSchemaRef,
}

impl TableCall {
    /// Makes the node; its columns are qualified by the function's name.
    ///
    /// # Errors
    /// An internal error if the expression calls no table function.
    pub fn try_new(call: Expr) -> Result<Self> {
        let Some(udf) = find_call(&call).filter(|udf| udf.function().declaration().returns_rows())
        else {
            return internal_err!("TableCall holds {call}, which calls no table function");
        };
        let qualifier = TableReference::bare(udf.function().name());
        let data_type = call.get_type(&DFSchema::empty())?;
        let Some(columns) = rows_of(&data_type) else {
            return internal_err!("{call} of type {data_type} gives no rows");
        };
        let fields =
            columns.iter().map(|field| (Some(qualifier.clone()), Arc::clone(field))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { call, schema })
    }

    /// Returns the call.
    pub fn call(&self) -> &Expr {
        &self.call
    }

    /// Finds the node in a plan.
    pub fn find(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Self>(),
            _ => None,
        }
    }

    /// Turns the node into a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl PartialOrd for TableCall {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // The schema follows from the call.
        self.call.partial_cmp(&other.call)
    }
}

impl UserDefinedLogicalNodeCore for TableCall {
    fn name(&self) -> &str {
        "TableCall"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.call.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TableCall: {}", self.call)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let number = exprs.len();
        match (exprs.into_iter().next(), number, inputs.len()) {
            (Some(call), 1, 0) => Self::try_new(unalias(call)),
            _ => internal_err!("TableCall takes one expression and no input, got {number}"),
        }
    }
}
