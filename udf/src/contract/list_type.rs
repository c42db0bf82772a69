//! The type of an answer that is a list of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

/// The field of each row that is TRUE: it tells a row of NULLs from the NULLs of an outer join.
pub(crate) const PRESENT: &str = "__async_present";

/// Returns the type of a lookup's answer to one key.
pub(crate) fn list_type(row: Fields) -> DataType {
    DataType::List(item(row))
}

/// Returns the field of a found row within the list.
pub(crate) fn item(row: Fields) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(row), true))
}

/// Returns the columns of a table function's rows from the type of its calls.
pub fn rows_of(data_type: &DataType) -> Option<&[FieldRef]> {
    match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => match fields.split_last() {
                Some((present, columns)) if present.name() == PRESENT => Some(columns),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Returns the type of a call: a list of rows, each with its columns and the mark of its presence.
pub(crate) fn rows_type(columns: &Fields) -> DataType {
    let columns = columns.iter().map(|field| field.as_ref().clone().with_nullable(true));
    let present = Field::new(PRESENT, DataType::Boolean, true);
    DataType::List(item(columns.chain([present]).collect()))
}

/// Makes the answers of keys that are not there.
pub(crate) fn missing(data_type: &DataType, keys: usize) -> Option<ArrayRef> {
    let DataType::List(item) = data_type else { return None };
    let none = new_empty_array(item.data_type());
    let lists = ListArray::try_new(Arc::clone(item), OffsetBuffer::new_zeroed(keys), none, None);
    lists.ok().map(|lists| Arc::new(lists) as ArrayRef)
}
