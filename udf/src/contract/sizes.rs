//! [`average_bytes`], what a row of an array takes in memory.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ByteViewType, DataType};

use crate::contract::args::ArgBatch;

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

/// What a token of text has, roughly.
pub(crate) const BYTES_PER_TOKEN: usize = 4;

/// Estimates the tokens of each row by its bytes, four to a token, as models cut most text.
pub(crate) fn estimate_tokens(args: &ArgBatch) -> Vec<usize> {
    let bytes = RowBytes::of(args);
    let each = bytes.each.unwrap_or_else(|| vec![0; args.num_rows()]);
    each.into_iter().map(|row| (bytes.fixed + row).div_ceil(BYTES_PER_TOKEN)).collect()
}

/// The bytes of rows: what all have and, if a type varies, what each has.
pub(crate) struct RowBytes {
    rows: usize,
    pub(crate) fixed: usize,
    pub(crate) each: Option<Vec<usize>>,
}

impl RowBytes {
    pub(crate) fn of(args: &ArgBatch) -> Self {
        let mut bytes = Self { rows: args.num_rows(), fixed: 0, each: None };
        args.columns().iter().for_each(|column| bytes.add(column));
        bytes
    }

    fn add(&mut self, column: &ArrayRef) {
        match column.data_type() {
            DataType::Utf8 => self.vary(1, column.as_string::<i32>().offsets().lengths()),
            DataType::LargeUtf8 => self.vary(1, column.as_string::<i64>().offsets().lengths()),
            DataType::Binary => self.vary(1, column.as_binary::<i32>().offsets().lengths()),
            DataType::LargeBinary => self.vary(1, column.as_binary::<i64>().offsets().lengths()),
            DataType::Utf8View => {
                self.vary(1, column.as_string_view().lengths().map(|length| length as usize));
            }
            DataType::BinaryView => {
                self.vary(1, column.as_binary_view().lengths().map(|length| length as usize));
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                self.vary(average_bytes(list.values()), list.offsets().lengths());
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                self.vary(average_bytes(list.values()), list.offsets().lengths());
            }
            DataType::FixedSizeList(_, items) => {
                let items = usize::try_from(*items).unwrap_or_default();
                self.fixed += items * average_bytes(column.as_fixed_size_list().values());
            }
            DataType::Struct(_) => column.as_struct().columns().iter().for_each(|c| self.add(c)),
            DataType::Dictionary(..) => {
                self.fixed += average_bytes(column.as_any_dictionary().values());
            }
            other => self.fixed += other.primitive_width().unwrap_or_else(|| average_bytes(column)),
        }
    }

    fn vary(&mut self, item: usize, lengths: impl Iterator<Item = usize>) {
        let each = self.each.get_or_insert_with(|| vec![0; self.rows]);
        each.iter_mut().zip(lengths).for_each(|(row, length)| *row += item * length);
    }
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
