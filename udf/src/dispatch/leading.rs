//! [`Leading`], the calls that one partition makes for all that are equal to them.

use std::collections::BTreeMap;

use crate::dispatch::stores::followers::Lead;

/// Consecutive calls of a partition that lead under consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    lead: usize,
    len: usize,
}

/// The calls that a partition leads, by their position.
///
/// Calls that came together are one entry, however many they are, until they are answered in parts.
#[derive(Debug, Default)]
pub(crate) struct Leading {
    /// By the position of the first call.
    runs: BTreeMap<u64, Run>,
    /// The run that the next call may lengthen.
    growing: Option<(u64, Run)>,
}

impl Leading {
    /// Adds a call that is none of those here.
    pub(crate) fn insert(&mut self, position: u64, Lead(lead): Lead) {
        match &mut self.growing {
            Some((start, run))
                if *start + run.len as u64 == position && run.lead + run.len == lead =>
            {
                run.len += 1;
            }
            _ => {
                self.settle();
                self.growing = Some((position, Run { lead, len: 1 }));
            }
        }
    }

    fn settle(&mut self) {
        self.runs.extend(self.growing.take());
    }

    /// Takes those of `len` calls from `position` on that lead; each comes with its place among them.
    pub(crate) fn take(
        &mut self,
        position: u64,
        len: usize,
    ) -> impl Iterator<Item = (Lead, usize)> + use<> {
        self.settle();
        let end = position + len as u64;
        let mut taken = Vec::new();
        while let Some((start, run)) = self.runs.range(..end).next_back().map(|(s, run)| (*s, *run))
            && start + run.len as u64 > position
        {
            self.runs.remove(&start);
            let (from, to) = (start.max(position), end.min(start + run.len as u64));
            let before = (from - start) as usize;
            let within = (to - from) as usize;
            if before > 0 {
                self.runs.insert(start, Run { len: before, ..run });
            }
            if before + within < run.len {
                let rest = Run { lead: run.lead + before + within, len: run.len - before - within };
                self.runs.insert(to, rest);
            }
            taken.push(((from - position) as usize, Run { lead: run.lead + before, len: within }));
        }
        let runs = taken.into_iter().rev();
        runs.flat_map(|(at, run)| (0..run.len).map(move |i| (Lead(run.lead + i), at + i)))
    }

    /// Takes all.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Lead> + use<> {
        self.settle();
        let runs = std::mem::take(&mut self.runs).into_values();
        runs.flat_map(|run| (run.lead..run.lead + run.len).map(Lead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_came_together_are_one_entry() {
        let mut leading = leading(&[(0, 10), (1, 11), (2, 12), (5, 13), (6, 20)]);
        leading.settle();
        assert_eq!(leading.runs.len(), 3);
        assert_eq!(take(&mut leading, 0, 7), [(10, 0), (11, 1), (12, 2), (13, 5), (20, 6)]);
        assert_eq!(leading.runs.len(), 0);
    }

    #[test]
    fn a_part_is_taken_from_the_middle_and_once() {
        let mut leading = leading(&[(0, 10), (1, 11), (2, 12), (3, 13)]);
        assert_eq!(take(&mut leading, 1, 2), [(11, 0), (12, 1)]);
        assert_eq!(take(&mut leading, 1, 2), []);
        assert_eq!(take(&mut leading, 0, 9), [(10, 0), (13, 3)]);
    }

    #[test]
    fn what_is_left_is_drained() {
        let mut leading = leading(&[(0, 10), (1, 11), (2, 12)]);
        assert_eq!(take(&mut leading, 1, 1), [(11, 0)]);
        let left: Vec<usize> = leading.drain().map(|Lead(lead)| lead).collect();
        assert_eq!(left, [10, 12]);
        assert_eq!(leading.drain().count(), 0);
    }

    fn leading(calls: &[(u64, usize)]) -> Leading {
        let mut leading = Leading::default();
        calls.iter().for_each(|(position, lead)| leading.insert(*position, Lead(*lead)));
        leading
    }

    fn take(leading: &mut Leading, position: u64, len: usize) -> Vec<(usize, usize)> {
        leading.take(position, len).map(|(Lead(lead), row)| (lead, row)).collect()
    }
}
