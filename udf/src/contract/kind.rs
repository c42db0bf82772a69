//! [`Kind`], what a function is to a query.

/// What a function is to a query: where it stands, and which options of a session it listens to.
///
/// Whether its rows are sent one by one or in batches is a matter of
/// [`AsyncFunction`](crate::AsyncFunction).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// A function of an expression: options `farcall.async_scalar.*`.
    #[default]
    Scalar,
    /// A function that gives rows and stands in FROM: options `farcall.async_table.*`.
    Table,
    /// The rows of a lookup table, found by key: options `farcall.async_lookup.*`.
    Lookup,
    /// A model: options `farcall.ml_predict.*`, and those of functions where it has none.
    Model,
}
