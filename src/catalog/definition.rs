//! What CREATE MODEL says before it is checked, and what becomes of a model of the same name.

use std::collections::BTreeMap;
use std::fmt;

use datafusion::arrow::datatypes::FieldRef;

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

/// What CREATE MODEL says, before anything in it was checked.
///
/// `Debug` shows no option values: they may hold headers or keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// The model's name.
    pub name: String,
    /// The columns sent, in order.
    pub input: Vec<FieldRef>,
    /// The columns answered, in order.
    pub output: Vec<FieldRef>,
    /// What the model is for, in the user's words.
    pub comment: Option<String>,
    /// All of `WITH (..)`: `provider`, `version`, call options and the provider's own options.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelSpec").field("name", &self.name).finish_non_exhaustive()
    }
}
