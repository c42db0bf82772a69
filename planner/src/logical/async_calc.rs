//! [`AsyncCalc`], the node that adds the results of async calls to the rows of its input.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{
    DFSchema, DFSchemaRef, Result, TableReference, internal_datafusion_err, internal_err,
};
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Expr, ExprSchemable, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use farcall_udf::AsyncUdf;

use crate::calls::{GENERATED_PREFIX, find_call};

/// One call of an [`AsyncCalc`], the rows that need it, and the column that takes its result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct CallColumn {
    /// The call: a scalar function over an [`AsyncUdf`](farcall_udf::AsyncUdf).
    pub call: Expr,
    /// The condition under which a row needs the call; other rows get NULL and cost nothing.
    ///
    /// The arguments of the call are evaluated on the rows that pass it only, so that
    /// `CASE WHEN k <> 0 THEN f(x / k) END` never divides by zero.
    pub guard: Option<Expr>,
    /// The name of the result column, `__async_N`.
    pub name: String,
}

impl fmt::Display for CallColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let udf = match &self.call {
            Expr::ScalarFunction(call) => AsyncUdf::find(&call.func).map(|udf| (udf, &call.args)),
            _ => None,
        };
        // As its user wrote it, `PREDICT(m, x)`: the expression's own text knows the function only.
        match udf {
            Some((udf, args)) => {
                let args = args.iter().map(ToString::to_string);
                write!(f, "{} AS {}", udf.show(args, ", "), self.name)?;
            }
            None => write!(f, "{} AS {}", self.call, self.name)?,
        }
        if let Some(guard) = &self.guard {
            write!(f, " WHEN {guard}")?;
        }
        match udf.map(|(udf, _)| stated_options(udf)).filter(|options| !options.is_empty()) {
            Some(options) => write!(f, " [{}]", options.join(", ")),
            None => Ok(()),
        }
    }
}

/// Returns what the function and the call say about how it is called; the session has its say when
/// operators are made.
fn stated_options(udf: &AsyncUdf) -> Vec<String> {
    let options = udf.stated_options();
    options.entries().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Adds one column per call to the rows of its input; drops no row and changes no order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsyncCalc {
    calls: Vec<CallColumn>,
    schema: DFSchemaRef,
    input: Arc<LogicalPlan>,
}

impl AsyncCalc {
    /// Makes the node; its schema is the input's followed by one nullable column per call.
    ///
    /// # Errors
    /// An internal error if a result column has a name that the input has.
    pub fn try_new(input: Arc<LogicalPlan>, calls: Vec<CallColumn>) -> Result<Self> {
        let schema = Arc::new(output_schema(input.schema(), &calls)?);
        Ok(Self { calls, schema, input })
    }

    /// Returns the plan whose rows need the calls.
    pub fn input(&self) -> &Arc<LogicalPlan> {
        &self.input
    }

    /// Returns the calls, one result column each.
    pub fn calls(&self) -> &[CallColumn] {
        &self.calls
    }

    /// Takes the node apart.
    pub fn into_parts(self) -> (Arc<LogicalPlan>, Vec<CallColumn>) {
        (self.input, self.calls)
    }

    /// Finds the node in a plan.
    pub fn find(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Self>(),
            _ => None,
        }
    }

    /// Turns the node into a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

fn output_schema(input: &DFSchema, calls: &[CallColumn]) -> Result<DFSchema> {
    let mut fields: Vec<(Option<TableReference>, FieldRef)> =
        input.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    for CallColumn { call, guard, name } in calls {
        if find_call(call).is_none() {
            return internal_err!("AsyncCalc holds {call}, which is no async call");
        }
        if !name.starts_with(GENERATED_PREFIX) {
            return internal_err!("AsyncCalc column {name} does not start with {GENERATED_PREFIX}");
        }
        if let Some(guard) = guard
            && guard.get_type(input)? != DataType::Boolean
        {
            return internal_err!("AsyncCalc guard {guard} is not boolean");
        }
        // A row that does not pass the guard, or whose call failed under `on_error`, has NULL.
        let field = call.to_field(input)?.1.as_ref().clone().with_name(name).with_nullable(true);
        fields.push((None, Arc::new(field)));
    }
    DFSchema::new_with_metadata(fields, input.metadata().clone())?
        .with_functional_dependencies(input.functional_dependencies().clone())
}

impl PartialOrd for AsyncCalc {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        // The schema follows from the other two.
        (&self.calls, &self.input).partial_cmp(&(&other.calls, &other.input))
    }
}

impl UserDefinedLogicalNodeCore for AsyncCalc {
    fn name(&self) -> &str {
        "AsyncCalc"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let mut expressions = Vec::new();
        for CallColumn { call, guard, name: _ } in &self.calls {
            expressions.push(call.clone());
            expressions.extend(guard.clone());
        }
        expressions
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.calls.iter().map(|call| call.name.clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("AsyncCalc: ")?;
        for (index, call) in self.calls.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{call}")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let number = exprs.len();
        let short = || internal_datafusion_err!("AsyncCalc got {number} expressions, too few");
        // Upstream rules keep the names of rewritten expressions with aliases; here the names of
        // the columns are the node's own.
        let mut exprs = exprs.into_iter().map(unalias);
        let mut calls = Vec::with_capacity(self.calls.len());
        for CallColumn { call: _, guard, name } in &self.calls {
            let call = exprs.next().ok_or_else(short)?;
            let guard = match guard {
                Some(_) => Some(exprs.next().ok_or_else(short)?),
                None => None,
            };
            calls.push(CallColumn { call, guard, name: name.clone() });
        }
        if exprs.next().is_some() {
            return internal_err!("AsyncCalc got {number} expressions, too many");
        }
        let mut inputs = inputs.into_iter();
        match (inputs.next(), inputs.next()) {
            (Some(input), None) => Self::try_new(Arc::new(input), calls),
            _ => internal_err!("AsyncCalc takes exactly one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // What the calls themselves read is added by the caller, from `expressions`.
        let width = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|index| *index < width).collect()])
    }
}

#[cfg(test)]
mod tests {
    use datafusion_common::{Dependency, FunctionalDependence, FunctionalDependencies};
    use datafusion_expr::expr::ScalarFunction;
    use datafusion_expr::{col, lit};
    use farcall_udf::testing::ScriptedFunction;
    use farcall_udf::{CallOptions, Declaration};

    use super::*;
    use crate::testing::{call, table};

    #[test]
    fn adds_nullable_columns_behind_those_of_the_input() {
        let calc = guarded();
        let names: Vec<String> = calc.schema.field_names();
        assert_eq!(names, ["t.x", "t.k", "t.n", "t.a", "t.b", "t.txt", "t.s", "__async_0"]);
        assert!(calc.schema.field(7).is_nullable());
    }

    #[test]
    fn keeps_the_functional_dependencies_of_its_input() {
        let key = FunctionalDependence::new(vec![0], (0..7).collect(), false)
            .with_mode(Dependency::Single);
        let keys = FunctionalDependencies::new(vec![key]);
        let schema = table("t").schema().as_ref().clone();
        let schema = schema.with_functional_dependencies(keys.clone()).unwrap();
        let input = LogicalPlan::EmptyRelation(datafusion_expr::EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(schema),
        });
        let calc = AsyncCalc::try_new(Arc::new(input), calls()).unwrap();
        assert_eq!(calc.schema.functional_dependencies(), &keys);
    }

    #[test]
    fn forgets_the_aliases_that_upstream_rules_put_around_expressions() {
        let calc = guarded();
        let aliased = calc.expressions().into_iter().map(|expr| expr.alias("kept")).collect();
        let rebuilt = calc.with_exprs_and_inputs(aliased, vec![table("t")]).unwrap();
        assert_eq!(rebuilt, calc);
    }

    #[test]
    fn refuses_another_number_of_expressions() {
        let calc = guarded();
        let exprs = calc.expressions();
        let short = calc.with_exprs_and_inputs(exprs[..1].to_vec(), vec![table("t")]);
        assert!(short.unwrap_err().to_string().contains("1 expressions, too few"));
        let long = [exprs, vec![lit(1)]].concat();
        let long = calc.with_exprs_and_inputs(long, vec![table("t")]);
        assert!(long.unwrap_err().to_string().contains("3 expressions, too many"));
    }

    #[test]
    fn asks_its_input_for_the_columns_of_its_own_output_only() {
        assert_eq!(guarded().necessary_children_exprs(&[1, 7]), Some(vec![vec![1]]));
    }

    #[test]
    fn holds_back_conditions_on_its_results_only() {
        let held = guarded().prevent_predicate_push_down_columns();
        assert_eq!(held, HashSet::from(["__async_0".to_owned()]));
    }

    #[test]
    fn shows_the_options_that_the_function_and_the_call_state() {
        let declaration = Declaration::new("f", vec![DataType::Int64], DataType::Int64)
            .with_options(CallOptions::new().with_max_batch_size(7).with_max_attempts(2));
        let udf =
            AsyncUdf::new(ScriptedFunction::new("f").with_declaration(|_| declaration).build().0)
                .with_call_options(CallOptions::new().with_max_batch_size(9));
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(
            Arc::new(udf.into_scalar_udf()),
            vec![col("t.x")],
        ));
        let guard = Some(col("t.k").gt(lit(1_i64)));
        let column = CallColumn { call, guard, name: "__async_0".into() };
        let expected = "f(t.x, max_batch_size => '9') AS __async_0 WHEN t.k > Int64(1) \
                        [max_batch_size=9, max_attempts=2]";
        assert_eq!(column.to_string(), expected);
    }

    #[test]
    fn refuses_what_is_no_call() {
        let sum = CallColumn { call: col("x") + lit(1), guard: None, name: "__async_0".into() };
        let error = AsyncCalc::try_new(Arc::new(table("t")), vec![sum]).unwrap_err();
        assert!(error.to_string().contains("x + Int32(1), which is no async call"), "{error}");
    }

    fn calls() -> Vec<CallColumn> {
        let guard = Some(col("t.k").gt(lit(1_i64)).is_true());
        vec![CallColumn { call: call("f", vec![col("t.x")]), guard, name: "__async_0".into() }]
    }

    fn guarded() -> AsyncCalc {
        AsyncCalc::try_new(Arc::new(table("t")), calls()).unwrap()
    }
}
