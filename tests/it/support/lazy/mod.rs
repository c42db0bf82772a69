//! The lazy oracle: queries evaluated row at a time and by need, remembering what was answered.
//!
//! It says which calls a query needs, and its rows are a second oracle. It reads the *unoptimized*
//! plan of the plain twin session and knows nothing of farcall's planner.
//!
//! # What lazy means here
//!
//! * A value is computed when it is read and at most once a row. A column that nobody reads costs
//!   nothing, and a column of a row that is dropped costs nothing.
//! * CASE, COALESCE, NVL, NVL2, AND, OR, IN lists, FILTER and conditions evaluate what decides, in
//!   three-valued logic. Where operands may be tried in any order (AND, OR, IN lists), those
//!   without calls come first, then those with calls as written.
//! * A condition with a call does not decide at once: the row carries it as *pending*, so that all
//!   cheap conditions above it are tested first. Pending conditions are tested, each on rows that
//!   passed the ones before, when somebody must know that the row exists: a sort by a call, an
//!   aggregate, a window, DISTINCT by a call, a LIMIT, the decision of an outer join, the output.
//! * Aggregates are computed for groups that are read, windows for partitions that are read.
//! * OFFSET and LIMIT above a sort test the pending conditions of all rows, but compute columns only
//!   of the rows they leave.
//! * A deterministic function that was asked the same before answers from memory. Strict functions
//!   answer NULL for NULL without a call. Each evaluation of a volatile function is a call.
//!
//! # Where several answers are right
//!
//! * Conditions of equal cost, and operands of AND and OR that all have calls, may be tested in any
//!   order: all orders (up to 24) are tried, each for the whole query.
//! * Semi joins (EXISTS, IN, ANY, INTERSECT) may stop at the first match or not.
//! * A LIMIT below which nothing is sorted may take any rows; the oracle takes the first.
//!
//! [`Answer::calls`] is the set of counts that these choices give; [`Answer::allows`] takes all that
//! lies between, since a query may choose differently in different places.

use std::cell::{Cell as StdCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue, not_impl_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{DdlStatement, DmlStatement, LogicalPlan, Statement};
use datafusion::prelude::SessionContext;

use crate::support::twins::{Entry, catalogue, lines};

mod aggregate;
mod expr;
mod join;
mod operators;
mod plan;
mod scalar;
mod subquery;
#[cfg(test)]
mod tests;
mod value;
mod window;

use value::{Cell, Memo, Relation, Row};

/// Calls by function.
pub type Counts = BTreeMap<String, usize>;

/// What a query gives and needs.
#[derive(Debug)]
pub struct Answer {
    /// The rows as text, in the order of the query.
    pub rows: Vec<String>,
    /// The calls needed, one entry for each way that is right.
    pub calls: BTreeSet<Counts>,
    /// Whether the query says in which order its rows come.
    pub ordered: bool,
    /// Whether a limit takes any rows.
    pub arbitrary: bool,
}

impl Answer {
    /// Says whether these calls are what the query needs.
    ///
    /// Between the least and the most of the ways, function by function, also lie mixtures: one
    /// join stops at its match, another does not.
    pub fn allows(&self, made: &Counts) -> bool {
        self.calls.iter().flat_map(Counts::keys).chain(made.keys()).all(|name| {
            let (least, most) = self.bounds(name);
            (least..=most).contains(&made.get(name).copied().unwrap_or(0))
        })
    }

    /// Says whether some function was called more often than any way needs.
    pub fn exceeded(&self, made: &Counts) -> bool {
        made.iter().any(|(name, count)| *count > self.bounds(name).1)
    }

    /// Adds what a query after this one needs.
    pub fn then(self, next: Self) -> Self {
        let sum = |first: &Counts, second: &Counts| {
            let mut sum = first.clone();
            for (name, count) in second {
                *sum.entry(name.clone()).or_default() += count;
            }
            sum
        };
        let ways = self.calls.iter().flat_map(|first| next.calls.iter().map(|n| sum(first, n)));
        Self { calls: ways.collect(), ..next }
    }

    fn bounds(&self, name: &str) -> (usize, usize) {
        let counts: Vec<usize> =
            self.calls.iter().map(|way| way.get(name).copied().unwrap_or(0)).collect();
        (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0))
    }
}

/// What is left open where several answers are right.
#[derive(Debug, Clone, Copy)]
struct Choice {
    /// Which permutation of equally dear conditions is tried.
    order: usize,
    /// Whether a semi join stops at its first match.
    stop: bool,
}

/// The work that one query may take before it is given up.
const MAX_STEPS: usize = 20_000_000;

/// One evaluation.
struct Run<'a> {
    plain: &'a SessionContext,
    functions: HashMap<&'static str, Entry>,
    tables: HashMap<String, Vec<Row<'a>>>,
    choice: Choice,
    memo: RefCell<Memo>,
    /// Which expressions cost a call, by address: plans do not move during a run.
    dear: RefCell<HashMap<usize, bool>>,
    subqueries: RefCell<HashMap<usize, Rc<Relation<'a>>>>,
    work_tables: RefCell<HashMap<String, Vec<Row<'a>>>>,
    most_pending: StdCell<usize>,
    stops: StdCell<bool>,
    arbitrary: StdCell<bool>,
    steps: StdCell<usize>,
}

/// Evaluates a query of the plain session.
///
/// # Errors
/// Errors of planning and evaluation, "not implemented" for what the oracle does not know.
pub async fn evaluate(plain: &SessionContext, sql: &str) -> Result<Answer> {
    let state = plain.state();
    let mut plan = state.create_logical_plan(sql).await?;
    if let LogicalPlan::Statement(Statement::Execute(_)) = plan {
        plan = plain.sql(sql).await?.into_unoptimized_plan();
    }
    evaluate_plan(plain, plan).await
}

/// Evaluates an unoptimized plan of the plain session.
///
/// # Errors
/// As [`evaluate`].
pub async fn evaluate_plan(plain: &SessionContext, plan: LogicalPlan) -> Result<Answer> {
    let state = plain.state();
    let plan = query_of(plan)?;
    let options = state.config_options();
    let plan = state.analyzer().execute_and_check(plan, options, |_, _| {})?;
    let tables = load_tables(plain, &plan).await?;
    let mut answer =
        Answer { rows: vec![], calls: BTreeSet::new(), ordered: false, arbitrary: false };
    let mut choices = vec![Choice { order: 0, stop: false }];
    let mut first = true;
    while let Some(choice) = choices.pop() {
        let run = Rc::new(Run::new(plain, &tables, choice));
        let rows = run.output(&plan);
        // Cached subqueries hold closures that hold the run.
        run.subqueries.borrow_mut().clear();
        run.work_tables.borrow_mut().clear();
        let (rows, calls) = (rows?, run.memo.take().calls);
        answer.calls.insert(calls);
        if first {
            first = false;
            answer.rows = render(&plan, rows)?;
            answer.ordered = is_ordered(&plan);
            answer.arbitrary = run.arbitrary.get();
            let orders = [1, 1, 2, 6, 24][run.most_pending.get().min(4)];
            let stops: &[bool] = if run.stops.get() { &[false, true] } else { &[false] };
            for order in 0..orders {
                choices.extend(stops.iter().map(|stop| Choice { order, stop: *stop }));
            }
        }
    }
    Ok(answer)
}

/// Returns the query whose rows a statement writes.
fn query_of(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Dml(DmlStatement { input, .. }) => Arc::unwrap_or_clone(input),
        LogicalPlan::Copy(copy) => Arc::unwrap_or_clone(copy.input),
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
            Arc::unwrap_or_clone(table.input)
        }
        LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => {
            return not_impl_err!("the lazy oracle evaluates queries");
        }
        plan => plan,
    })
}

type Tables = HashMap<String, Vec<Vec<ScalarValue>>>;

async fn load_tables(plain: &SessionContext, plan: &LogicalPlan) -> Result<Tables> {
    let mut sources = HashMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            sources.insert(scan.table_name.to_string(), provider);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut tables = HashMap::new();
    for (name, provider) in sources {
        // The work table of a recursive query is no table; the query fills it.
        let Ok(frame) = plain.read_table(provider) else { continue };
        let Ok(batches) = frame.collect().await else { continue };
        tables.insert(name, rows_of(&batches)?);
    }
    Ok(tables)
}

fn rows_of(batches: &[RecordBatch]) -> Result<Vec<Vec<ScalarValue>>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|c| ScalarValue::try_from_array(c, row));
            rows.push(values.collect::<Result<_>>()?);
        }
    }
    Ok(rows)
}

/// Says whether the query itself, not one inside it, asks for an order.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_ordered(&projection.input),
        LogicalPlan::Limit(limit) => is_ordered(&limit.input),
        _ => false,
    }
}

fn render(plan: &LogicalPlan, rows: Vec<Vec<ScalarValue>>) -> Result<Vec<String>> {
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let fields = plan.schema().fields();
    let mut columns = vec![Vec::with_capacity(rows.len()); fields.len()];
    for row in rows {
        for ((column, value), field) in columns.iter_mut().zip(row).zip(fields) {
            column.push(value.cast_to(field.data_type())?);
        }
    }
    let arrays = columns.into_iter().map(ScalarValue::iter_to_array).collect::<Result<Vec<_>>>()?;
    let fields: Vec<Field> = fields
        .iter()
        .zip(&arrays)
        .map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true))
        .collect();
    Ok(lines(&[RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?]))
}

impl<'a> Run<'a> {
    fn new(plain: &'a SessionContext, tables: &Tables, choice: Choice) -> Self {
        let row = |row: &Vec<ScalarValue>| {
            Row::new(row.iter().map(|value| value::Lazy::known(value.clone())).collect())
        };
        let tables =
            tables.iter().map(|(name, rows)| (name.clone(), rows.iter().map(row).collect()));
        Self {
            plain,
            functions: catalogue().into_iter().map(|entry| (entry.name, entry)).collect(),
            tables: tables.collect(),
            choice,
            memo: RefCell::default(),
            dear: RefCell::default(),
            subqueries: RefCell::default(),
            work_tables: RefCell::default(),
            most_pending: StdCell::new(0),
            stops: StdCell::new(false),
            arbitrary: StdCell::new(false),
            steps: StdCell::new(0),
        }
    }

    /// Evaluates what the user sees: every column of every row.
    fn output(self: &Rc<Self>, plan: &'a LogicalPlan) -> Result<Vec<Vec<ScalarValue>>> {
        let relation = self.relation(plan, None)?;
        let mut rows = Vec::new();
        for row in &relation.rows {
            if self.exists(row)? {
                rows.push(row.columns.iter().map(|cell| cell.get()).collect::<Result<_>>()?);
            }
        }
        Ok(rows)
    }

    /// Says whether a row exists: tests its pending conditions.
    fn exists(&self, row: &Row<'a>) -> Result<bool> {
        self.all_hold(&row.pending)
    }

    /// Tests conditions of equal cost, in the order that is being tried.
    fn all_hold(&self, conditions: &[Cell<'a>]) -> Result<bool> {
        for condition in self.in_order(conditions.iter().collect()) {
            if !condition.holds()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns what costs the same in the order that is being tried.
    fn in_order<T>(&self, mut rest: Vec<T>) -> Vec<T> {
        self.most_pending.set(self.most_pending.get().max(rest.len()));
        let mut order = self.choice.order;
        let mut ordered = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let choices = rest.len();
            ordered.push(rest.remove(order % choices));
            order /= choices;
        }
        ordered
    }

    /// Drops the rows that do not exist.
    fn settle(&self, rows: Vec<Row<'a>>) -> Result<Vec<Row<'a>>> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            if self.exists(&row)? {
                kept.push(row.without_pending());
            }
        }
        Ok(kept)
    }

    fn step(&self) -> Result<()> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MAX_STEPS {
            return not_impl_err!("the lazy oracle gives up after {MAX_STEPS} steps");
        }
        Ok(())
    }
}
