use std::any::Any;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::DefaultTableSource;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion_common::internal_err;
use datafusion_expr::{Expr, TableSource, TableType};
use datafusion_optimizer::{Optimizer, OptimizerContext};
use farcall_udf::{AsyncBatchLookupFunction, LookupProvider, LookupQuery, LookupTable};

use super::*;
use crate::lookup::LookupSource;
use crate::testing::session;
use crate::{check_lookups, optimizer_rules_with_lookups};

#[test]
fn an_inner_join_looks_its_key_up() {
    insta::assert_snapshot!(optimized("SELECT t.x, u.name FROM t JOIN users u ON t.k = u.id"), @r"
    Projection: t.x, u.name
      AsyncLookupJoin: Inner users found=__async_0 columns=[u.id, u.name]
        AsyncCalc: users[id, name](id = t.k) AS __async_0
          TableScan: t projection=[x, k]
    ");
}

#[test]
fn conditions_are_sorted_into_guard_filter_and_match() {
    insta::assert_snapshot!(optimized(
        "SELECT t.x, u.name FROM t LEFT JOIN users u \
         ON t.k = u.id AND t.a > 1 AND u.id < 9 AND u.z = 5 AND u.z < t.x"
    ), @r"
    Projection: t.x, u.name
      AsyncLookupJoin: Left users found=__async_0 columns=[u.id, u.name, u.z] filter=u.z < t.x
        AsyncCalc: users[id, name, z WHERE z = Int64(5)](id = t.k) AS __async_0 WHEN t.k < Int64(9) AND t.a > Int64(1)
          TableScan: t projection=[x, k, a]
    ");
}

#[test]
fn sides_are_swapped_and_what_the_side_computes_is_computed_above() {
    insta::assert_snapshot!(optimized(
        "SELECT * FROM (SELECT upper(name) AS n, id, 7 AS seven FROM users) u \
         RIGHT JOIN (SELECT k, x FROM t) t ON t.k = u.id"
    ), @r"
    Projection: CASE WHEN __common_expr_1 THEN upper(__async_1) END AS n, u.id, CASE WHEN __common_expr_1 THEN Int64(7) END AS seven, t.k, t.x
      Projection: u.id IS NOT NULL AS __common_expr_1, t.k, t.x, u.id, __async_1
        AsyncLookupJoin: Left users found=__async_0 columns=[u.id, __async_1]
          AsyncCalc: users[id, name](id = t.k) AS __async_0
            SubqueryAlias: t
              Projection: t.k, t.x
                TableScan: t projection=[x, k]
    ");
}

#[test]
fn semi_and_anti_joins_ask_whether_the_key_is_there() {
    insta::assert_snapshot!(optimized(
        "SELECT x FROM t WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = t.k) \
         AND NOT EXISTS (SELECT 1 FROM users v WHERE v.id = t.x AND v.z > t.a)"
    ), @r"
    Projection: t.x
      AsyncLookupJoin: Anti users found=__async_2 filter=__async_3 > t.a
        AsyncCalc: users[z](id = t.x) AS __async_2
          Projection: t.x, t.a
            AsyncLookupJoin: Semi users found=__async_0
              AsyncCalc: users[id](id = t.k) AS __async_0
                TableScan: t projection=[x, k, a]
    ");
}

#[test]
fn keys_and_conditions_that_call_are_calls_below_and_above() {
    insta::assert_snapshot!(optimized(
        "SELECT t.x, u.name FROM t JOIN users u ON f(t.x) = u.id AND p2(t.x, u.z)"
    ), @r"
    Projection: t.x, u.name
      Filter: __async_2
        Projection: t.x, u.name, __async_2
          AsyncCalc: p2(t.x, u.z) AS __async_2
            AsyncLookupJoin: Inner users found=__async_1 columns=[u.id, u.name, u.z]
              AsyncCalc: users[id, name, z](id = __async_0) AS __async_1
                AsyncCalc: f(t.x) AS __async_0
                  TableScan: t projection=[x]
    ");
}

#[test]
fn a_narrower_key_is_cast_and_what_it_cannot_hold_is_not_asked_for() {
    insta::assert_snapshot!(optimized("SELECT t.x, n.v FROM t JOIN narrow n ON t.x = n.id"), @r"
    Projection: t.x, n.v
      AsyncLookupJoin: Inner narrow found=__async_0 columns=[n.id, n.v]
        Projection: t.x, __async_0
          AsyncCalc: narrow[id, v](id = __async_1) AS __async_0
            Projection: t.x, TRY_CAST(t.x AS Int32) AS __async_1
              TableScan: t projection=[x]
    ");
}

#[test]
fn declines_what_is_no_lookup_table() {
    assert_eq!(after("SELECT t.x FROM t JOIN b ON t.k = b.k"), None);
}

#[test]
fn a_table_that_can_be_scanned_is_where_it_cannot_be_looked_up() {
    let plan = optimized("SELECT t.x FROM t JOIN scannable s ON t.k = s.z");
    assert!(plan.contains("TableScan: scannable") && !plan.contains("AsyncLookupJoin"), "{plan}");
    let plan = optimized("SELECT t.x FROM t JOIN scannable s ON t.k = s.id");
    assert!(plan.contains("AsyncLookupJoin") && !plan.contains("TableScan: scannable"), "{plan}");
}

#[test]
fn a_join_that_was_not_planned_is_refused_with_its_reason() {
    let plan = plan("SELECT t.x FROM t JOIN users u ON t.k = u.z");
    let error = check_lookups(&plan, &Tables).unwrap_err().strip_backtrace();
    assert!(error.contains("lookup table users is only looked up by its key (id)"), "{error}");
}

/// Optimizes a query; the rule changes nothing when it runs again, nor does a second optimization.
fn optimized(sql: &str) -> String {
    let once = plan(sql);
    check_lookups(&once, &Tables).unwrap();
    let shown = once.display_indent().to_string();
    let again = rule().rewrite(once.clone(), &OptimizerContext::new()).unwrap();
    assert!(!again.transformed);
    let again = optimize(&context().state(), once);
    assert_eq!(again.display_indent().to_string(), shown);
    shown
}

fn plan(sql: &str) -> LogicalPlan {
    let state = context().state();
    let plan = block_on(state.create_logical_plan(sql)).unwrap();
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
    optimize(&state, plan.unwrap())
}

/// Returns the plan after the rule, `None` if it leaves the plan alone.
fn after(sql: &str) -> Option<String> {
    let rewritten = rule().rewrite(plan(sql), &OptimizerContext::new()).unwrap();
    rewritten.transformed.then(|| rewritten.data.display_indent().to_string())
}

fn rule() -> LookupJoin {
    LookupJoin::new(Arc::new(Tables), Arc::default())
}

fn optimize(state: &datafusion::execution::SessionState, plan: LogicalPlan) -> LogicalPlan {
    let mut rules = Optimizer::new().rules;
    rules.extend(optimizer_rules_with_lookups(Arc::new(Tables), Arc::default()));
    Optimizer::with_rules(rules).optimize(plan, state, |_, _| {}).unwrap()
}

fn context() -> SessionContext {
    let context = SessionContext::new_with_state(session());
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let text = Field::new("name", DataType::Utf8, true);
    let users = Arc::new(Schema::new(vec![number("id"), text, number("z")]));
    for (name, schema) in [
        ("users", Arc::clone(&users)),
        ("scannable", users),
        (
            "narrow",
            Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, true), number("v")])),
        ),
    ] {
        let table = Arc::new(Table { name: name.to_owned(), schema });
        context.register_table(name, table).unwrap();
    }
    context
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A lookup table by its first column, which takes conditions on `z` alone.
#[derive(Debug, Clone)]
struct Table {
    name: String,
    schema: SchemaRef,
}

#[derive(Debug)]
struct Tables;

impl LookupTables for Tables {
    fn find(&self, source: &dyn TableSource) -> Option<LookupSource> {
        let source = (source as &dyn Any).downcast_ref::<DefaultTableSource>()?;
        let table = source.table_provider.downcast_ref::<Table>()?;
        let lookup = LookupTable::try_new(&table.name, Arc::new(table.clone())).ok()?;
        Some(LookupSource { table: Arc::new(lookup), can_be_scanned: table.name == "scannable" })
    }
}

impl LookupProvider for Table {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn key(&self) -> &[usize] {
        &[0]
    }

    fn takes_filter(&self, filter: &Expr) -> bool {
        filter.column_refs().iter().all(|column| column.relation.is_none() && column.name == "z")
    }

    fn lookup(&self, _: &LookupQuery) -> Result<Arc<dyn AsyncBatchLookupFunction>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl AsyncBatchLookupFunction for Table {
    async fn lookup_batch(
        &self,
        _: farcall_udf::ArgBatch,
        _: &farcall_udf::CallContext,
    ) -> std::result::Result<farcall_udf::LookupAnswer, farcall_udf::CallError> {
        Ok(farcall_udf::LookupAnswer::new(vec![], vec![]))
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("planner tests read no table")
    }
}
