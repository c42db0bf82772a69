//! [`Apply`], rows that grow by what the relations of LATERAL give for each of them.

use std::sync::Arc;

use datafusion_common::{Column, DFSchemaRef, JoinType, Result, plan_err};
use datafusion_expr::expr::{Case, ScalarFunction};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{
    Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, UserDefinedLogicalNodeCore,
};

use super::conditions;
use super::relation::{Relation, Scope, has_subquery, is_made_once, kind_of};
use crate::calls::{Names, any_part, has_call, is_volatile};
use crate::logical::{
    AsyncCalc, AsyncLookupJoin, CallColumn, LookupColumn, LookupJoinType, TableCall,
};
use crate::rewrite::{columns, filter};

/// Rows, and what the names of the outer query stand for in them.
///
/// Columns that are added have generated names, so that those of the rows stay unambiguous.
pub(super) struct Apply<'a> {
    plan: Arc<LogicalPlan>,
    /// The queries around the relation that is applied, the innermost last.
    scopes: Vec<Scope>,
    names: &'a mut Names,
}

/// The call of a table function, and where its rows will stand.
struct Found {
    call: Expr,
    function: String,
    list: String,
    columns: Vec<LookupColumn>,
}

impl<'a> Apply<'a> {
    /// Starts from the rows that calls are made for.
    pub(super) fn new(rows: Arc<LogicalPlan>, names: &'a mut Names) -> Self {
        let schema = Arc::clone(rows.schema());
        let outputs = columns(&schema).collect();
        Self { plan: rows, scopes: vec![Scope { schema, outputs }], names }
    }

    /// Returns the rows with all that was applied.
    pub(super) fn into_plan(self) -> Arc<LogicalPlan> {
        self.plan
    }

    /// Joins each row with each row of a relation; returns what the relation's columns are.
    pub(super) fn inner(&mut self, plan: &LogicalPlan) -> Result<Vec<Expr>> {
        let (leaf, path) = Relation::leaf(plan);
        let outputs = match (TableCall::find(leaf), leaf) {
            (Some(call), _) => self.call(call)?,
            (None, LogicalPlan::Join(join)) => {
                let left = self.inner(&join.left)?;
                let left = self.settle(left)?;
                self.join(join, left)?
            }
            (None, leaf) => self.cross(leaf)?,
        };
        let Relation { outputs, conditions } =
            Relation::read(outputs, leaf.schema(), &path, &self.scopes)?;
        self.filter(conditions)?;
        Ok(outputs)
    }

    /// Applies the right side of a join, whose left side gives `left`; returns the columns of both.
    pub(super) fn join(&mut self, join: &Join, left: Vec<Expr>) -> Result<Vec<Expr>> {
        let scope = Scope { schema: Arc::clone(join.left.schema()), outputs: left.clone() };
        self.scopes.push(scope);
        let both = match join.join_type {
            JoinType::Inner => {
                let right = self.inner(&join.right)?;
                let right = self.settle(right)?;
                let both: Vec<Expr> = left.into_iter().chain(right).collect();
                let conditions = self.join_conditions(join, &both)?;
                self.filter(conditions)?;
                both
            }
            JoinType::Left => self.left(join, left)?,
            other => {
                return plan_err!(
                    "LATERAL around a table function holds a {other} JOIN, which keeps rows that no \
                     call has given; write an inner or LEFT JOIN"
                );
            }
        };
        self.scopes.pop();
        Ok(both)
    }

    /// Applies a table function, keeping rows that have no partner.
    fn left(&mut self, join: &Join, left: Vec<Expr>) -> Result<Vec<Expr>> {
        let (leaf, path) = Relation::leaf(&join.right);
        let Some(call) = TableCall::find(leaf) else {
            return plan_err!(
                "LEFT JOIN LATERAL holds {} beside a table function; join one function a time, with \
                 columns and conditions alone around it",
                kind_of(leaf)
            );
        };
        let found = self.find(call)?;
        let given = found.columns.iter().map(LookupColumn::to_expr).collect::<Vec<_>>();
        let relation = Relation::read(given.clone(), leaf.schema(), &path, &self.scopes)?;
        let both: Vec<Expr> = left.iter().chain(&relation.outputs).cloned().collect();
        let on = self.join_conditions(join, &both)?;
        let (mut guard, mut residual) = (Vec::new(), Vec::new());
        for condition in relation.conditions.into_iter().chain(on) {
            let reads = |part: &Expr| given.contains(part);
            if has_subquery(&condition) {
                return plan_err!(
                    "a condition of LEFT JOIN LATERAL {} holds a subquery; join it to the rows first, \
                     and compare its column",
                    found.function
                );
            } else if !any_part(&condition, reads) && !is_volatile(&condition) {
                guard.push(condition);
            } else if has_call(&condition) {
                return plan_err!(
                    "a condition on the rows of table function {} calls an async function, which only \
                     an inner join can do; call it on the joined rows",
                    found.function
                );
            } else {
                residual.push(condition);
            }
        }
        let computes = relation.outputs.iter().any(|output| !given.contains(output));
        let present = computes.then(|| self.names.next());
        let nulled = |output: Expr| match &present {
            Some(present) if !given.contains(&output) => {
                let present = Expr::Column(Column::from_name(present));
                Expr::Case(Case::new(None, vec![(Box::new(present), Box::new(output))], None))
            }
            _ => output,
        };
        let right = relation.outputs.into_iter().map(nulled).collect::<Vec<_>>();
        self.pair(found, LookupJoinType::Left, guard, residual, present)?;
        Ok(left.into_iter().chain(right).collect())
    }

    /// Joins each row with each row that a table function gives for it.
    pub(super) fn call(&mut self, node: &TableCall) -> Result<Vec<Expr>> {
        let found = self.find(node)?;
        let outputs = found.columns.iter().map(LookupColumn::to_expr).collect();
        self.pair(found, LookupJoinType::Inner, vec![], vec![], None)?;
        Ok(outputs)
    }

    /// Writes a call over the rows.
    fn find(&mut self, node: &TableCall) -> Result<Found> {
        let Expr::ScalarFunction(call) = node.call() else {
            return plan_err!("{} is no call of a function", node.call());
        };
        let args = call.args.iter().map(|arg| Scope::resolve(&self.scopes, arg));
        let mut args = args.collect::<Result<Vec<_>>>()?;
        for arg in args.iter_mut().filter(|arg| has_subquery(arg)) {
            // DataFusion makes joins of subqueries in projections, not in our nodes.
            *arg = self.project(std::mem::take(arg))?;
        }
        let list = self.names.next();
        let named = |_: &_| LookupColumn { qualifier: None, name: self.names.next() };
        let columns = node.schema().fields().iter().map(named).collect();
        let function = call.name().to_owned();
        let call = ScalarFunction::new_udf(Arc::clone(&call.func), args);
        Ok(Found { call: Expr::ScalarFunction(call), function, list, columns })
    }

    /// Makes the call, and pairs the rows with those that it gives.
    fn pair(
        &mut self,
        found: Found,
        join_type: LookupJoinType,
        guard: Vec<Expr>,
        residual: Vec<Expr>,
        present: Option<String>,
    ) -> Result<()> {
        let Found { call, function, list, mut columns } = found;
        // The mark of a row's presence is the last field of its struct.
        columns.extend(present.map(|name| LookupColumn { qualifier: None, name }));
        let call = CallColumn { call, guard: conjunction(guard), name: list.clone() };
        let calc = AsyncCalc::try_new(Arc::clone(&self.plan), vec![call])?.into_plan();
        let node = AsyncLookupJoin::try_new(
            Arc::new(calc),
            join_type,
            function,
            Column::from_name(list),
            columns,
            conjunction(residual),
        )?;
        self.plan = Arc::new(node.into_plan());
        Ok(())
    }

    /// Joins each row with each row of a relation that reads nothing of it.
    fn cross(&mut self, plan: &LogicalPlan) -> Result<Vec<Expr>> {
        if self.scopes.iter().any(|scope| scope.is_read_by(plan)) {
            return plan_err!(
                "LATERAL around a table function holds {}, which cannot be applied to the rows of each \
                 call; join the function's rows alone, FROM t, LATERAL f(t.x) AS q, and do it on the \
                 joined rows",
                kind_of(plan)
            );
        }
        let names: Vec<String> = plan.schema().fields().iter().map(|_| self.names.next()).collect();
        let named = columns(plan.schema()).zip(&names).map(|(column, name)| column.alias(name));
        let other = LogicalPlanBuilder::from(plan.clone()).project(named)?.build()?;
        let rows = LogicalPlanBuilder::from(self.plan.as_ref().clone());
        self.plan = Arc::new(rows.cross_join(other)?.build()?);
        Ok(names.into_iter().map(|name| Expr::Column(Column::from_name(name))).collect())
    }

    /// Makes columns of what must be computed before rows are joined to others.
    fn settle(&mut self, outputs: Vec<Expr>) -> Result<Vec<Expr>> {
        let settled = outputs.into_iter().map(|output| match is_made_once(&output) {
            true => self.project(output),
            false => Ok(output),
        });
        settled.collect()
    }

    /// Adds a column.
    fn project(&mut self, expr: Expr) -> Result<Expr> {
        let name = self.names.next();
        let exprs = columns(self.plan.schema()).chain([expr.alias(&name)]).collect();
        let projection = Projection::try_new(exprs, Arc::clone(&self.plan))?;
        self.plan = Arc::new(LogicalPlan::Projection(projection));
        Ok(Expr::Column(Column::from_name(name)))
    }

    fn filter(&mut self, conditions: Vec<Expr>) -> Result<()> {
        if !conditions.is_empty() {
            self.plan = Arc::new(filter(self.plan.as_ref().clone(), conditions)?);
        }
        Ok(())
    }

    fn join_conditions(&self, join: &Join, both: &[Expr]) -> Result<Vec<Expr>> {
        let schema: &DFSchemaRef = &join.schema;
        conditions(join)
            .iter()
            .map(|condition| Relation::over(condition, schema, both, &self.scopes))
            .collect()
    }
}
