//! [`HeldBuffers`], the bytes that arrays keep in memory, each buffer counted once.

use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef};
use arrow::buffer::Buffer;
use hashbrown::HashMap;

use crate::contract::sizes::average_bytes;

/// Counts the bytes of the buffers that arrays keep in memory.
///
/// A buffer counts once and as a whole, however many arrays share it and however little of it they
/// show: that is what stays allocated until the last of them is released. Where the buffers belong to
/// something that is accounted itself, a table held as a whole for instance, only what an array shows
/// is counted.
#[derive(Debug, Default)]
pub struct HeldBuffers {
    by_rows: bool,
    /// How often each array is held, by its place in memory, which is its own while it is held.
    arrays: HashMap<usize, usize>,
    /// Holders and bytes of each buffer, by its place in memory; of each array if rows are counted.
    buffers: HashMap<usize, (usize, usize)>,
    bytes: usize,
}

impl HeldBuffers {
    /// Counts what arrays show, whatever buffers they share.
    pub(crate) fn by_rows() -> Self {
        Self { by_rows: true, ..Self::default() }
    }

    /// Counts an array; the same one may be counted several times.
    pub fn hold(&mut self, array: &ArrayRef) {
        let times = self.arrays.entry(place(array)).or_default();
        *times += 1;
        if *times > 1 {
            return;
        }
        if self.by_rows {
            let bytes = array.len() * average_bytes(array);
            self.bytes += bytes;
            self.buffers.insert(place(array), (1, bytes));
            return;
        }
        for_each_buffer(&array.to_data(), &mut |buffer| {
            let (holders, _) = self.buffers.entry(address(buffer)).or_insert_with(|| {
                self.bytes += buffer.capacity();
                (0, buffer.capacity())
            });
            *holders += 1;
        });
    }

    /// Counts an array once less; it must be one that [`HeldBuffers::hold`] was given.
    pub fn release(&mut self, array: &ArrayRef) {
        let Some(times) = self.arrays.get_mut(&place(array)) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        self.arrays.remove(&place(array));
        if self.by_rows {
            if let Some((_, bytes)) = self.buffers.remove(&place(array)) {
                self.bytes -= bytes;
            }
            return;
        }
        for_each_buffer(&array.to_data(), &mut |buffer| {
            let Some((holders, bytes)) = self.buffers.get_mut(&address(buffer)) else { return };
            *holders -= 1;
            if *holders == 0 {
                self.bytes -= *bytes;
                self.buffers.remove(&address(buffer));
            }
        });
    }

    /// Returns the bytes of all buffers that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn place(array: &ArrayRef) -> usize {
    Arc::as_ptr(array).cast::<()>().addr()
}

fn address(buffer: &Buffer) -> usize {
    buffer.data_ptr().addr().get()
}

fn for_each_buffer(data: &ArrayData, visit: &mut impl FnMut(&Buffer)) {
    data.buffers().iter().for_each(&mut *visit);
    if let Some(nulls) = data.nulls() {
        visit(nulls.buffer());
    }
    for child in data.child_data() {
        for_each_buffer(child, visit);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array, StructArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn slices_of_one_buffer_count_once_until_the_last_is_released() {
        let mut held = HeldBuffers::default();
        let whole = ints(100);
        let (front, back) = (whole.slice(0, 50), whole.slice(50, 50));
        held.hold(&front);
        let bytes = held.bytes();
        assert!(bytes >= 800, "{bytes}");
        held.hold(&back);
        held.release(&front);
        assert_eq!(held.bytes(), bytes);
        held.release(&back);
        assert_eq!((held.bytes(), held.arrays.len(), held.buffers.len()), (0, 0, 0));
    }

    #[test]
    fn an_array_that_is_held_twice_is_released_twice() {
        let mut held = HeldBuffers::default();
        let array = ints(10);
        held.hold(&array);
        held.hold(&array);
        held.release(&array);
        assert!(held.bytes() > 0);
        held.release(&array);
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn nulls_and_children_count_too() {
        let child: ArrayRef =
            Arc::new((0..64).map(|x| (x > 3).then_some(x)).collect::<Int64Array>());
        let field = Field::new("a", DataType::Int64, true);
        let parent: ArrayRef =
            Arc::new(StructArray::from(vec![(Arc::new(field), Arc::clone(&child))]));
        let mut held = HeldBuffers::default();
        held.hold(&parent);
        let bytes = held.bytes();
        assert!(bytes > 64 * 8, "{bytes}");
        held.hold(&child);
        assert_eq!(held.bytes(), bytes);
    }

    #[test]
    fn by_rows_a_part_of_a_large_buffer_counts_what_it_shows() {
        let mut held = HeldBuffers::by_rows();
        let part = ints(1_000).slice(10, 20);
        held.hold(&part);
        held.hold(&part);
        assert_eq!(held.bytes(), 20 * 8);
        held.release(&part);
        assert_eq!(held.bytes(), 20 * 8);
        held.release(&part);
        assert_eq!((held.bytes(), held.arrays.len(), held.buffers.len()), (0, 0, 0));
    }

    #[test]
    fn what_was_never_held_releases_nothing() {
        let mut held = HeldBuffers::default();
        held.release(&ints(10));
        assert_eq!(held.bytes(), 0);
    }

    fn ints(rows: i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..rows))
    }
}
