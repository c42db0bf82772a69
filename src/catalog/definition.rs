//! What the definitions of models and lookup tables share.

/// What to do when a model of that name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// It is an error.
    #[default]
    Fail,
    /// The new model takes its place; plans made before keep the old one.
    Replace,
    /// The existing model stays.
    Keep,
}
