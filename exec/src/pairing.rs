//! [`Pairing`], which puts rows beside the rows that a lookup found for them.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{filter_record_batch, take};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::cast::{as_boolean_array, as_list_array, as_struct_array};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use farcall_planner::LookupJoinType;

/// How rows and the rows found for them become joined rows.
pub(super) struct Pairing {
    pub(super) join_type: LookupJoinType,
    /// The column of lists.
    pub(super) found: usize,
    /// Which pairs match, over `pairs`; `None` for all.
    pub(super) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(super) pairs: SchemaRef,
    pub(super) schema: SchemaRef,
    /// The pairs that are made in one go; those of one row always are.
    pub(super) max_pairs: usize,
}

impl Pairing {
    /// Joins a batch, one part after the other, each when it is asked for.
    pub(super) fn join(
        self: &Arc<Self>,
        batch: Result<RecordBatch>,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send + use<> {
        let pairing = Arc::clone(self);
        let mut state = batch.and_then(|batch| Rows::try_new(batch, self)).map(Some);
        std::iter::from_fn(move || {
            let rows = match &mut state {
                Ok(rows) => rows.as_mut()?,
                Err(_) => return std::mem::replace(&mut state, Ok(None)).err().map(Err),
            };
            let part = rows.next_part(pairing.max_pairs)?;
            let joined = pairing.join_part(rows, part);
            if joined.is_err() {
                state = Ok(None);
            }
            Some(joined)
        })
    }

    fn join_part(&self, rows: &Rows, part: Range<usize>) -> Result<RecordBatch> {
        let columns_wanted = self.join_type.gives_columns();
        if columns_wanted && self.condition.is_none() && rows.are_single(&part) {
            // The usual case, one row for each key, is copied nowhere.
            let first = rows.lists.value_offsets()[part.start] as usize;
            let columns = rows.slice(&part).into_iter();
            let found = rows.found.iter().map(|column| column.slice(first, part.len()));
            return batch(&self.schema, columns.chain(found).collect(), part.len());
        }
        let pairs = rows.pairs(&part);
        let matches = self.matches(rows, &pairs)?;
        match self.join_type {
            LookupJoinType::Inner => self.take(rows, pairs.keep(matches.as_ref())),
            LookupJoinType::Left => {
                self.take(rows, pairs.keep(matches.as_ref()).with_misses(&part))
            }
            LookupJoinType::Semi => {
                self.rows_with(rows, &part, &pairs.keep(matches.as_ref()), true)
            }
            LookupJoinType::Anti => {
                self.rows_with(rows, &part, &pairs.keep(matches.as_ref()), false)
            }
        }
    }

    /// Says which pairs meet the condition; NULL does not.
    fn matches(&self, rows: &Rows, pairs: &Pairs) -> Result<Option<BooleanBuffer>> {
        let Some(condition) = &self.condition else { return Ok(None) };
        let columns = rows.take(pairs)?;
        let pairs = batch(&self.pairs, columns, pairs.rows.len())?;
        let value = condition.evaluate(&pairs)?.into_array(pairs.num_rows())?;
        let value = as_boolean_array(&value)?;
        Ok(Some(match value.nulls() {
            None => value.values().clone(),
            Some(nulls) => value.values() & nulls.inner(),
        }))
    }

    fn take(&self, rows: &Rows, pairs: Pairs) -> Result<RecordBatch> {
        let length = pairs.rows.len();
        batch(&self.schema, rows.take(&pairs)?, length)
    }

    /// Gives the rows of a part that have a pair, or those that have none.
    fn rows_with(
        &self,
        rows: &Rows,
        part: &Range<usize>,
        pairs: &Pairs,
        wanted: bool,
    ) -> Result<RecordBatch> {
        let mut kept = vec![!wanted; part.len()];
        for row in &pairs.rows {
            kept[*row as usize - part.start] = wanted;
        }
        let all = batch(&self.schema, rows.slice(part), part.len())?;
        Ok(filter_record_batch(&all, &BooleanArray::from(kept))?)
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A batch of rows with the lists of rows found for them.
struct Rows {
    columns: Vec<ArrayRef>,
    lists: ListArray,
    /// The columns that come out, of all rows found.
    found: Vec<ArrayRef>,
    /// The first row that is not joined yet.
    next: usize,
}

impl Rows {
    fn try_new(batch: RecordBatch, pairing: &Pairing) -> Result<Self> {
        let mut columns = batch.columns().to_vec();
        let lists = as_list_array(&columns.remove(pairing.found))?.clone();
        let named = pairing.pairs.fields().len() - columns.len();
        let found = as_struct_array(lists.values())?.columns()[..named].to_vec();
        Ok(Self { columns, lists, found, next: 0 })
    }

    /// Takes the next rows, as many as have `max_pairs` pairs together, at least one.
    fn next_part(&mut self, max_pairs: usize) -> Option<Range<usize>> {
        let (start, rows) = (self.next, self.lists.len());
        if start == rows {
            return None;
        }
        let mut pairs = 0;
        while self.next < rows {
            pairs += self.list(self.next).len().max(1);
            if pairs > max_pairs && self.next > start {
                break;
            }
            self.next += 1;
        }
        Some(start..self.next)
    }

    /// Returns where the rows found for a row stand; a NULL list is a miss.
    fn list(&self, row: usize) -> Range<usize> {
        if self.lists.is_null(row) {
            return 0..0;
        }
        let offsets = self.lists.value_offsets();
        offsets[row] as usize..offsets[row + 1] as usize
    }

    /// Says whether exactly one row was found for each of these, so that they stand side by side.
    fn are_single(&self, part: &Range<usize>) -> bool {
        let valid = self
            .lists
            .nulls()
            .is_none_or(|nulls| nulls.slice(part.start, part.len()).null_count() == 0);
        valid && part.clone().all(|row| self.lists.value_length(row) == 1)
    }

    fn slice(&self, part: &Range<usize>) -> Vec<ArrayRef> {
        self.columns.iter().map(|column| column.slice(part.start, part.len())).collect()
    }

    /// Returns every row of a part with every row found for it.
    fn pairs(&self, part: &Range<usize>) -> Pairs {
        let mut pairs = Pairs { rows: Vec::new(), found: Vec::new() };
        for row in part.clone() {
            for found in self.list(row) {
                pairs.rows.push(row as u32);
                pairs.found.push(Some(found as u32));
            }
        }
        pairs
    }

    /// Copies pairs out: the row's columns, then those of the found row.
    fn take(&self, pairs: &Pairs) -> Result<Vec<ArrayRef>> {
        let rows = UInt32Array::from(pairs.rows.clone());
        let found = UInt32Array::from(pairs.found.clone());
        let rows = self.columns.iter().map(|column| take(column, &rows, None));
        let found = self.found.iter().map(|column| take(column, &found, None));
        Ok(rows.chain(found).collect::<Result<_, _>>()?)
    }
}

/// Rows beside found rows, by their positions; no found row stands for a miss.
struct Pairs {
    rows: Vec<u32>,
    found: Vec<Option<u32>>,
}

impl Pairs {
    /// Keeps the pairs that match.
    fn keep(self, matches: Option<&BooleanBuffer>) -> Self {
        let Some(matches) = matches else { return self };
        Self {
            rows: matches.set_indices().map(|pair| self.rows[pair]).collect(),
            found: matches.set_indices().map(|pair| self.found[pair]).collect(),
        }
    }

    /// Puts each row of a part that has no pair in its place, with a miss.
    fn with_misses(self, part: &Range<usize>) -> Self {
        let mut all = Self { rows: Vec::with_capacity(part.len()), found: Vec::new() };
        let mut pair = 0;
        for row in part.clone() {
            let row = row as u32;
            let first = pair;
            while self.rows.get(pair) == Some(&row) {
                all.rows.push(row);
                all.found.push(self.found[pair]);
                pair += 1;
            }
            if pair == first {
                all.rows.push(row);
                all.found.push(None);
            }
        }
        all
    }
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
mod tests;
