//! [`AnswerQueue`] and [`RowQueue`], which give answers out in the order of their rows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_empty_array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::DataType;
use datafusion_common::Result;

use crate::dispatch::held::HeldBuffers;
use crate::dispatch::output::errors::ErrorColumn;
use crate::error::CallError;

/// Consecutive calls answered by consecutive rows of one array.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) len: usize,
    pub(crate) array: ArrayRef,
    pub(crate) offset: usize,
}

/// Below this many rows a run, copying row by row beats slicing.
const SHORT_RUN: usize = 16;

/// Answers in call order: calls are numbered as they come, answers arrive in any order.
///
/// Whole requests stay whole runs, so that a row costs nothing until it is copied out.
#[derive(Debug)]
pub(crate) struct AnswerQueue {
    data_type: DataType,
    /// The errors beside the values, if failures are values.
    errors: Option<ErrorColumn>,
    next: u64,
    ready: u64,
    runs: BTreeMap<u64, Run>,
    held: HeldBuffers,
}

impl AnswerQueue {
    pub(crate) fn new(data_type: DataType) -> Self {
        Self {
            data_type,
            errors: None,
            next: 0,
            ready: 0,
            runs: BTreeMap::new(),
            held: HeldBuffers::default(),
        }
    }

    /// Counts the bytes of answers so.
    pub(crate) fn with_held(mut self, held: HeldBuffers) -> Self {
        self.held = held;
        self
    }

    /// Gives out errors beside the values, as a struct of this type.
    pub(crate) fn with_errors(mut self, data_type: Option<DataType>) -> Self {
        self.errors = data_type.map(ErrorColumn::new);
        self
    }

    /// Says with what a call failed; its value is added beside.
    pub(crate) fn add_error(&mut self, position: u64, error: &CallError) {
        if let Some(errors) = &mut self.errors {
            errors.add(position, error.clone());
        }
    }

    /// Returns the type of what is given out.
    fn given_type(&self) -> &DataType {
        self.errors.as_ref().map_or(&self.data_type, ErrorColumn::data_type)
    }

    /// Takes in the answers to `len` calls from `position` on.
    ///
    /// A second answer to the same call is ignored: the first one may be out already.
    pub(crate) fn add(&mut self, position: u64, array: &ArrayRef, offset: usize, len: usize) {
        if len == 0 || position < self.ready || self.runs.contains_key(&position) {
            return;
        }
        self.held.hold(array);
        self.runs.insert(position, Run { len, array: Arc::clone(array), offset });
        while let Some(run) = self.runs.get(&self.ready) {
            self.ready += run.len as u64;
        }
    }

    /// Returns the bytes that the answers keep in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Returns the number of the first call that is not answered.
    pub(crate) fn answered_upto(&self) -> u64 {
        self.ready
    }

    /// Returns how many answers can be taken: those before the first call without one.
    pub(crate) fn ready(&self) -> usize {
        usize::try_from(self.ready - self.next).unwrap_or(usize::MAX)
    }

    /// Takes out the next `count` answers; they must be ready.
    pub(crate) fn take(&mut self, count: usize) -> Result<ArrayRef> {
        debug_assert!(count <= self.ready());
        let mut taken: Vec<Run> = Vec::new();
        let mut missing = count;
        while missing > 0 {
            let Some((position, mut run)) = self.runs.pop_first() else { break };
            if run.len > missing {
                let rest = Run {
                    len: run.len - missing,
                    array: Arc::clone(&run.array),
                    offset: run.offset + missing,
                };
                self.runs.insert(position + missing as u64, rest);
                run.len = missing;
            } else {
                self.held.release(&run.array);
            }
            missing -= run.len;
            taken.push(run);
        }
        let first = self.next;
        self.next += count as u64;
        let values = copy_out(&taken, count, &self.data_type)?;
        match &mut self.errors {
            Some(errors) => errors.join(&(first..first + count as u64).collect::<Vec<_>>(), values),
            None => Ok(values),
        }
    }
}

/// Puts runs of answers into one array.
pub(crate) fn copy_out(runs: &[Run], count: usize, data_type: &DataType) -> Result<ArrayRef> {
    match runs {
        [] => Ok(new_empty_array(data_type)),
        [run] => Ok(run.array.slice(run.offset, run.len)),
        _ if count / runs.len() >= SHORT_RUN => {
            let slices: Vec<ArrayRef> =
                runs.iter().map(|run| run.array.slice(run.offset, run.len)).collect();
            let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
            Ok(concat(&slices)?)
        }
        _ => {
            let mut arrays: Vec<&dyn Array> = Vec::new();
            let mut last: Option<&ArrayRef> = None;
            let mut rows = Vec::with_capacity(count);
            for run in runs {
                if !last.is_some_and(|last| Arc::ptr_eq(last, &run.array)) {
                    arrays.push(run.array.as_ref());
                    last = Some(&run.array);
                }
                rows.extend((run.offset..run.offset + run.len).map(|row| (arrays.len() - 1, row)));
            }
            Ok(interleave(&arrays, &rows)?)
        }
    }
}

/// One batch of rows, some of which need a call.
#[derive(Debug)]
struct Entry {
    rows: usize,
    /// Which rows need a call; `None` for all of them.
    calls: Option<BooleanBuffer>,
    taken: usize,
}

/// Maps rows to calls: rows that need no call (guard, NULL argument) are NULL and ready at once.
#[derive(Debug, Default)]
pub(crate) struct RowQueue {
    entries: VecDeque<Entry>,
    buffered: usize,
    ready: usize,
    counted_calls: usize,
    /// Where counting stopped: entry and row.
    cursor: (usize, usize),
}

impl RowQueue {
    pub(crate) fn push(&mut self, rows: usize, calls: Option<BooleanBuffer>) {
        debug_assert!(calls.as_ref().is_none_or(|calls| calls.len() == rows));
        self.entries.push_back(Entry { rows, calls, taken: 0 });
        self.buffered += rows;
    }

    /// Returns the rows taken in and not yet given out.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Returns how many rows are ready, given how many calls are answered without a gap.
    pub(crate) fn ready(&mut self, answered_calls: usize) -> usize {
        while let Some(entry) = self.entries.get(self.cursor.0) {
            let (left, calls) = (entry.rows - self.cursor.1, answered_calls - self.counted_calls);
            let (rows, used) = match &entry.calls {
                None => (left.min(calls), left.min(calls)),
                Some(mask) => rows_for_calls(mask, self.cursor.1, calls),
            };
            self.ready += rows;
            self.counted_calls += used;
            self.cursor.1 += rows;
            if self.cursor.1 < entry.rows {
                break;
            }
            self.cursor = (self.cursor.0 + 1, 0);
        }
        self.ready
    }

    /// Returns how many rows the first batch still holds.
    #[cfg(test)]
    pub(crate) fn front_rows(&self) -> usize {
        self.entries.front().map_or(0, |entry| entry.rows - entry.taken)
    }

    /// Takes out `count` ready rows of the first batch.
    pub(crate) fn take(&mut self, count: usize, answers: &mut AnswerQueue) -> Result<ArrayRef> {
        let Some(entry) = self.entries.front_mut() else {
            return Ok(new_empty_array(answers.given_type()));
        };
        debug_assert!(count <= self.ready && count <= entry.rows - entry.taken);
        let start = entry.taken;
        entry.taken += count;
        let mask = entry.calls.as_ref().map(|calls| calls.slice(start, count));
        let done = entry.taken == entry.rows;
        if done {
            self.entries.pop_front();
            self.cursor.0 -= 1;
        }
        self.buffered -= count;
        self.ready -= count;
        let Some(mask) = mask else {
            self.counted_calls -= count;
            return answers.take(count);
        };
        let calls = mask.count_set_bits();
        self.counted_calls -= calls;
        let values = answers.take(calls)?;
        scatter(&values, &mask)
    }
}

/// Counts the rows from `start` on that `calls` answers are enough for, and the answers used.
fn rows_for_calls(mask: &BooleanBuffer, start: usize, calls: usize) -> (usize, usize) {
    let rest = mask.slice(start, mask.len() - start);
    match rest.set_indices().nth(calls) {
        Some(unanswered) => (unanswered, calls),
        None => (rest.len(), rest.count_set_bits()),
    }
}

/// Spreads values over the set rows of a mask; the other rows are NULL.
pub(crate) fn scatter(values: &ArrayRef, mask: &BooleanBuffer) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_null_array(values.data_type(), mask.len()));
    }
    let mut indices = vec![0_u32; mask.len()];
    for (value, row) in mask.set_indices().enumerate() {
        indices[row] = value as u32;
    }
    let nulls = Some(NullBuffer::new(mask.clone()));
    Ok(take(values, &UInt32Array::new(indices.into(), nulls), None)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn gives_out_answers_in_call_order() {
        let mut answers = AnswerQueue::new(DataType::Int64);
        answers.add(2, &ints([20, 30]), 0, 2);
        assert_eq!(answers.ready(), 0);
        answers.add(0, &ints([0, 10]), 0, 2);
        assert_eq!(answers.ready(), 4);
        assert_eq!(read(&answers.take(3).unwrap()), [Some(0), Some(10), Some(20)]);
        assert_eq!(read(&answers.take(1).unwrap()), [Some(30)]);
    }

    #[test]
    fn ignores_a_second_answer() {
        let mut answers = AnswerQueue::new(DataType::Int64);
        answers.add(0, &ints([1]), 0, 1);
        answers.add(0, &ints([2]), 0, 1);
        assert_eq!(read(&answers.take(1).unwrap()), [Some(1)]);
        answers.add(0, &ints([3]), 0, 1);
        assert_eq!(answers.ready(), 0);
    }

    #[test]
    fn copies_scattered_answers_row_by_row() {
        let mut answers = AnswerQueue::new(DataType::Int64);
        let (odd, even) = (ints([1, 3, 5]), ints([0, 2, 4]));
        for row in 0..3 {
            answers.add(2 * row, &even, row as usize, 1);
            answers.add(2 * row + 1, &odd, row as usize, 1);
        }
        assert_eq!(read(&answers.take(6).unwrap()), [0, 1, 2, 3, 4, 5].map(Some));
    }

    #[test]
    fn rows_without_a_call_are_null_and_ready() {
        let (mut rows, mut answers) = (RowQueue::default(), AnswerQueue::new(DataType::Int64));
        rows.push(4, Some(BooleanBuffer::from(vec![false, true, false, true])));
        assert_eq!(rows.ready(answers.ready()), 1);
        answers.add(0, &ints([7]), 0, 1);
        assert_eq!(rows.ready(answers.ready()), 3);
        assert_eq!(read(&rows.take(2, &mut answers).unwrap()), [None, Some(7)]);
        answers.add(1, &ints([8]), 0, 1);
        assert_eq!(rows.ready(answers.ready()), 2);
        assert_eq!(read(&rows.take(2, &mut answers).unwrap()), [None, Some(8)]);
        assert_eq!((rows.buffered(), rows.front_rows()), (0, 0));
    }

    #[test]
    fn counts_rows_over_several_batches() {
        let (mut rows, mut answers) = (RowQueue::default(), AnswerQueue::new(DataType::Int64));
        rows.push(2, None);
        rows.push(2, Some(BooleanBuffer::from(vec![false, false])));
        rows.push(2, None);
        answers.add(0, &ints([1, 2, 3]), 0, 3);
        assert_eq!(rows.ready(answers.ready()), 5);
        assert_eq!(read(&rows.take(2, &mut answers).unwrap()), [Some(1), Some(2)]);
        assert_eq!(read(&rows.take(2, &mut answers).unwrap()), [None, None]);
        assert_eq!((rows.ready(answers.ready()), rows.front_rows()), (1, 2));
    }

    fn ints<const N: usize>(values: [i64; N]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn read(array: &ArrayRef) -> Vec<Option<i64>> {
        array.as_primitive::<Int64Type>().iter().collect()
    }
}
