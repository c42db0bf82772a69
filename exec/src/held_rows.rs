//! [`HeldRows`], the rows that one partition holds back, with the memory that they take.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use farcall_udf::{HeldBuffers, QueryScope, RowHolder};

/// Rows whose answers are awaited, in the batches in which they came.
///
/// Batches and answers are accounted in the query's memory pool by unique buffers, from the moment a
/// batch is taken in until its last row is given out. Arguments that are computed here, because a guard
/// stands before them, count as long as the batch that they are computed from, although they may be
/// gone before, with the last request that carries one of them: nothing keeps them for the sake of
/// counting.
#[derive(Debug)]
pub(super) struct HeldRows {
    scope: Arc<QueryScope>,
    /// The functions, for messages.
    functions: String,
    /// By the number of their first row.
    batches: BTreeMap<u64, HeldBatch>,
    next_row: u64,
    rows: usize,
    buffers: HeldBuffers,
    /// The bytes of computed arguments, over all batches.
    computed: usize,
    account: MemoryReservation,
    holder: Option<RowHolder>,
}

#[derive(Debug)]
struct HeldBatch {
    batch: RecordBatch,
    /// The rows not yet given out.
    left: usize,
    /// The bytes of arguments computed from it.
    computed: usize,
}

impl HeldRows {
    pub(super) fn new(scope: Arc<QueryScope>, functions: String) -> Self {
        let account = MemoryConsumer::new(format!("rows of {functions}")).register(scope.memory());
        Self {
            scope,
            functions,
            batches: BTreeMap::new(),
            next_row: 0,
            rows: 0,
            buffers: HeldBuffers::default(),
            computed: 0,
            account,
            holder: None,
        }
    }

    /// Returns the rows taken in and not yet given out.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the rows ever taken in.
    pub(super) fn taken(&self) -> u64 {
        self.next_row
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes a batch in, beside `answers` bytes of answers; `false` if the memory pool has no room
    /// until some of the rows held here are given out.
    ///
    /// # Errors
    /// `ResourcesExhausted` if the query holds no rows that could make room.
    pub(super) fn admit(&mut self, batch: &RecordBatch, answers: usize) -> Result<bool> {
        batch.columns().iter().for_each(|column| self.buffers.hold(column));
        let bytes = self.bytes() + answers;
        let granted = match &self.holder {
            Some(_) => Ok(self.account.try_resize(bytes).is_ok()),
            None => self.scope.hold_rows(&self.account, bytes).map(|holder| {
                self.holder = Some(holder);
                true
            }),
        };
        match granted {
            Ok(true) => {
                let left = batch.num_rows();
                self.batches
                    .insert(self.next_row, HeldBatch { batch: batch.clone(), left, computed: 0 });
                self.next_row += left as u64;
                self.rows += left;
                Ok(true)
            }
            Ok(false) => {
                batch.columns().iter().for_each(|column| self.buffers.release(column));
                Ok(false)
            }
            Err(refusal) => Err(self.exhausted(batch.num_rows(), bytes, &refusal)),
        }
    }

    /// Takes in what is computed from the batch that came last; of that, what shares no buffer with
    /// a batch counts from the next accounting on, and cannot be refused.
    pub(super) fn add_arguments(&mut self, arguments: &[ArrayRef]) {
        let shared = self.buffers.bytes();
        arguments.iter().for_each(|array| self.buffers.hold(array));
        let computed = self.buffers.bytes() - shared;
        arguments.iter().for_each(|array| self.buffers.release(array));
        if let Some(mut last) = self.batches.last_entry() {
            last.get_mut().computed += computed;
            self.computed += computed;
        }
    }

    /// Returns the bytes of batches and arguments.
    fn bytes(&self) -> usize {
        self.buffers.bytes() + self.computed
    }

    /// Returns the first batch: the number of its first row, the batch, and its rows not given out.
    pub(super) fn first(&self) -> Option<(u64, &RecordBatch, usize)> {
        let (start, first) = self.batches.first_key_value()?;
        Some((*start, &first.batch, first.left))
    }

    /// Finds the batch of a row that is not given out, and the number of its first row.
    pub(super) fn batch_of(&self, row: u64) -> Option<(u64, &RecordBatch)> {
        let (start, held) = self.batches.range(..=row).next_back()?;
        Some((*start, &held.batch))
    }

    /// Gives rows of a batch out, which begins with row `start`.
    pub(super) fn give_out(&mut self, start: u64, rows: usize) {
        let Some(held) = self.batches.get_mut(&start) else { return };
        held.left -= rows;
        self.rows -= rows;
        if held.left == 0
            && let Some(HeldBatch { batch, computed, .. }) = self.batches.remove(&start)
        {
            self.computed -= computed;
            batch.columns().iter().for_each(|column| self.buffers.release(column));
        }
    }

    /// Accounts for what is held now, beside `answers` bytes of answers, which are here already and
    /// cannot be refused.
    pub(super) fn account(&mut self, answers: usize) {
        self.account.resize(self.bytes() + answers);
        if self.batches.is_empty() {
            // Behind the account: whoever sees no holder must find the room.
            self.holder = None;
        }
    }

    fn exhausted(&self, rows: usize, bytes: usize, refusal: &DataFusionError) -> DataFusionError {
        let pool = self.scope.memory();
        let reason = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => {
                let free = limit.saturating_sub(pool.reserved());
                format!("the memory pool has {free} of {limit} bytes left")
            }
            MemoryLimit::Infinite | MemoryLimit::Unknown => refusal.strip_backtrace(),
        };
        DataFusionError::ResourcesExhausted(format!(
            "the calls of {} need {bytes} bytes for {rows} rows that wait for their answers, {reason}",
            self.functions
        ))
    }
}
