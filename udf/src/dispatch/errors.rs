//! [`ErrorColumn`], the errors that stand beside the values of a `try_` function.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion_common::{Result, internal_err};

use crate::error::CallError;
use crate::tried::error_fields;

/// The errors of calls that failed, until their rows are given out.
///
/// Bounded by the rows that are held back.
#[derive(Debug)]
pub(crate) struct ErrorColumn {
    /// The type of value and error together.
    data_type: DataType,
    errors: BTreeMap<u64, CallError>,
}

impl ErrorColumn {
    pub(crate) fn new(data_type: DataType) -> Self {
        Self { data_type, errors: BTreeMap::new() }
    }

    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Says with what a call failed.
    pub(crate) fn add(&mut self, position: u64, error: CallError) {
        self.errors.insert(position, error);
    }

    /// Puts the errors of the calls from `first` on beside their values.
    pub(crate) fn join(&mut self, first: u64, values: ArrayRef) -> Result<ArrayRef> {
        let DataType::Struct(fields) = &self.data_type else {
            return internal_err!("the result of a try_ function is no struct");
        };
        let rows = values.len();
        let mut left = self.errors.split_off(&(first + rows as u64));
        std::mem::swap(&mut left, &mut self.errors);
        let errors = column(first, rows, &left);
        Ok(Arc::new(StructArray::try_new_with_length(
            fields.clone(),
            vec![values, Arc::new(errors)],
            None,
            rows,
        )?))
    }
}

fn column(first: u64, rows: usize, errors: &BTreeMap<u64, CallError>) -> StructArray {
    if errors.is_empty() {
        return StructArray::new_null(error_fields(), rows);
    }
    let (mut codes, mut messages) = (StringBuilder::new(), StringBuilder::new());
    let mut attempts = Int32Builder::with_capacity(rows);
    let failed: Vec<bool> = (first..first + rows as u64)
        .map(|position| {
            let error = errors.get(&position);
            codes.append_value(error.map_or("", |error| error.class().as_str()));
            messages.append_value(error.map(ToString::to_string).unwrap_or_default());
            let made = error.map_or(0, CallError::attempts);
            attempts.append_value(i32::try_from(made).unwrap_or(i32::MAX));
            error.is_some()
        })
        .collect();
    StructArray::new(
        error_fields(),
        vec![Arc::new(codes.finish()), Arc::new(messages.finish()), Arc::new(attempts.finish())],
        Some(NullBuffer::from(failed)),
    )
}
