//! [`Pairs`], a lookup join taken apart: what is asked, for which rows, and what must hold of a pair.

use std::sync::Arc;

use datafusion_common::{Column, Result};
use datafusion_expr::expr::{Case, ScalarFunction};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, Projection, is_not_null};
use farcall_udf::{AsyncUdf, LookupQuery};

use super::Reasoned;
use super::side::{
    LookupSide, is_table_column, replace_table_columns, table_column, table_columns_of,
};
use crate::calls::{Names, any_part, has_call, is_outer, is_volatile};
use crate::logical::{AsyncCalc, AsyncLookupJoin, CallColumn, LookupColumn, LookupJoinType};
use crate::rewrite::filter;

/// A lookup join taken apart; expressions are over the joined rows and the table's own columns.
#[derive(Debug)]
pub(crate) struct Pairs {
    side: LookupSide,
    rows: Arc<LogicalPlan>,
    table_is_left: bool,
    join_type: LookupJoinType,
    /// What is looked up, over the joined rows.
    key: Vec<Expr>,
    /// The conditions under which there is anything to look up, over the joined rows.
    guard: Vec<Expr>,
    /// The conditions that the provider takes over, over the table's columns without qualifier.
    filters: Vec<Expr>,
    /// The conditions of a match.
    residual: Vec<Expr>,
    /// The conditions that call, and so are made above.
    dear: Vec<Expr>,
}

impl Pairs {
    /// Sorts the conditions; says why if one cannot be evaluated where it belongs.
    pub(super) fn try_new(
        side: LookupSide,
        rows: Arc<LogicalPlan>,
        table_is_left: bool,
        join_type: LookupJoinType,
        key: Vec<Expr>,
        conditions: Vec<Expr>,
    ) -> Result<Reasoned<Self>> {
        let mut pairs = Self {
            side,
            rows,
            table_is_left,
            join_type,
            key,
            guard: Vec::new(),
            filters: Vec::new(),
            residual: Vec::new(),
            dear: Vec::new(),
        };
        for condition in conditions {
            if has_call(&condition) {
                if join_type != LookupJoinType::Inner {
                    return Ok(Err(format!(
                        "a condition on lookup table {} calls an async function, which only an \
                         inner join can do; call it on the joined rows",
                        pairs.side.source.table.name()
                    )));
                }
                pairs.dear.push(condition);
            } else if let Some(guard) = pairs.guard(&condition)? {
                pairs.guard.push(guard);
            } else if let Some(filter) = pairs.filter(&condition)? {
                pairs.filters.push(filter);
            } else {
                pairs.residual.push(condition);
            }
        }
        Ok(Ok(pairs))
    }

    /// Rewrites a condition over the joined rows, if it reads nothing of the table but its key.
    fn guard(&self, condition: &Expr) -> Result<Option<Expr>> {
        if is_volatile(condition) || any_part(condition, is_outer) {
            return Ok(None);
        }
        let guard = replace_table_columns(condition.clone(), |name| self.key_value(name).cloned())?;
        Ok((!guard.column_refs().into_iter().any(is_table_column)).then_some(guard))
    }

    /// Returns what is looked up in a column of the key, if it may be evaluated twice.
    fn key_value(&self, name: &str) -> Option<&Expr> {
        let table = &self.side.source.table;
        let part = |column: &usize| table.schema().field(*column).name() == name;
        let index = table.key().iter().position(part)?;
        self.key.get(index).filter(|value| !is_volatile(value) && !has_call(value))
    }

    /// Writes a condition for the provider, if that takes it over.
    fn filter(&self, condition: &Expr) -> Result<Option<Expr>> {
        if is_volatile(condition) || !condition.column_refs().into_iter().all(is_table_column) {
            return Ok(None);
        }
        let own = |name: &str| Some(Expr::Column(Column::from_name(name)));
        let filter = replace_table_columns(condition.clone(), own)?;
        Ok(self.side.source.table.provider().takes_filter(&filter).then_some(filter))
    }

    /// Puts the join together again, with the schema of `join`.
    pub(super) fn into_plan(
        self,
        join: &Join,
        site: u64,
        names: &mut Names,
    ) -> Result<LogicalPlan> {
        let table = Arc::clone(&self.side.source.table);
        let found = names.next();
        let columns = self.columns(names)?;
        let query = LookupQuery::new(columns.iter().map(|(column, _)| *column))
            .with_filters(self.filters.clone());
        let udf = AsyncUdf::new(table.function(query)?)
            .with_call_options(self.side.options.clone())
            .with_site(site);
        let call = ScalarFunction::new_udf(Arc::new(udf.into_scalar_udf()), self.key.clone());
        let call = CallColumn {
            call: Expr::ScalarFunction(call),
            guard: conjunction(self.guard.clone()),
            name: found.clone(),
        };
        let calc = AsyncCalc::try_new(Arc::clone(&self.rows), vec![call])?.into_plan();
        let name = |expr: Expr| {
            replace_table_columns(expr, |name| {
                let index = table.schema().index_of(name).ok()?;
                let (_, named) = columns.iter().find(|(column, _)| *column == index)?;
                Some(named.to_expr())
            })
        };
        let residual = self.residual.iter().cloned().map(name).collect::<Result<Vec<_>>>()?;
        let node = AsyncLookupJoin::try_new(
            Arc::new(calc),
            self.join_type,
            table.name(),
            Column::from_name(found),
            columns.iter().map(|(_, named)| named.clone()).collect(),
            conjunction(residual),
        )?;
        let dear = self.dear.iter().cloned().map(name).collect::<Result<Vec<_>>>()?;
        let plan = filter(node.into_plan(), dear)?;
        self.restore(plan, join, name)
    }

    /// Returns the columns to find, each with the name under which it comes out.
    ///
    /// A column that the side shows as it is keeps its name there; one that is only read by a
    /// condition or an expression gets a generated one.
    fn columns(&self, names: &mut Names) -> Result<Vec<(usize, LookupColumn)>> {
        let table = &self.side.source.table;
        let mut columns: Vec<(usize, LookupColumn)> = Vec::new();
        let mut read: Vec<String> = Vec::new();
        if self.join_type.gives_columns() {
            for (output, (qualifier, field)) in
                self.side.outputs.iter().zip(self.side.schema.iter())
            {
                let Expr::Column(column) = output else {
                    read.extend(table_columns_of(output));
                    if self.join_type == LookupJoinType::Left {
                        read.push(table.schema().field(table.key()[0]).name().clone());
                    }
                    continue;
                };
                let index = table.schema().index_of(&column.name)?;
                if !columns.iter().any(|(known, _)| *known == index) {
                    let (qualifier, name) = (qualifier.cloned(), field.name().clone());
                    columns.push((index, LookupColumn { qualifier, name }));
                }
            }
        }
        read.extend(self.residual.iter().chain(&self.dear).flat_map(table_columns_of));
        let mut read =
            read.iter().map(|name| table.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
        if columns.is_empty() && read.is_empty() {
            // Whether there is a row is all that is asked.
            read.push(table.key()[0]);
        }
        for index in read {
            if !columns.iter().any(|(known, _)| *known == index) {
                columns.push((index, LookupColumn { qualifier: None, name: names.next() }));
            }
        }
        Ok(columns)
    }

    /// Gives the columns of the join in their order, computing what the side computed.
    fn restore(
        &self,
        plan: LogicalPlan,
        join: &Join,
        name: impl Fn(Expr) -> Result<Expr>,
    ) -> Result<LogicalPlan> {
        if plan.schema().columns() == join.schema.columns() {
            return Ok(plan);
        }
        let own = self.side.outputs.len();
        let first = if self.table_is_left { 0 } else { self.rows.schema().fields().len() };
        let mut exprs = Vec::with_capacity(join.schema.fields().len());
        for (index, (qualifier, field)) in join.schema.iter().enumerate() {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            let output = index.checked_sub(first).filter(|index| *index < own);
            exprs.push(match output {
                None => column,
                Some(output) => match name(self.output(output))? {
                    expr if expr == column => column,
                    expr => expr.alias_qualified(qualifier.cloned(), field.name()),
                },
            });
        }
        let schema = Arc::clone(&join.schema);
        let projection = Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?;
        Ok(LogicalPlan::Projection(projection))
    }

    /// Returns what a column of the side is; a row without a match has NULL in all of them.
    fn output(&self, index: usize) -> Expr {
        let output = self.side.outputs[index].clone();
        if self.join_type != LookupJoinType::Left || matches!(output, Expr::Column(_)) {
            return output;
        }
        // A key is never NULL where there is a match.
        let table = &self.side.source.table;
        let key = table_column(table.schema().field(table.key()[0]).name());
        let branch = (Box::new(is_not_null(key)), Box::new(output));
        Expr::Case(Case::new(None, vec![branch], None))
    }
}
