//! Operators on single values; what is not here is left to DataFusion's own expressions.

use std::cmp::Ordering;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::prelude::SessionContext;

/// Returns NULL, TRUE or FALSE.
pub fn boolean(value: &ScalarValue) -> Option<bool> {
    match value {
        ScalarValue::Boolean(value) => *value,
        _ => None,
    }
}

/// Compares two values, neither of which is NULL, of one type.
pub fn compare(left: &ScalarValue, right: &ScalarValue) -> Result<Ordering> {
    left.partial_cmp(right)
        .ok_or_else(|| DataFusionError::Internal(format!("{left} and {right} cannot be compared")))
}

/// Compares as ORDER BY does.
pub fn compare_sorted(
    left: &ScalarValue,
    right: &ScalarValue,
    ascending: bool,
    nulls_first: bool,
) -> Result<Ordering> {
    let (first, last) = match nulls_first {
        true => (Ordering::Less, Ordering::Greater),
        false => (Ordering::Greater, Ordering::Less),
    };
    Ok(match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => first,
        (false, true) => last,
        (false, false) if ascending => compare(left, right)?,
        (false, false) => compare(left, right)?.reverse(),
    })
}

/// Evaluates an operator that always reads both its operands; `None` if DataFusion must.
pub fn binary(
    left: &ScalarValue,
    op: Operator,
    right: &ScalarValue,
) -> Result<Option<ScalarValue>> {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    if left.data_type() != right.data_type() {
        return Ok(None);
    }
    let truth = |value| Ok(Some(ScalarValue::Boolean(value)));
    match op {
        IsDistinctFrom => return truth(Some(left != right)),
        IsNotDistinctFrom => return truth(Some(left == right)),
        Eq | NotEq | Lt | LtEq | Gt | GtEq => {
            if left.is_null() || right.is_null() {
                return truth(None);
            }
            let order = compare(left, right)?;
            return truth(Some(match op {
                Eq => order.is_eq(),
                NotEq => order.is_ne(),
                Lt => order.is_lt(),
                LtEq => order.is_le(),
                Gt => order.is_gt(),
                _ => order.is_ge(),
            }));
        }
        _ => {}
    }
    let (ScalarValue::Int64(left), ScalarValue::Int64(right)) = (left, right) else {
        return Ok(None);
    };
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(Some(ScalarValue::Int64(None)));
    };
    let value = match op {
        Operator::Plus => left.wrapping_add(*right),
        Operator::Minus => left.wrapping_sub(*right),
        Operator::Multiply => left.wrapping_mul(*right),
        // Division by zero is DataFusion's to report.
        Operator::Divide if *right != 0 => left.wrapping_div(*right),
        Operator::Modulo if *right != 0 => left.wrapping_rem(*right),
        _ => return Ok(None),
    };
    Ok(Some(ScalarValue::Int64(Some(value))))
}

/// Evaluates an expression without columns as DataFusion does.
pub fn constant(context: &SessionContext, expr: Expr) -> Result<ScalarValue> {
    let expr = context.create_physical_expr(expr, &DFSchema::empty())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Schema::empty().into(), vec![], &options)?;
    let array = expr.evaluate(&batch)?.into_array(1)?;
    ScalarValue::try_from_array(&array, 0)
}
