//! [`ExecutionId`], the name of one execution, and of the query that it is a part of.

use std::sync::Arc;

/// The name of one execution, and of the query that it is a part of.
///
/// A query that is cut into tasks has executions in several processes, which share its id: what is
/// made of that id and a counter would repeat.
#[derive(Debug, Clone)]
pub struct ExecutionId {
    query_id: Arc<str>,
    execution: Arc<str>,
}

impl ExecutionId {
    /// Makes the id of a query that is one execution.
    pub fn fresh() -> Self {
        let id: Arc<str> = uuid::Uuid::new_v4().to_string().into();
        Self { query_id: Arc::clone(&id), execution: id }
    }

    /// Makes the id of an execution that is a part of a query, in the task of a slot if it has one.
    pub fn part_of(query_id: &Arc<str>, task_slot: Option<u8>) -> Self {
        let part = uuid::Uuid::new_v4();
        let execution = match task_slot {
            Some(slot) => format!("{query_id}-{slot}-{}", part.simple()),
            None => format!("{query_id}-{}", part.simple()),
        };
        Self { query_id: Arc::clone(query_id), execution: execution.into() }
    }

    /// Returns the query's id.
    pub fn query_id(&self) -> &Arc<str> {
        &self.query_id
    }

    /// Returns what no other execution shares, in this process or another.
    pub fn execution(&self) -> &Arc<str> {
        &self.execution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_query_have_names_of_their_own() {
        let query = ExecutionId::fresh();
        assert_eq!(query.query_id(), query.execution());
        let part = |slot| ExecutionId::part_of(query.query_id(), slot);
        let (first, again, other) = (part(Some(3)), part(Some(3)), part(None));
        assert!(first.execution().starts_with(&format!("{}-3-", query.query_id())));
        assert_eq!(first.query_id(), other.query_id());
        assert_ne!(first.execution(), again.execution());
        assert_ne!(other.execution(), query.execution());
    }
}
