//! [`Declaration`], what a function says about itself.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::Result;
use datafusion_expr::{ReturnFieldArgs, Signature, TypeSignature, Volatility};

use crate::contract::kind::Kind;
use crate::contract::list_type::rows_type;
use crate::contract::lookup_reader::ReaderFn;
use crate::options::CallOptions;
use crate::options::words::NullInput;

/// Whether equal arguments give an answer that may be reused within a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Determinism {
    /// Equal arguments give a reusable answer: models and lookups.
    #[default]
    Deterministic,
    /// Each call site is evaluated for itself: random numbers, sampling, clocks.
    Volatile,
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
    kind: Kind,
    coerce_types: Option<CoerceTypesFn>,
    display: Option<DisplayFn>,
    determinism: Determinism,
    side_effects: bool,
    null_input: NullInput,
    adaptive: bool,
    version: String,
    ordering_key: Option<usize>,
    max_batch_tokens: Option<usize>,
    cost: Option<f64>,
    selectivity: Option<f64>,
    max_rows: usize,
    options: CallOptions,
    recipe: Option<Recipe>,
    reader: Option<ReaderFn>,
    instance: Option<String>,
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
            kind: Kind::Scalar,
            coerce_types: None,
            display: None,
            determinism: Determinism::default(),
            side_effects: false,
            null_input: NullInput::default(),
            adaptive: false,
            version: String::new(),
            ordering_key: None,
            max_batch_tokens: None,
            cost: None,
            selectivity: None,
            max_rows: usize::MAX,
            options: CallOptions::new(),
            recipe: None,
            reader: None,
            instance: None,
        }
    }

    /// Declares a table function of fixed argument types: a call gives rows of these columns.
    ///
    /// All columns may be NULL, whatever `columns` say: a LEFT JOIN LATERAL makes them so.
    pub fn table(
        name: impl Into<String>,
        arg_types: Vec<DataType>,
        columns: impl Into<Fields>,
    ) -> Self {
        let columns = columns.into();
        Self::new(name, arg_types, DataType::Null).with_columns(move |_| Ok(columns.clone()))
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
    ///
    /// # Errors
    /// A planning error if there are not as many names as parameters, or one is given twice.
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
        if self.kind == Kind::Table {
            self.kind = Kind::Scalar;
        }
        self
    }

    /// Makes it a table function, whose columns follow from the argument fields.
    pub fn with_columns(
        self,
        columns: impl Fn(&ReturnFieldArgs<'_>) -> Result<Fields> + Send + Sync + 'static,
    ) -> Self {
        let name = self.name.clone();
        self.with_return_field(move |args| {
            let rows = rows_type(&columns(args)?);
            Ok(Arc::new(Field::new(&name, rows, true)))
        })
        .with_kind(Kind::Table)
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

    /// Says that the remote side has limits that are worth learning, unless options say otherwise.
    pub fn with_adaptive(mut self, adaptive: bool) -> Self {
        self.adaptive = adaptive;
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

    /// Says how many tokens a request may hold, over all its rows; at least one row is sent.
    ///
    /// Tokens are counted by [`AsyncBatchFunction::count_tokens`](crate::AsyncBatchFunction::count_tokens).
    pub fn with_max_batch_tokens(mut self, tokens: usize) -> Self {
        self.max_batch_tokens = Some(tokens);
        self
    }

    /// Says what a call costs: in seconds, or in any unit that all functions of a query share.
    ///
    /// Of several conditions on calls, those that cost little and drop much are tested first. If
    /// nobody says, it is what earlier queries took, or 1. A cost that is negative or not finite is
    /// not taken.
    pub fn with_cost(mut self, cost: f64) -> Self {
        self.cost = Some(cost).filter(|cost| cost.is_finite() && *cost >= 0.0);
        self
    }

    /// Says for which share of rows a boolean function is usually TRUE, from 0 to 1.
    pub fn with_selectivity(mut self, selectivity: f64) -> Self {
        self.selectivity = Some(selectivity).filter(|share| (0.0..=1.0).contains(share));
        self
    }

    /// Says how many rows a request can hold at most, whatever `max_batch_size` says.
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows.max(1);
        self
    }

    /// Declares the function's own call options, which a session or a call may override.
    pub fn with_options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Says what the function is to a query, if it is no function of an expression.
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Attaches the recipe from which another process rebuilds the function.
    pub fn with_recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// Tells the function from others of its name, version and recipe in the same runtime.
    pub(crate) fn with_instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    /// Attaches what reads the lookup table behind the function as a whole.
    pub(crate) fn with_reader(mut self, reader: ReaderFn) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Returns what reads the lookup table behind the function, if there is one.
    pub(crate) fn reader(&self) -> Option<&ReaderFn> {
        self.reader.as_ref()
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
    ///
    /// # Errors
    /// What the function's own computation fails with.
    pub fn return_field(&self, args: &ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = (self.return_field)(args)?;
        if field.is_nullable() {
            return Ok(field);
        }
        Ok(Arc::new(field.as_ref().clone().with_nullable(true)))
    }

    /// Says whether it is a table function, which gives rows and so stands in FROM.
    pub fn returns_rows(&self) -> bool {
        self.kind == Kind::Table
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

    /// Says whether the remote side's limits are learned unless options say otherwise.
    pub fn is_adaptive(&self) -> bool {
        self.adaptive
    }

    /// Returns the version, empty if none was given.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the argument that orders calls, if any.
    pub fn ordering_key(&self) -> Option<usize> {
        self.ordering_key
    }

    /// Returns the tokens that a request may hold, if they are limited.
    pub fn max_batch_tokens(&self) -> Option<usize> {
        self.max_batch_tokens
    }

    /// Returns what a call costs, if somebody said so.
    pub fn cost(&self) -> Option<f64> {
        self.cost
    }

    /// Returns for which share of rows a boolean function is TRUE, if that was declared.
    pub fn selectivity(&self) -> Option<f64> {
        self.selectivity
    }

    /// Returns how many rows a request can hold at most, whatever the options say.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Returns the function's own options.
    pub fn options(&self) -> &CallOptions {
        &self.options
    }

    /// Returns what the function is to a query.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the recipe, if the function can be rebuilt elsewhere from more than its name.
    pub fn recipe(&self) -> Option<&Recipe> {
        self.recipe.as_ref()
    }

    pub(crate) fn identity(&self) -> (&str, &str, Option<&Recipe>, Option<&str>) {
        (&self.name, &self.version, self.recipe.as_ref(), self.instance.as_deref())
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

#[cfg(test)]
mod tests {
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
    fn a_cost_or_share_that_is_none_is_not_taken() {
        let odd = declared("f").with_cost(f64::NAN).with_selectivity(1.5);
        assert_eq!((odd.cost(), odd.selectivity()), (None, None));
        let even = declared("f").with_cost(5.0).with_selectivity(0.1);
        assert_eq!((even.cost(), even.selectivity()), (Some(5.0), Some(0.1)));
    }

    #[test]
    fn what_is_volatile_or_has_side_effects_is_not_reused() {
        assert!(declared("f").is_reusable());
        assert!(!declared("f").with_determinism(Determinism::Volatile).is_reusable());
        assert!(!declared("f").with_side_effects(true).is_reusable());
    }

    #[test]
    fn debug_keeps_the_recipe_to_itself() {
        let recipe = Recipe { kind: "model".into(), bytes: vec![42; 3] };
        let shown = format!("{:?}", declared("f").with_recipe(recipe));
        assert!(shown.contains("\"f\"") && !shown.contains("42"), "{shown}");
    }

    fn declared(name: &str) -> Declaration {
        Declaration::new(name, vec![DataType::Int64], DataType::Int64)
    }
}
