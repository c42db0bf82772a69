//! [`TableRows`], a table function as a row-wise one whose value is the list of its rows.

use std::ops::Range;
use std::sync::Arc;
use std::task::Context;

use arrow::array::{ArrayRef, BooleanArray, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use async_trait::async_trait;
use datafusion_common::ScalarValue;

use crate::adapt::rows::{EvalRow, EvaluatedRow, RowBurst, RowFunction, start_rows};
use crate::contract::args::ArgBatch;
use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::conversion::conversion;
use crate::contract::declaration::Declaration;
use crate::contract::list_type::{PRESENT, item, rows_of};
use crate::contract::opened::Opened;
use crate::contract::table::AsyncTableFunction;
use crate::error::CallError;

/// A table function as a row function whose value is the list of its rows.
///
/// That makes it a call like any other: it is guarded, merged, cached, retried and put in order by the
/// same steps, and the join that reads the list pairs the rows.
#[derive(Debug)]
pub(crate) struct TableRows(pub(crate) Arc<dyn AsyncTableFunction>);

#[async_trait]
impl RowFunction for TableRows {
    fn declaration(&self) -> &Declaration {
        self.0.declaration()
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        self.0.open(ctx).await
    }

    fn start(
        &self,
        args: &ArgBatch,
        rows: Range<usize>,
        ctx: &CallContext,
        cx: &mut Context<'_>,
    ) -> Result<RowBurst, CallError> {
        let name = self.declaration().name();
        let columns: Arc<[FieldRef]> = match rows_of(args.return_field().data_type()) {
            Some(columns) => columns.into(),
            None => {
                let message = "its declaration has no columns, make it by Declaration::table";
                return Err(CallError::configuration(name, message));
            }
        };
        start_rows(TableRow { function: Arc::clone(&self.0), columns }, args, rows, ctx, cx)
    }

    async fn close(&self, opened: Opened) -> Result<(), CallError> {
        self.0.close(opened).await
    }
}

/// One row's call of a table function.
pub(crate) struct TableRow {
    function: Arc<dyn AsyncTableFunction>,
    /// What the function answers with.
    columns: Arc<[FieldRef]>,
}

impl EvalRow for TableRow {
    fn name(&self) -> &str {
        self.function.declaration().name()
    }

    fn eval<'a>(&'a self, args: Vec<ScalarValue>, ctx: &'a CallContext) -> EvaluatedRow<'a> {
        Box::pin(async move {
            let rows = self.function.eval(args, ctx).await?;
            list(self.name(), &self.columns, rows)
        })
    }
}

/// Makes a list of the rows of one answer, after checking that it has the declared columns.
pub(crate) fn list(
    name: &str,
    columns: &[FieldRef],
    rows: RecordBatch,
) -> Result<ScalarValue, CallError> {
    if rows.num_columns() != columns.len() {
        let (got, declared) = (rows.num_columns(), columns.len());
        let message = format!("{got} columns where {declared} are declared");
        return Err(CallError::malformed(name, message));
    }
    for (column, declared) in rows.columns().iter().zip(columns) {
        if column.data_type() != declared.data_type() {
            return Err(CallError::WrongType {
                function: name.to_owned(),
                declared: format!("{} (column {})", declared.data_type(), declared.name()),
                got: column.data_type().to_string(),
            });
        }
    }
    let present: ArrayRef = Arc::new(BooleanArray::from(vec![true; rows.num_rows()]));
    let mark = Arc::new(Field::new(PRESENT, DataType::Boolean, true));
    let fields: Fields = columns.iter().cloned().chain([mark]).collect();
    let length = rows.num_rows();
    let arrays = rows.columns().iter().cloned().chain([present]).collect();
    let list = StructArray::try_new(fields.clone(), arrays, None).and_then(|rows| {
        let offsets = OffsetBuffer::from_lengths([length]);
        ListArray::try_new(item(fields), offsets, Arc::new(rows), None)
    });
    let list = list.map_err(|error| conversion(name, "an answer", error))?;
    Ok(ScalarValue::List(Arc::new(list)))
}

#[cfg(test)]
#[path = "table_rows_tests.rs"]
mod tests;
