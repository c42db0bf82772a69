//! [`FullTable`], the rows of a lookup table by key, and [`TableBuilder`], which puts them together.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::Fields;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use datafusion_execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

use crate::contract::args::ArgBatch;
use crate::contract::list_type::item;
use crate::contract::lookup_reader::WholeTable;
use crate::dispatch::held::HeldBuffers;
use crate::dispatch::stores::cache::CacheLimits;
use crate::dispatch::stores::cached::{Cached, ENTRY_BYTES};
use crate::error::CallError;

/// The rows of a lookup table, by key.
pub(crate) struct FullTable {
    converter: RowConverter,
    /// Where the list of each key's rows stands.
    by_key: HashMap<Box<[u8]>, u32>,
    /// A list for each key, and an empty one behind them.
    lists: ArrayRef,
    cached: Cached,
    /// Gives the memory back with the table.
    _account: MemoryReservation,
}

impl FullTable {
    /// Returns the rows of each key, an empty list for a key that is not there.
    pub(crate) fn find(&self, keys: &ArgBatch) -> Result<ArrayRef, ArrowError> {
        let missing = self.by_key.len() as u32;
        let keys = self.converter.convert_columns(keys.columns())?;
        let found: UInt32Array = keys
            .iter()
            .map(|key| self.by_key.get(key.data()).copied().unwrap_or(missing))
            .collect::<Vec<_>>()
            .into();
        take(&self.lists, &found, None)
    }

    /// Returns the rows that are held, and the bytes that they take.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.cached.get()
    }
}

impl fmt::Debug for FullTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FullTable").field("keys", &self.by_key.len()).finish_non_exhaustive()
    }
}

/// Puts a table together, batch by batch, within limits and the memory pool.
///
/// While the rows are put in the order of their keys they are there twice, and accounted so.
pub(crate) struct TableBuilder<'a> {
    whole: &'a WholeTable,
    limits: &'a CacheLimits,
    memory: &'a Arc<dyn MemoryPool>,
    account: MemoryReservation,
    held: HeldBuffers,
    batches: Vec<RecordBatch>,
    converter: RowConverter,
    by_key: HashMap<Box<[u8]>, u32>,
    key_bytes: usize,
    /// The batch and the row there of every row that has a key.
    places: Vec<(usize, usize)>,
    /// The key of each of them, by its number.
    of_row: Vec<u32>,
}

impl<'a> TableBuilder<'a> {
    pub(crate) fn new(
        whole: &'a WholeTable,
        limits: &'a CacheLimits,
        memory: &'a Arc<dyn MemoryPool>,
        account: MemoryReservation,
    ) -> Result<Self, CallError> {
        let fields = whole.reader.schema().fields();
        let sort = whole.key.iter().map(|part| SortField::new(fields[*part].data_type().clone()));
        let converter = RowConverter::new(sort.collect())
            .map_err(|error| CallError::function(whole.reader.table(), error))?;
        Ok(Self {
            whole,
            limits,
            memory,
            account,
            held: HeldBuffers::default(),
            batches: Vec::new(),
            converter,
            by_key: HashMap::new(),
            key_bytes: 0,
            places: Vec::new(),
            of_row: Vec::new(),
        })
    }

    /// Takes in rows; those whose key holds a NULL are found by nobody.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<(), CallError> {
        let keys: Vec<ArrayRef> =
            self.whole.key.iter().map(|part| Arc::clone(batch.column(*part))).collect();
        let nulls: Vec<_> = keys.iter().filter_map(|key| key.logical_nulls()).collect();
        let rows = self.converter.convert_columns(&keys).map_err(|error| self.arrow(error))?;
        for (row, key) in rows.iter().enumerate() {
            if nulls.iter().any(|nulls| nulls.is_null(row)) {
                continue;
            }
            let next = self.by_key.len() as u32;
            let key = match self.by_key.get(key.data()) {
                Some(key) => *key,
                None => {
                    self.key_bytes += key.data().len() + ENTRY_BYTES;
                    self.by_key.insert(key.data().into(), next);
                    next
                }
            };
            self.places.push((self.batches.len(), row));
            self.of_row.push(key);
        }
        batch.columns().iter().for_each(|column| self.held.hold(column));
        self.batches.push(batch.clone());
        self.check_limits()?;
        self.reserve(self.bytes())
    }

    /// Puts the rows of each key side by side.
    pub(crate) fn finish(self, mut cached: Cached) -> Result<FullTable, CallError> {
        self.reserve(self.bytes() + self.held.bytes())?;
        let rows = self.places.len();
        let lists = self.lists().map_err(|error| self.arrow(error))?;
        let mut held = HeldBuffers::default();
        held.hold(&lists);
        let bytes = held.bytes() + self.key_bytes;
        self.account.resize(bytes);
        cached.set(rows, bytes);
        let Self { converter, by_key, account, .. } = self;
        Ok(FullTable { converter, by_key, lists, cached, _account: account })
    }

    /// Returns a list of rows for each key, and an empty one behind them.
    fn lists(&self) -> Result<ArrayRef, ArrowError> {
        let mut order: Vec<u32> = (0..self.of_row.len() as u32).collect();
        order.sort_by_key(|row| self.of_row[*row as usize]);
        let places: Vec<(usize, usize)> =
            order.iter().map(|row| self.places[*row as usize]).collect();
        let mut lengths = vec![0; self.by_key.len() + 1];
        for key in &self.of_row {
            lengths[*key as usize] += 1;
        }
        let fields = self.whole.reader.schema().fields();
        let fields: Fields = fields.iter().take(self.whole.columns).cloned().collect();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            let parts: Vec<&dyn Array> =
                self.batches.iter().map(|batch| batch.column(index).as_ref()).collect();
            columns.push(match parts.is_empty() {
                true => arrow::array::new_empty_array(field.data_type()),
                false => interleave(&parts, &places)?,
            });
        }
        let found = StructArray::try_new(fields.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(item(fields), offsets, Arc::new(found), None)?))
    }

    fn bytes(&self) -> usize {
        let places = self.places.len() * (size_of::<(usize, usize)>() + 2 * size_of::<u32>());
        self.held.bytes() + self.key_bytes + places
    }

    /// Checks what the options allow.
    fn check_limits(&self) -> Result<(), CallError> {
        let (rows, bytes) = (self.places.len(), self.held.bytes() + self.key_bytes);
        // Lists are cut by numbers of 32 bits.
        let max_rows = self.limits.max_rows.min(i32::MAX as usize);
        if rows > max_rows {
            let message = format!("{rows} rows were read and {max_rows} are allowed");
            return Err(self.too_large(&message, "cache_max_rows"));
        }
        if bytes > self.limits.max_bytes {
            let allowed = self.limits.max_bytes;
            let message = format!("{bytes} bytes were read and {allowed} are allowed");
            return Err(self.too_large(&message, "cache_max_bytes"));
        }
        Ok(())
    }

    fn too_large(&self, message: &str, option: &str) -> CallError {
        let message = format!("the table does not fit into its cache: {message} ({option})");
        CallError::configuration(self.whole.reader.table(), message)
    }

    /// Accounts for bytes.
    fn reserve(&self, bytes: usize) -> Result<(), CallError> {
        let Err(refusal) = self.account.try_resize(bytes) else { return Ok(()) };
        let message = match self.memory.memory_limit() {
            MemoryLimit::Finite(limit) => {
                let others = self.memory.reserved().saturating_sub(self.account.size());
                let left = limit.saturating_sub(others);
                format!("it takes {bytes} bytes to read it, and the memory pool has {left} left")
            }
            MemoryLimit::Infinite | MemoryLimit::Unknown => refusal.strip_backtrace(),
        };
        let message = format!("the table does not fit into its cache: {message}");
        Err(CallError::configuration(self.whole.reader.table(), message))
    }

    fn arrow(&self, error: ArrowError) -> CallError {
        CallError::malformed(self.whole.reader.table(), error.to_string())
    }
}
