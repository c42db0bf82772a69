//! [`find_key`], what a join says about the key of a lookup table.

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, NullEquality, Result};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Join, Operator, binary_expr, try_cast,
};

use super::Reasoned;
use super::side::{LookupSide, table_column};

/// The value of each column of the key, over the joined rows, and the conditions that are left.
type Key = (Vec<Expr>, Vec<Expr>);

/// Finds a value for each column of the key among the equalities of a join and of the conditions on
/// the table; says why if there is none. Conditions are rewritten over the table's columns.
pub(super) fn find_key(
    join: &Join,
    side: &LookupSide,
    rows: &DFSchema,
    table_is_left: bool,
) -> Result<Reasoned<Key>> {
    let table = &side.source.table;
    if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty() {
        return Ok(Err(format!(
            "lookup table {} cannot be joined by IS NOT DISTINCT FROM: a NULL key is never looked \
             up",
            table.name()
        )));
    }
    let mut equalities: Vec<(Expr, Expr)> = Vec::with_capacity(join.on.len());
    for (left, right) in &join.on {
        let (row, own) = if table_is_left { (right, left) } else { (left, right) };
        equalities.push((row.clone(), side.over_table(own.clone())?));
    }
    let mut conditions: Vec<Expr> = side.conditions.clone();
    for condition in join.filter.iter().flat_map(split_conjunction) {
        conditions.push(side.over_pairs(condition.clone(), rows)?);
    }
    let (mut key, mut missing, mut compared) = (Vec::new(), Vec::new(), None);
    for column in table.key() {
        let field = table.schema().field(*column);
        let part = KeyColumn { column: table_column(field.name()), data_type: field.data_type() };
        match part.take_equality(&mut equalities, rows)? {
            Some(value) => key.push(value),
            None => match part.take_constant(&mut conditions) {
                Some(value) => key.push(value),
                None => {
                    missing.push(field.name().as_str());
                    if compared.is_none() {
                        compared = part.compared(field.name(), join, side, rows, table_is_left)?;
                    }
                }
            },
        }
    }
    if !missing.is_empty() {
        let says = compared.unwrap_or_else(|| {
            let missing = missing.join(", ");
            format!("the join has no equality on {missing} that could be looked up")
        });
        let (name, key) = (table.name(), table.key_names());
        return Ok(Err(format!(
            "lookup table {name} is only looked up by its key ({key}); {says}"
        )));
    }
    let rest = equalities.into_iter().map(|(row, own)| binary_expr(row, Operator::Eq, own));
    Ok(Ok((key, rest.chain(conditions).collect())))
}

/// One column of the key.
struct KeyColumn<'a> {
    column: Expr,
    data_type: &'a DataType,
}

impl KeyColumn<'_> {
    /// Takes the equality with an expression over the joined rows.
    fn take_equality(
        &self,
        equalities: &mut Vec<(Expr, Expr)>,
        rows: &DFSchema,
    ) -> Result<Option<Expr>> {
        for index in 0..equalities.len() {
            let (row, own) = &equalities[index];
            if let Some(value) = self.value(row, own, rows)? {
                equalities.remove(index);
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Returns what to look up for `row = own`, in the type of the key.
    ///
    /// Where the comparison widens the key, a value that the key's type does not hold equals no key:
    /// it becomes NULL, which is never looked up.
    fn value(&self, row: &Expr, own: &Expr, rows: &DFSchema) -> Result<Option<Expr>> {
        let row_type = row.get_type(rows)?;
        if *own == self.column {
            return Ok((row_type == *self.data_type).then(|| row.clone()));
        }
        let Expr::Cast(Cast { expr, .. }) = own else { return Ok(None) };
        if **expr != self.column || !keeps_values(self.data_type, &row_type) {
            return Ok(None);
        }
        if let Expr::Cast(Cast { expr, .. }) = row
            && expr.get_type(rows)? == *self.data_type
        {
            return Ok(Some(expr.as_ref().clone()));
        }
        Ok(Some(try_cast(row.clone(), self.data_type.clone())))
    }

    /// Says in which other type a join compares the column, and what to write instead.
    ///
    /// DataFusion casts the column where the other side is a number and the column a text, for instance.
    fn compared(
        &self,
        name: &str,
        join: &Join,
        side: &LookupSide,
        rows: &DFSchema,
        table_is_left: bool,
    ) -> Result<Option<String>> {
        for (left, right) in &join.on {
            let (row, own) = if table_is_left { (right, left) } else { (left, right) };
            let Expr::Cast(Cast { expr: own, .. }) = own else { continue };
            if side.over_table(own.as_ref().clone())? != self.column {
                continue;
            }
            let (other, data_type) = (row.get_type(rows)?, self.data_type);
            let row = match row {
                Expr::Cast(Cast { expr, .. }) => expr.as_ref(),
                row => row,
            };
            let instead = match data_type {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                    format!("write CAST({} AS VARCHAR) = {own}", row.human_display())
                }
                // A cast of the other side could make values equal that are not.
                _ => format!("compare it with a value of type {data_type}"),
            };
            return Ok(Some(format!(
                "the join compares {name} ({data_type}) as {other}; {instead}"
            )));
        }
        Ok(None)
    }

    /// Takes the condition that the column is a constant.
    fn take_constant(&self, conditions: &mut Vec<Expr>) -> Option<Expr> {
        let constant = |condition: &Expr| match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                let value = match (left.as_ref(), right.as_ref()) {
                    (column, value) if *column == self.column => value,
                    (value, column) if *column == self.column => value,
                    _ => return None,
                };
                match value {
                    Expr::Literal(scalar, _) if scalar.data_type() == *self.data_type => {
                        Some(value.clone())
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        let index = conditions.iter().position(|condition| constant(condition).is_some())?;
        constant(&conditions.remove(index))
    }
}

/// Says whether a cast keeps different values different, and values that come back the same.
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let text = |data_type: &DataType| matches!(data_type, Utf8 | LargeUtf8 | Utf8View);
    let bytes = |data_type: &DataType| matches!(data_type, Binary | LargeBinary | BinaryView);
    let integer = |data_type: &DataType| match data_type {
        Int8 => Some((true, 8)),
        Int16 => Some((true, 16)),
        Int32 => Some((true, 32)),
        Int64 => Some((true, 64)),
        UInt8 => Some((false, 8)),
        UInt16 => Some((false, 16)),
        UInt32 => Some((false, 32)),
        UInt64 => Some((false, 64)),
        _ => None,
    };
    match (integer(from), integer(to)) {
        (Some((from_signed, from_bits)), Some((to_signed, to_bits))) => {
            match (from_signed, to_signed) {
                (true, true) | (false, false) => from_bits <= to_bits,
                (false, true) => from_bits < to_bits,
                (true, false) => false,
            }
        }
        _ => (text(from) && text(to)) || (bytes(from) && bytes(to)) || from == to,
    }
}
