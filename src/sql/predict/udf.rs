//! [`PredictUdf`], PREDICT between the SQL planner and the moment its model is bound.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{ScalarValue, exec_err, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use farcall_planner::Placeholder;
use farcall_udf::CallOptions;

use crate::catalog::model::{Model, shown_call};
use crate::catalog::models::ModelRegistry;

/// The name by which users call a model.
pub(crate) const PREDICT: &str = "predict";
/// The function that stands for PREDICT from the SQL planner to the binding of its model.
pub(crate) const PLACEHOLDER: &str = "__predict";

/// PREDICT as DataFusion's SQL planner sees it: a [`Placeholder`] whose target is a model.
///
/// The model is a literal, so that the type is known while planning. It is replaced by the model's
/// own function before the plan is optimized and never runs.
#[derive(Debug, Clone)]
pub(crate) struct PredictUdf {
    registry: Arc<ModelRegistry>,
    signature: Signature,
    name: &'static str,
}

impl PredictUdf {
    /// Makes the function in both forms: the placeholder, and `predict('m', a)` for expressions
    /// that no statement of ours brought.
    pub(crate) fn both(registry: &Arc<ModelRegistry>) -> [ScalarUDF; 2] {
        [PREDICT, PLACEHOLDER].map(|name| {
            let signature = Signature::variadic_any(Volatility::Volatile);
            ScalarUDF::new_from_impl(Self { registry: Arc::clone(registry), signature, name })
        })
    }

    /// Finds it inside a DataFusion function.
    pub(crate) fn find(udf: &ScalarUDF) -> Option<&Self> {
        udf.inner().downcast_ref::<Self>()
    }

    /// Returns the model and the options that a call names, and how many arguments name them.
    ///
    /// # Errors
    /// A planning error if there is no such model.
    pub(crate) fn target(&self, args: &[Expr]) -> Result<(Arc<Model>, CallOptions, usize)> {
        let Some(call) = self.read(args.iter().map(literal)) else { return not_literal() };
        Ok((self.registry.get(call.target)?, call.options()?, call.leading))
    }

    fn read<'a>(
        &self,
        literals: impl IntoIterator<Item = Option<&'a ScalarValue>>,
    ) -> Option<Placeholder<'a>> {
        match self.name {
            PREDICT => {
                let model = literals.into_iter().next()??.try_as_str()??;
                Some(Placeholder::without_options(model))
            }
            _ => Placeholder::read(literals),
        }
    }

    fn shown(&self, args: &[Expr], name: impl Fn(&Expr) -> String) -> String {
        let Some(call) = self.read(args.iter().map(literal)) else {
            let names: Vec<String> = args.iter().map(name).collect();
            return format!("{}({})", self.name(), names.join(", "));
        };
        let mut names: Vec<String> = args.iter().skip(call.leading).map(name).collect();
        names.extend(call.entries().iter().map(|(name, value)| format!("{name} => '{value}'")));
        shown_call(call.target, &names)
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn not_literal<T>() -> Result<T> {
    plan_err!("the first argument of PREDICT is a model's name")
}

impl PartialEq for PredictUdf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.registry, &other.registry) && self.name == other.name
    }
}

impl Eq for PredictUdf {}

impl Hash for PredictUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.registry).hash(state);
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PredictUdf {
    fn name(&self) -> &str {
        self.name
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
        let Some(call) = self.read(args.scalar_arguments.iter().copied()) else {
            return not_literal();
        };
        let (model, leading) = (self.registry.get(call.target)?, call.leading);
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
