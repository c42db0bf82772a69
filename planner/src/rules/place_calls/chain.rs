//! [`Chain`], a run of projections, aliases, calls and filters that is taken apart to move its calls.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue, TableReference};
use datafusion_expr::expr::Case;
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Expr, LogicalPlan, Projection, and, ident};

use super::rise;
use farcall_udf::FarcallConfig;

use crate::calls::{Names, find_call, has_call, is_volatile, may_be_repeated};
use crate::guard::{Guard, is_true};
use crate::logical::{AsyncCalc, CallColumn};
use crate::rewrite::{calculate, columns, filter};

/// A run of projections, aliases and calls (and filters on calls), taken apart.
pub(super) struct Chain {
    /// The columns of the run's top, over the columns of `base` and the results of the steps.
    pub(super) outputs: Vec<Expr>,
    /// From the bottom up.
    pub(super) steps: Vec<Step>,
    pub(super) base: Arc<LogicalPlan>,
}

/// How far a run is taken apart.
#[derive(Debug, Clone, Copy)]
struct Reach<'c> {
    /// Whether filters on calls are part of it.
    filters: bool,
    /// Whether it goes on below nodes that drop no row.
    through: Option<&'c FarcallConfig>,
}

/// What becomes of a row where a call waits for it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Copies<'c> {
    /// It is there once at most.
    One,
    /// It may be there several times: a call is made once for all of them if its options say so.
    Several(&'c FarcallConfig),
}

impl Copies<'_> {
    /// Says whether a step may be made further up.
    pub(super) fn let_wait(self, step: &Step) -> bool {
        match self {
            Self::One => step.may_wait(),
            Self::Several(config) => step.may_be_repeated(config),
        }
    }
}

pub(super) enum Step {
    Call(CallColumn),
    /// A filter on the results of calls.
    Filter(Expr),
}

impl Step {
    pub(super) fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (expr, guard) = match self {
            Step::Call(column) => (&column.call, column.guard.as_ref()),
            Step::Filter(predicate) => (predicate, None),
        };
        [expr].into_iter().chain(guard)
    }

    fn reads(&self) -> HashSet<String> {
        let columns = self.exprs().flat_map(Expr::column_refs);
        columns.map(|column| column.name.clone()).collect()
    }

    fn is_filter(&self) -> bool {
        matches!(self, Step::Filter(_))
    }

    /// Says whether the step may be made further up for each row at most once.
    pub(super) fn may_wait(&self) -> bool {
        match self {
            Step::Call(column) => find_call(&column.call)
                .is_some_and(|udf| !udf.function().declaration().has_side_effects()),
            Step::Filter(_) => true,
        }
    }

    /// Says whether the step may be made further up for several copies of a row.
    ///
    /// A call must cost one request for all of them, which the memo of the query sees to, and what
    /// it reads must be equal in all.
    pub(super) fn may_be_repeated(&self, config: &FarcallConfig) -> bool {
        match self {
            Step::Call(CallColumn { call, guard, name: _ }) => {
                may_be_repeated(call, config) && !guard.as_ref().is_some_and(is_volatile)
            }
            Step::Filter(predicate) => !is_volatile(predicate),
        }
    }

    pub(super) fn map(self, f: impl Fn(Expr) -> Result<Expr>) -> Result<Self> {
        Ok(match self {
            Step::Call(CallColumn { call, guard, name }) => {
                Step::Call(CallColumn { call: f(call)?, guard: guard.map(f).transpose()?, name })
            }
            Step::Filter(predicate) => Step::Filter(f(predicate)?),
        })
    }
}

impl Chain {
    /// Takes apart what stands at a node, with filters on calls or down to the first of them.
    pub(super) fn below(plan: &Arc<LogicalPlan>, filters: bool) -> Result<Self> {
        Self::take(plan, Reach { filters, through: None })
    }

    /// Takes apart what stands at a node, filters included, and goes on below nodes that drop no row.
    pub(super) fn through(plan: &Arc<LogicalPlan>, config: &FarcallConfig) -> Result<Self> {
        Self::take(plan, Reach { filters: true, through: Some(config) })
    }

    fn take(plan: &Arc<LogicalPlan>, reach: Reach<'_>) -> Result<Self> {
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
                let chain = Self::take(&projection.input, reach)?;
                let exprs: Vec<Expr> = projection.expr.iter().cloned().map(unalias).collect();
                let outputs = chain.write_all(&exprs, projection.input.schema())?;
                Ok(Self { outputs, ..chain })
            }
            LogicalPlan::SubqueryAlias(alias) => Self::take(&alias.input, reach),
            LogicalPlan::Filter(filter) if reach.filters => {
                let mut chain = Self::take(&filter.input, reach)?;
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
                let Some(calc) = AsyncCalc::find(plan_below) else {
                    let chain = match reach.through {
                        Some(config) => rise::through(plan_below, config)?,
                        None => None,
                    };
                    return Ok(chain.unwrap_or_else(end));
                };
                let mut chain = Self::take(calc.input(), reach)?;
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

    /// Says whether rows of the run are dropped by what calls answered.
    pub(super) fn has_filter(&self) -> bool {
        self.steps.iter().any(Step::is_filter)
    }

    /// Returns what the run stands on.
    pub(super) fn base(&self) -> &Arc<LogicalPlan> {
        &self.base
    }

    pub(super) fn results(&self) -> impl Iterator<Item = &String> {
        self.steps.iter().filter_map(|step| match step {
            Step::Call(column) => Some(&column.name),
            Step::Filter(_) => None,
        })
    }

    /// Gives the columns of the base that a schema has as well new names, so that both can be joined.
    ///
    /// An alias between the run and the schema told them apart, and is dissolved with the run.
    pub(super) fn apart_from(self, schema: &DFSchema, names: &mut Names) -> Result<Self> {
        if self.steps.is_empty() {
            return Ok(self);
        }
        let Self { outputs, steps, base } = self;
        let mut renamed: HashMap<Column, Expr> = HashMap::new();
        let mut exprs = Vec::new();
        for (qualifier, field) in base.schema().iter() {
            let column = Column::from((qualifier, field));
            let expr = Expr::Column(column.clone());
            if !clashes(qualifier, field.name(), schema) {
                exprs.push(expr);
                continue;
            }
            let name = names.next();
            renamed.insert(column, ident(name.as_str()));
            exprs.push(expr.alias(name));
        }
        if renamed.is_empty() {
            return Ok(Self { outputs, steps, base });
        }
        let rename = |expr: Expr| {
            expr.transform_up(|part| match &part {
                Expr::Column(column) => match renamed.get(column) {
                    Some(name) => Ok(Transformed::yes(name.clone())),
                    None => Ok(Transformed::no(part)),
                },
                _ => Ok(Transformed::no(part)),
            })
            .data()
        };
        Ok(Self {
            outputs: outputs.into_iter().map(rename).collect::<Result<_>>()?,
            steps: steps.into_iter().map(|step| step.map(rename)).collect::<Result<_>>()?,
            base: Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, base)?)),
        })
    }

    /// Adds a column to the base that is TRUE, and NULL where an outer join has no row of this side.
    pub(super) fn flagged(self, present: &str) -> Result<Self> {
        if self.steps.is_empty() {
            return Ok(self);
        }
        let flag = Expr::Literal(ScalarValue::Boolean(Some(true)), None).alias(present);
        let exprs = columns(self.base.schema()).chain([flag]).collect();
        let base = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, self.base)?));
        Ok(Self { base, ..self })
    }

    /// Writes an expression over the run's top in the columns of its base and the results.
    pub(super) fn write(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
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

    pub(super) fn write_all(&self, exprs: &[Expr], schema: &DFSchema) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.write(expr, schema)).collect()
    }

    /// Returns the results that expressions need, directly or through a call that reads another.
    pub(super) fn needed(&self, read: &[Expr]) -> HashSet<String> {
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

    /// Divides the run into the input of a node, with the steps that it needs, and those that may wait.
    ///
    /// Returns `None` if all are needed, or may not wait.
    pub(super) fn split(
        self,
        read: &[Expr],
        may_wait: impl Fn(&Step) -> bool,
    ) -> Result<Option<(Arc<LogicalPlan>, Above)>> {
        let results: HashSet<String> = self.results().cloned().collect();
        let mut needed = self.needed(read);
        let (mut below, mut above) = (Vec::new(), Vec::new());
        // From the top down, so that what stays below is known before what it reads.
        for step in self.steps.into_iter().rev() {
            let stays = match &step {
                Step::Call(column) => needed.contains(&column.name) || !may_wait(&step),
                // A filter stays below for the calls that are made after it, and where all it reads
                // stays: there it saves the node rows.
                Step::Filter(_) => {
                    !below.is_empty()
                        || !may_wait(&step)
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
            return Ok(None);
        }
        below.reverse();
        above.reverse();
        Ok(Some((stack(self.base, below)?, Above { steps: above, outputs: self.outputs })))
    }
}

/// The part of a run that waits for a node, and the columns that the node had from the run.
pub(super) struct Above {
    steps: Vec<Step>,
    outputs: Vec<Expr>,
}

impl Above {
    /// The part of a run that is not divided: nothing waits.
    pub(super) fn nothing(schema: &DFSchemaRef) -> Self {
        Self { steps: Vec::new(), outputs: columns(schema).collect() }
    }

    /// Restricts the part to rows in which its side is there, by the column that says so.
    ///
    /// Where it is missing, columns are NULL by themselves; what is computed from them is made NULL.
    pub(super) fn where_present(self, present: &str) -> Self {
        let is_present = is_true(ident(present));
        let steps = self.steps.into_iter().map(|step| match step {
            Step::Call(CallColumn { call, guard, name }) => {
                let guard = Guard::from_expr(guard).and(is_present.clone()).into_expr();
                Step::Call(CallColumn { call, guard, name })
            }
            step => step,
        });
        let outputs = self.outputs.into_iter().map(|output| match output {
            Expr::Column(_) => output,
            output => {
                let branch = (Box::new(is_present.clone()), Box::new(output));
                Expr::Case(Case::new(None, vec![branch], None))
            }
        });
        Self { steps: steps.collect(), outputs: outputs.collect() }
    }

    /// Combines what waits of both sides of a join.
    ///
    /// Filters come first, so that a call that no filter reads is made for what both sides leave.
    pub(super) fn with(self, other: Self) -> Self {
        let parts = [self, other].map(|Self { mut steps, outputs }| {
            let last = steps.iter().rposition(Step::is_filter);
            let rest = steps.split_off(last.map_or(0, |last| last + 1));
            (steps, rest, outputs)
        });
        let [(mut steps, rest, mut outputs), (more, more_rest, more_outputs)] = parts;
        for part in [more, rest, more_rest] {
            steps.extend(part);
        }
        outputs.extend(more_outputs);
        Self { steps, outputs }
    }

    /// Makes the calls on the pairs of a join, of which no filter may drop one.
    ///
    /// Returns the pairs with the results, whether the side is there and passes the filters, and the
    /// columns that are left to compute. A call after a filter is guarded by it instead.
    pub(super) fn on_pairs(
        self,
        pairs: LogicalPlan,
        present: &str,
    ) -> Result<(Arc<LogicalPlan>, Expr, Self)> {
        let Self { steps, outputs } = self.where_present(present);
        let mut matches = is_true(ident(present));
        let mut calls = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                Step::Call(CallColumn { call, guard, name }) => {
                    let guard = Guard::from_expr(guard).and(matches.clone()).into_expr();
                    calls.push(Step::Call(CallColumn { call, guard, name }));
                }
                Step::Filter(predicate) => matches = and(matches, is_true(predicate)),
            }
        }
        Ok((stack(Arc::new(pairs), calls)?, matches, Self { steps: Vec::new(), outputs }))
    }

    /// Says whether rows wait to be dropped by what calls will answer.
    pub(super) fn has_filter(&self) -> bool {
        self.steps.iter().any(Step::is_filter)
    }

    /// Returns the columns that the part reads.
    pub(super) fn read_columns(&self) -> HashSet<&Column> {
        let exprs = self.steps.iter().flat_map(Step::exprs).chain(&self.outputs);
        exprs.flat_map(Expr::column_refs).collect()
    }

    /// Returns the columns that the node had from the run.
    pub(super) fn outputs(&self) -> &[Expr] {
        &self.outputs
    }

    /// The same steps, with other columns to be made of them.
    pub(super) fn with_outputs(self, outputs: Vec<Expr>) -> Self {
        Self { outputs, ..self }
    }

    /// Returns the steps, and the columns that the node had from the run.
    pub(super) fn into_parts(self) -> (Vec<Step>, Vec<Expr>) {
        (self.steps, self.outputs)
    }

    /// Says whether nothing waits.
    pub(super) fn is_nothing(&self) -> bool {
        self.steps.is_empty()
    }

    /// Puts the part above the node, with a projection on top that restores the schema.
    pub(super) fn over(self, node: LogicalPlan, schema: DFSchemaRef) -> Result<LogicalPlan> {
        let Self { steps, outputs } = self;
        let plan = stack(Arc::new(node), steps)?;
        let exprs = schema
            .iter()
            .zip(outputs)
            .map(|((relation, field), expr)| {
                let same = matches!(&expr, Expr::Column(column)
                    if column.relation.as_ref() == relation && column.name == *field.name());
                if same { expr } else { expr.alias_qualified(relation.cloned(), field.name()) }
            })
            .collect();
        Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, plan, schema)?))
    }
}

/// Says whether a column could be taken for one of the schema's.
pub(super) fn clashes(qualifier: Option<&TableReference>, name: &str, schema: &DFSchema) -> bool {
    schema.iter().any(|(other, field)| {
        field.name() == name && (qualifier == other || qualifier.is_none() || other.is_none())
    })
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
