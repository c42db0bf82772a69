//! Tests of rules from SQL: a small catalogue, `assert_rule!`, `assert_plan!` and a synchronous twin.
//!
//! Tables: `t` (60 rows: x 0.., k = x % 10, n = x or NULL, a, b, txt, s = {a, b}) and `b` (10 rows: y,
//! k, z). Functions: f, g, h (number to number), p, q (number to boolean), p2 (two numbers to
//! boolean), ask (text to text), fs (number to struct), fv (volatile), send (has side effects).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;
use datafusion::functions_window::row_number::row_number;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::collect;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion_expr::expr::{Case, ScalarFunction, WindowFunction};
use datafusion_expr::{
    ColumnarValue, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Projection,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast, col, lit, not,
};
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use farcall_udf::{AsyncFunction, AsyncUdf, CallError, Declaration, Determinism, async_fn};

use crate::calls::{find_call, has_call, has_nested_call};
use crate::logical::{AsyncCalc, Resolve, ResolveKind, RowId};
use crate::{SiteCounter, analyzer_rules, check_calls, optimizer_rules};

/// Asserts that a rule changes the plan of a query, and how, or that it does not.
///
/// ```text
/// assert_rule!(SplitSort, fires, "SELECT x FROM t ORDER BY f(x)", @"the plan right after the rule");
/// assert_rule!(SplitSort, declines, "SELECT x FROM t ORDER BY x");
/// ```
/// In both cases the rule must change nothing when it runs again on its own result, and a second
/// optimization must change nothing in the final plan.
macro_rules! assert_rule {
    ($rule:expr, fires, $sql:expr, @$plan:literal) => {{
        let after = $crate::testing::after_rule(&$rule, $sql);
        let after = after.expect("the rule should have changed the plan, but did not");
        insta::assert_snapshot!(after, @$plan);
    }};
    ($rule:expr, declines, $sql:expr) => {{
        let after = $crate::testing::after_rule(&$rule, $sql);
        assert_eq!(after, None, "the rule should have left the plan alone");
    }};
}
pub(crate) use assert_rule;

/// Asserts the optimized plan of a query, in which every call stands in its own node.
///
/// The rows must be those of the synchronous twin as well.
macro_rules! assert_plan {
    ($sql:expr, @$plan:literal) => {{
        $crate::testing::assert_twin_rows($sql);
        insta::assert_snapshot!($crate::testing::optimized($sql).display_indent(), @$plan);
    }};
}
pub(crate) use assert_plan;

/// Asserts how a plan looks.
macro_rules! assert_snapshot_of {
    ($plan:expr, @$shown:literal) => {
        insta::assert_snapshot!($plan.display_indent(), @$shown)
    };
}
pub(crate) use assert_snapshot_of;

/// Plans and optimizes a query with all rules.
pub(crate) fn optimized(sql: &str) -> LogicalPlan {
    let plan = try_optimized(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    check_calls(&plan).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let again = reoptimize(&plan).unwrap();
    assert_eq!(
        again.display_indent().to_string(),
        plan.display_indent().to_string(),
        "a second optimization of {sql} changed the plan"
    );
    plan
}

/// Plans and optimizes a query with all rules, if it can be.
pub(crate) fn try_optimized(sql: &str) -> Result<LogicalPlan> {
    optimize(&session(), sql, optimizer_rules(), |_, _| {})
}

/// Returns the plan of a table of the catalogue.
pub(crate) fn table(name: &str) -> LogicalPlan {
    let plan = block_on(session().create_logical_plan(&format!("SELECT * FROM {name}"))).unwrap();
    plan.inputs()[0].clone()
}

/// Returns a call of a function of the catalogue, without a site.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let session = session();
    let udf = session.scalar_functions().get(name).unwrap();
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(udf), args))
}

/// Plans and analyzes a query.
pub(crate) fn analyzed(sql: &str) -> LogicalPlan {
    let session = session();
    let plan = block_on(session.create_logical_plan(sql)).unwrap();
    analyze(&session, plan)
}

/// Analyzes a plan.
pub(crate) fn analyze(session: &SessionState, plan: LogicalPlan) -> LogicalPlan {
    session.analyzer().execute_and_check(plan, session.config_options(), |_, _| {}).unwrap()
}

/// Returns the number of columns of a query's result.
pub(crate) fn columns(sql: &str) -> usize {
    block_on(session().create_logical_plan(sql)).unwrap().schema().fields().len()
}

/// Says whether every call of a plan stands at the top of a call column.
pub(crate) fn calls_stand_alone(plan: &LogicalPlan) -> bool {
    let mut alone = true;
    plan.apply_with_subqueries(|node| {
        match AsyncCalc::find(node) {
            Some(calc) => {
                alone &= !calc.calls().iter().any(|column| {
                    has_nested_call(&column.call) || column.guard.as_ref().is_some_and(has_call)
                })
            }
            None => alone &= !node.expressions().iter().any(has_call),
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    alone
}

/// Plans and optimizes a query without one rule.
pub(crate) fn optimized_without(rule: &str, sql: &str) -> Result<LogicalPlan> {
    let rules = optimizer_rules().into_iter().filter(|other| other.name() != rule).collect();
    optimize(&session(), sql, rules, |_, _| {})
}

/// Optimizes an optimized plan again.
pub(crate) fn reoptimize(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut rules = Optimizer::new().rules;
    rules.extend(optimizer_rules());
    Optimizer::with_rules(rules).optimize(plan.clone(), &session(), |_, _| {})
}

/// Returns the plan right after a rule changed it first, `None` if it never did.
pub(crate) fn after_rule(rule: &dyn OptimizerRule, sql: &str) -> Option<String> {
    optimized(sql);
    let last = Mutex::new(String::new());
    let after = Mutex::new(None);
    optimize(&session(), sql, optimizer_rules(), |plan, observed| {
        let shown = plan.display_indent().to_string();
        let before = std::mem::replace(&mut *last.lock().unwrap(), shown.clone());
        if observed.name() == rule.name() && before != shown {
            let again = rule.rewrite(plan.clone(), &OptimizerContext::new()).unwrap().data;
            assert_eq!(again.display_indent().to_string(), shown, "the rule is not idempotent");
            after.lock().unwrap().get_or_insert(shown);
        }
    })
    .unwrap();
    after.into_inner().unwrap()
}

fn optimize(
    session: &SessionState,
    sql: &str,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    observer: impl FnMut(&LogicalPlan, &dyn OptimizerRule),
) -> Result<LogicalPlan> {
    let plan = block_on(session.create_logical_plan(sql))?;
    let plan = session.analyzer().execute_and_check(plan, session.config_options(), |_, _| {})?;
    let mut all = Optimizer::new().rules;
    all.extend(rules);
    Optimizer::with_rules(all).optimize(plan, session, observer)
}

/// Asserts that a query gives the rows that it gives with synchronous functions.
pub(crate) fn assert_twin_rows(sql: &str) {
    let expected = run(&twin(), sql);
    let (got, _) = run_calls(sql);
    assert_eq!(got, expected, "rows of {sql}");
}

/// Returns the rows of a query, sorted.
pub(crate) fn rows(sql: &str) -> Vec<String> {
    run_calls(sql).0
}

/// Returns the rows that a query gives with synchronous functions, sorted.
pub(crate) fn twin_rows(sql: &str) -> Vec<String> {
    run(&twin(), sql)
}

/// Returns how many rows each function was called on, as `f 60, g 6`.
pub(crate) fn calls(sql: &str) -> String {
    let (got, calls) = run_calls(sql);
    assert_eq!(got, run(&twin(), sql), "rows of {sql}");
    let calls: Vec<String> =
        calls.into_iter().map(|(name, rows)| format!("{name} {rows}")).collect();
    calls.join(", ")
}

/// Runs an optimized plan, an `AsyncCalc` being a projection of synchronous calls.
fn run_calls(sql: &str) -> (Vec<String>, BTreeMap<String, u64>) {
    let plan = optimized(sql);
    let counts = Counts::default();
    let plan = plan
        .transform_up_with_subqueries(|node| match AsyncCalc::find(&node) {
            Some(calc) => {
                let mut exprs: Vec<Expr> = calc
                    .input()
                    .schema()
                    .iter()
                    .map(|field| Expr::Column(Column::from(field)))
                    .collect();
                for column in calc.calls() {
                    let call = synchronous(&column.call, &counts);
                    let call = match column.guard.clone() {
                        Some(guard) => {
                            let branch = (Box::new(guard), Box::new(call));
                            Expr::Case(Case::new(None, vec![branch], None))
                        }
                        None => call,
                    };
                    exprs.push(call.alias(&column.name));
                }
                let projection = Projection::try_new(exprs, Arc::clone(calc.input()))?;
                Ok(Transformed::yes(LogicalPlan::Projection(projection)))
            }
            None => match (RowId::find(&node), Resolve::find(&node)) {
                (Some(row_id), _) => Ok(Transformed::yes(numbered(row_id)?)),
                (_, Some(resolve)) => Ok(Transformed::yes(resolved(resolve)?)),
                _ => Ok(Transformed::no(node)),
            },
        })
        .data()
        .unwrap();
    let session = twin();
    let rows = block_on(async {
        let plan =
            DefaultPhysicalPlanner::default().create_physical_plan(&plan, &session).await.unwrap();
        collect(plan, session.task_ctx()).await.unwrap()
    });
    let counts = counts.0.lock().unwrap().clone();
    (sorted(&rows), counts)
}

/// A `RowId` as a window function.
fn numbered(node: &RowId) -> Result<LogicalPlan> {
    let number = row_number().alias(node.column());
    LogicalPlanBuilder::from(node.input().as_ref().clone()).window([number])?.build()
}

/// A `Resolve` as window functions, a filter and a projection.
fn resolved(node: &Resolve) -> Result<LogicalPlan> {
    let id = Expr::Column(node.row_id().clone());
    let matched = Expr::Column(node.matched().clone());
    let any = WindowFunction::new(bool_or_udaf(), vec![matched.clone()]);
    let any = Expr::from(any).partition_by(vec![id.clone()]).build()?.alias("any_match");
    let first = row_number().partition_by(vec![id]).build()?.alias("candidate");
    let first_one = col("candidate").eq(lit(1_u64));
    let kept = match node.kind() {
        ResolveKind::Outer => matched.clone().or(not(col("any_match")).and(first_one)),
        ResolveKind::Semi => col("any_match").and(first_one),
        ResolveKind::Anti => not(col("any_match")).and(first_one),
        ResolveKind::Mark(..) => first_one,
    };
    let outputs = node.outputs().iter().map(|output| {
        let column = Expr::Column(output.column.clone());
        if !output.nulled {
            return column;
        }
        let name = output.column.clone();
        let branch = (Box::new(matched.clone()), Box::new(column));
        Expr::Case(Case::new(None, vec![branch], None)).alias_qualified(name.relation, name.name)
    });
    let mark = match node.kind() {
        ResolveKind::Mark(qualifier, name) => {
            Some(col("any_match").alias_qualified(qualifier.clone(), name))
        }
        _ => None,
    };
    LogicalPlanBuilder::from(node.input().as_ref().clone())
        .window([any, first])?
        .filter(kept)?
        .project(outputs.chain(mark))?
        .build()
}

fn run(session: &SessionState, sql: &str) -> Vec<String> {
    let rows = block_on(async {
        let plan = session.create_logical_plan(sql).await.unwrap();
        let plan = session.create_physical_plan(&plan).await.unwrap();
        collect(plan, session.task_ctx()).await.unwrap()
    });
    sorted(&rows)
}

fn sorted(rows: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(rows).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('+'))
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A session with the analyzer rules and the async functions.
pub(crate) fn session() -> SessionState {
    let mut builder = builder();
    for rule in analyzer_rules(Arc::new(SiteCounter::default())) {
        builder = builder.with_analyzer_rule(rule);
    }
    let context = SessionContext::new_with_state(builder.build());
    tables(&context);
    for function in FUNCTIONS {
        let udf = AsyncUdf::new(scripted(function.declaration()));
        context.register_udf(udf.into_scalar_udf());
    }
    context.register_udf(AsyncScalarUDF::new(Arc::new(Foreign)).into_scalar_udf());
    context.state()
}

/// A function that was written for DataFusion's own async interface; it promises not to be NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Foreign;

impl ScalarUDFImpl for Foreign {
    fn name(&self) -> &str {
        "foreign_score"
    }

    fn signature(&self) -> &Signature {
        static SIGNATURE: std::sync::LazyLock<Signature> = std::sync::LazyLock::new(|| {
            Signature::exact(vec![DataType::Int64], Volatility::Immutable)
        });
        &SIGNATURE
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion_common::internal_err!("planner tests make no calls")
    }
}

impl AsyncScalarUDFImpl for Foreign {
    fn invoke_async_with_args<'a, 'b>(
        &'a self,
        _: ScalarFunctionArgs,
    ) -> Pin<Box<dyn Future<Output = Result<ColumnarValue>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async { datafusion_common::internal_err!("planner tests make no calls") })
    }
}

/// A session in which the same functions are synchronous.
fn twin() -> SessionState {
    let context = SessionContext::new_with_state(builder().build());
    tables(&context);
    for function in FUNCTIONS {
        context.register_udf(ScalarUDF::new_from_impl(Twin::new(*function, Counts::default())));
    }
    context.state()
}

fn builder() -> SessionStateBuilder {
    let config = SessionConfig::new().with_target_partitions(1).with_information_schema(true);
    // An `AsyncCalc` is run as a projection here, which these rules would move.
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let rules = rules.filter(|rule| !rule.name().contains("Pushdown")).collect();
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
}

fn tables(context: &SessionContext) {
    let numbers = |rows: i64, value: fn(i64) -> Option<i64>| -> ArrayRef {
        Arc::new((0..rows).map(value).collect::<Int64Array>())
    };
    let text: ArrayRef =
        Arc::new((0..60).map(|x| Some(format!("text {}", x % 7))).collect::<StringArray>());
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let a = numbers(60, |x| Some(x % 3));
    let s: ArrayRef = Arc::new(StructArray::new(fields, vec![a, Arc::clone(&text)], None));
    let t = RecordBatch::try_from_iter_with_nullable([
        ("x", numbers(60, Some), false),
        ("k", numbers(60, |x| Some(x % 10)), true),
        ("n", numbers(60, |x| (x % 2 == 1).then_some(x)), true),
        ("a", numbers(60, |x| Some(x % 4)), true),
        ("b", numbers(60, |x| Some(x % 5)), true),
        ("txt", text, true),
        ("s", s, true),
    ]);
    let b = RecordBatch::try_from_iter_with_nullable([
        ("y", numbers(10, Some), false),
        ("k", numbers(10, |y| Some(y % 5)), true),
        ("z", numbers(10, |y| (y != 3).then_some(2 * y)), true),
    ]);
    for (name, batch) in [("t", t.unwrap()), ("b", b.unwrap())] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
}

/// A function of the catalogue: SQL text of its synchronous meaning is kept in `eval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// The number plus this.
    Add(i64),
    /// Whether the number is a multiple of this; NULL for multiples of 13.
    Divides(i64),
    /// Whether the sum of two numbers is even.
    EvenSum,
    /// The text in capitals.
    Shout,
    /// A struct of the number and its text.
    Struct,
}

const FUNCTIONS: &[Function] = &[
    Function { name: "f", kind: Kind::Add(1) },
    Function { name: "g", kind: Kind::Add(2) },
    Function { name: "h", kind: Kind::Add(3) },
    Function { name: "fv", kind: Kind::Add(4) },
    Function { name: "send", kind: Kind::Add(5) },
    Function { name: "p", kind: Kind::Divides(2) },
    Function { name: "q", kind: Kind::Divides(3) },
    Function { name: "p2", kind: Kind::EvenSum },
    Function { name: "ask", kind: Kind::Shout },
    Function { name: "fs", kind: Kind::Struct },
];

impl Function {
    fn arg_types(self) -> Vec<DataType> {
        match self.kind {
            Kind::Add(_) | Kind::Divides(_) | Kind::Struct => vec![DataType::Int64],
            Kind::EvenSum => vec![DataType::Int64, DataType::Int64],
            Kind::Shout => vec![DataType::Utf8],
        }
    }

    fn return_type(self) -> DataType {
        match self.kind {
            Kind::Add(_) => DataType::Int64,
            Kind::Divides(_) | Kind::EvenSum => DataType::Boolean,
            Kind::Shout => DataType::Utf8,
            Kind::Struct => DataType::Struct(Fields::from(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("b", DataType::Utf8, true),
            ])),
        }
    }

    fn declaration(self) -> Declaration {
        let declaration = Declaration::new(self.name, self.arg_types(), self.return_type());
        match self.name {
            "fv" => declaration.with_determinism(Determinism::Volatile),
            "send" => declaration.with_side_effects(true),
            _ => declaration,
        }
    }

    /// Answers one row; NULL for NULL.
    fn eval(self, args: &[ScalarValue]) -> ScalarValue {
        let number = |index: usize| match &args[index] {
            ScalarValue::Int64(value) => *value,
            _ => None,
        };
        match self.kind {
            Kind::Add(by) => ScalarValue::Int64(number(0).map(|x| x + by)),
            Kind::Divides(by) => ScalarValue::Boolean(
                number(0).filter(|x| *x == 0 || x % 13 != 0).map(|x| x % by == 0),
            ),
            Kind::EvenSum => {
                ScalarValue::Boolean(number(0).zip(number(1)).map(|(x, y)| (x + y) % 2 == 0))
            }
            Kind::Shout => match &args[0] {
                ScalarValue::Utf8(text) => {
                    ScalarValue::Utf8(text.as_ref().map(|text| text.to_uppercase()))
                }
                _ => ScalarValue::Utf8(None),
            },
            Kind::Struct => {
                let DataType::Struct(fields) = self.return_type() else { unreachable!() };
                let a: ArrayRef = Arc::new(Int64Array::from(vec![number(0)]));
                let b: ArrayRef =
                    Arc::new(StringArray::from(vec![number(0).map(|x| x.to_string())]));
                ScalarValue::Struct(Arc::new(StructArray::new(fields, vec![a, b], None)))
            }
        }
    }
}

/// The async side; it is planned with and never called.
fn scripted(declaration: Declaration) -> AsyncFunction {
    async_fn("scripted", |x: i64| async move { Ok::<i64, CallError>(x) })
        .with_declaration(|_| declaration)
        .build()
}

/// How many rows each function was called on.
#[derive(Debug, Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

/// The synchronous side, which counts its rows.
#[derive(Debug, Clone)]
struct Twin {
    function: Function,
    signature: Signature,
    counts: Counts,
    id: u64,
}

impl Twin {
    fn new(function: Function, counts: Counts) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let volatility = match function.name {
            "fv" | "send" => Volatility::Volatile,
            _ => Volatility::Immutable,
        };
        let signature = Signature::exact(function.arg_types(), volatility);
        Self { function, signature, counts, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl PartialEq for Twin {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Twin {}

impl std::hash::Hash for Twin {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl ScalarUDFImpl for Twin {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.function.return_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        *self.counts.0.lock().unwrap().entry(self.function.name.to_owned()).or_default() +=
            rows as u64;
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let values = (0..rows).map(|row| {
            let args: Vec<ScalarValue> = arrays
                .iter()
                .map(|array| {
                    let row = if array.len() == 1 { 0 } else { row };
                    ScalarValue::try_from_array(array, row).unwrap()
                })
                .collect();
            self.function.eval(&args)
        });
        let values: Vec<ScalarValue> = values.collect();
        if values.is_empty() {
            let empty = arrow::array::new_empty_array(&self.function.return_type());
            return Ok(ColumnarValue::Array(empty));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(values)?))
    }
}

/// Replaces an async call by a counted synchronous one.
fn synchronous(call: &Expr, counts: &Counts) -> Expr {
    let name = find_call(call).unwrap().function().name();
    let function = FUNCTIONS.iter().find(|function| function.name == name).unwrap();
    let Expr::ScalarFunction(ScalarFunction { args, .. }) = call else { unreachable!() };
    let twin = ScalarUDF::new_from_impl(Twin::new(*function, counts.clone()));
    let args = args
        .iter()
        .zip(function.arg_types())
        .map(|(arg, data_type)| cast(arg.clone(), data_type))
        .collect();
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(twin), args))
}
