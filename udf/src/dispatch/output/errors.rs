//! [`ErrorColumn`], the errors that stand beside the values of a `try_` function.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, StringBuilder, StructArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, internal_err};

use crate::adapt::tried::error_fields;
use crate::error::CallError;

/// The errors of calls that failed, until their rows are given out.
///
/// Bounded by the rows that are held back.
#[derive(Debug)]
pub(crate) struct ErrorColumn {
    /// The type of value and error together.
    data_type: DataType,
    errors: HashMap<u64, CallError>,
}

impl ErrorColumn {
    pub(crate) fn new(data_type: DataType) -> Self {
        Self { data_type, errors: HashMap::new() }
    }

    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Says with what a call failed.
    pub(crate) fn add(&mut self, position: u64, error: CallError) {
        self.errors.insert(position, error);
    }

    /// Puts the errors of calls beside their values.
    pub(crate) fn join(&mut self, positions: &[u64], values: ArrayRef) -> Result<ArrayRef> {
        let DataType::Struct(fields) = &self.data_type else {
            return internal_err!("the result of a try_ function is no struct");
        };
        let errors: Vec<Option<CallError>> = match self.errors.is_empty() {
            true => Vec::new(),
            false => positions.iter().map(|position| self.errors.remove(position)).collect(),
        };
        let columns = vec![values, Arc::new(column(positions.len(), &errors)) as ArrayRef];
        let rows = positions.len();
        Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, rows)?))
    }
}

/// Makes the column of errors; none at all stand for a row each without one.
fn column(rows: usize, errors: &[Option<CallError>]) -> StructArray {
    if errors.iter().all(Option::is_none) {
        return StructArray::new_null(error_fields(), rows);
    }
    let (mut codes, mut messages) = (StringBuilder::new(), StringBuilder::new());
    let mut attempts = Int32Builder::with_capacity(rows);
    for error in errors {
        codes.append_value(error.as_ref().map_or("", |error| error.class().as_str()));
        messages.append_value(error.as_ref().map(ToString::to_string).unwrap_or_default());
        let made = error.as_ref().map_or(0, CallError::attempts);
        attempts.append_value(i32::try_from(made).unwrap_or(i32::MAX));
    }
    StructArray::new(
        error_fields(),
        vec![Arc::new(codes.finish()), Arc::new(messages.finish()), Arc::new(attempts.finish())],
        Some(errors.iter().map(Option::is_some).collect::<Vec<bool>>().into()),
    )
}
