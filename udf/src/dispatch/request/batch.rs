//! [`Batcher`], which gathers rows of several input batches into requests.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use datafusion_common::Result;
use tokio::time::Instant;

use crate::adapt::any::AsyncFunction;
use crate::contract::args::ArgBatch;
use crate::contract::sizes::RowBytes;
use crate::dispatch::clock::after;
use crate::dispatch::request::runs::CallRuns;
use crate::settings::resolved::Resolved;

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
    bytes: Sizes,
    tokens: Sizes,
}

/// How much of something the rows of a chunk have: bytes, or tokens.
#[derive(Debug)]
enum Sizes {
    /// The same for every row.
    Fixed(usize),
    /// How much up to the end of each row, counted from some start; `before` is where they begin.
    Ends { before: usize, ends: VecDeque<usize> },
}

impl Sizes {
    fn of(rows: impl IntoIterator<Item = usize>) -> Self {
        let mut end = 0;
        let add = |row| {
            end += row;
            end
        };
        Sizes::Ends { before: 0, ends: rows.into_iter().map(add).collect() }
    }

    /// Counts the rows, of `rows` at most, that fit into `budget`.
    fn fitting(&self, rows: usize, budget: usize) -> usize {
        match self {
            Sizes::Fixed(0) => rows,
            Sizes::Fixed(width) => rows.min(budget / width),
            Sizes::Ends { before, ends } => {
                let limit = before.saturating_add(budget);
                ends.partition_point(|end| *end <= limit).min(rows)
            }
        }
    }

    /// Adds up the first `rows` rows.
    fn total(&self, rows: usize) -> usize {
        match self {
            Sizes::Fixed(width) => rows * width,
            Sizes::Ends { ends, .. } if rows == 0 || ends.is_empty() => 0,
            Sizes::Ends { before, ends } => ends[rows - 1] - before,
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

/// What a request holds, or may hold.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    rows: usize,
    bytes: usize,
    tokens: usize,
}

/// Gathers rows into requests by rows, bytes and tokens; the partial rest leaves after
/// `batch_timeout`.
///
/// Batches form per partition, over input batches of any size.
#[derive(Debug)]
pub(crate) struct Batcher {
    chunks: VecDeque<Chunk>,
    waiting: usize,
    most: Load,
    /// Who counts the tokens of a row, if a request may hold only so many.
    counts_tokens: Option<AsyncFunction>,
    linger: std::time::Duration,
}

impl Batcher {
    pub(crate) fn new(max_rows: usize, options: &Resolved) -> Self {
        Self {
            chunks: VecDeque::new(),
            waiting: 0,
            most: Load { rows: max_rows, bytes: options.max_batch_bytes(), tokens: usize::MAX },
            counts_tokens: None,
            linger: options.batch_timeout(),
        }
    }

    /// Keeps requests below the tokens that the function declares, if it does.
    pub(crate) fn with_token_cap(mut self, function: &AsyncFunction) -> Self {
        if let Some(tokens) = function.declaration().max_batch_tokens() {
            self.most.tokens = tokens;
            self.counts_tokens = Some(function.clone());
        }
        self
    }

    /// Takes in rows; `calls` numbers them.
    pub(crate) fn push(&mut self, args: ArgBatch, calls: CallRuns, now: Instant) {
        if args.num_rows() == 0 {
            return;
        }
        self.waiting += args.num_rows();
        let bytes = row_sizes(&args);
        let tokens = match &self.counts_tokens {
            None => Sizes::Fixed(0),
            // A row that was not counted is taken for one that needs nothing.
            Some(function) => {
                let counted = function.count_tokens(&args).into_iter();
                Sizes::of(counted.chain(std::iter::repeat(0)).take(args.num_rows()))
            }
        };
        self.chunks.push_back(Chunk { args, calls, arrived: now, bytes, tokens });
    }

    /// Returns the rows waiting for a request.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Says whether a whole request is waiting: one that no further row would fit into.
    pub(crate) fn has_full_request(&self) -> bool {
        if self.waiting >= self.most.rows {
            return true;
        }
        let Load { rows, bytes, tokens } = self.next_request();
        rows < self.waiting || bytes >= self.most.bytes || tokens >= self.most.tokens
    }

    /// Returns when the partial request must leave, `None` if nothing waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Calls that waited for their ordering key come late and are older than their place.
        let oldest = self.chunks.iter().map(|chunk| chunk.arrived).min();
        oldest.map(|arrived| after(arrived, self.linger))
    }

    /// Forms one request that holds no more than it may, but at least one row.
    pub(crate) fn form(&mut self) -> Result<Option<Formed>> {
        let Load { rows, .. } = self.next_request();
        self.take(rows)
    }

    /// Returns the arguments of the oldest rows that came together.
    pub(crate) fn front(&self) -> Option<&ArgBatch> {
        self.chunks.front().map(|chunk| &chunk.args)
    }

    /// Measures the next request.
    fn next_request(&self) -> Load {
        let mut load = Load::default();
        for chunk in &self.chunks {
            let wanted = chunk.args.num_rows().min(self.most.rows - load.rows);
            let fitting = chunk.bytes.fitting(wanted, self.most.bytes - load.bytes);
            let fitting = chunk.tokens.fitting(fitting, self.most.tokens - load.tokens);
            load.rows += fitting;
            load.bytes += chunk.bytes.total(fitting);
            load.tokens += chunk.tokens.total(fitting);
            if fitting < chunk.args.num_rows() {
                break;
            }
        }
        if load.rows == 0 && !self.chunks.is_empty() {
            // A row that is larger than a limit is sent alone rather than never.
            return Load { rows: 1, ..self.most };
        }
        load
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
        // Rows are distinct from those of other batches, too, or not at all: see the merger.
        let args = match parts.iter().all(|part| part.args.is_distinct()) {
            true => args.with_distinct_rows(),
            false => args,
        };
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
        chunk.bytes.drop_front(rows);
        chunk.tokens.drop_front(rows);
        Some(Formed { args, calls, arrived })
    }
}

/// Measures the rows of a request: exactly for text and binary, by the average for nested types.
fn row_sizes(args: &ArgBatch) -> Sizes {
    let bytes = RowBytes::of(args);
    match bytes.each {
        None => Sizes::Fixed(bytes.fixed),
        Some(each) => Sizes::of(each.into_iter().map(|row| bytes.fixed + row)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{Int64Array, Int64Builder, ListBuilder, StringArray};
    use arrow::datatypes::{Field, FieldRef};

    use super::*;
    use crate::contract::declaration::Declaration;
    use crate::options::CallOptions;
    use crate::testing::ScriptedFunction;

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
    async fn splits_a_request_by_the_tokens_that_its_function_takes() {
        let capped = |tokens| {
            let declare = move |d: Declaration| d.with_max_batch_tokens(tokens);
            let (function, _) = ScriptedFunction::new("f").with_declaration(declare).build();
            let mut batcher = batcher(100, usize::MAX).with_token_cap(&function);
            // 1, 2, 1 and 3 tokens.
            let texts = vec!["a", "bbbbb", "cccc", "ddddddddd"];
            push(&mut batcher, Arc::new(StringArray::from(texts)), 0);
            std::iter::from_fn(move || batcher.take_or_form()).collect::<Vec<usize>>()
        };
        assert_eq!(capped(3), [2, 1, 1]);
        assert_eq!(capped(4), [3, 1]);
        // A row that exceeds the cap is sent alone.
        assert_eq!(capped(1), [1, 1, 1, 1]);
        assert_eq!(capped(7), [4]);
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
        let mut batcher = Batcher::new(4, &Resolved::of_call(&options));
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
        let options = CallOptions::new().with_max_batch_bytes(max_bytes);
        Batcher::new(max_rows, &Resolved::of_call(&options))
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
