//! [`Queue`], who may ask for a permit next.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

/// Whose request goes first: the earlier query's, and within a query that of the operator further
/// downstream, which makes room for what the others have brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority {
    query: u64,
    stage: Reverse<usize>,
}

impl Priority {
    /// Ranks the requests of a query's operator that has `stage` call operators below it.
    pub(crate) fn new(query: u64, stage: usize) -> Self {
        Self { query, stage: Reverse(stage) }
    }
}

/// Somebody's place in the queue; those of equal priority keep the order in which they came.
pub(crate) type Place = (Priority, u64);

/// Those who wait, the first of whom may ask.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Place, Arc<Notify>>,
    arrivals: u64,
}

impl Queue {
    /// Lines up; whoever must not ask yet waits to be woken.
    pub(crate) fn enter(&mut self, priority: Priority) -> (Place, Arc<Notify>) {
        let place = (priority, self.arrivals);
        self.arrivals += 1;
        let wake = Arc::<Notify>::default();
        self.waiting.insert(place, Arc::clone(&wake));
        (place, wake)
    }

    /// Says whether it is somebody's turn.
    pub(crate) fn is_first(&self, place: &Place) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| first == place)
    }

    /// Leaves, served or not; the next may ask.
    pub(crate) fn leave(&mut self, place: &Place) {
        self.waiting.remove(place);
        self.wake_first();
    }

    /// Lets the first ask again, because something may have become free.
    pub(crate) fn wake_first(&self) {
        if let Some((_, wake)) = self.waiting.first_key_value() {
            wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_queries_come_first_then_downstream_operators_then_who_came_first() {
        let mut queue = Queue::default();
        let mut enter = |query, stage| queue.enter(Priority::new(query, stage)).0;
        let places = [enter(2, 5), enter(1, 0), enter(1, 1), enter(1, 0), enter(1, 1)];
        let mut served = Vec::new();
        while let Some(place) = places.iter().find(|place| queue.is_first(place)) {
            served.push(places.iter().position(|other| other == place).unwrap());
            queue.leave(place);
        }
        assert_eq!(served, [2, 4, 1, 3, 0]);
    }
}
