//! The kinds of asynchronous function and what each declares about itself.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use async_trait::async_trait;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ReturnFieldArgs, Signature, TypeSignature, Volatility};

use crate::answer::BatchAnswer;
use crate::context::{CallContext, FunctionContext};
use crate::error::CallError;
use crate::options::CallOptions;
use crate::rows::{RowFunction, ScalarRows};
use crate::tried::TryFunction;

/// Whether equal arguments give an answer that may be reused within a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Determinism {
    /// Equal arguments give a reusable answer: models and lookups.
    #[default]
    Deterministic,
    /// Each call site is evaluated for itself: random numbers, sampling, clocks.
    Volatile,
}

/// What happens to a row that has a NULL among its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NullInput {
    /// The row is not sent; its result is NULL.
    #[default]
    Skip,
    /// The row is sent as it is.
    Send,
}

/// The bytes from which another process can rebuild a function, and the kind of builder it needs.
///
/// A name alone is not enough: a model, a prompt or a Python function travels with its definition.
/// A recipe never holds a secret, only the name of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Which builder reads the bytes, for example `model`.
    pub kind: String,
    /// What that builder needs.
    pub bytes: Vec<u8>,
}

/// Computes the result field of a call from its argument fields and literal arguments.
pub type ReturnFieldFn = Arc<dyn Fn(&ReturnFieldArgs<'_>) -> Result<FieldRef> + Send + Sync>;
/// Computes the types that arguments are cast to.
pub type CoerceTypesFn = Arc<dyn Fn(&[DataType]) -> Result<Vec<DataType>> + Send + Sync>;
/// Writes a call the way the user knows it, given the names of its arguments.
pub type DisplayFn = Arc<dyn Fn(&[String]) -> String + Send + Sync>;

/// What a function says about itself, the same for every kind.
///
/// ```
/// use arrow::datatypes::DataType;
/// use farcall_udf::{CallOptions, Declaration, Determinism};
///
/// let declaration = Declaration::new("score", vec![DataType::Utf8], DataType::Float64)
///     .with_version("2026-11-01")
///     .with_determinism(Determinism::Deterministic)
///     .with_options(CallOptions::new().with_max_batch_size(64));
/// assert_eq!(declaration.name(), "score");
/// ```
#[derive(Clone)]
pub struct Declaration {
    name: String,
    aliases: Vec<String>,
    signature: Signature,
    return_field: ReturnFieldFn,
    coerce_types: Option<CoerceTypesFn>,
    display: Option<DisplayFn>,
    determinism: Determinism,
    side_effects: bool,
    null_input: NullInput,
    version: String,
    ordering_key: Option<usize>,
    options: CallOptions,
    option_group: Option<String>,
    recipe: Option<Recipe>,
}

impl Declaration {
    /// Declares a function of fixed argument types and a fixed return type.
    ///
    /// The signature is marked volatile for DataFusion, which must neither copy, push down nor
    /// fold a call; the determinism that matters to farcall is [`Declaration::determinism`].
    pub fn new(name: impl Into<String>, arg_types: Vec<DataType>, return_type: DataType) -> Self {
        let signature = if arg_types.is_empty() {
            Signature::nullary(Volatility::Volatile)
        } else {
            Signature::exact(arg_types, Volatility::Volatile)
        };
        Self::with_signature(name, signature, return_type)
    }

    /// Declares a function with overloads or coercion by a DataFusion signature.
    pub fn with_signature(
        name: impl Into<String>,
        mut signature: Signature,
        return_type: DataType,
    ) -> Self {
        signature.volatility = Volatility::Volatile;
        let name = name.into();
        let field: FieldRef = Arc::new(Field::new(&name, return_type, true));
        Self {
            name,
            aliases: Vec::new(),
            signature,
            return_field: Arc::new(move |_| Ok(Arc::clone(&field))),
            coerce_types: None,
            display: None,
            determinism: Determinism::default(),
            side_effects: false,
            null_input: NullInput::default(),
            version: String::new(),
            ordering_key: None,
            options: CallOptions::new(),
            option_group: None,
            recipe: None,
        }
    }

    pub(crate) fn with_name(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// Adds further names under which SQL finds the function.
    pub fn with_aliases(mut self, aliases: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.aliases = aliases.into_iter().map(Into::into).collect();
        self
    }

    /// Names the parameters, so that SQL may write `f(text => a)`.
    pub fn with_parameter_names(mut self, names: Vec<String>) -> Result<Self> {
        self.signature = self.signature.with_parameter_names(names)?;
        Ok(self)
    }

    /// Computes the result field from the argument fields instead of a fixed type.
    pub fn with_return_field(
        mut self,
        return_field: impl Fn(&ReturnFieldArgs<'_>) -> Result<FieldRef> + Send + Sync + 'static,
    ) -> Self {
        self.return_field = Arc::new(return_field);
        self
    }

    /// Casts arguments by a function of the caller's; the signature becomes user defined.
    pub fn with_coerce_types(
        mut self,
        coerce: impl Fn(&[DataType]) -> Result<Vec<DataType>> + Send + Sync + 'static,
    ) -> Self {
        self.signature.type_signature = TypeSignature::UserDefined;
        self.coerce_types = Some(Arc::new(coerce));
        self
    }

    /// Shows calls in column names and EXPLAIN as the user wrote them, `PREDICT(m, a)` for instance.
    pub fn with_display(
        mut self,
        display: impl Fn(&[String]) -> String + Send + Sync + 'static,
    ) -> Self {
        self.display = Some(Arc::new(display));
        self
    }

    /// Says whether answers may be reused within a query.
    pub fn with_determinism(mut self, determinism: Determinism) -> Self {
        self.determinism = determinism;
        self
    }

    /// Says that a call changes something far away.
    ///
    /// Such a function is never merged, deferred, reused or retried unless its options say so.
    pub fn with_side_effects(mut self, side_effects: bool) -> Self {
        self.side_effects = side_effects;
        self
    }

    /// Says what happens to rows with NULL arguments.
    pub fn with_null_input(mut self, null_input: NullInput) -> Self {
        self.null_input = null_input;
        self
    }

    /// Names the version of what is called; it is part of every cache and journal key.
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Names the argument whose equal values must be called one after the other.
    pub fn with_ordering_key(mut self, argument: usize) -> Self {
        self.ordering_key = Some(argument);
        self
    }

    /// Declares the function's own call options, which a session or a call may override.
    pub fn with_options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Names a further group of session options that the function listens to, `ml_predict` for a
    /// model; it is narrower than the group of the function's kind.
    pub fn with_option_group(mut self, group: impl Into<String>) -> Self {
        self.option_group = Some(group.into());
        self
    }

    /// Attaches the recipe from which another process rebuilds the function.
    pub fn with_recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// Returns the name under which SQL finds the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the further names.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// Returns the accepted arguments.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Computes the result field; it is nullable whatever the function says.
    ///
    /// `on_error` and time-out policies produce NULL, so no result can be promised.
    pub fn return_field(&self, args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = (self.return_field)(args)?;
        if field.is_nullable() {
            return Ok(field);
        }
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    /// Returns the casts of a user-defined signature.
    pub fn coerce_types(&self) -> Option<&CoerceTypesFn> {
        self.coerce_types.as_ref()
    }

    /// Returns how a call is shown, if not as `name(args)`.
    pub fn display(&self) -> Option<&DisplayFn> {
        self.display.as_ref()
    }

    /// Returns whether answers may be reused within a query.
    pub fn determinism(&self) -> Determinism {
        self.determinism
    }

    /// Says whether equal calls may share one answer: deterministic and free of side effects.
    pub fn is_reusable(&self) -> bool {
        self.determinism == Determinism::Deterministic && !self.side_effects
    }

    /// Returns whether a call changes something far away.
    pub fn has_side_effects(&self) -> bool {
        self.side_effects
    }

    /// Returns what happens to rows with NULL arguments.
    pub fn null_input(&self) -> NullInput {
        self.null_input
    }

    /// Returns the version, empty if none was given.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the argument that orders calls, if any.
    pub fn ordering_key(&self) -> Option<usize> {
        self.ordering_key
    }

    /// Returns the function's own options.
    pub fn options(&self) -> &CallOptions {
        &self.options
    }

    /// Returns the further group of session options that the function listens to, if any.
    pub fn option_group(&self) -> Option<&str> {
        self.option_group.as_deref()
    }

    /// Returns the recipe, if the function can be rebuilt elsewhere from more than its name.
    pub fn recipe(&self) -> Option<&Recipe> {
        self.recipe.as_ref()
    }

    fn identity(&self) -> (&str, &str, Option<&Recipe>) {
        (&self.name, &self.version, self.recipe.as_ref())
    }
}

impl fmt::Debug for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The recipe stays out: it may be long, and plans are printed with `{:?}`.
        f.debug_struct("Declaration")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("determinism", &self.determinism)
            .finish_non_exhaustive()
    }
}

/// A function with one row in and one value out.
///
/// ```
/// use arrow::datatypes::DataType;
/// use async_trait::async_trait;
/// use datafusion_common::ScalarValue;
/// use farcall_udf::{AsyncScalarFunction, CallContext, CallError, Declaration};
///
/// #[derive(Debug)]
/// struct Double(Declaration);
///
/// #[async_trait]
/// impl AsyncScalarFunction for Double {
///     fn declaration(&self) -> &Declaration {
///         &self.0
///     }
///     async fn eval(&self, args: Vec<ScalarValue>, _: &CallContext) -> Result<ScalarValue, CallError> {
///         match &args[0] {
///             ScalarValue::Int64(Some(x)) => Ok(ScalarValue::Int64(Some(2 * x))),
///             _ => Ok(ScalarValue::Int64(None)),
///         }
///     }
/// }
/// let double = Double(Declaration::new("double", vec![DataType::Int64], DataType::Int64));
/// assert_eq!(double.declaration().name(), "double");
/// ```
#[async_trait]
pub trait AsyncScalarFunction: fmt::Debug + Send + Sync + 'static {
    /// Returns what the function says about itself; the same value every time.
    fn declaration(&self) -> &Declaration;

    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Calls the function on one row.
    ///
    /// Shape: `args` holds one value per argument, of the types of the signature.
    /// Nulls: a NULL argument arrives only if the function declares [`NullInput::Send`].
    /// Errors: classified by [`CallError::class`]; retried as the options say.
    /// Cancel: dropping the future abandons the attempt.
    /// Source: contract follows Flink's `AsyncScalarFunction`.
    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        ctx: &CallContext,
    ) -> Result<ScalarValue, CallError>;

    /// Releases what `open` took, once per query, after its last call, also on error or cancel.
    async fn close(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// A function with n rows in and n values out, one request for all of them.
///
/// ```
/// use std::sync::Arc;
/// use arrow::{array::{AsArray, Int64Array}, datatypes::{DataType, Int64Type}};
/// use async_trait::async_trait;
/// use farcall_udf::{ArgBatch, AsyncBatchFunction, BatchAnswer, CallContext, CallError, Declaration};
///
/// #[derive(Debug)]
/// struct Double(Declaration);
///
/// #[async_trait]
/// impl AsyncBatchFunction for Double {
///     fn declaration(&self) -> &Declaration {
///         &self.0
///     }
///     async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
///         let x = args.column(0).as_primitive::<Int64Type>();
///         let doubled: Int64Array = x.iter().map(|x| x.map(|x| 2 * x)).collect();
///         Ok(BatchAnswer::new(Arc::new(doubled)))
///     }
/// }
/// let double = Double(Declaration::new("double", vec![DataType::Int64], DataType::Int64));
/// assert_eq!(double.declaration().name(), "double");
/// ```
#[async_trait]
pub trait AsyncBatchFunction: fmt::Debug + Send + Sync + 'static {
    /// Returns what the function says about itself; the same value every time.
    fn declaration(&self) -> &Declaration;

    /// Prepares the function, once per query and before its first call.
    async fn open(&self, _ctx: &FunctionContext) -> Result<(), CallError> {
        Ok(())
    }

    /// Sends one batch of arguments and returns one value or error per row.
    ///
    /// Shape: each column of `args` has n rows, `1 <= n <= max_batch_size`; row i of the answer
    /// answers row i.
    /// Nulls: a NULL argument arrives only if the function declares [`NullInput::Send`].
    /// Errors: an `Err` fails the attempt for all rows; an error inside the answer fails its row.
    /// Cancel: dropping the future aborts the request and frees its permit.
    /// Source: contract follows Flink's FLINK-38825 series; per-row errors are ours.
    async fn eval_batch(&self, args: ArgBatch, ctx: &CallContext)
    -> Result<BatchAnswer, CallError>;

    /// Supplies fallback values for a request that timed out; `None` leaves it to the options.
    async fn timeout_batch(&self, _args: &ArgBatch, _ctx: &CallContext) -> Option<BatchAnswer> {
        None
    }

    /// Releases what `open` took, once per query, after its last call, also on error or cancel.
    async fn close(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// One function of any kind, shared by plans, sessions and queries.
///
/// Equality and hash go by name, version and recipe, so that a function that travelled through a
/// codec equals the one that was sent.
#[derive(Clone)]
pub enum AsyncFunction {
    /// One row in, one value out: typed closures ([`crate::async_fn`]) and [`AsyncScalarFunction`]s.
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

    /// Prepares the function for one query.
    pub async fn open(&self, ctx: &FunctionContext) -> Result<(), CallError> {
        match self {
            AsyncFunction::Rows(function) => function.open(ctx).await,
            AsyncFunction::Batch(function) => function.open(ctx).await,
            AsyncFunction::Try(function) => Box::pin(function.inner().open(ctx)).await,
        }
    }

    /// Releases what [`AsyncFunction::open`] took.
    pub async fn close(&self) -> Result<(), CallError> {
        match self {
            AsyncFunction::Rows(function) => function.close().await,
            AsyncFunction::Batch(function) => function.close().await,
            AsyncFunction::Try(function) => Box::pin(function.inner().close()).await,
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

/// The arguments of one request: columns of equal length, one row per call.
#[derive(Debug, Clone)]
pub struct ArgBatch {
    columns: Vec<ArrayRef>,
    fields: Arc<[FieldRef]>,
    return_field: FieldRef,
    num_rows: usize,
}

impl ArgBatch {
    /// Puts argument columns together; `num_rows` matters when there are none.
    pub fn new(
        columns: Vec<ArrayRef>,
        fields: Arc<[FieldRef]>,
        return_field: FieldRef,
        num_rows: usize,
    ) -> Self {
        debug_assert!(columns.iter().all(|column| column.len() == num_rows));
        debug_assert_eq!(columns.len(), fields.len());
        Self { columns, fields, return_field, num_rows }
    }

    /// Returns the number of calls.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Returns the argument columns.
    pub fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// Returns one argument column.
    pub fn column(&self, index: usize) -> &ArrayRef {
        &self.columns[index]
    }

    /// Returns the fields of the arguments.
    pub fn fields(&self) -> &Arc<[FieldRef]> {
        &self.fields
    }

    /// Returns the field that the answer must have.
    pub fn return_field(&self) -> &FieldRef {
        &self.return_field
    }

    /// Returns the rows `offset .. offset + len` without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            columns: self.columns.iter().map(|column| column.slice(offset, len)).collect(),
            fields: Arc::clone(&self.fields),
            return_field: Arc::clone(&self.return_field),
            num_rows: len,
        }
    }

    /// Returns the rows at the given positions, copied.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self> {
        let columns = self
            .columns
            .iter()
            .map(|column| Ok(arrow::compute::take(column, rows, None)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            columns,
            fields: Arc::clone(&self.fields),
            return_field: Arc::clone(&self.return_field),
            num_rows: rows.len(),
        })
    }

    /// Returns one row as scalar values.
    pub fn row(&self, row: usize) -> Result<Vec<ScalarValue>> {
        self.columns.iter().map(|column| ScalarValue::try_from_array(column, row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use datafusion_common::ScalarValue;

    use super::*;

    #[test]
    fn datafusion_is_told_that_every_function_is_volatile() {
        let signature = Signature::any(1, Volatility::Immutable);
        let declaration = Declaration::with_signature("f", signature, DataType::Int64);
        assert_eq!(declaration.signature().volatility, Volatility::Volatile);
        assert_eq!(declaration.determinism(), Determinism::Deterministic);
    }

    #[test]
    fn results_are_nullable_whatever_the_function_says() {
        let field: FieldRef = Arc::new(Field::new("y", DataType::Int64, false));
        let declaration = declared("f").with_return_field(move |_| Ok(Arc::clone(&field)));
        let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
        assert!(declaration.return_field(&args).unwrap().is_nullable());
    }

    #[test]
    fn the_result_may_depend_on_a_literal() {
        let declaration = declared("f").with_return_field(|args| match args.scalar_arguments {
            [Some(ScalarValue::Utf8(Some(name)))] => {
                Ok(Arc::new(Field::new(name, DataType::Utf8, true)))
            }
            _ => datafusion_common::plan_err!("expected a literal"),
        });
        let literal = ScalarValue::from("label");
        let known = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[Some(&literal)] };
        assert_eq!(declaration.return_field(&known).unwrap().name(), "label");
        let unknown = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[None] };
        assert!(declaration.return_field(&unknown).is_err());
    }

    #[test]
    fn coercion_makes_the_signature_user_defined() {
        let declaration = declared("f").with_coerce_types(|_| Ok(vec![DataType::Utf8]));
        assert_eq!(declaration.signature().type_signature, TypeSignature::UserDefined);
        let coerce = declaration.coerce_types().unwrap();
        assert_eq!(coerce(&[DataType::Int64]).unwrap(), [DataType::Utf8]);
    }

    #[test]
    fn parameters_can_be_named() {
        let declaration = declared("f").with_parameter_names(vec!["x".into()]).unwrap();
        assert_eq!(declaration.signature().parameter_names, Some(vec!["x".into()]));
        assert!(declared("f").with_parameter_names(vec!["x".into(), "y".into()]).is_err());
    }

    #[test]
    fn what_is_volatile_or_has_side_effects_is_not_reused() {
        assert!(declared("f").is_reusable());
        assert!(!declared("f").with_determinism(Determinism::Volatile).is_reusable());
        assert!(!declared("f").with_side_effects(true).is_reusable());
    }

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

    #[test]
    fn debug_keeps_the_recipe_to_itself() {
        let recipe = Recipe { kind: "model".into(), bytes: vec![42; 3] };
        let shown = format!("{:?}", declared("f").with_recipe(recipe));
        assert!(shown.contains("\"f\"") && !shown.contains("42"), "{shown}");
    }

    #[test]
    fn arguments_are_cut_and_picked_by_row() {
        let args = batch();
        assert_eq!(args.slice(1, 2).row(0).unwrap(), args.row(1).unwrap());
        let picked = args.take(&UInt32Array::from(vec![2, 0])).unwrap();
        assert_eq!(picked.num_rows(), 2);
        assert_eq!(picked.row(0).unwrap(), [ScalarValue::from(3_i64), ScalarValue::from("c")]);
    }

    #[test]
    fn arguments_without_columns_still_have_rows() {
        let field: FieldRef = Arc::new(Field::new("y", DataType::Int64, true));
        let args = ArgBatch::new(vec![], [].into(), field, 5);
        assert_eq!(args.slice(2, 3).num_rows(), 3);
        assert_eq!(args.take(&UInt32Array::from(vec![4])).unwrap().num_rows(), 1);
    }

    fn declared(name: &str) -> Declaration {
        Declaration::new(name, vec![DataType::Int64], DataType::Int64)
    }

    fn batch() -> ArgBatch {
        let fields: Arc<[FieldRef]> = [
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Field::new("t", DataType::Utf8, true)),
        ]
        .into();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(StringArray::from(vec!["a", "b", "c"])),
        ];
        ArgBatch::new(columns, Arc::clone(&fields), Arc::clone(&fields[0]), 3)
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
