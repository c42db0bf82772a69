//! [`KeyedCalls`], which make calls of equal ordering keys one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Context;

use arrow::array::UInt32Array;
use arrow::datatypes::FieldRef;
use arrow::row::{RowConverter, SortField};
use tokio::time::Instant;

use crate::contract::args::ArgBatch;
use crate::contract::conversion::conversion;
use crate::dispatch::limits::key_gate::{Key, Turns};
use crate::dispatch::query::site::CallSite;
use crate::dispatch::request::runs::CallRuns;
use crate::error::CallError;

/// A call that waits for its key, with its arguments and when it came.
struct Held {
    key: Key,
    args: Arc<ArgBatch>,
    row: usize,
    arrived: Instant,
}

/// One partition's calls with ordering keys.
///
/// A key is taken before its call joins a request and given back when the call is answered, so that
/// no two calls of a key are in one request or in flight together. Dropping it gives all keys back.
pub(crate) struct KeyedCalls {
    site: Arc<CallSite>,
    argument: usize,
    converter: RowConverter,
    turns: Arc<Turns>,
    waiting: HashMap<u64, Held>,
    holding: HashMap<u64, Key>,
}

impl KeyedCalls {
    /// Makes the part of one partition; `None` for a function without an ordering key.
    ///
    /// # Errors
    /// [`CallError::Configuration`] if the key is no argument, or of a type without equality.
    pub(crate) fn new(
        site: &Arc<CallSite>,
        fields: &[FieldRef],
    ) -> Result<Option<Self>, CallError> {
        let declaration = site.function().declaration();
        let Some(argument) = declaration.ordering_key() else { return Ok(None) };
        let bad = |message: String| CallError::configuration(declaration.name(), message);
        let field = fields.get(argument).ok_or_else(|| {
            let arguments = fields.len();
            bad(format!("its ordering key is argument {argument} of {arguments}, counted from 0"))
        })?;
        let sort = vec![SortField::new(field.data_type().clone())];
        let converter = RowConverter::new(sort).map_err(|error| {
            bad(format!("its ordering key of type {} has no equality: {error}", field.data_type()))
        })?;
        Ok(Some(Self {
            site: Arc::clone(site),
            argument,
            converter,
            turns: Turns::open(),
            waiting: HashMap::new(),
            holding: HashMap::new(),
        }))
    }

    /// Returns the calls whose keys are free and now taken; the others wait here.
    pub(crate) fn admit(
        &mut self,
        args: ArgBatch,
        calls: CallRuns,
        now: Instant,
    ) -> Result<(ArgBatch, CallRuns), CallError> {
        if args.num_rows() == 0 {
            return Ok((args, calls));
        }
        let function = self.site.function().name();
        let column = [Arc::clone(args.column(self.argument))];
        let keys = self.converter.convert_columns(&column);
        let keys = keys.map_err(|error| conversion(function, "an argument", error))?;
        let args = Arc::new(args);
        let (mut rows, mut admitted) = (Vec::<u32>::new(), CallRuns::default());
        for (row, position) in calls.positions().enumerate() {
            let key: Key = keys.row(row).data().into();
            if self.site.keys.enter(&key, position, &self.turns) {
                self.holding.insert(position, key);
                rows.push(row as u32);
                admitted.push(position, 1);
            } else {
                let args = Arc::clone(&args);
                self.waiting.insert(position, Held { key, args, row, arrived: now });
            }
        }
        let args = args.take(&UInt32Array::from(rows));
        Ok((args.map_err(|error| conversion(function, "an argument", error))?, admitted))
    }

    /// Gives back the keys of calls that are answered.
    pub(crate) fn answered(&mut self, calls: &CallRuns) {
        for position in calls.positions() {
            if let Some(key) = self.holding.remove(&position) {
                self.site.keys.leave(&key);
            }
        }
    }

    /// Takes the calls whose turn has come, with their keys; the task of `cx` is woken by the next.
    pub(crate) fn take(&mut self, cx: &Context<'_>) -> Vec<(u64, ArgBatch, Instant)> {
        self.turns.waker.register(cx.waker());
        let mut calls = Vec::new();
        for position in self.turns.take() {
            if let Some(Held { key, args, row, arrived }) = self.waiting.remove(&position) {
                self.holding.insert(position, key);
                calls.push((position, args.slice(row, 1), arrived));
            }
        }
        calls
    }
}

impl Drop for KeyedCalls {
    fn drop(&mut self) {
        for position in self.turns.close() {
            if let Some(held) = self.waiting.remove(&position) {
                self.site.keys.leave(&held.key);
            }
        }
        for key in self.holding.values() {
            self.site.keys.leave(key);
        }
    }
}
