//! [`AsyncFunction`], a function of any kind.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion_common::Result;
use datafusion_expr::ReturnFieldArgs;

use crate::ArgBatch;
use crate::adapt::rows::{RowFunction, ScalarRows};
use crate::adapt::table_rows::TableRows;
use crate::adapt::tried::{try_name, try_type};
use crate::contract::context::FunctionContext;
use crate::contract::declaration::Declaration;
use crate::contract::function::{AsyncBatchFunction, AsyncScalarFunction};
use crate::contract::opened::Opened;
use crate::contract::sizes::estimate_tokens;
use crate::contract::table::AsyncTableFunction;
use crate::error::CallError;

/// One function of any kind, shared by plans, sessions and queries.
///
/// Equality and hash go by name, version and recipe, so that a function that travelled through a
/// codec equals the one that was sent.
#[derive(Clone)]
pub enum AsyncFunction {
    /// One row in, one value or list of rows out: typed closures ([`crate::async_fn`],
    /// [`crate::async_table_fn`]), [`AsyncScalarFunction`]s and [`AsyncTableFunction`]s.
    Rows(Arc<dyn RowFunction>),
    /// n rows in, n values out.
    Batch(Arc<dyn AsyncBatchFunction>),
    /// Either of them, with failures as values.
    Try(Arc<TryFunction>),
}

impl AsyncFunction {
    /// Wraps a row-wise function.
    pub fn scalar(function: impl AsyncScalarFunction) -> Self {
        AsyncFunction::Rows(Arc::new(ScalarRows(Arc::new(function))))
    }

    /// Wraps a table function.
    pub fn table(function: impl AsyncTableFunction) -> Self {
        AsyncFunction::Rows(Arc::new(TableRows(Arc::new(function))))
    }

    /// Wraps a batch function.
    pub fn batch(function: impl AsyncBatchFunction) -> Self {
        AsyncFunction::Batch(Arc::new(function))
    }

    /// Returns the form of the function whose failures are values, named `try_` and its name.
    pub fn with_try(self) -> Self {
        match self {
            AsyncFunction::Try(_) => self,
            _ => AsyncFunction::Try(Arc::new(TryFunction::new(self))),
        }
    }

    /// Returns the function that makes the calls, if this is its `try_` form.
    pub fn tried(&self) -> Option<&AsyncFunction> {
        match self {
            AsyncFunction::Try(function) => Some(function.inner()),
            AsyncFunction::Rows(_) | AsyncFunction::Batch(_) => None,
        }
    }

    /// Returns what the function says about itself.
    pub fn declaration(&self) -> &Declaration {
        match self {
            AsyncFunction::Rows(function) => function.declaration(),
            AsyncFunction::Batch(function) => function.declaration(),
            AsyncFunction::Try(function) => function.declaration(),
        }
    }

    /// Returns the name under which SQL finds the function.
    pub fn name(&self) -> &str {
        self.declaration().name()
    }

    /// Says whether a request carries one row unless told otherwise.
    pub fn is_row_wise(&self) -> bool {
        matches!(self.tried().unwrap_or(self), AsyncFunction::Rows(_))
    }

    /// Counts the tokens of each row, or estimates them.
    pub(crate) fn count_tokens(&self, args: &ArgBatch) -> Vec<usize> {
        match self {
            AsyncFunction::Rows(_) => estimate_tokens(args),
            AsyncFunction::Batch(function) => function.count_tokens(args),
            AsyncFunction::Try(function) => function.inner().count_tokens(args),
        }
    }

    /// Prepares the function for one query, and returns what it opened.
    ///
    /// # Errors
    /// What the function's own `open` fails with.
    pub async fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        match self {
            AsyncFunction::Rows(function) => function.open(ctx).await,
            AsyncFunction::Batch(function) => function.open(ctx).await,
            AsyncFunction::Try(function) => Box::pin(function.inner().open(ctx)).await,
        }
    }

    /// Releases what [`AsyncFunction::open`] took.
    ///
    /// # Errors
    /// What the function's own `close` fails with.
    pub async fn close(&self, opened: Opened) -> Result<(), CallError> {
        match self {
            AsyncFunction::Rows(function) => function.close(opened).await,
            AsyncFunction::Batch(function) => function.close(opened).await,
            AsyncFunction::Try(function) => Box::pin(function.inner().close(opened)).await,
        }
    }
}

impl fmt::Debug for AsyncFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.declaration().fmt(f)
    }
}

impl PartialEq for AsyncFunction {
    fn eq(&self, other: &Self) -> bool {
        self.declaration().identity() == other.declaration().identity()
    }
}

impl Eq for AsyncFunction {}

impl Hash for AsyncFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.declaration().identity().hash(state);
    }
}

/// A function that answers `{value, error: {code, message, attempts}}` and lets no row fail.
///
/// `code` is the error's class ([`crate::ErrorClass`]). A row that was answered has no error; one
/// that failed has what `on_error` gives as its value, NULL for `fail`; one that needed no call is
/// NULL as a whole. Errors that are the same for every row still end the query.
#[derive(Debug)]
pub struct TryFunction {
    inner: AsyncFunction,
    declaration: Declaration,
}

impl TryFunction {
    pub(crate) fn new(inner: AsyncFunction) -> Self {
        let plain = inner.declaration().clone();
        let aliases: Vec<String> = plain.aliases().iter().map(|name| try_name(name)).collect();
        let mut declaration = plain.clone().with_name(try_name(plain.name())).with_aliases(aliases);
        if let Some(display) = plain.display().cloned() {
            declaration = declaration.with_display(move |args| try_name(&display(args)));
        }
        let declaration =
            declaration.with_return_field(move |args: &ReturnFieldArgs<'_>| -> Result<FieldRef> {
                let value = plain.return_field(args)?;
                Ok(Arc::new(Field::new(value.name(), try_type(&value), true)))
            });
        Self { inner, declaration }
    }

    /// Returns the function whose failures it turns into values.
    pub fn inner(&self) -> &AsyncFunction {
        &self.inner
    }

    /// Returns what the function says about itself.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use async_trait::async_trait;
    use datafusion_common::ScalarValue;

    use super::*;
    use crate::CallContext;
    use crate::contract::declaration::Recipe;

    #[test]
    fn functions_are_equal_by_name_version_and_recipe() {
        let function = |change: fn(Declaration) -> Declaration| {
            AsyncFunction::scalar(Constant(change(declared("f"))))
        };
        let recipe = |bytes: u8| Recipe { kind: "model".into(), bytes: vec![bytes] };
        let plain = function(|d| d);
        assert_eq!(plain, function(|d| d.with_aliases(["g"])));
        assert_ne!(plain, function(|d| d.with_version("2")));
        let one = AsyncFunction::scalar(Constant(declared("f").with_recipe(recipe(1))));
        let two = AsyncFunction::scalar(Constant(declared("f").with_recipe(recipe(2))));
        assert!(one != two && one != plain && one == one.clone());
    }

    fn declared(name: &str) -> Declaration {
        Declaration::new(name, vec![DataType::Int64], DataType::Int64)
    }

    #[derive(Debug)]
    struct Constant(Declaration);

    #[async_trait]
    impl AsyncScalarFunction for Constant {
        fn declaration(&self) -> &Declaration {
            &self.0
        }
        async fn eval(
            &self,
            _: Vec<ScalarValue>,
            _: &CallContext,
        ) -> Result<ScalarValue, CallError> {
            Ok(ScalarValue::from(1_i64))
        }
    }
}
