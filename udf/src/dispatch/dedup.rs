//! [`Memo`], the answers given so far within a query, so that equal calls are made once.

/// The answers of one function within one query.
#[derive(Debug)]
pub(crate) struct Memo {
    #[allow(dead_code)]
    max_bytes: usize,
}

impl Memo {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes }
    }
}
