//! The deferral half of `place_calls`: a call waits until the rows that nobody wants are gone.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{
    Column, DFSchema, DFSchemaRef, Dependency, JoinType, NullEquality, Result,
};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, Filter, Join, Limit, LogicalPlan, Projection, Sort, ident};

use crate::calls::{find_call, has_call, is_volatile};
use crate::logical::{AsyncCalc, CallColumn};
use crate::rewrite::{calculate, columns, filter};

/// Moves calls above a node that drops rows and does not read their results.
pub(super) fn defer(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Limit(limit) => defer_limit(limit),
        LogicalPlan::Sort(sort) if sort.fetch.is_some() => defer_top_k(sort),
        LogicalPlan::Filter(filter) => defer_filter(filter),
        LogicalPlan::Join(join) => defer_join(join),
        plan => Ok(Transformed::no(plan)),
    }
}

fn defer_limit(limit: Limit) -> Result<Transformed<LogicalPlan>> {
    let chain = Chain::below(&limit.input, false)?;
    let Some(split) = chain.split(&[]) else {
        return Ok(Transformed::no(LogicalPlan::Limit(limit)));
    };
    let schema = Arc::clone(limit.input.schema());
    split.rebuild(schema, |input, _| Ok(LogicalPlan::Limit(Limit { input, ..limit })))
}

fn defer_top_k(sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let chain = Chain::below(&sort.input, false)?;
    let keys: Vec<Expr> = sort.expr.iter().map(|key| key.expr.clone()).collect();
    let keys = chain.write_all(&keys, sort.input.schema())?;
    let Some(split) = chain.split(&keys) else {
        return Ok(Transformed::no(LogicalPlan::Sort(sort)));
    };
    let schema = Arc::clone(sort.input.schema());
    let expr = sort.expr.into_iter().zip(keys).map(|(key, expr)| key.with_expr(expr)).collect();
    split.rebuild(schema, |input, _| Ok(LogicalPlan::Sort(Sort { expr, input, fetch: sort.fetch })))
}

/// Moves calls above the first condition that does not read them, and what reads them with them.
fn defer_filter(node: Filter) -> Result<Transformed<LogicalPlan>> {
    let chain = Chain::below(&node.input, false)?;
    let schema = Arc::clone(node.input.schema());
    let conditions: Vec<Expr> = split_conjunction(&node.predicate).into_iter().cloned().collect();
    let written = chain.write_all(&conditions, &schema)?;
    let first = chain.needed(&written[..1]);
    let (now, later): (Vec<_>, Vec<_>) = conditions
        .into_iter()
        .zip(written)
        .partition(|(_, written)| chain.needed(std::slice::from_ref(written)).is_subset(&first));
    let now: Vec<Expr> = now.into_iter().map(|(_, written)| written).collect();
    let Some(split) = chain.split(&now) else {
        return Ok(Transformed::no(LogicalPlan::Filter(node)));
    };
    let deferred = split.rebuild(schema, |input, _| filter(Arc::unwrap_or_clone(input), now))?;
    if later.is_empty() {
        return Ok(deferred);
    }
    let later = later.into_iter().map(|(condition, _)| condition);
    match filter(deferred.data, later.collect())? {
        // The next condition may leave calls to those after it in turn.
        LogicalPlan::Filter(node) => Ok(Transformed::yes(defer_filter(node)?.data)),
        plan => Ok(Transformed::yes(plan)),
    }
}

/// Moves the calls of the side whose rows a join keeps or drops, one by one.
fn defer_join(join: Join) -> Result<Transformed<LogicalPlan>> {
    for left in [true, false] {
        if !keeps_or_drops(&join, left) {
            continue;
        }
        let side = if left { &join.left } else { &join.right };
        let chain = Chain::below(side, true)?;
        let schema = side.schema();
        let keys: Vec<Expr> =
            join.on.iter().map(|(l, r)| if left { l.clone() } else { r.clone() }).collect();
        let keys = chain.write_all(&keys, schema)?;
        let condition =
            join.filter.as_ref().map(|filter| chain.write(filter, schema)).transpose()?;
        let read: Vec<Expr> = keys.iter().chain(&condition).cloned().collect();
        let Some(split) = chain.split(&read) else { continue };
        let schema = Arc::clone(&join.schema);
        // What the deferred part reads of the other side is nothing, but its columns pass.
        return split.rebuild(schema, |input, outputs| {
            rebuild_join(&join, left, input, keys, condition, outputs)
        });
    }
    Ok(Transformed::no(LogicalPlan::Join(join)))
}

fn rebuild_join(
    join: &Join,
    left: bool,
    input: Arc<LogicalPlan>,
    keys: Vec<Expr>,
    condition: Option<Expr>,
    outputs: &mut Vec<Expr>,
) -> Result<LogicalPlan> {
    let other = if left { &join.right } else { &join.left };
    let both = matches!(join.join_type, JoinType::Inner);
    let passed = other.schema().iter().map(|field| Expr::Column(Column::from(field)));
    match (both, left) {
        (true, true) => outputs.extend(passed),
        (true, false) => *outputs = passed.chain(std::mem::take(outputs)).collect(),
        (false, _) => {}
    }
    let on = join.on.iter().cloned().zip(keys);
    let on = on.map(|((l, r), key)| if left { (key, r) } else { (l, key) }).collect();
    let (l, r) = match left {
        true => (input, Arc::clone(&join.right)),
        false => (Arc::clone(&join.left), input),
    };
    Ok(LogicalPlan::Join(Join::try_new(
        l,
        r,
        on,
        condition,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?))
}

/// Says whether each row of a side comes out of the join at most once, and only as it is.
fn keeps_or_drops(join: &Join, left: bool) -> bool {
    match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left,
        JoinType::RightSemi | JoinType::RightAnti => !left,
        JoinType::Inner => {
            let other = if left { &join.right } else { &join.left };
            let keys = join.on.iter().map(|(l, r)| if left { r } else { l });
            is_unique(other.schema(), keys, join.null_equality)
        }
        _ => false,
    }
}

/// Says whether no two rows have the same keys.
fn is_unique<'a>(
    schema: &DFSchema,
    keys: impl Iterator<Item = &'a Expr>,
    nulls: NullEquality,
) -> bool {
    let keys: HashSet<usize> = keys
        .filter_map(|key| match key {
            Expr::Column(column) => schema.maybe_index_of_column(column),
            _ => None,
        })
        .collect();
    schema.functional_dependencies().iter().any(|dependence| {
        // A unique key that may be NULL may be NULL in several rows.
        let unique = !dependence.nullable || nulls == NullEquality::NullEqualsNothing;
        unique
            && dependence.mode == Dependency::Single
            && !dependence.source_indices.is_empty()
            && dependence.source_indices.iter().all(|index| keys.contains(index))
    })
}

/// A run of projections, aliases and calls (and filters on calls), taken apart.
struct Chain {
    /// The columns of the run's top, over the columns of `base` and the results of the steps.
    outputs: Vec<Expr>,
    /// From the bottom up.
    steps: Vec<Step>,
    base: Arc<LogicalPlan>,
}

enum Step {
    Call(CallColumn),
    /// A filter on the results of calls.
    Filter(Expr),
}

impl Step {
    fn reads(&self) -> HashSet<String> {
        let mut names = HashSet::new();
        let mut add = |expr: &Expr| {
            names.extend(expr.column_refs().into_iter().map(|column| column.name.clone()));
        };
        match self {
            Step::Call(column) => {
                add(&column.call);
                column.guard.iter().for_each(add);
            }
            Step::Filter(predicate) => add(predicate),
        }
        names
    }

    fn may_wait(&self) -> bool {
        match self {
            Step::Call(column) => find_call(&column.call)
                .is_some_and(|udf| !udf.function().declaration().has_side_effects()),
            Step::Filter(_) => true,
        }
    }
}

impl Chain {
    fn below(plan: &Arc<LogicalPlan>, filters: bool) -> Result<Self> {
        let end = || Self {
            outputs: columns(plan.schema()).collect(),
            steps: Vec::new(),
            base: Arc::clone(plan),
        };
        match plan.as_ref() {
            LogicalPlan::Projection(projection) => {
                if projection.expr.iter().any(|expr| is_volatile(expr) || has_call(expr)) {
                    return Ok(end());
                }
                let chain = Self::below(&projection.input, filters)?;
                let exprs: Vec<Expr> = projection.expr.iter().cloned().map(unalias).collect();
                let outputs = chain.write_all(&exprs, projection.input.schema())?;
                Ok(Self { outputs, ..chain })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::below(&alias.input, filters),
            LogicalPlan::Filter(filter) if filters => {
                let mut chain = Self::below(&filter.input, filters)?;
                let predicate = chain.write(&filter.predicate, filter.input.schema())?;
                let filter = Step::Filter(predicate);
                let reads = filter.reads();
                if !chain.results().any(|result| reads.contains(result)) {
                    return Ok(end());
                }
                chain.steps.push(filter);
                Ok(chain)
            }
            plan_below => {
                let Some(calc) = AsyncCalc::find(plan_below) else { return Ok(end()) };
                let mut chain = Self::below(calc.input(), filters)?;
                let schema = calc.input().schema();
                for column in calc.calls() {
                    let call = chain.write(&column.call, schema)?;
                    let guard = column.guard.as_ref();
                    let guard = guard.map(|guard| chain.write(guard, schema)).transpose()?;
                    let name = column.name.clone();
                    chain.steps.push(Step::Call(CallColumn { call, guard, name }));
                }
                chain.outputs.extend(calc.calls().iter().map(|column| ident(&column.name)));
                Ok(chain)
            }
        }
    }

    fn results(&self) -> impl Iterator<Item = &String> {
        self.steps.iter().filter_map(|step| match step {
            Step::Call(column) => Some(&column.name),
            Step::Filter(_) => None,
        })
    }

    /// Writes an expression over the run's top in the columns of its base and the results.
    fn write(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
        expr.clone()
            .transform_up(|part| match &part {
                Expr::Column(column) => match schema.maybe_index_of_column(column) {
                    Some(index) => Ok(Transformed::yes(self.outputs[index].clone())),
                    // A column of the other side of a join.
                    None => Ok(Transformed::no(part)),
                },
                _ => Ok(Transformed::no(part)),
            })
            .data()
    }

    fn write_all(&self, exprs: &[Expr], schema: &DFSchema) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.write(expr, schema)).collect()
    }

    /// Returns the results that expressions need, directly or through a call that reads another.
    fn needed(&self, read: &[Expr]) -> HashSet<String> {
        let mut needed: HashSet<String> =
            read.iter().flat_map(Expr::column_refs).map(|column| column.name.clone()).collect();
        for step in self.steps.iter().rev() {
            if matches!(step, Step::Call(column) if needed.contains(&column.name)) {
                needed.extend(step.reads());
            }
        }
        needed.retain(|name| self.results().any(|result| result == name));
        needed
    }

    /// Divides the steps into those that a node needs below it and those that may wait.
    ///
    /// Returns `None` if all are needed.
    fn split(self, read: &[Expr]) -> Option<Split> {
        let results: HashSet<String> = self.results().cloned().collect();
        let mut needed = self.needed(read);
        let (mut below, mut above) = (Vec::new(), Vec::new());
        // From the top down, so that what stays below is known before what it reads.
        for step in self.steps.into_iter().rev() {
            let stays = match &step {
                Step::Call(column) => needed.contains(&column.name) || !step.may_wait(),
                // A filter stays below for the calls that are made after it, and where all it reads
                // stays: there it saves the node rows.
                Step::Filter(_) => {
                    !below.is_empty()
                        || step.reads().intersection(&results).all(|name| needed.contains(name))
                }
            };
            if stays {
                needed.extend(step.reads());
                below.push(step);
            } else {
                above.push(step);
            }
        }
        if above.is_empty() {
            return None;
        }
        below.reverse();
        above.reverse();
        Some(Split { below, above, outputs: self.outputs, base: self.base })
    }
}

struct Split {
    below: Vec<Step>,
    above: Vec<Step>,
    outputs: Vec<Expr>,
    base: Arc<LogicalPlan>,
}

impl Split {
    /// Puts everything together again, with the node between the two parts.
    fn rebuild(
        self,
        schema: DFSchemaRef,
        node: impl FnOnce(Arc<LogicalPlan>, &mut Vec<Expr>) -> Result<LogicalPlan>,
    ) -> Result<Transformed<LogicalPlan>> {
        let Self { below, above, mut outputs, base } = self;
        let input = stack(base, below)?;
        let plan = stack(Arc::new(node(input, &mut outputs)?), above)?;
        let exprs = schema
            .iter()
            .zip(outputs)
            .map(|((relation, field), expr)| {
                let same = matches!(&expr, Expr::Column(column)
                    if column.relation.as_ref() == relation && column.name == *field.name());
                if same { expr } else { expr.alias_qualified(relation.cloned(), field.name()) }
            })
            .collect();
        let projection = Projection::try_new_with_schema(exprs, plan, schema)?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }
}

/// Puts steps above a plan; calls that do not depend on each other share a node.
fn stack(plan: Arc<LogicalPlan>, steps: Vec<Step>) -> Result<Arc<LogicalPlan>> {
    let mut plan = plan;
    let mut together: Vec<CallColumn> = Vec::new();
    for step in steps {
        let reads = step.reads();
        let depends = together.iter().any(|column| reads.contains(&column.name));
        match step {
            Step::Call(column) => {
                if depends {
                    plan = calculate(plan, std::mem::take(&mut together))?;
                }
                together.push(column);
            }
            Step::Filter(predicate) => {
                plan = calculate(plan, std::mem::take(&mut together))?;
                plan = Arc::new(filter(Arc::unwrap_or_clone(plan), vec![predicate])?);
            }
        }
    }
    calculate(plan, together)
}
