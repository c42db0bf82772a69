//! [`CallRuns`], the numbers of calls as runs.

use std::collections::VecDeque;

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
