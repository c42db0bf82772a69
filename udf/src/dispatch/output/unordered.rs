//! [`ArrivalQueue`], which gives answers out as they come, each with the number of its row.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion_common::Result;

use crate::dispatch::held::HeldBuffers;
use crate::dispatch::output::errors::ErrorColumn;
use crate::dispatch::output::order::{Run, copy_out};
use crate::error::CallError;

/// Rows that came together and the calls among them.
#[derive(Debug)]
struct Entry {
    first_row: u64,
    first_call: u64,
    /// The rows that need a call, counted from the first; `None` for all of them.
    called: Option<Vec<u32>>,
    calls: u64,
    unanswered: u64,
}

impl Entry {
    /// Returns the row of the entry's call number `call`.
    fn row(&self, call: u64) -> u64 {
        match &self.called {
            None => self.first_row + call,
            Some(rows) => self.first_row + u64::from(rows[call as usize]),
        }
    }
}

/// Rows that are ready.
#[derive(Debug)]
enum Ready {
    /// Answers to the calls from `position` on.
    Answered { position: u64, run: Run },
    /// Rows that needed no call; their value is NULL.
    Uncalled(VecDeque<u64>),
}

/// Answers in the order of their arrival.
///
/// Rows are numbered from the first one pushed, so that whoever keeps the input can find them.
#[derive(Debug)]
pub(crate) struct ArrivalQueue {
    data_type: DataType,
    errors: Option<ErrorColumn>,
    entries: VecDeque<Entry>,
    ready: VecDeque<Ready>,
    next_row: u64,
    next_call: u64,
    ready_rows: usize,
    buffered: usize,
    held: HeldBuffers,
}

impl ArrivalQueue {
    /// `tries` is the type of value and error together, if failures are values.
    pub(crate) fn new(data_type: DataType, tries: Option<DataType>) -> Self {
        Self {
            data_type,
            errors: tries.map(ErrorColumn::new),
            entries: VecDeque::new(),
            ready: VecDeque::new(),
            next_row: 0,
            next_call: 0,
            ready_rows: 0,
            buffered: 0,
            held: HeldBuffers::default(),
        }
    }

    /// Counts the bytes of answers so.
    pub(crate) fn with_held(mut self, held: HeldBuffers) -> Self {
        self.held = held;
        self
    }

    /// Takes in rows, of which those that `calls` says need a call.
    pub(crate) fn push(&mut self, rows: usize, calls: Option<&BooleanBuffer>) {
        let first_row = self.next_row;
        self.next_row += rows as u64;
        self.buffered += rows;
        let called: Option<Vec<u32>> =
            calls.map(|calls| calls.set_indices().map(|row| row as u32).collect());
        if let Some(calls) = calls {
            let uncalled: VecDeque<u64> =
                (!calls).set_indices().map(|row| first_row + row as u64).collect();
            if !uncalled.is_empty() {
                self.ready_rows += uncalled.len();
                self.ready.push_back(Ready::Uncalled(uncalled));
            }
        }
        let calls = called.as_ref().map_or(rows, Vec::len) as u64;
        if calls > 0 {
            let first_call = self.next_call;
            self.next_call += calls;
            let unanswered = calls;
            self.entries.push_back(Entry { first_row, first_call, called, calls, unanswered });
        }
    }

    /// Takes in the answers to `len` calls from `position` on.
    pub(crate) fn add(&mut self, position: u64, array: &ArrayRef, offset: usize, len: usize) {
        if len > 0 {
            self.held.hold(array);
            let run = Run { len, array: Arc::clone(array), offset };
            self.ready.push_back(Ready::Answered { position, run });
            self.ready_rows += len;
        }
    }

    pub(crate) fn add_error(&mut self, position: u64, error: &CallError) {
        if let Some(errors) = &mut self.errors {
            errors.add(position, error.clone());
        }
    }

    /// Returns the bytes that the answers keep in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// Returns the rows that can be taken.
    pub(crate) fn ready(&self) -> usize {
        self.ready_rows
    }

    /// Returns the rows taken in and not yet given out.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Takes out up to `max` rows and their numbers; `None` if nothing is ready.
    pub(crate) fn take(&mut self, max: usize) -> Result<Option<(UInt64Array, ArrayRef)>> {
        if max == 0 {
            return Ok(None);
        }
        let taken = match self.ready.front_mut() {
            None => return Ok(None),
            Some(Ready::Uncalled(rows)) => {
                let count = rows.len().min(max);
                let numbers: UInt64Array = rows.drain(..count).collect::<Vec<_>>().into();
                if rows.is_empty() {
                    self.ready.pop_front();
                }
                let given = self.errors.as_ref().map_or(&self.data_type, ErrorColumn::data_type);
                (numbers, new_null_array(given, count))
            }
            Some(Ready::Answered { .. }) => self.take_answers(max)?,
        };
        self.ready_rows -= taken.0.len();
        self.buffered -= taken.0.len();
        Ok(Some(taken))
    }

    fn take_answers(&mut self, max: usize) -> Result<(UInt64Array, ArrayRef)> {
        let (mut runs, mut positions, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        while numbers.len() < max
            && let Some(Ready::Answered { position, run }) = self.ready.front_mut()
        {
            let (first, len) = (*position, run.len.min(max - numbers.len()));
            runs.push(Run { len, array: Arc::clone(&run.array), offset: run.offset });
            if len == run.len {
                self.held.release(&run.array);
                self.ready.pop_front();
            } else {
                *position += len as u64;
                run.offset += len;
                run.len -= len;
            }
            positions.extend(first..first + len as u64);
            self.number(first, len, &mut numbers);
        }
        let values = copy_out(&runs, numbers.len(), &self.data_type)?;
        let values = match &mut self.errors {
            Some(errors) => errors.join(&positions, values)?,
            None => values,
        };
        Ok((numbers.into(), values))
    }

    /// Finds the rows of calls, and forgets batches of rows that are answered.
    fn number(&mut self, mut position: u64, len: usize, numbers: &mut Vec<u64>) {
        let end = position + len as u64;
        let mut index =
            self.entries.partition_point(|entry| entry.first_call + entry.calls <= position);
        while position < end
            && let Some(entry) = self.entries.get_mut(index)
        {
            let upto = end.min(entry.first_call + entry.calls);
            numbers.extend((position..upto).map(|call| entry.row(call - entry.first_call)));
            entry.unanswered -= upto - position;
            position = upto;
            index += 1;
        }
        while self.entries.front().is_some_and(|entry| entry.unanswered == 0) {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn answers_come_out_as_they_came_in_with_their_rows() {
        let mut queue = queue();
        queue.push(4, None);
        queue.add(2, &ints([20, 30]), 0, 2);
        queue.add(0, &ints([0]), 0, 1);
        assert_eq!(take(&mut queue, 9), [(2, Some(20)), (3, Some(30)), (0, Some(0))]);
        assert_eq!((queue.ready(), queue.buffered()), (0, 1));
        queue.add(1, &ints([10]), 0, 1);
        assert_eq!(take(&mut queue, 9), [(1, Some(10))]);
        assert_eq!(queue.entries.len(), 0);
    }

    #[test]
    fn rows_without_a_call_are_ready_at_once() {
        let mut queue = queue();
        queue.push(1, None);
        queue.push(4, Some(&[false, true, false, true].into_iter().collect()));
        assert_eq!(take(&mut queue, 1), [(1, None)]);
        assert_eq!(take(&mut queue, 9), [(3, None)]);
        // One request may answer rows of several batches.
        queue.add(0, &ints([5, 6, 7]), 0, 3);
        assert_eq!(take(&mut queue, 9), [(0, Some(5)), (2, Some(6)), (4, Some(7))]);
    }

    #[test]
    fn no_more_rows_come_out_than_asked_for() {
        let mut queue = queue();
        queue.push(3, None);
        queue.add(0, &ints([0, 10, 20]), 0, 3);
        assert_eq!(take(&mut queue, 2), [(0, Some(0)), (1, Some(10))]);
        assert_eq!(queue.ready(), 1);
        assert_eq!(take(&mut queue, 2), [(2, Some(20))]);
        assert_eq!(take(&mut queue, 2), []);
    }

    fn queue() -> ArrivalQueue {
        ArrivalQueue::new(DataType::Int64, None)
    }

    fn ints<const N: usize>(values: [i64; N]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn take(queue: &mut ArrivalQueue, max: usize) -> Vec<(u64, Option<i64>)> {
        let Some((numbers, values)) = queue.take(max).unwrap() else { return vec![] };
        numbers.values().iter().copied().zip(values.as_primitive::<Int64Type>().iter()).collect()
    }
}
