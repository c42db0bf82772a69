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

use crate::answer::BatchAnswer;
use crate::context::CallContext;
use crate::error::CallError;
use crate::function::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, Declaration, Determinism, NullInput,
};
use crate::options::CallOptions;

/// An async function in an expression: the function, the options of this call, and the call site.
///
/// It never runs as an expression: the planner moves every call into a node of farcall's own.
/// Equality and hash ignore the site, because DataFusion compares key lists structurally before and
/// after the sites are numbered; the planner compares sites itself where they matter.
#[derive(Debug, Clone)]
pub struct AsyncUdf {
    function: AsyncFunction,
    options: CallOptions,
    site: Option<u64>,
}

impl AsyncUdf {
    /// Wraps a function, without a call site and without options of the call.
    pub fn new(function: impl Into<AsyncFunction>) -> Self {
        Self { function: function.into(), options: CallOptions::new(), site: None }
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

    /// Returns the function.
    pub fn function(&self) -> &AsyncFunction {
        &self.function
    }

    /// Returns the options of this call alone.
    pub fn call_options(&self) -> &CallOptions {
        &self.options
    }

    /// Returns the call site's number, if it has one yet.
    pub fn site(&self) -> Option<u64> {
        self.site
    }

    /// Turns it into a function that can be registered.
    pub fn into_scalar_udf(self) -> ScalarUDF {
        ScalarUDF::new_from_impl(self)
    }

    /// The arguments as the user wrote them, the options of the call behind them.
    ///
    /// Two calls that differ only in their options are then two columns and not one name twice.
    fn shown_arguments(&self, args: impl Iterator<Item = String>) -> Vec<String> {
        let options = self.options.entries();
        args.chain(options.into_iter().map(|(name, value)| format!("{name} => '{value}'")))
            .collect()
    }

    fn declaration(&self) -> &Declaration {
        self.function.declaration()
    }
}

impl PartialEq for AsyncUdf {
    fn eq(&self, other: &Self) -> bool {
        let Self { function, options, site: _ } = self;
        *function == other.function && *options == other.options
    }
}

impl Eq for AsyncUdf {}

impl Hash for AsyncUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { function, options: _, site: _ } = self;
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
        let names = self.shown_arguments(args.iter().map(ToString::to_string));
        Ok(match self.declaration().display() {
            Some(display) => display(&names),
            None => format!("{}({})", self.name(), names.join(", ")),
        })
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names = self.shown_arguments(args.iter().map(|arg| arg.schema_name().to_string()));
        Ok(match self.declaration().display() {
            Some(display) => display(&names),
            None => format!("{}({})", self.name(), names.join(",")),
        })
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
                Some(call) => call.clone(),
                None => CallError::function(name, error),
            }
        })?;
        let values =
            value.into_array(number_rows).map_err(|error| CallError::function(name, error))?;
        Ok(BatchAnswer::new(values))
    }
}
