//! [`CallLog`], the calls that were led within a query, in that order, with what became of each.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use arrow::array::ArrayRef;

use crate::dispatch::stores::followers::Followers;

/// Calls that stand together: the first bits of a call's number say in which chunk it is.
const CHUNK_CALLS: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 8;
/// Beyond these bytes of keys a chunk takes no further call, since keys go with their chunk.
const CHUNK_KEY_BYTES: usize = 64 << 10;

/// What became of a call.
#[derive(Debug)]
enum State {
    /// It is being made, for all that wait for it.
    InFlight(Option<Box<Followers>>),
    /// It was answered, by a row of one of the chunk's arrays.
    Answered { array: u16, row: u32 },
    /// Nobody needs it any more.
    Gone,
}

/// An array that answers calls of a chunk.
#[derive(Debug)]
struct Answers {
    /// `None` once no call needs it.
    array: Option<ArrayRef>,
    calls: usize,
    row_bytes: usize,
}

/// Calls that were led one after the other.
#[derive(Debug, Default)]
struct Chunk {
    keys: Vec<u8>,
    /// Where each call's key ends.
    ends: Vec<usize>,
    states: Vec<State>,
    answers: Vec<Answers>,
    /// The calls that are not gone.
    needed: usize,
}

impl Chunk {
    fn key(&self, call: usize) -> &[u8] {
        let start = call.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.keys[start..self.ends[call]]
    }

    fn is_full(&self) -> bool {
        self.states.len() == CHUNK_CALLS || self.keys.len() > CHUNK_KEY_BYTES
    }

    /// Returns the place of an array; answers of one request come one after the other.
    fn place(&mut self, array: &ArrayRef, row_bytes: usize) -> usize {
        let is_last = |last: &Answers| last.array.as_ref().is_some_and(|l| Arc::ptr_eq(l, array));
        if !self.answers.last().is_some_and(is_last) {
            let array = Some(Arc::clone(array));
            self.answers.push(Answers { array, calls: 0, row_bytes });
        }
        self.answers.len() - 1
    }
}

/// What is known of a call.
#[derive(Debug)]
pub(crate) enum Known<'a> {
    /// It is being made; these wait for it.
    InFlight(&'a mut Followers),
    /// It was answered, by a row of an array.
    Answered(&'a ArrayRef, usize),
}

/// What a call leaves behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Those that waited for it.
    pub(crate) followers: Followers,
    /// The bytes of its key, and of its answer if it had one.
    pub(crate) answer_bytes: Option<usize>,
}

/// The calls of a query by number; numbers ascend and are never used again.
///
/// Calls that are led together stand together, as they will be answered: so neither finding a call
/// nor completing it touches memory of its own. A chunk goes when its last call does.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    /// `None` for a chunk that is gone.
    chunks: VecDeque<Option<Box<Chunk>>>,
    /// The number of the first chunk.
    first: usize,
}

impl CallLog {
    /// Adds a call in flight; returns its number.
    pub(crate) fn lead(&mut self, key: &[u8]) -> usize {
        if self.chunks.back().is_none_or(|last| last.as_ref().is_none_or(|last| last.is_full())) {
            self.close_last();
            self.chunks.push_back(Some(Box::default()));
        }
        let number = self.first + self.chunks.len() - 1;
        let Some(Some(chunk)) = self.chunks.back_mut() else { return number << CHUNK_BITS };
        chunk.keys.extend_from_slice(key);
        chunk.ends.push(chunk.keys.len());
        chunk.states.push(State::InFlight(None));
        chunk.needed += 1;
        number << CHUNK_BITS | (chunk.states.len() - 1)
    }

    /// Returns the number that ends in these bits: calls that many numbers apart are never here at
    /// once.
    pub(crate) fn number(&self, low: u32) -> usize {
        let first = self.first << CHUNK_BITS;
        first + low.wrapping_sub(first as u32) as usize
    }

    /// Returns the key of a call; `None` if its chunk is gone.
    pub(crate) fn key(&self, call: usize) -> Option<&[u8]> {
        let chunk = self.chunks.get((call >> CHUNK_BITS).checked_sub(self.first)?)?;
        Some(chunk.as_ref()?.key(call % CHUNK_CALLS))
    }

    /// Returns what is known of a call, `None` if it is gone.
    pub(crate) fn known(&mut self, call: usize) -> Option<Known<'_>> {
        let chunk = self.chunk(call)?;
        match chunk.states.get_mut(call % CHUNK_CALLS)? {
            State::InFlight(followers) => {
                Some(Known::InFlight(followers.get_or_insert_with(Box::default)))
            }
            State::Answered { array, row } => {
                let answers = chunk.answers.get(usize::from(*array))?;
                Some(Known::Answered(answers.array.as_ref()?, *row as usize))
            }
            State::Gone => None,
        }
    }

    /// Remembers the answer of a call in flight, `row_bytes` large; returns those that waited for it
    /// and the bytes of key and answer.
    pub(crate) fn answer(
        &mut self,
        call: usize,
        array: &ArrayRef,
        row: usize,
        row_bytes: usize,
    ) -> Option<(Followers, usize)> {
        let chunk = self.chunk(call)?;
        let at = call % CHUNK_CALLS;
        if !matches!(chunk.states.get(at)?, State::InFlight(_)) {
            return None;
        }
        let place = chunk.place(array, row_bytes);
        chunk.answers[place].calls += 1;
        // A chunk has no more arrays than calls, and a request no more rows than a batch.
        let answered = State::Answered { array: place as u16, row: row as u32 };
        let State::InFlight(followers) = mem::replace(&mut chunk.states[at], answered) else {
            return None;
        };
        Some((followers.map(|f| *f).unwrap_or_default(), chunk.key(at).len() + row_bytes))
    }

    /// Forgets a call.
    pub(crate) fn end(&mut self, call: usize) -> Option<Ended> {
        let chunk = self.chunk(call)?;
        let at = call % CHUNK_CALLS;
        let key_bytes = chunk.key(at).len();
        let ended = match mem::replace(chunk.states.get_mut(at)?, State::Gone) {
            State::Gone => return None,
            State::InFlight(followers) => {
                let followers = followers.map(|followers| *followers).unwrap_or_default();
                Ended { followers, answer_bytes: None }
            }
            State::Answered { array, .. } => {
                let answers = chunk.answers.get_mut(usize::from(array))?;
                answers.calls -= 1;
                if answers.calls == 0 {
                    answers.array = None;
                }
                let bytes = key_bytes + answers.row_bytes;
                Ended { followers: Followers::default(), answer_bytes: Some(bytes) }
            }
        };
        chunk.needed -= 1;
        if chunk.needed == 0 {
            self.drop_chunk(call >> CHUNK_BITS);
        }
        Some(ended)
    }

    /// Returns the first answered call from `from` on.
    pub(crate) fn next_answered(&self, from: usize) -> Option<usize> {
        let first = (from >> CHUNK_BITS).saturating_sub(self.first);
        let chunks = self.chunks.iter().enumerate().skip(first);
        let mut chunks = chunks.filter_map(|(at, chunk)| Some((at, chunk.as_ref()?)));
        chunks.find_map(|(at, chunk)| {
            let number = (self.first + at) << CHUNK_BITS;
            let answered = |call: &usize| matches!(chunk.states[*call], State::Answered { .. });
            let call = (from.saturating_sub(number)..chunk.states.len()).find(answered)?;
            Some(number + call)
        })
    }

    fn chunk(&mut self, call: usize) -> Option<&mut Chunk> {
        let at = (call >> CHUNK_BITS).checked_sub(self.first)?;
        self.chunks.get_mut(at)?.as_deref_mut()
    }

    /// Lets the last chunk go if it waited only for further calls.
    fn close_last(&mut self) {
        if self.chunks.back().is_some_and(|last| last.as_ref().is_some_and(|l| l.needed == 0)) {
            self.chunks.pop_back();
            self.chunks.push_back(None);
        }
        self.trim();
    }

    fn drop_chunk(&mut self, number: usize) {
        let at = number - self.first;
        // The last chunk takes further calls.
        if at + 1 < self.chunks.len()
            && let Some(chunk) = self.chunks.get_mut(at)
        {
            *chunk = None;
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.chunks.front().is_some_and(Option::is_none) {
            self.chunks.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn numbers_ascend_and_name_their_keys() {
        let mut log = CallLog::default();
        let calls: Vec<usize> = (0..600_u32).map(|key| log.lead(&key.to_be_bytes())).collect();
        assert!(calls.is_sorted());
        for (key, call) in calls.iter().enumerate() {
            assert_eq!(log.key(*call), Some(&(key as u32).to_be_bytes()[..]));
            assert_eq!(log.number(*call as u32), *call);
        }
    }

    #[test]
    fn a_chunk_goes_with_its_last_call_also_from_the_middle() {
        let mut log = CallLog::default();
        let calls: Vec<usize> = (0..3 * CHUNK_CALLS).map(|_| log.lead(b"k")).collect();
        let (slow, rest) = calls.split_first().unwrap();
        for call in rest {
            log.answer(*call, &ints(1), 0, 8).unwrap();
            assert_eq!(log.end(*call).unwrap().answer_bytes, Some(1 + 8));
            assert!(log.end(*call).is_none());
        }
        let chunks: Vec<bool> = log.chunks.iter().map(Option::is_some).collect();
        assert_eq!(chunks, [true, false, true]);
        assert!(log.end(*slow).unwrap().answer_bytes.is_none());
        // The last one waits for further calls, and goes when it is full.
        assert_eq!((log.first, log.chunks.len()), (2, 1));
        log.lead(b"k");
        assert_eq!((log.first, log.chunks.len()), (3, 1));
    }

    #[test]
    fn large_keys_have_a_chunk_of_their_own() {
        let mut log = CallLog::default();
        let key = vec![7; CHUNK_KEY_BYTES + 1];
        let calls = [log.lead(&key), log.lead(&key), log.lead(b"k")];
        assert_eq!(calls.map(|call| call >> CHUNK_BITS), [0, 1, 2]);
        log.end(calls[1]);
        assert!(log.chunks[1].is_none());
        assert_eq!((log.key(calls[0]), log.key(calls[1])), (Some(&key[..]), None));
    }

    #[test]
    fn the_next_answered_call_is_found_behind_those_in_flight() {
        let mut log = CallLog::default();
        let calls: Vec<usize> = (0..2 * CHUNK_CALLS).map(|_| log.lead(b"k")).collect();
        assert_eq!(log.next_answered(0), None);
        for call in [3, CHUNK_CALLS + 1] {
            log.answer(calls[call], &ints(1), 0, 8).unwrap();
        }
        assert_eq!(log.next_answered(0), Some(calls[3]));
        assert_eq!(log.next_answered(calls[3] + 1), Some(calls[CHUNK_CALLS + 1]));
        assert_eq!(log.next_answered(calls[CHUNK_CALLS + 1] + 1), None);
    }

    #[test]
    fn an_array_is_held_as_long_as_one_of_its_calls() {
        let mut log = CallLog::default();
        let (calls, array) = ([log.lead(b"a"), log.lead(b"b")], ints(2));
        for (row, call) in calls.iter().enumerate() {
            log.answer(*call, &array, row, 8).unwrap();
        }
        log.end(calls[0]);
        assert!(matches!(log.known(calls[1]), Some(Known::Answered(_, 1))));
        assert_eq!(Arc::strong_count(&array), 2);
        log.end(calls[1]);
        assert_eq!(Arc::strong_count(&array), 1);
    }

    fn ints(rows: i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..rows))
    }
}
