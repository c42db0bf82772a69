//! [`Merger`], one partition's part in merging equal calls: which lead, which follow.

use std::sync::Arc;
use std::task::Context;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::FieldRef;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;

use crate::contract::args::ArgBatch;
use crate::contract::conversion::conversion;
use crate::dispatch::answers::Answers;
use crate::dispatch::leading::Leading;
use crate::dispatch::query::scope::QueryScope;
use crate::dispatch::query::site::CallSite;
use crate::dispatch::request::Replaced;
use crate::dispatch::request::runs::CallRuns;
use crate::dispatch::stores::followers::{Delivery, Found, Inbox};
use crate::error::CallError;
use crate::options::words::Cache;

/// What became of a call that waited for an equal one.
#[derive(Debug)]
pub(crate) enum Merged {
    /// It has the answer of the other one.
    Value(u64, ArrayRef, usize),
    /// It fails with the other one.
    Failed(u64, CallError),
    /// It must look for another one, or be made itself.
    Again(u64, ArgBatch),
}

/// Merges the equal calls of one partition, with those of all others of the query or, for a cached
/// function, of the runtime.
///
/// Dropping it lets the calls of other partitions that wait for one of this find another.
pub(crate) struct Merger {
    site: Arc<CallSite>,
    answers: Answers,
    converter: RowConverter,
    inbox: Arc<Inbox>,
    /// Calls that others may wait for.
    leading: Leading,
    /// Calls that wait for others, with their arguments in case they must lead after all.
    following: HashMap<u64, (Arc<ArgBatch>, usize)>,
}

impl Merger {
    /// Makes the merger of a partition; `None` if equal calls are to be made each for itself, or
    /// if equality is not known for the type of an argument.
    pub(crate) fn new(
        scope: &QueryScope,
        site: &Arc<CallSite>,
        fields: &[FieldRef],
    ) -> Result<Option<Self>, CallError> {
        let declaration = site.function().declaration();
        let sort: Vec<SortField> =
            fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let cached = site.options().cache() == Cache::Partial;
        let full = site.options().cache() == Cache::Full;
        let wanted = (site.options().dedup() || cached) && !full && declaration.is_reusable();
        if !wanted || !RowConverter::supports_fields(&sort) {
            return Ok(None);
        }
        let converter = RowConverter::new(sort)
            .map_err(|error| conversion(declaration.name(), "an argument", error))?;
        Ok(Some(Self {
            answers: match cached {
                true => {
                    let cache = scope.runtime().partial_cache(site, fields, scope.parameters());
                    Answers::Cache(cache)
                }
                false => Answers::Memo(site.function.memo(fields, site)),
            },
            site: Arc::clone(site),
            converter,
            inbox: Arc::default(),
            leading: Leading::default(),
            following: HashMap::new(),
        }))
    }

    /// Returns the calls that must be made, which are distinct also from all that were returned and
    /// are not answered; `answer` gets those that were answered before.
    pub(crate) fn sort_out(
        &mut self,
        args: ArgBatch,
        calls: CallRuns,
        mut answer: impl FnMut(u64, &ArrayRef, usize),
    ) -> Result<(ArgBatch, CallRuns), CallError> {
        if args.num_rows() == 0 {
            return Ok((args, calls));
        }
        let Self { site, answers, converter, inbox, leading, following } = self;
        let convert = |error| conversion(site.function().name(), "an argument", error);
        // Without arguments all calls are equal.
        let keys = match args.columns() {
            [] => None,
            columns => Some(converter.convert_columns(columns).map_err(convert)?),
        };
        let positions: Vec<u64> = calls.positions().collect();
        let keys = positions.iter().enumerate().map(|(row, position)| {
            (*position, keys.as_ref().map_or(&[][..], |keys| keys.row(row).data()))
        });
        let args = Arc::new(args);
        let (mut row, mut hits) = (0_usize, 0_usize);
        let (mut lead_rows, mut lead_calls) = (Vec::<u32>::new(), CallRuns::default());
        answers.find(keys, inbox, |position, found| {
            match found {
                Found::Lead(lead) => {
                    leading.insert(position, lead);
                    lead_rows.push(row as u32);
                    lead_calls.push(position, 1);
                }
                Found::Answer(array, offset) => {
                    hits += 1;
                    answer(position, &array, offset);
                }
                Found::Wait => {
                    following.insert(position, (Arc::clone(&args), row));
                }
            }
            row += 1;
        });
        match answers.cache() {
            None => site.metrics.add_dedup_hits(hits),
            Some(cache) => {
                site.metrics.add_cache_hits(hits);
                site.metrics.add_cache_misses(lead_rows.len());
                site.metrics.site().set_cached(cache.size());
            }
        }
        if lead_rows.len() == args.num_rows() {
            return Ok((args.as_ref().clone().with_distinct_rows(), lead_calls));
        }
        let args = args
            .take(&UInt32Array::from(lead_rows))
            .map_err(|error| conversion(site.function().name(), "an argument", error))?;
        Ok((args.with_distinct_rows(), lead_calls))
    }

    /// Remembers answers and hands them to whoever waits for them.
    pub(crate) fn answered(&mut self, calls: &CallRuns, values: &ArrayRef) {
        let (leading, mut offset) = (&mut self.leading, 0);
        let answers = calls.iter().flat_map(|run| {
            let first = offset;
            offset += run.len;
            leading.take(run.position, run.len).map(move |(lead, row)| (lead, first + row))
        });
        self.answers.complete(answers, values);
        if let Some(cache) = self.answers.cache() {
            self.site.metrics.site().set_cached(cache.size());
        }
    }

    /// Hands failures to whoever waits for the same.
    pub(crate) fn replaced(&mut self, replaced: &Replaced) {
        let mut offset = 0;
        for run in replaced.calls.iter() {
            for (lead, row) in self.leading.take(run.position, run.len) {
                if replaced.fallback {
                    self.answers.hand_on(lead, &replaced.values, offset + row);
                } else {
                    self.answers.fail(lead, &replaced.error, self.site.effort());
                }
            }
            offset += run.len;
        }
    }

    /// Takes what became of calls that wait; the task of `cx` is woken by the next.
    pub(crate) fn take(&mut self, cx: &Context<'_>) -> Vec<Merged> {
        let deliveries = self.inbox.take(cx);
        let mut merged = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let (Delivery::Value(position, ..)
            | Delivery::Failed(position, ..)
            | Delivery::Orphaned(position)) = delivery;
            let Some((args, row)) = self.following.remove(&position) else { continue };
            let again = |args: Arc<ArgBatch>| Merged::Again(position, args.slice(row, 1));
            merged.push(match delivery {
                Delivery::Value(_, array, row) => {
                    self.site.metrics.add_dedup_hits(1);
                    Merged::Value(position, array, row)
                }
                Delivery::Failed(_, error, effort) if effort == self.site.effort() => {
                    self.site.metrics.add_dedup_hits(1);
                    Merged::Failed(position, error)
                }
                // Another call site may have tried less than this one is told to.
                Delivery::Failed(..) | Delivery::Orphaned(_) => again(args),
            });
        }
        merged
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.leading.drain().for_each(|lead| self.answers.abandon(lead));
    }
}
