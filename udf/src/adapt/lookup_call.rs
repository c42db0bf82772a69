//! [`LookupCall`], a lookup as the dispatcher makes it: a batch function whose value is a list of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{FieldRef, Fields};
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;

use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::conversion::conversion;
use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncBatchFunction;
use crate::contract::list_type::item;
use crate::contract::lookup::{AsyncBatchLookupFunction, LookupAnswer, LookupQuery};
use crate::contract::opened::Opened;
use crate::error::CallError;

/// Where a column of a found row comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// The key that was asked for.
    Key(usize),
    /// The answer.
    Answer(usize),
}

/// A lookup whose value for a key is the list of its rows, empty for a key that is not there.
///
/// That makes it a batch function like any other: it is batched, merged, cached, retried and put in
/// order by the same steps, and whoever joins unnests the list.
#[derive(Debug)]
pub(crate) struct LookupCall {
    declaration: Declaration,
    function: Arc<dyn AsyncBatchLookupFunction>,
    sources: Vec<Source>,
    fields: Fields,
}

impl LookupCall {
    /// Makes the function of one place in a query; `fields` are those of a found row.
    pub(crate) fn new(
        declaration: Declaration,
        function: Arc<dyn AsyncBatchLookupFunction>,
        query: &LookupQuery,
        key: &[usize],
        fields: Fields,
    ) -> Self {
        let mut answered = 0..;
        let source = |column: &usize| match key.iter().position(|part| part == column) {
            Some(part) => Source::Key(part),
            None => Source::Answer(answered.next().unwrap_or_default()),
        };
        let sources = query.columns.iter().map(source).collect();
        Self { declaration, function, sources, fields }
    }

    fn name(&self) -> &str {
        self.declaration.name()
    }

    fn malformed(&self, message: String) -> CallError {
        CallError::malformed(self.name(), message)
    }

    /// Puts the rows of an answer into one list per key.
    fn lists(&self, keys: &ArgBatch, answer: LookupAnswer) -> Result<BatchAnswer, CallError> {
        let LookupAnswer { columns: answered, keys: of_row, errors, usage, metadata } = answer;
        self.check(keys, &answered, &of_row)?;
        let convert = |error| conversion(self.name(), "an answer", error);
        let (offsets, order) = group(&of_row, keys.num_rows());
        let key_of_row: UInt32Array = match &order {
            None => of_row.into(),
            Some(order) => order.values().iter().map(|row| of_row[*row as usize]).collect(),
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            columns.push(match (source, &order) {
                (Source::Key(part), _) => {
                    take(keys.column(*part), &key_of_row, None).map_err(convert)?
                }
                (Source::Answer(column), None) => Arc::clone(&answered[*column]),
                (Source::Answer(column), Some(order)) => {
                    take(&answered[*column], order, None).map_err(convert)?
                }
            });
        }
        let found = StructArray::try_new(self.fields.clone(), columns, None).map_err(convert)?;
        let lists = ListArray::try_new(item(self.fields.clone()), offsets, Arc::new(found), None)
            .map_err(convert)?;
        Ok(BatchAnswer::new(Arc::new(lists))
            .with_errors(errors)
            .with_usage(usage)
            .with_metadata(metadata))
    }

    /// Checks that an answer has the declared columns and speaks of keys that were sent.
    fn check(
        &self,
        keys: &ArgBatch,
        columns: &[ArrayRef],
        of_row: &[u32],
    ) -> Result<(), CallError> {
        let sent = keys.num_rows();
        if let Some(key) = of_row.iter().find(|key| **key as usize >= sent) {
            return Err(self.malformed(format!("a row of key {key}, counted from 0, of {sent}")));
        }
        let declared = self.sources.iter().zip(&self.fields);
        let declared: Vec<&FieldRef> = declared
            .filter(|(source, _)| matches!(source, Source::Answer(_)))
            .map(|(_, field)| field)
            .collect();
        if columns.len() != declared.len() {
            let (got, declared) = (columns.len(), declared.len());
            return Err(self.malformed(format!("{got} columns where {declared} are asked for")));
        }
        for (column, field) in columns.iter().zip(declared) {
            if column.len() != of_row.len() {
                let (rows, keys) = (column.len(), of_row.len());
                return Err(self.malformed(format!("{rows} rows with {keys} keys")));
            }
            let got = column.data_type();
            if got != field.data_type() {
                return Err(CallError::WrongType {
                    function: self.name().to_owned(),
                    declared: format!("{} (column {})", field.data_type(), field.name()),
                    got: got.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Gives every row of a request the answer to its key.
    fn spread(&self, answer: BatchAnswer, of_row: Vec<u32>) -> Result<BatchAnswer, CallError> {
        let mut failed: Vec<(usize, CallError)> = Vec::new();
        for (key, error) in answer.errors() {
            let rows = of_row.iter().enumerate().filter(|(_, of)| **of as usize == *key);
            failed.extend(rows.map(|(row, _)| (row, error.clone())));
        }
        let values = take(answer.values(), &UInt32Array::from(of_row), None)
            .map_err(|error| conversion(self.name(), "an answer", error))?;
        Ok(answer.with_values(values).with_errors(failed))
    }
}

/// Returns where each key's rows begin and, unless they stand like that already, the order that
/// puts them there. Rows of one key keep their order.
fn group(of_row: &[u32], keys: usize) -> (OffsetBuffer<i32>, Option<UInt32Array>) {
    let mut counts = vec![0_usize; keys];
    for key in of_row {
        counts[*key as usize] += 1;
    }
    let order = (!of_row.is_sorted()).then(|| {
        let mut order: Vec<u32> = (0..of_row.len() as u32).collect();
        order.sort_by_key(|row| of_row[*row as usize]);
        order.into()
    });
    (OffsetBuffer::from_lengths(counts), order)
}

#[async_trait]
impl AsyncBatchFunction for LookupCall {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        self.function.open(ctx).await
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        // Without `dedup` equal keys come together, and the store is still asked for each once.
        let DistinctKeys { keys, of_row } =
            DistinctKeys::of(args).map_err(|error| conversion(self.name(), "a key", error))?;
        let answer = self.function.lookup_batch(keys.clone(), ctx).await?;
        let answer = self.lists(&keys, answer)?;
        match of_row {
            None => Ok(answer),
            Some(of_row) => self.spread(answer, of_row),
        }
    }

    async fn close(&self, opened: Opened) -> Result<(), CallError> {
        self.function.close(opened).await
    }
}

/// The keys of a request, each once, and which of them every row asked for.
struct DistinctKeys {
    keys: ArgBatch,
    /// The position of each row's key among `keys`; `None` if every row has a key of its own.
    of_row: Option<Vec<u32>>,
}

impl DistinctKeys {
    /// Finds the distinct keys of a request.
    fn of(args: ArgBatch) -> datafusion_common::Result<Self> {
        if args.is_distinct() {
            return Ok(Self { keys: args, of_row: None });
        }
        let sort = args.columns().iter().map(|column| column.data_type().clone());
        let converter = RowConverter::new(sort.map(SortField::new).collect())?;
        let rows = converter.convert_columns(args.columns())?;
        let mut first: IndexMap<&[u8], u32, DefaultHashBuilder> =
            IndexMap::with_capacity_and_hasher(args.num_rows(), DefaultHashBuilder::default());
        let mut of_row = Vec::with_capacity(args.num_rows());
        for row in 0..args.num_rows() {
            let entry = first.entry(rows.row(row).data());
            of_row.push(entry.index() as u32);
            entry.or_insert(row as u32);
        }
        if first.len() == args.num_rows() {
            return Ok(Self { keys: args, of_row: None });
        }
        let first: Vec<u32> = first.into_values().collect();
        Ok(Self { keys: args.take(&first.into())?, of_row: Some(of_row) })
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
