//! [`Batcher`], which gathers rows of several input batches into requests.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion_common::Result;
use tokio::time::Instant;

use crate::dispatch::timeout::after;
use crate::function::ArgBatch;
use crate::options::CallOptions;

/// Consecutive calls of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallRun {
    /// The first call's number.
    pub(crate) position: u64,
    /// How many there are.
    pub(crate) len: usize,
}

/// The calls that a request answers, in the order of its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CallRuns(VecDeque<CallRun>);

impl CallRuns {
    /// Appends calls behind the others.
    pub(crate) fn push(&mut self, position: u64, len: usize) {
        match self.0.back_mut() {
            Some(last) if last.position + last.len as u64 == position => last.len += len,
            _ if len == 0 => {}
            _ => self.0.push_back(CallRun { position, len }),
        }
    }

    /// Returns the runs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = CallRun> + '_ {
        self.0.iter().copied()
    }

    /// Returns every call's number.
    pub(crate) fn positions(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|run| run.position..run.position + run.len as u64)
    }

    /// Takes the calls of the first `len` rows off.
    pub(crate) fn split_front(&mut self, mut len: usize) -> Self {
        let mut front = Self::default();
        while len > 0
            && let Some(run) = self.0.front_mut()
        {
            let taken = run.len.min(len);
            front.push(run.position, taken);
            len -= taken;
            run.position += taken as u64;
            run.len -= taken;
            if run.len == 0 {
                self.0.pop_front();
            }
        }
        front
    }

    /// Returns the calls of the rows `offset .. offset + len`.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> Self {
        let (mut runs, mut skip, mut left) = (Self::default(), offset, len);
        for run in &self.0 {
            if skip >= run.len {
                skip -= run.len;
                continue;
            }
            let len = left.min(run.len - skip);
            runs.push(run.position + skip as u64, len);
            (skip, left) = (0, left - len);
            if left == 0 {
                break;
            }
        }
        runs
    }
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Formed {
    pub(crate) args: ArgBatch,
    pub(crate) calls: CallRuns,
    /// When the oldest row came.
    pub(crate) arrived: Instant,
}

/// Rows of one input batch that wait for a request.
#[derive(Debug)]
struct Chunk {
    args: ArgBatch,
    calls: CallRuns,
    arrived: Instant,
    sizes: Sizes,
}

/// How many bytes the rows of a chunk have.
#[derive(Debug)]
enum Sizes {
    /// The same for every row.
    Fixed(usize),
    /// The bytes up to the end of each row, counted from some start; `before` is where they begin.
    Ends { before: usize, ends: VecDeque<usize> },
}

impl Sizes {
    /// Counts the rows, of `rows` at most, that fit into `budget` bytes, and their bytes.
    fn fitting(&self, rows: usize, budget: usize) -> (usize, usize) {
        match self {
            Sizes::Fixed(0) => (rows, 0),
            Sizes::Fixed(width) => {
                let rows = rows.min(budget / width);
                (rows, rows * width)
            }
            Sizes::Ends { before, ends } => {
                let limit = before.saturating_add(budget);
                let rows = ends.partition_point(|end| *end <= limit).min(rows);
                (rows, if rows == 0 { 0 } else { ends[rows - 1] - before })
            }
        }
    }

    fn drop_front(&mut self, rows: usize) {
        if let Sizes::Ends { before, ends } = self
            && let Some(end) = ends.drain(..rows).next_back()
        {
            *before = end;
        }
    }
}

/// Gathers rows into requests by rows and bytes; the partial rest leaves after `batch_timeout`.
///
/// Batches form per partition, over input batches of any size.
#[derive(Debug)]
pub(crate) struct Batcher {
    chunks: VecDeque<Chunk>,
    waiting: usize,
    max_rows: usize,
    max_bytes: usize,
    linger: std::time::Duration,
}

impl Batcher {
    pub(crate) fn new(max_rows: usize, options: &CallOptions) -> Self {
        Self {
            chunks: VecDeque::new(),
            waiting: 0,
            max_rows,
            max_bytes: options.max_batch_bytes(),
            linger: options.batch_timeout(),
        }
    }

    /// Takes in rows; `calls` numbers them.
    pub(crate) fn push(&mut self, args: ArgBatch, calls: CallRuns, now: Instant) {
        if args.num_rows() == 0 {
            return;
        }
        self.waiting += args.num_rows();
        let sizes = row_sizes(&args);
        self.chunks.push_back(Chunk { args, calls, arrived: now, sizes });
    }

    /// Returns the rows waiting for a request.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Says whether a whole request is waiting: one that no further row would fit into.
    pub(crate) fn has_full_request(&self) -> bool {
        if self.waiting >= self.max_rows {
            return true;
        }
        let (rows, bytes) = self.next_request();
        rows < self.waiting || bytes >= self.max_bytes
    }

    /// Returns when the partial request must leave, `None` if nothing waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Calls that waited for their ordering key come late and are older than their place.
        let oldest = self.chunks.iter().map(|chunk| chunk.arrived).min();
        oldest.map(|arrived| after(arrived, self.linger))
    }

    /// Forms one request of at most `max_rows` rows and `max_batch_bytes`, at least one row.
    pub(crate) fn form(&mut self) -> Result<Option<Formed>> {
        let (rows, _) = self.next_request();
        self.take(rows)
    }

    /// Returns the arguments of the oldest rows that came together.
    pub(crate) fn front(&self) -> Option<&ArgBatch> {
        self.chunks.front().map(|chunk| &chunk.args)
    }

    /// Counts the rows of the next request and their bytes.
    fn next_request(&self) -> (usize, usize) {
        let (mut rows, mut bytes) = (0, 0);
        for chunk in &self.chunks {
            let wanted = chunk.args.num_rows().min(self.max_rows - rows);
            let (fitting, taken) = chunk.sizes.fitting(wanted, self.max_bytes - bytes);
            rows += fitting;
            bytes += taken;
            if fitting < chunk.args.num_rows() {
                break;
            }
        }
        if rows == 0 && !self.chunks.is_empty() {
            // A row that is larger than the limit is sent alone rather than never.
            return (1, self.max_bytes);
        }
        (rows, bytes)
    }

    fn take(&mut self, rows: usize) -> Result<Option<Formed>> {
        let mut parts = Vec::new();
        let mut left = rows;
        while left > 0 {
            let Some(front) = self.chunks.front() else { break };
            let count = front.args.num_rows().min(left);
            left -= count;
            parts.extend(self.pop(count));
        }
        if parts.len() <= 1 {
            return Ok(parts.pop());
        }
        let mut calls = CallRuns::default();
        for part in &parts {
            for run in part.calls.iter() {
                calls.push(run.position, run.len);
            }
        }
        let arrived = parts.iter().map(|part| part.arrived).fold(parts[0].arrived, Instant::min);
        let first = &parts[0].args;
        let columns = (0..first.columns().len())
            .map(|column| {
                let arrays: Vec<&dyn Array> =
                    parts.iter().map(|part| part.args.column(column).as_ref()).collect();
                Ok(concat(&arrays)?)
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let num_rows = parts.iter().map(|part| part.args.num_rows()).sum();
        let args = ArgBatch::new(
            columns,
            std::sync::Arc::clone(first.fields()),
            std::sync::Arc::clone(first.return_field()),
            num_rows,
        );
        Ok(Some(Formed { args, calls, arrived }))
    }

    /// Takes `rows` rows off the first chunk, without copying.
    pub(crate) fn pop(&mut self, rows: usize) -> Option<Formed> {
        let chunk = self.chunks.front_mut()?;
        self.waiting -= rows;
        let len = chunk.args.num_rows();
        let arrived = chunk.arrived;
        if rows == len {
            let chunk = self.chunks.pop_front()?;
            return Some(Formed { args: chunk.args, calls: chunk.calls, arrived });
        }
        let (args, calls) = (chunk.args.slice(0, rows), chunk.calls.split_front(rows));
        chunk.args = chunk.args.slice(rows, len - rows);
        chunk.sizes.drop_front(rows);
        Some(Formed { args, calls, arrived })
    }
}

/// Measures the rows of a request: exactly for text and binary, by the average for nested types.
fn row_sizes(args: &ArgBatch) -> Sizes {
    let mut bytes = RowBytes { rows: args.num_rows(), fixed: 0, each: None };
    for column in args.columns() {
        bytes.add(column);
    }
    let Some(each) = bytes.each else { return Sizes::Fixed(bytes.fixed) };
    let mut end = 0;
    let ends = each
        .into_iter()
        .map(|row| {
            end += bytes.fixed + row;
            end
        })
        .collect();
    Sizes::Ends { before: 0, ends }
}

/// The bytes of rows: what all have and, if a type varies, what each has.
struct RowBytes {
    rows: usize,
    fixed: usize,
    each: Option<Vec<usize>>,
}

impl RowBytes {
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

/// Returns the bytes of a row on average; of a slice only what belongs to it, where that is known.
fn average_bytes(array: &ArrayRef) -> usize {
    let bytes = array.to_data().get_slice_memory_size();
    bytes.unwrap_or_else(|_| array.get_array_memory_size()).div_ceil(array.len().max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{Int64Array, Int64Builder, ListBuilder, StringArray};
    use arrow::datatypes::{Field, FieldRef};

    use super::*;

    #[tokio::test]
    async fn fills_a_request_from_several_input_batches() {
        let mut batcher = batcher(4, usize::MAX);
        push_ints(&mut batcher, 0, 3);
        assert!(!batcher.has_full_request());
        push_ints(&mut batcher, 3, 3);
        assert!(batcher.has_full_request());
        let formed = batcher.form().unwrap().unwrap();
        assert_eq!(formed.calls.positions().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(formed.args.num_rows(), 4);
        assert_eq!(batcher.waiting(), 2);
    }

    #[tokio::test]
    async fn splits_a_request_by_bytes() {
        let mut batcher = batcher(100, 10);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["aaaa", "bbbb", "cccc", "dd"]));
        push(&mut batcher, texts, 0);
        assert!(batcher.has_full_request());
        let sizes: Vec<usize> = std::iter::from_fn(|| batcher.take_or_form()).collect();
        assert_eq!(sizes, [2, 2]);
    }

    #[tokio::test]
    async fn sends_a_row_alone_that_exceeds_the_bytes() {
        let mut batcher = batcher(100, 3);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["aaaaaa", "b"]));
        push(&mut batcher, texts, 0);
        assert_eq!(batcher.form().unwrap().unwrap().args.num_rows(), 1);
    }

    #[tokio::test]
    async fn a_row_that_exceeds_the_bytes_waits_for_no_other() {
        let mut batcher = batcher(100, 3);
        push(&mut batcher, Arc::new(StringArray::from(vec!["aaaaaa"])), 0);
        assert!(batcher.has_full_request());
    }

    #[tokio::test]
    async fn counts_the_bytes_of_a_slice_of_lists_alone() {
        let mut lists = ListBuilder::new(Int64Builder::new());
        for _ in 0..100 {
            lists.append_value([Some(1), Some(2)]);
        }
        let mut batcher = batcher(100, 40);
        push(&mut batcher, Arc::new(lists.finish().slice(50, 3)), 0);
        assert_eq!(batcher.form().unwrap().unwrap().args.num_rows(), 2);
    }

    #[tokio::test]
    async fn an_endless_batch_timeout_is_a_time() {
        let options = CallOptions::new().with_batch_timeout(Duration::MAX);
        let mut batcher = Batcher::new(4, &options);
        push_ints(&mut batcher, 0, 1);
        assert!(batcher.deadline().unwrap() > Instant::now());
    }

    #[tokio::test]
    async fn counts_the_wait_from_the_oldest_row() {
        let mut batcher = batcher(4, usize::MAX);
        assert_eq!(batcher.deadline(), None);
        let first = Instant::now();
        push_ints(&mut batcher, 0, 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        push_ints(&mut batcher, 1, 1);
        assert!(batcher.deadline().unwrap() < first + Duration::from_millis(101));
    }

    #[test]
    fn slices_calls_over_runs() {
        let mut runs = CallRuns::default();
        runs.push(0, 2);
        runs.push(5, 3);
        assert_eq!(runs.slice(1, 3).positions().collect::<Vec<_>>(), [1, 5, 6]);
    }

    impl Batcher {
        fn take_or_form(&mut self) -> Option<usize> {
            if self.waiting() == 0 {
                return None;
            }
            self.form().unwrap().map(|formed| formed.args.num_rows())
        }
    }

    fn batcher(max_rows: usize, max_bytes: usize) -> Batcher {
        Batcher::new(max_rows, &CallOptions::new().with_max_batch_bytes(max_bytes))
    }

    fn push_ints(batcher: &mut Batcher, position: u64, rows: usize) {
        push(batcher, Arc::new(Int64Array::from(vec![1; rows])), position);
    }

    fn push(batcher: &mut Batcher, column: ArrayRef, position: u64) {
        let rows = column.len();
        let field: FieldRef = Arc::new(Field::new("x", column.data_type().clone(), true));
        let args = ArgBatch::new(vec![column], [Arc::clone(&field)].into(), field, rows);
        let mut calls = CallRuns::default();
        calls.push(position, rows);
        batcher.push(args, calls, Instant::now());
    }
}
