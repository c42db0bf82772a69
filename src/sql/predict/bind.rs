//! [`BindModels`] replaces PREDICT by the function of the model it names.

use std::sync::Arc;

use datafusion::arrow::compute::can_cast_types;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::catalog::sql_text::sql_type;
use crate::sql::predict::udf::PredictUdf;

/// Replaces `__predict('m', 0, a)` by a call of m's own function, arguments cast to m's input types.
///
/// ```text
/// Before: Projection: __predict('m', 0, t.a)          (looked up by name)
/// After:  Projection: m(CAST(t.a AS Utf8View))        (the function itself)
/// ```
/// The column is called `PREDICT(m, t.a)` before and after. A statement is bound as soon as it is planned, so that its plan keeps
/// the model it was planned with; the rule binds what comes from views, which look their models up
/// when they are used. It runs before all other analyzer rules.
#[derive(Debug, Default)]
pub struct BindModels;

impl AnalyzerRule for BindModels {
    fn name(&self) -> &str {
        "bind_models"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        bind_models(plan)
    }
}

/// Binds every PREDICT of a plan, in subqueries too.
pub fn bind_models(plan: LogicalPlan) -> Result<LogicalPlan> {
    // Looking is cheaper than rewriting, and most plans hold no PREDICT.
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = holds_predict(node)?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(plan);
    }
    let mut retyped = false;
    let bound = plan.transform_up_with_subqueries(|node| bind_node(node, &mut retyped))?;
    if !retyped {
        return Ok(bound.data);
    }
    // A view was planned with a model that has another type by now: what stands above it learns
    // the type from below.
    Ok(bound
        .data
        .transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?)))?
        .data)
}

fn bind_node(node: LogicalPlan, retyped: &mut bool) -> Result<Transformed<LogicalPlan>> {
    if !holds_predict(&node)? {
        return Ok(Transformed::no(node));
    }
    let before = Arc::clone(node.schema());
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let bound = node
        .map_expressions(|expr| {
            let name = names.save(&expr);
            let bound = expr.transform_up(|expr| bind_call(expr, &schema))?;
            Ok(bound.update_data(|expr| name.restore(expr)))
        })?
        .data
        .recompute_schema()?;
    let types = |schema: &DFSchema| -> Vec<_> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    *retyped |= types(&before) != types(bound.schema());
    Ok(Transformed::yes(bound))
}

/// Says whether an expression is a PREDICT that is not bound yet.
pub(crate) fn is_predict(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if PredictUdf::find(&call.func).is_some())
}

fn holds_predict(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found = expr.exists(|part| Ok(is_predict(part)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn bind_call(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let Some(predict) = PredictUdf::find(&func) else {
        return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
    };
    let (model, options, leading) = predict.target(&args)?;
    let args: Vec<Expr> = args.into_iter().skip(leading).collect();
    // The model may be another than the one that a view was planned with.
    model.check_arity(args.len())?;
    let args = args
        .into_iter()
        .zip(model.input())
        .map(|(arg, column)| cast(arg, column, model.name(), schema))
        .collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(model.call(args, options)?))
}

fn cast(arg: Expr, column: &FieldRef, model: &str, schema: &DFSchema) -> Result<Expr> {
    let wanted = column.data_type();
    // An expression whose type is not known here (a parameter, say) is cast like any other.
    if let Ok(got) = arg.get_type(schema) {
        if got == *wanted {
            return Ok(arg);
        }
        if !can_cast_types(&got, wanted) {
            return plan_err!(
                "PREDICT({model}, ..): input {} is {}, an argument of type {} cannot be cast to it",
                column.name(),
                sql_type(wanted),
                sql_type(&got)
            );
        }
    }
    Ok(Expr::Cast(Cast::new(Box::new(arg), wanted.clone())))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::dataframe::DataFrame;
    use farcall_udf::{AsyncFunction, AsyncUdf};

    use super::*;
    use crate::catalog::IfExists;
    use crate::catalog::testing::{TestProvider, field, spec, with};
    use crate::session::FarcallSession;

    #[tokio::test]
    async fn a_call_is_bound_with_its_arguments_cast_and_keeps_its_name() {
        let session = session().await;
        let plan = plan(&session, "SELECT PREDICT(m, n), PREDICT(m, s) AS l FROM t").await;
        assert_eq!(
            plan.to_string(),
            "Projection: m(CAST(t.n AS Utf8View)), m(t.s) AS l\n  TableScan: t"
        );
        assert_eq!(plan.schema().field(0).name(), "PREDICT(m, t.n)");
        assert_eq!(plan.schema().field(0).data_type(), &DataType::Utf8View);
        assert!(plan.schema().field(0).is_nullable());
    }

    #[tokio::test]
    async fn options_of_the_call_stand_in_its_name() {
        let session = session().await;
        let sql = "SELECT PREDICT(m, s, on_error => 'null'), PREDICT(m, s) FROM t";
        let plan = plan(&session, sql).await;
        assert_eq!(plan.schema().field(0).name(), "PREDICT(m, t.s, on_error => 'null')");
        assert_eq!(calls(&plan)[0].call_options().entries(), [("on_error", "null".to_owned())]);
        assert!(calls(&plan)[1].call_options().entries().is_empty());
    }

    #[tokio::test]
    async fn every_place_of_a_plan_is_reached() {
        let session = session().await;
        for (sql, number) in [
            ("SELECT PREDICT(m, s) FROM t WHERE PREDICT(m, s) = 'x'", 2),
            ("SELECT PREDICT(m, PREDICT(m, s)) FROM t", 2),
            ("SELECT PREDICT(m, s), count(*) FROM t GROUP BY PREDICT(m, s)", 1),
            ("SELECT s FROM t GROUP BY s HAVING PREDICT(m, s) = 'x'", 1),
            ("SELECT s FROM t ORDER BY PREDICT(m, s)", 1),
            ("SELECT max(PREDICT(m, s)) FROM t", 1),
            ("SELECT count(*) FILTER (WHERE PREDICT(m, s) = 'x') FROM t", 1),
            ("SELECT sum(n) OVER (PARTITION BY PREDICT(m, s)) FROM t", 1),
            ("SELECT t.s FROM t JOIN t AS u ON PREDICT(m, t.s) = u.s", 1),
            ("SELECT s FROM t WHERE s IN (SELECT PREDICT(m, s) FROM t)", 1),
            ("SELECT s FROM t WHERE EXISTS (SELECT 1 FROM t AS u WHERE PREDICT(m, u.s) = t.s)", 1),
            ("SELECT (SELECT max(PREDICT(m, s)) FROM t)", 1),
            ("WITH c AS (SELECT PREDICT(m, s) AS l FROM t) SELECT * FROM c", 1),
            ("SELECT s FROM t UNION ALL SELECT PREDICT(m, s) FROM t", 1),
            ("SELECT DISTINCT ON (PREDICT(m, s)) s FROM t", 1),
            ("EXPLAIN SELECT PREDICT(m, s) FROM t", 1),
            ("EXPLAIN ANALYZE SELECT PREDICT(m, s) FROM t", 1),
            ("COPY (SELECT PREDICT(m, s) AS l FROM t) TO 'x.csv'", 1),
            ("INSERT INTO t SELECT 1, PREDICT(m, s) FROM t", 1),
            ("VALUES (PREDICT(m, 'x'))", 1),
            ("SELECT PREDICT(m, NULL)", 1),
            ("SELECT PREDICT(m, n), count(*) FROM t GROUP BY ROLLUP (PREDICT(m, n), s)", 1),
            ("SELECT GROUPING(PREDICT(m, n)) FROM t GROUP BY PREDICT(m, n)", 2),
            ("SELECT s FROM t QUALIFY row_number() OVER (ORDER BY PREDICT(m, n)) = 1", 1),
            ("SELECT CASE WHEN n > 1 THEN PREDICT(m, n) ELSE s END FROM t", 1),
            ("SELECT t.s, x.l FROM t, LATERAL (SELECT PREDICT(m, t.n) AS l) AS x", 1),
            ("PREPARE p AS SELECT PREDICT(m, $1) FROM t", 0),
        ] {
            let plan = plan(&session, sql).await;
            assert_eq!(calls(&plan).len(), number, "{sql}:\n{plan}");
            assert!(!holds_predict(&plan), "{sql}:\n{plan}");
        }
    }

    #[tokio::test]
    async fn a_plan_keeps_the_model_it_was_planned_with() {
        let session = session().await;
        let frame = session.sql("SELECT PREDICT(m, s) FROM t").await.unwrap();
        replace(&session, &[("version", "new")]);
        assert_eq!(versions(&frame), ["old"]);
        session.models().drop_model("m", false).unwrap();
        assert_eq!(versions(&frame), ["old"]);
    }

    #[tokio::test]
    async fn a_prepared_statement_keeps_the_model_it_was_prepared_with() {
        let session = session().await;
        session.sql("PREPARE p AS SELECT PREDICT(m, $1) FROM t").await.unwrap();
        replace(&session, &[("version", "new")]);
        let frame = session.sql("EXECUTE p('x')").await.unwrap();
        assert_eq!(versions(&frame), ["old"]);
    }

    #[tokio::test]
    async fn a_view_uses_the_model_of_the_moment() {
        let session = session().await;
        session.sql("CREATE VIEW v AS SELECT PREDICT(m, s) AS l FROM t").await.unwrap();
        replace(&session, &[("version", "new")]);
        let by_sql = session.sql("SELECT l FROM v").await.unwrap();
        let by_name = session.context().table("v").await.unwrap();
        assert_eq!(
            (versions(&by_sql), versions(&by_name)),
            (vec!["new".into()], vec!["new".into()])
        );
        session.models().drop_model("m", false).unwrap();
        let error = session.sql("SELECT l FROM v").await.unwrap_err().to_string();
        assert!(error.contains("no model 'm'"), "{error}");
    }

    #[tokio::test]
    async fn a_view_follows_a_model_that_changed_its_type() {
        let session = session().await;
        session.sql("CREATE VIEW v AS SELECT PREDICT(m, s) AS l FROM t").await.unwrap();
        let mut spec = with(spec("m"), &[]);
        spec.output = vec![field("score", DataType::Float64)];
        session.models().create(spec, IfExists::Replace).unwrap();
        let sql = "SELECT x.l FROM (SELECT l FROM v WHERE l IS NOT NULL ORDER BY l) AS x";
        let frame = session.sql(sql).await.unwrap();
        assert_eq!(frame.schema().field(0).data_type(), &DataType::Float64);
        let optimized = frame.into_optimized_plan().unwrap();
        assert_eq!(optimized.schema().field(0).data_type(), &DataType::Float64);
    }

    #[tokio::test]
    async fn binding_twice_changes_nothing() {
        let session = session().await;
        let plan = plan(&session, "SELECT PREDICT(m, n) FROM t").await;
        assert_eq!(bind_models(plan.clone()).unwrap(), plan);
    }

    #[tokio::test]
    async fn an_argument_that_cannot_be_cast_is_named() {
        let session = session().await;
        let error = session.sql("SELECT PREDICT(m, [1, 2][1:1]) FROM t").await;
        assert!(error.is_ok(), "a list is cast to text");
        let mut spec = spec("d");
        spec.input = vec![field("day", DataType::Date32)];
        session.models().create(spec, IfExists::Fail).unwrap();
        let error = session.sql("SELECT PREDICT(d, true) FROM t").await.unwrap_err().to_string();
        let message = "PREDICT(d, ..): input day is DATE, an argument of type BOOLEAN cannot";
        assert!(error.contains(message), "{error}");
    }

    #[tokio::test]
    async fn no_secret_is_in_a_plan_or_an_explanation() {
        let session = session().await;
        replace(&session, &[("headers", "hush"), ("endpoint", "http://h?key=hush")]);
        let frame = session.sql("SELECT PREDICT(m, s) FROM t").await.unwrap();
        let plan = frame.logical_plan().clone();
        let optimized = frame.into_optimized_plan().unwrap();
        let shown = format!("{plan} {plan:?} {optimized} {optimized:?} {:?}", session.models());
        assert!(shown.contains("m(t.s)") && !shown.contains("hush"), "{shown}");
    }

    async fn session() -> FarcallSession {
        let session =
            FarcallSession::builder().with_model_provider(Arc::new(TestProvider)).build().unwrap();
        session.sql("CREATE TABLE t (n BIGINT, s VARCHAR)").await.unwrap();
        let model = with(spec("m"), &[("version", "old")]);
        session.models().create(model, IfExists::Fail).unwrap();
        session
    }

    fn replace(session: &FarcallSession, options: &[(&str, &str)]) {
        session.models().create(with(spec("m"), options), IfExists::Replace).unwrap();
    }

    async fn plan(session: &FarcallSession, sql: &str) -> LogicalPlan {
        let frame = session.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        frame.logical_plan().clone()
    }

    /// The versions of the models called, as the analyzer leaves them.
    fn versions(frame: &DataFrame) -> Vec<String> {
        let plan = frame.clone().into_optimized_plan().unwrap();
        let calls = calls(&plan);
        let functions = calls.iter().map(AsyncUdf::function).map(AsyncFunction::declaration);
        functions.map(|declaration| declaration.version().to_owned()).collect()
    }

    fn calls(plan: &LogicalPlan) -> Vec<AsyncUdf> {
        let mut calls = Vec::new();
        each_function(plan, |call| calls.extend(AsyncUdf::find(&call.func).cloned()));
        calls
    }

    fn holds_predict(plan: &LogicalPlan) -> bool {
        let mut found = false;
        each_function(plan, |call| found |= PredictUdf::find(&call.func).is_some());
        found
    }

    fn each_function(plan: &LogicalPlan, mut f: impl FnMut(&ScalarFunction)) {
        plan.apply_with_subqueries(|node| {
            for expr in node.expressions() {
                expr.apply(|expr| {
                    if let Expr::ScalarFunction(call) = expr {
                        f(call);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
    }
}
