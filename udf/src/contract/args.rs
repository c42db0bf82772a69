//! [`ArgBatch`], the arguments of a batch of calls.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::FieldRef;
use datafusion_common::{Result, ScalarValue};

/// The arguments of one request: columns of equal length, one row per call.
#[derive(Debug, Clone)]
pub struct ArgBatch {
    columns: Vec<ArrayRef>,
    fields: Arc<[FieldRef]>,
    return_field: FieldRef,
    num_rows: usize,
    distinct: bool,
}

impl ArgBatch {
    /// Puts argument columns together; `num_rows` matters when there are none.
    pub fn new(
        columns: Vec<ArrayRef>,
        fields: Arc<[FieldRef]>,
        return_field: FieldRef,
        num_rows: usize,
    ) -> Self {
        debug_assert!(columns.iter().all(|column| column.len() == num_rows));
        debug_assert_eq!(columns.len(), fields.len());
        Self { columns, fields, return_field, num_rows, distinct: false }
    }

    /// Says that no two rows are equal.
    pub(crate) fn with_distinct_rows(mut self) -> Self {
        self.distinct = true;
        self
    }

    /// Says whether no two rows are known to be equal.
    pub(crate) fn is_distinct(&self) -> bool {
        self.distinct
    }

    /// Returns the number of calls.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Returns the argument columns.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Returns one argument column.
    pub fn column(&self, index: usize) -> &ArrayRef {
        &self.columns[index]
    }

    /// Returns the fields of the arguments.
    pub fn fields(&self) -> &Arc<[FieldRef]> {
        &self.fields
    }

    /// Returns the field that the answer must have.
    pub fn return_field(&self) -> &FieldRef {
        &self.return_field
    }

    /// Returns the rows `offset .. offset + len` without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            columns: self.columns.iter().map(|column| column.slice(offset, len)).collect(),
            fields: Arc::clone(&self.fields),
            return_field: Arc::clone(&self.return_field),
            num_rows: len,
            distinct: self.distinct,
        }
    }

    /// Returns the rows at the given positions, copied.
    ///
    /// # Errors
    /// An error for a position that is not there.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let columns = self
            .columns
            .iter()
            .map(|column| Ok(arrow::compute::take(column, rows, None)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            columns,
            fields: Arc::clone(&self.fields),
            return_field: Arc::clone(&self.return_field),
            num_rows: rows.len(),
            // A position may stand there twice.
            distinct: false,
        })
    }

    /// Returns one row as scalar values.
    ///
    /// # Errors
    /// An error for a type that has no scalar.
    pub fn row(&self, row: usize) -> Result<Vec<ScalarValue>> {
        self.columns.iter().map(|column| ScalarValue::try_from_array(column, row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    #[test]
    fn arguments_are_cut_and_picked_by_row() {
        let args = batch();
        assert_eq!(args.slice(1, 2).row(0).unwrap(), args.row(1).unwrap());
        let picked = args.take(&UInt32Array::from(vec![2, 0])).unwrap();
        assert_eq!(picked.num_rows(), 2);
        assert_eq!(picked.row(0).unwrap(), [ScalarValue::from(3_i64), ScalarValue::from("c")]);
    }

    #[test]
    fn arguments_without_columns_still_have_rows() {
        let field: FieldRef = Arc::new(Field::new("y", DataType::Int64, true));
        let args = ArgBatch::new(vec![], [].into(), field, 5);
        assert_eq!(args.slice(2, 3).num_rows(), 3);
        assert_eq!(args.take(&UInt32Array::from(vec![4])).unwrap().num_rows(), 1);
    }

    fn batch() -> ArgBatch {
        let fields: Arc<[FieldRef]> = [
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Field::new("t", DataType::Utf8, true)),
        ]
        .into();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec!["a", "b", "c"])),
        ];
        ArgBatch::new(columns, Arc::clone(&fields), Arc::clone(&fields[0]), 3)
    }
}
