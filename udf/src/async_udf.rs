//! [`AsyncUdf`], an async function as DataFusion sees it: a scalar function with a call site.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use async_trait::async_trait;
use datafusion_common::{Result, exec_err, internal_err, not_impl_err};
use datafusion_expr::async_udf::AsyncScalarUDF;
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::adapt::any::AsyncFunction;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::CallContext;
use crate::contract::declaration::{Declaration, Determinism};
use crate::contract::estimate::Estimate;
use crate::contract::function::AsyncBatchFunction;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::NullInput;
use crate::settings::config::FarcallConfig;

/// An async function in an expression: the function, the options of this call, and the call site.
///
/// It never runs as an expression: the planner moves every call into a node of farcall's own.
/// Equality and hash ignore the site and what is estimated, because DataFusion compares key lists structurally before and
/// after the sites are numbered; the planner compares sites itself where they matter.
#[derive(Debug, Clone)]
pub struct AsyncUdf {
    function: AsyncFunction,
    options: CallOptions,
    site: Option<u64>,
    estimate: Option<Estimate>,
}

impl AsyncUdf {
    /// Wraps a function, without a call site and without options of the call.
    pub fn new(function: impl Into<AsyncFunction>) -> Self {
        Self { function: function.into(), options: CallOptions::new(), site: None, estimate: None }
    }

    /// Wraps a DataFusion function that was written by others for its own async interface.
    ///
    /// Returns `None` for a function that is not async, or already ours.
    pub fn from_foreign(udf: &ScalarUDF) -> Option<Self> {
        let inner = udf.as_async()?;
        let foreign = ForeignFunction::new(Arc::new(udf.clone()), inner);
        Some(Self::new(AsyncFunction::batch(foreign)))
    }

    /// Finds the async function inside a DataFusion function.
    pub fn find(udf: &ScalarUDF) -> Option<&Self> {
        udf.inner().downcast_ref::<Self>()
    }

    /// Adds the options of this call, the narrowest level there is.
    pub fn with_call_options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Numbers the call site.
    pub fn with_site(mut self, site: u64) -> Self {
        self.site = Some(site);
        self
    }

    /// Says what is known of the call's cost and answer, over all levels of options.
    pub fn with_estimate(mut self, estimate: Estimate) -> Self {
        self.estimate = Some(estimate);
        self
    }

    /// Turns it into the form whose failures are values: `{value, error}`, named `try_` and its name.
    pub fn with_try(mut self) -> Self {
        self.function = self.function.with_try();
        self
    }

    /// Returns the function.
    pub fn function(&self) -> &AsyncFunction {
        &self.function
    }

    /// Returns the options of this call alone.
    pub fn call_options(&self) -> &CallOptions {
        &self.options
    }

    /// Returns what function and call say about how it is called; a session may say more.
    pub fn stated_options(&self) -> CallOptions {
        FarcallConfig::stated(&self.function, &self.options)
    }

    /// Returns the call site's number, if it has one yet.
    pub fn site(&self) -> Option<u64> {
        self.site
    }

    /// Returns what is known of the call's cost and answer: what function and call declare, unless
    /// more was said.
    pub fn estimate(&self) -> Estimate {
        self.estimate.unwrap_or_else(|| {
            let resolved = FarcallConfig::default().resolve(&self.function, &self.options);
            resolved.map_or_else(|_| Estimate::default(), |options| options.estimate())
        })
    }

    /// Turns it into a function that can be registered.
    pub fn into_scalar_udf(self) -> ScalarUDF {
        ScalarUDF::new_from_impl(self)
    }

    /// Writes a call the way its user does, the options of the call behind its arguments.
    ///
    /// Two calls that differ only in their options are then two columns and not one name twice.
    pub fn show(&self, args: impl Iterator<Item = String>, separator: &str) -> String {
        let options = self.options.entries();
        let options = options.into_iter().map(|(name, value)| format!("{name} => '{value}'"));
        let args: Vec<String> = args.chain(options).collect();
        match self.declaration().display() {
            Some(display) => display(&args),
            None => format!("{}({})", self.name(), args.join(separator)),
        }
    }

    fn declaration(&self) -> &Declaration {
        self.function.declaration()
    }
}

impl PartialEq for AsyncUdf {
    fn eq(&self, other: &Self) -> bool {
        let Self { function, options, site: _, estimate: _ } = self;
        *function == other.function && *options == other.options
    }
}

impl Eq for AsyncUdf {}

impl Hash for AsyncUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { function, options: _, site: _, estimate: _ } = self;
        function.hash(state);
    }
}

impl ScalarUDFImpl for AsyncUdf {
    fn name(&self) -> &str {
        self.declaration().name()
    }

    fn aliases(&self) -> &[String] {
        self.declaration().aliases()
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.show(args.iter().map(ToString::to_string), ", "))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.show(args.iter().map(|arg| arg.schema_name().to_string()), ","))
    }

    fn signature(&self) -> &Signature {
        self.declaration().signature()
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} depends on its argument fields", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.declaration().return_field(&args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match self.declaration().coerce_types() {
            Some(coerce) => coerce(arg_types),
            None => not_impl_err!("Function {} does not implement coerce_types", self.name()),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!(
            "async function {} was called as an expression; the session lacks farcall's planner \
             rules, build it with farcall's session builder",
            self.name()
        )
    }
}

/// A function written for DataFusion's own async interface, as a batch function.
#[derive(Debug)]
struct ForeignFunction {
    declaration: Declaration,
    udf: Arc<ScalarUDF>,
}

impl ForeignFunction {
    fn new(udf: Arc<ScalarUDF>, inner: &AsyncScalarUDF) -> Self {
        let signature = inner.signature().clone();
        let determinism = match signature.volatility {
            datafusion_expr::Volatility::Volatile => Determinism::Volatile,
            _ => Determinism::Deterministic,
        };
        let fields = Arc::clone(&udf);
        let mut options = CallOptions::new();
        if let Some(rows) = inner.ideal_batch_size() {
            options = options.with_max_batch_size(rows.max(1));
        }
        let declaration = Declaration::with_signature(udf.name(), signature, DataType::Null)
            .with_return_field(move |args| {
                fields.return_field_from_args(ReturnFieldArgs {
                    arg_fields: args.arg_fields,
                    scalar_arguments: args.scalar_arguments,
                })
            })
            .with_determinism(determinism)
            // DataFusion passes NULLs to such a function, and so do we.
            .with_null_input(NullInput::Send)
            .with_options(options);
        Self { declaration, udf }
    }
}

#[async_trait]
impl AsyncBatchFunction for ForeignFunction {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        let name = self.declaration.name();
        let Some(inner) = self.udf.as_async() else {
            return Err(CallError::configuration(name, "it is not async"));
        };
        let number_rows = args.num_rows();
        let invoke = ScalarFunctionArgs {
            args: args.columns().iter().cloned().map(ColumnarValue::Array).collect(),
            arg_fields: args.fields().to_vec(),
            number_rows,
            return_field: Arc::clone(args.return_field()),
            config_options: Arc::clone(&ctx.config),
        };
        let value = inner.invoke_async_with_args(invoke).await.map_err(|error| {
            match CallError::find(&error) {
                Some(call) => call.into_owned(),
                None => CallError::function(name, error),
            }
        })?;
        let values =
            value.into_array(number_rows).map_err(|error| CallError::function(name, error))?;
        Ok(BatchAnswer::new(values))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;
    use std::time::Duration;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type};
    use datafusion_expr::async_udf::AsyncScalarUDFImpl;
    use datafusion_expr::{Volatility, col};

    use super::*;
    use crate::dispatch::query::runtime::FarcallRuntime;
    use crate::testing::ScriptedFunction;

    #[test]
    fn equality_and_hash_ignore_the_site() {
        let (numbered, plain) = (scripted("f").with_site(7), scripted("f"));
        assert_eq!(numbered, plain);
        assert_eq!(hash(&numbered), hash(&plain));
    }

    #[test]
    fn equality_sees_function_and_options() {
        assert_ne!(scripted("f"), scripted("g"));
        let options = CallOptions::new().with_timeout(Duration::from_secs(1));
        assert_ne!(scripted("f"), scripted("f").with_call_options(options));
    }

    #[test]
    fn is_found_inside_the_function_it_is_registered_as() {
        let udf = scripted("f").with_site(3).into_scalar_udf();
        assert_eq!(AsyncUdf::find(&udf).and_then(AsyncUdf::site), Some(3));
        assert_eq!(udf.signature().volatility, Volatility::Volatile);
    }

    #[test]
    fn a_call_is_shown_with_its_options() {
        let options = CallOptions::new().with_max_attempts(5);
        let udf = scripted("f").with_call_options(options);
        assert_eq!(udf.schema_name(&[col("a")]).unwrap(), "f(a,max_attempts => '5')");
    }

    #[test]
    fn a_call_is_shown_as_the_function_wants_it() {
        let (function, _) = ScriptedFunction::new("predict")
            .with_declaration(|d| d.with_display(|args| format!("PREDICT(m, {})", args.join(", "))))
            .build();
        let udf = AsyncUdf::new(function);
        assert_eq!(udf.schema_name(&[col("a")]).unwrap(), "PREDICT(m, a)");
    }

    #[test]
    fn calling_it_as_an_expression_names_what_is_missing() {
        let args = invoke_args(vec![Some(1)]);
        let error = scripted("f").invoke_with_args(args).unwrap_err().to_string();
        assert!(error.contains("async function f") && error.contains("planner rules"), "{error}");
    }

    #[tokio::test]
    async fn a_function_written_for_datafusion_becomes_one_of_ours() {
        let udf = AsyncUdf::from_foreign(&foreign()).unwrap();
        let declaration = udf.function().declaration();
        assert_eq!((declaration.name(), declaration.null_input()), ("foreign", NullInput::Send));
        assert_eq!(declaration.options().max_batch_size(), Some(7));
        assert_eq!(declaration.determinism(), Determinism::Deterministic);
        let ours = udf.into_async_scalar_udf(&Arc::new(FarcallRuntime::new()));
        let answer = ours.invoke_async_with_args(invoke_args(vec![Some(1), None])).await.unwrap();
        let answer = answer.into_array(2).unwrap();
        let answer: Vec<_> = answer.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(answer, [Some(-1), None]);
    }

    #[tokio::test]
    async fn an_error_of_a_foreign_function_is_its_own() {
        let udf = AsyncUdf::from_foreign(&foreign()).unwrap();
        let ours = udf.into_async_scalar_udf(&Arc::new(FarcallRuntime::new()));
        let error = ours.invoke_async_with_args(invoke_args(vec![Some(0)])).await.unwrap_err();
        let found = CallError::find(&error);
        let Some(CallError::Function { function, message }) = found.as_deref() else {
            panic!("{error}")
        };
        assert_eq!(function, "foreign");
        assert!(message.ends_with("zero is not accepted"), "{message}");
    }

    #[test]
    fn only_foreign_async_functions_are_wrapped() {
        assert!(AsyncUdf::from_foreign(&scripted("f").into_scalar_udf()).is_none());
    }

    fn scripted(name: &str) -> AsyncUdf {
        AsyncUdf::new(ScriptedFunction::new(name).build().0)
    }

    fn hash(udf: &AsyncUdf) -> u64 {
        let mut state = DefaultHasher::new();
        udf.hash(&mut state);
        state.finish()
    }

    fn invoke_args(rows: Vec<Option<i64>>) -> ScalarFunctionArgs {
        let field: FieldRef = Arc::new(Field::new("x", DataType::Int64, true));
        ScalarFunctionArgs {
            number_rows: rows.len(),
            args: vec![ColumnarValue::Array(Arc::new(Int64Array::from(rows)))],
            arg_fields: vec![Arc::clone(&field)],
            return_field: field,
            config_options: Arc::default(),
        }
    }

    fn foreign() -> ScalarUDF {
        let signature = Signature::exact(vec![DataType::Int64], Volatility::Stable);
        AsyncScalarUDF::new(Arc::new(Negate(signature))).into_scalar_udf()
    }

    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Negate(Signature);

    impl ScalarUDFImpl for Negate {
        fn name(&self) -> &str {
            "foreign"
        }
        fn signature(&self) -> &Signature {
            &self.0
        }
        fn return_type(&self, _: &[DataType]) -> Result<DataType> {
            Ok(DataType::Int64)
        }
        fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
            not_impl_err!("asynchronous alone")
        }
    }

    #[async_trait]
    impl AsyncScalarUDFImpl for Negate {
        fn ideal_batch_size(&self) -> Option<usize> {
            Some(7)
        }
        async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
            let x = args.args[0].to_array(args.number_rows)?;
            let x = x.as_primitive::<Int64Type>();
            if x.iter().any(|x| x == Some(0)) {
                return exec_err!("zero is not accepted");
            }
            let negated: Int64Array = x.iter().map(|x| x.map(|x| -x)).collect();
            Ok(ColumnarValue::Array(Arc::new(negated)))
        }
    }
}
