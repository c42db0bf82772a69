//! Deferral through lookup joins: calls wait for the rows for which something was found.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_common::{DFSchema, Result};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use farcall_udf::FarcallConfig;

use super::chain::{Chain, Copies};
use crate::calls::Names;
use crate::logical::{AsyncLookupJoin, LookupColumn, LookupJoinType};

/// Moves calls above a lookup join that drops rows and does not read their results.
///
/// The calls that make its keys, its list and what its condition reads stay. `config` says which
/// equal calls are made once at run time.
pub(super) fn defer_lookup(
    join: &AsyncLookupJoin,
    config: &FarcallConfig,
    names: &mut Names,
) -> Result<Option<LogicalPlan>> {
    let copies = match join.join_type() {
        LookupJoinType::Semi | LookupJoinType::Anti => Copies::One,
        // A row may have several matches.
        LookupJoinType::Inner => Copies::Several(config),
        LookupJoinType::Left => return Ok(None),
    };
    let rows = join.input().schema();
    let list = rows.index_of_column(join.found())?;
    let found = join.pairs().iter().skip(rows.fields().len() - 1);
    let found = found.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    let found = DFSchema::new_with_metadata(found, HashMap::new())?;
    // A filter on a call stays, and saves lookups.
    let chain = Chain::below(join.input(), false)?.apart_from(&found, names)?;
    let Expr::Column(column) = chain.write(&Expr::Column(join.found().clone()), rows)? else {
        return Ok(None);
    };
    let condition = join.condition().map(|condition| chain.write(condition, rows)).transpose()?;
    let read: Vec<Expr> =
        [Expr::Column(column.clone())].into_iter().chain(condition.clone()).collect();
    let Some((input, above)) = chain.split(&read, |step| copies.let_wait(step))? else {
        return Ok(None);
    };
    let mut outputs = above.outputs().to_vec();
    outputs.remove(list);
    if join.join_type().gives_columns() {
        outputs.extend(join.columns().iter().map(LookupColumn::to_expr));
    }
    let (table, columns) = (join.table(), join.columns().to_vec());
    let below =
        AsyncLookupJoin::try_new(input, join.join_type(), table, column, columns, condition)?;
    above.with_outputs(outputs).over(below.into_plan(), Arc::clone(join.schema())).map(Some)
}
