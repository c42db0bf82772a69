//! [`average_bytes`], what a row of an array takes in memory.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ByteViewType, DataType};

/// The longest text that a view holds in itself.
const INLINE_BYTES: u32 = 12;

/// Returns the bytes of a row on average; of an array that shows a part of larger buffers, only what
/// belongs to the part.
pub(crate) fn average_bytes(array: &ArrayRef) -> usize {
    bytes(array).div_ceil(array.len().max(1))
}

fn bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    match array.data_type() {
        // Arrow counts the views alone.
        DataType::Utf8View => rows * size_of::<u128>() + apart(array.as_string_view()),
        DataType::BinaryView => rows * size_of::<u128>() + apart(array.as_binary_view()),
        DataType::List(_) => {
            let (list, width) = (array.as_list::<i32>(), size_of::<i32>());
            let [first, last] = ends(list.offsets()).map(|end| end as usize);
            rows * width + bytes(&list.values().slice(first, last - first))
        }
        DataType::LargeList(_) => {
            let (list, width) = (array.as_list::<i64>(), size_of::<i64>());
            let [first, last] = ends(list.offsets()).map(|end| end as usize);
            rows * width + bytes(&list.values().slice(first, last - first))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(bytes).sum(),
        _ => {
            let data = array.to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size())
        }
    }
}

/// Returns the bytes that texts have outside their views; several views of one text count each.
fn apart<T: ByteViewType>(array: &arrow::array::GenericByteViewArray<T>) -> usize {
    let lengths = array.lengths().filter(|length| *length > INLINE_BYTES);
    lengths.map(|length| length as usize).sum()
}

fn ends<T: Copy>(offsets: &[T]) -> [T; 2] {
    // There is always one offset more than rows.
    [offsets[0], offsets[offsets.len() - 1]]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, Int64Builder, ListBuilder, StringViewArray, StructArray};
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn texts_count_whether_or_not_they_fit_into_their_views() {
        let long = "x".repeat(1_000);
        let texts = [Some("short"), Some(long.as_str()), None, Some("")];
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter(texts));
        assert_eq!(bytes(&texts), 4 * 16 + 1_000);
        assert_eq!(bytes(&texts.slice(2, 2)), 2 * 16);
        assert_eq!(average_bytes(&texts.slice(1, 1)), 1_016);
        assert_eq!(average_bytes(&texts.slice(0, 0)), 0);
    }

    #[test]
    fn a_part_of_lists_counts_its_own_items() {
        let mut lists = ListBuilder::new(Int64Builder::new());
        for items in [100, 1, 1, 100] {
            lists.append_value((0..items).map(Some));
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        assert_eq!(bytes(&lists.slice(1, 2)), 2 * 4 + 2 * 8);
    }

    #[test]
    fn a_struct_counts_its_columns() {
        let long = "x".repeat(100);
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![long.as_str(), "a"]));
        let columns = [("i", ints), ("s", texts)].map(|(name, column)| {
            (Arc::new(Field::new(name, column.data_type().clone(), true)), column)
        });
        let rows: ArrayRef = Arc::new(StructArray::from(columns.to_vec()));
        assert_eq!(bytes(&rows), 2 * 8 + 2 * 16 + 100);
        assert_eq!(bytes(&rows.slice(1, 1)), 8 + 16);
    }
}
