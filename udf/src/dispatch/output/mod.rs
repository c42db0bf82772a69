//! [`Output`], where answers wait until their rows are given out: in order, or as they come.

pub(crate) mod errors;
pub(crate) mod order;
pub(crate) mod unordered;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion_common::{Result, internal_err};

use crate::dispatch::held::HeldBuffers;
use crate::dispatch::output::order::{AnswerQueue, RowQueue};
use crate::dispatch::output::unordered::ArrivalQueue;
use crate::error::CallError;

/// Answers that wait for whoever takes them.
#[derive(Debug)]
pub(crate) enum Output {
    /// Rows come out in the order in which they went in.
    Ordered(RowQueue, AnswerQueue),
    /// Rows come out as their answers come.
    Unordered(ArrivalQueue),
}

impl Output {
    /// `tries` is the type of value and error together, if failures are values; `held` counts the
    /// bytes of answers.
    pub(crate) fn ordered(data_type: DataType, tries: Option<DataType>, held: HeldBuffers) -> Self {
        let answers = AnswerQueue::new(data_type).with_errors(tries).with_held(held);
        Output::Ordered(RowQueue::default(), answers)
    }

    pub(crate) fn unordered(
        data_type: DataType,
        tries: Option<DataType>,
        held: HeldBuffers,
    ) -> Self {
        Output::Unordered(ArrivalQueue::new(data_type, tries).with_held(held))
    }

    /// Takes in rows, of which those that `calls` says need a call.
    pub(crate) fn push(&mut self, rows: usize, calls: Option<BooleanBuffer>) {
        match self {
            Output::Ordered(queue, _) => queue.push(rows, calls),
            Output::Unordered(queue) => queue.push(rows, calls.as_ref()),
        }
    }

    /// Takes in the answers to `len` calls from `position` on.
    pub(crate) fn add(&mut self, position: u64, array: &ArrayRef, offset: usize, len: usize) {
        match self {
            Output::Ordered(_, answers) => answers.add(position, array, offset, len),
            Output::Unordered(queue) => queue.add(position, array, offset, len),
        }
    }

    /// Says with what a call failed; its value is added behind.
    pub(crate) fn add_error(&mut self, position: u64, error: &CallError) {
        match self {
            Output::Ordered(_, answers) => answers.add_error(position, error),
            Output::Unordered(queue) => queue.add_error(position, error),
        }
    }

    /// Returns the bytes that the answers keep in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Output::Ordered(_, answers) => answers.held_bytes(),
            Output::Unordered(queue) => queue.held_bytes(),
        }
    }

    /// Returns the number of the first call without an answer, which the others wait for; `None` if
    /// none waits for another.
    pub(crate) fn answered_upto(&self) -> Option<u64> {
        match self {
            Output::Ordered(_, answers) => Some(answers.answered_upto()),
            Output::Unordered(_) => None,
        }
    }

    /// Returns how many rows can be taken.
    pub(crate) fn ready(&mut self) -> usize {
        match self {
            Output::Ordered(rows, answers) => rows.ready(answers.ready()),
            Output::Unordered(queue) => queue.ready(),
        }
    }

    /// Returns the rows taken in and not yet given out.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Output::Ordered(rows, _) => rows.buffered(),
            Output::Unordered(queue) => queue.buffered(),
        }
    }

    /// Takes the next `count` rows.
    pub(crate) fn take(&mut self, count: usize) -> Result<ArrayRef> {
        match self {
            Output::Ordered(rows, answers) => rows.take(count, answers),
            Output::Unordered(_) => internal_err!("rows without an order were taken in order"),
        }
    }

    /// Takes up to `max` rows and their numbers.
    pub(crate) fn take_any(&mut self, max: usize) -> Result<Option<(UInt64Array, ArrayRef)>> {
        match self {
            Output::Ordered(..) => internal_err!("rows in order were taken without one"),
            Output::Unordered(queue) => queue.take(max),
        }
    }
}
