//! [`PredictUdf`], PREDICT between the SQL planner and the moment its model is bound.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{ScalarValue, exec_err, internal_err, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use farcall_udf::CallOptions;

use crate::catalog::model::{Model, shown_call};
use crate::catalog::models::ModelRegistry;

/// The function's name where the model is followed by the arguments.
pub(crate) const PREDICT: &str = "predict";
/// The function's name where the options of the call stand between model and arguments.
pub(crate) const PREDICT_WITH_OPTIONS: &str = "__predict_with_options";

/// PREDICT as DataFusion's SQL planner sees it: `predict('m', a, ..)`.
///
/// The model is a literal, so that the type is known while planning. It is replaced by the model's
/// own function before the plan is optimized and never runs.
#[derive(Debug, Clone)]
pub(crate) struct PredictUdf {
    registry: Arc<ModelRegistry>,
    signature: Signature,
    with_options: bool,
}

impl PredictUdf {
    /// Makes both forms of the function, without and with options.
    pub(crate) fn both(registry: &Arc<ModelRegistry>) -> [ScalarUDF; 2] {
        [false, true].map(|with_options| {
            ScalarUDF::new_from_impl(Self {
                registry: Arc::clone(registry),
                signature: Signature::variadic_any(Volatility::Volatile),
                with_options,
            })
        })
    }

    /// Finds it inside a DataFusion function.
    pub(crate) fn find(udf: &ScalarUDF) -> Option<&Self> {
        udf.inner().downcast_ref::<Self>()
    }

    /// How many arguments stand before those of the model.
    pub(crate) fn leading(&self) -> usize {
        1 + usize::from(self.with_options)
    }

    /// Reads the model and the options from the leading literals.
    pub(crate) fn target(
        &self,
        literals: &[Option<&ScalarValue>],
    ) -> Result<(Arc<Model>, CallOptions)> {
        let text = |index: usize| {
            literals.get(index).copied().flatten().and_then(|v| v.try_as_str()).flatten()
        };
        let Some(name) = text(0) else {
            return plan_err!("the first argument of PREDICT is a model's name");
        };
        let model = self.registry.get(name)?;
        if !self.with_options {
            return Ok((model, CallOptions::new()));
        }
        match text(1) {
            Some(options) => Ok((model, decode_options(options)?)),
            None => internal_err!("the options of PREDICT are no literal"),
        }
    }

    /// Like [`PredictUdf::target`], from the arguments of a call.
    pub(crate) fn target_of(&self, args: &[Expr]) -> Result<(Arc<Model>, CallOptions)> {
        let literals: Vec<_> = args.iter().take(self.leading()).map(literal).collect();
        self.target(&literals)
    }

    fn shown(&self, args: &[Expr], name: impl Fn(&Expr) -> String) -> String {
        let text =
            |index: usize| args.get(index).and_then(literal).and_then(|v| v.try_as_str()).flatten();
        let Some(model) = text(0) else {
            let names: Vec<String> = args.iter().map(name).collect();
            return format!("{}({})", self.name(), names.join(", "));
        };
        let mut names: Vec<String> = args.iter().skip(self.leading()).map(name).collect();
        if self.with_options
            && let Some(Ok(options)) = text(1).map(decode_options)
        {
            let options = options.entries().into_iter();
            names.extend(options.map(|(name, value)| format!("{name} => '{value}'")));
        }
        shown_call(model, &names)
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

/// Writes call options as the literal that stands between model and arguments.
pub(crate) fn encode_options(options: &CallOptions) -> String {
    let entries: serde_json::Map<String, serde_json::Value> = options
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), serde_json::Value::String(value)))
        .collect();
    serde_json::Value::Object(entries).to_string()
}

fn decode_options(text: &str) -> Result<CallOptions> {
    let entries: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| plan_datafusion_err!("the options of PREDICT cannot be read: {error}"))?;
    let mut options = CallOptions::new();
    for (name, value) in entries {
        options.set(&name, &value)?;
    }
    Ok(options)
}

impl PartialEq for PredictUdf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.registry, &other.registry) && self.with_options == other.with_options
    }
}

impl Eq for PredictUdf {}

impl Hash for PredictUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.registry).hash(state);
        self.with_options.hash(state);
    }
}

impl ScalarUDFImpl for PredictUdf {
    fn name(&self) -> &str {
        if self.with_options { PREDICT_WITH_OPTIONS } else { PREDICT }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.shown(args, ToString::to_string))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.shown(args, |arg| arg.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of PREDICT depends on its model")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let (model, _) = self.target(args.scalar_arguments)?;
        let leading = self.leading();
        model.check_arity(args.arg_fields.len().saturating_sub(leading))?;
        model.function().declaration().return_field(&ReturnFieldArgs {
            arg_fields: &args.arg_fields[leading..],
            scalar_arguments: &args.scalar_arguments[leading..],
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!(
            "PREDICT was called as an expression; the session lacks farcall's planner rules, \
             build it with farcall's session builder"
        )
    }
}
