//! On which rows a node reads the columns of its inputs.

use std::collections::HashSet;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, Result};
use datafusion_expr::expr::AggregateFunctionParams;
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Aggregate, Expr, Join, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{among, within};
use crate::calls::{Names, has_call, is_volatile};
use crate::extract::{Extraction, Place, Wanted};
use crate::guard::{Guard, is_true};
use crate::logical::{AsyncCalc, AsyncLookupJoin, Resolve, ResolveKind, RowId};
use crate::rewrite::written_in;

/// The columns of a node that hold results of calls, or what was computed from them.
pub(super) type Results = HashSet<Column>;

/// Finds the columns of a plan that hold results of calls below it.
pub(super) fn results_of(plan: &LogicalPlan) -> Results {
    let schema = plan.schema();
    let computed = |exprs: &[Expr], input: &LogicalPlan| {
        let results = results_of(input);
        let reads = |expr: &Expr| expr.column_refs().iter().any(|c| results.contains(*c));
        let columns = schema.columns().into_iter().rev().zip(exprs.iter().rev());
        columns.filter_map(|(column, expr)| reads(expr).then_some(column)).collect()
    };
    match plan {
        LogicalPlan::Projection(projection) => computed(&projection.expr, &projection.input),
        // Keys are read in every group, so it makes no difference whether one is a result.
        LogicalPlan::Aggregate(aggregate) => computed(&aggregate.aggr_expr, &aggregate.input),
        LogicalPlan::SubqueryAlias(alias) => {
            let results = results_of(&alias.input);
            let columns = schema.columns().into_iter().zip(alias.input.schema().columns());
            columns
                .filter_map(|(column, input)| results.contains(&input).then_some(column))
                .collect()
        }
        plan => {
            let mut results: Results = plan.inputs().into_iter().flat_map(results_of).collect();
            if let Some(calc) = AsyncCalc::find(plan) {
                results.extend(calc.calls().iter().map(|call| Column::from_name(&call.name)));
            }
            if let Some(resolve) = Resolve::find(plan)
                && let ResolveKind::Mark(qualifier, name) = resolve.kind()
                && results.contains(resolve.matched())
            {
                results.insert(Column::new(qualifier.clone(), name));
            }
            results.retain(|column| schema.is_column_from_schema(column));
            results
        }
    }
}

/// Collects on which rows the columns of an input are read.
pub(super) struct Reader<'a> {
    needs: &'a mut [Guard],
    schema: &'a DFSchema,
    results: &'a Results,
    names: &'a mut Names,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        needs: &'a mut [Guard],
        schema: &'a DFSchema,
        results: &'a Results,
        names: &'a mut Names,
    ) -> Self {
        Self { needs, schema, results, names }
    }

    /// Adds what an expression reads that is evaluated in this place.
    pub(super) fn read(&mut self, expr: &Expr, place: &Place) -> Result<()> {
        let mut extraction = Extraction::new(self.names, Wanted::Results(self.results));
        extraction.rewrite(expr.clone(), place)?;
        for read in extraction.into_calls() {
            if let Expr::Column(column) = read.call {
                let index = self.schema.index_of_column(&column)?;
                self.needs[index].or(Guard::from_expr(read.guard));
            }
        }
        Ok(())
    }
}

/// Returns for each input of a node on which rows each of its columns is read.
pub(super) fn below(
    plan: &LogicalPlan,
    needs: &[Guard],
    names: &mut Names,
) -> Result<Vec<Vec<Guard>>> {
    let everything = || -> Vec<Vec<Guard>> {
        let inputs = plan.inputs().into_iter();
        inputs.map(|input| vec![Guard::always(); input.schema().fields().len()]).collect()
    };
    let input = match (plan, plan.inputs().as_slice()) {
        (LogicalPlan::Join(join), _) => return Ok(below_join(join, needs)),
        (_, [input]) => *input,
        _ => return Ok(everything()),
    };
    let schema = input.schema();
    let results = results_of(input);
    let mut below = vec![Guard::never(); schema.fields().len()];
    match plan {
        LogicalPlan::Projection(projection) => {
            let mut reader = Reader::new(&mut below, schema, &results, names);
            for (expr, need) in projection.expr.iter().zip(needs) {
                let need = need.map(|condition| {
                    written_in(condition, |column| {
                        let index = projection.schema.maybe_index_of_column(column)?;
                        let expr = unalias(projection.expr[index].clone());
                        (!is_volatile(&expr) && !has_call(&expr)).then_some(expr)
                    })
                });
                if !need.is_never() {
                    reader.read(expr, &Place::value_on(need))?;
                }
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            below = needs
                .iter()
                .map(|need| {
                    need.map(|condition| {
                        written_in(condition, |column| {
                            let index = alias.schema.maybe_index_of_column(column)?;
                            Some(Expr::Column(Column::from(schema.qualified_field(index))))
                        })
                    })
                })
                .collect();
        }
        LogicalPlan::Filter(filter) => {
            below = needs.to_vec();
            let mut reader = Reader::new(&mut below, schema, &results, names);
            reader.read(&filter.predicate, &Place::condition())?;
        }
        LogicalPlan::Sort(sort) => {
            below = needs.to_vec();
            let mut reader = Reader::new(&mut below, schema, &results, names);
            for key in &sort.expr {
                reader.read(&key.expr, &Place::value())?;
            }
        }
        LogicalPlan::Limit(_) => below = needs.to_vec(),
        LogicalPlan::Aggregate(aggregate) => {
            let mut reader = Reader::new(&mut below, schema, &results, names);
            for key in &aggregate.group_expr {
                reader.read(key, &Place::value())?;
            }
            let keys = needs.len() - aggregate.aggr_expr.len();
            for (expr, need) in aggregate.aggr_expr.iter().zip(&needs[keys..]) {
                let need = need.map(|condition| of_keys(condition, aggregate));
                if !need.is_never() {
                    read_aggregate(expr, &Place::value_on(need), &mut reader)?;
                }
            }
        }
        plan if RowId::find(plan).is_some() => {
            below = needs.iter().take(below.len()).map(|need| within(need, schema)).collect();
        }
        plan if let Some(join) = AsyncLookupJoin::find(plan) => {
            read_looked_up(join, needs, &mut below)?;
        }
        plan => match Resolve::find(plan) {
            Some(resolve) if *resolve.kind() != ResolveKind::Full => {
                read_resolved(resolve, needs, &mut below)?;
            }
            _ => return Ok(everything()),
        },
    }
    Ok(vec![below])
}

/// Reads a row where it is read in any of the pairs that it is part of.
fn read_looked_up(join: &AsyncLookupJoin, needs: &[Guard], below: &mut [Guard]) -> Result<()> {
    let schema = join.input().schema();
    let list = schema.index_of_column(join.found())?;
    let kept = (0..below.len()).filter(|index| *index != list);
    for (index, need) in kept.zip(needs) {
        below[index] = within(need, schema);
    }
    for column in join.expressions().iter().flat_map(Expr::column_refs) {
        below[schema.index_of_column(column)?] = Guard::always();
    }
    Ok(())
}

/// Reads the columns of candidates on which the rows made of them are read.
///
/// A column of the side that may be missing is read from matches only, and there all columns have
/// the values that the condition saw. The others may be read from a row without a match, which has
/// NULL where its candidates have something else.
fn read_resolved(resolve: &Resolve, needs: &[Guard], below: &mut [Guard]) -> Result<()> {
    let schema = resolve.input().schema();
    let kept: HashSet<&Column> = resolve
        .outputs()
        .iter()
        .filter_map(|output| (!output.nulled).then_some(&output.column))
        .collect();
    for (output, need) in resolve.outputs().iter().zip(needs) {
        let need = match output.nulled {
            true => within(need, schema),
            false => among(need, |column| kept.contains(column)),
        };
        below[schema.index_of_column(&output.column)?].or(need);
    }
    let matched = match (resolve.kind(), needs.last()) {
        (ResolveKind::Mark(..), Some(mark)) => among(mark, |column| kept.contains(column)),
        _ => Guard::always(),
    };
    below[schema.index_of_column(resolve.matched())?].or(matched);
    below[schema.index_of_column(resolve.row_id())?] = Guard::always();
    Ok(())
}

/// Writes a condition on the groups of an aggregation in the columns of its input; `None` if it reads
/// more than keys.
///
/// Keys that differ within a group (0.0 and -0.0) say nothing of its rows, nor do grouping sets, which
/// make them NULL.
fn of_keys(condition: &Expr, aggregate: &Aggregate) -> Option<Expr> {
    written_in(condition, |column| {
        let index = aggregate.schema.maybe_index_of_column(column)?;
        let key = aggregate.group_expr.get(index)?;
        let key_type = aggregate.schema.field(index).data_type();
        let alike = !key_type.is_floating() && !key_type.is_nested();
        let simple = !matches!(key, Expr::GroupingSet(_)) && !is_volatile(key) && !has_call(key);
        (alike && simple).then(|| unalias(key.clone()))
    })
}

/// Reads the arguments of an aggregate on the rows that its FILTER leaves.
fn read_aggregate(expr: &Expr, place: &Place, reader: &mut Reader<'_>) -> Result<()> {
    expr.apply(|part| {
        let Expr::AggregateFunction(function) = part else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let AggregateFunctionParams { args, filter, order_by, .. } = &function.params;
        let mut place = place.clone();
        if let Some(filter) = filter {
            reader.read(filter, &place.as_condition())?;
            place = place.guarded(is_true(filter.as_ref().clone()));
        }
        for arg in args.iter().chain(order_by.iter().map(|sort| &sort.expr)) {
            reader.read(arg, &place)?;
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(())
}

/// A row of a side is read where it is read in any row of the join that it is part of; conditions on
/// the other side say nothing about that.
fn below_join(join: &Join, needs: &[Guard]) -> Vec<Vec<Guard>> {
    let (left, right) = (join.left.schema(), join.right.schema());
    let (width, number) = (left.fields().len(), right.fields().len());
    let pass = |needs: &[Guard], schema: &DFSchema| -> Vec<Guard> {
        needs.iter().map(|need| within(need, schema)).collect()
    };
    let nothing = |number: usize| vec![Guard::never(); number];
    let mut below = match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            vec![pass(&needs[..width], left), pass(&needs[width..], right)]
        }
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            vec![pass(&needs[..width], left), nothing(number)]
        }
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            vec![nothing(width), pass(&needs[..number], right)]
        }
    };
    let keys = join.on.iter().flat_map(|(l, r)| [l, r]);
    for column in keys.chain(&join.filter).flat_map(Expr::column_refs) {
        for (needs, schema) in below.iter_mut().zip([left, right]) {
            if let Some(index) = schema.maybe_index_of_column(column) {
                needs[index] = Guard::always();
            }
        }
    }
    below
}
