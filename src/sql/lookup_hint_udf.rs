//! [`LookupHintUdf`], which carries the options of a LOOKUP hint to the planner.

use std::sync::LazyLock;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use farcall_planner::LOOKUP_HINT;

/// The condition that carries a hint; the planner takes it off before anything runs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct LookupHintUdf;

impl ScalarUDFImpl for LookupHintUdf {
    fn name(&self) -> &str {
        LOOKUP_HINT
    }

    fn signature(&self) -> &Signature {
        // Volatile, so that it is neither evaluated beforehand nor moved away from its table.
        static SIGNATURE: LazyLock<Signature> =
            LazyLock::new(|| Signature::variadic_any(Volatility::Volatile));
        &SIGNATURE
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a LOOKUP hint was evaluated")
    }
}
