//! [`ModelProvider`], how a kind of remote model is turned into a batch function.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_common::error::Result;

use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncBatchFunction;

/// A model as CREATE MODEL defines it.
///
/// `Debug` shows no option values: they may hold headers or keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelDefinition {
    /// The model's name.
    pub name: String,
    /// The columns sent, in order.
    pub input: Vec<FieldRef>,
    /// The columns answered, in order.
    pub output: Vec<FieldRef>,
    /// The provider's name: `http`, `local`.
    pub provider: String,
    /// The provider's own options, each by its one name: lower case, with underscores. Call options,
    /// `provider` and `version` are taken out before.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for ModelDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelDefinition")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// A kind of remote model: `http`, `local`, later `openai` and others.
pub trait ModelProvider: fmt::Debug + Send + Sync {
    /// Returns the name used in `WITH ('provider' = ..)`.
    fn name(&self) -> &str;

    /// Makes the function that calls the model.
    ///
    /// The declaration is complete (name, types, display, recipe, options); the result of a row is
    /// the value of the one output column, or a struct of several.
    ///
    /// # Errors
    /// A planning error that names the model and the option for an unknown, a missing or a bad
    /// option, with what is accepted. Option values that may be secret are not repeated.
    fn function(
        &self,
        model: &ModelDefinition,
        declaration: Declaration,
    ) -> Result<Arc<dyn AsyncBatchFunction>>;

    /// Says whether an option's value must not be shown, `headers` for instance.
    fn is_secret(&self, option: &str) -> bool;
}
