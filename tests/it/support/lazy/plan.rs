//! The rows of a plan, node by node.

use std::rc::Rc;

use datafusion::common::{Result, ScalarValue, internal_err, not_impl_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan};

use super::Run;
use super::value::{Cell, Frame, Lazy, Relation, Row, Scope};

type Outer<'s, 'a> = Option<&'s Rc<Scope<'a>>>;

impl<'a> Run<'a> {
    /// Returns the rows of a plan, inside the rows of the queries around it.
    pub fn relation(
        self: &Rc<Self>,
        plan: &'a LogicalPlan,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let input = self.relation(&projection.input, outer)?;
                self.project(&projection.expr, plan, input)
            }
            LogicalPlan::Filter(filter) => {
                let input = self.relation(&filter.input, outer)?;
                self.filter(&split_conjunction(&filter.predicate), input)
            }
            LogicalPlan::SubqueryAlias(alias) => self.renamed(&alias.input, plan, outer),
            LogicalPlan::Subquery(subquery) => self.renamed(&subquery.subquery, plan, outer),
            LogicalPlan::TableScan(scan) => self.scan(scan, plan, outer),
            LogicalPlan::EmptyRelation(empty) => {
                let width = plan.schema().fields().len();
                let row = || Row::new(vec![Lazy::known(ScalarValue::Null); width]);
                let rows = if empty.produce_one_row { vec![row()] } else { vec![] };
                Ok(self.cheap(plan, rows, outer))
            }
            LogicalPlan::Values(values) => self.values(&values.values, plan, outer),
            LogicalPlan::Union(union) => {
                let mut dear = vec![false; plan.schema().fields().len()];
                let mut rows = Vec::new();
                for input in &union.inputs {
                    let input = self.relation(input, outer)?;
                    for (all, one) in dear.iter_mut().zip(&input.frame.dear) {
                        *all |= *one;
                    }
                    rows.extend(input.rows);
                }
                Ok(Relation { frame: frame(plan, dear, outer), rows, ordered: false })
            }
            LogicalPlan::Join(join) => self.join(join, outer),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, outer),
            LogicalPlan::Window(window) => self.window(window, outer),
            LogicalPlan::Sort(sort) => self.sort(sort, outer),
            LogicalPlan::Limit(limit) => self.limit(limit, outer),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input, outer),
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct, outer),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, outer),
            LogicalPlan::RecursiveQuery(query) => self.recursive(query, outer),
            plan => not_impl_err!("the lazy oracle does not know {}", plan.display()),
        }
    }

    fn renamed(
        self: &Rc<Self>,
        input: &'a LogicalPlan,
        plan: &'a LogicalPlan,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let input = self.relation(input, outer)?;
        let dear = input.frame.dear.clone();
        Ok(Relation { frame: frame(plan, dear, outer), ..input })
    }

    /// Returns a relation without calls.
    pub fn cheap(
        &self,
        plan: &LogicalPlan,
        rows: Vec<Row<'a>>,
        outer: Outer<'_, 'a>,
    ) -> Relation<'a> {
        let dear = vec![false; plan.schema().fields().len()];
        Relation { frame: frame(plan, dear, outer), rows, ordered: false }
    }

    fn scan(
        &self,
        scan: &TableScan,
        plan: &LogicalPlan,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let name = scan.table_name.to_string();
        let work = self.work_tables.borrow().get(&name).cloned();
        let Some(rows) = work.or_else(|| self.tables.get(&name).cloned()) else {
            return internal_err!("no rows of table {name}");
        };
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return internal_err!("the plan is optimized: {}", plan.display());
        }
        // Only what PREPARE stored has a projection already.
        let rows = match &scan.projection {
            Some(projection) => rows
                .iter()
                .map(|row| projection.iter().map(|index| Rc::clone(&row.columns[*index])).collect())
                .map(Row::new)
                .collect(),
            None => rows,
        };
        Ok(self.cheap(plan, rows, outer))
    }

    fn values(
        self: &Rc<Self>,
        values: &'a [Vec<Expr>],
        plan: &LogicalPlan,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let mut relation = self.cheap(plan, vec![], outer);
        let nothing =
            Rc::new(Frame { schema: plan.schema().clone(), dear: vec![], outer: outer.cloned() });
        let mut dear = relation.frame.dear.clone();
        for exprs in values {
            let scope = Scope { frame: Rc::clone(&nothing), row: Row::new(vec![]) };
            for (all, expr) in dear.iter_mut().zip(exprs) {
                *all |= self.is_dear(expr, &nothing);
            }
            let cells = exprs.iter().map(|expr| self.cell(expr, &scope)).collect();
            relation.rows.push(Row::new(cells));
        }
        relation.frame = frame(plan, dear, outer);
        Ok(relation)
    }

    /// Returns the value of an expression, to be computed when it is read.
    pub fn cell(self: &Rc<Self>, expr: &'a Expr, scope: &Scope<'a>) -> Cell<'a> {
        match expr {
            Expr::Alias(alias) => return self.cell(&alias.expr, scope),
            Expr::Literal(value, _) => return Lazy::known(value.clone()),
            Expr::Column(column) => {
                if let Some(index) = scope.frame.schema.maybe_index_of_column(column) {
                    return Rc::clone(&scope.row.columns[index]);
                }
            }
            _ => {}
        }
        let (run, scope) = (Rc::clone(self), scope.clone());
        Lazy::new(move || run.eval(expr, &scope))
    }

    fn project(
        self: &Rc<Self>,
        exprs: &'a [Expr],
        plan: &LogicalPlan,
        input: Relation<'a>,
    ) -> Result<Relation<'a>> {
        let dear = exprs.iter().map(|expr| self.is_dear(expr, &input.frame)).collect();
        let outer = input.frame.outer.clone();
        let mut rows = Vec::with_capacity(input.rows.len());
        for row in &input.rows {
            self.step()?;
            let scope = input.scope(row);
            let cells = exprs.iter().map(|expr| self.cell(expr, &scope)).collect();
            rows.push(row.with_columns(cells));
        }
        Ok(Relation { frame: frame(plan, dear, outer.as_ref()), rows, ordered: input.ordered })
    }

    /// Tests cheap conditions; those with calls wait.
    pub fn filter(
        self: &Rc<Self>,
        conditions: &[&'a Expr],
        input: Relation<'a>,
    ) -> Result<Relation<'a>> {
        let (dear, cheap): (Vec<&'a Expr>, Vec<&'a Expr>) =
            conditions.iter().partition(|expr| self.is_dear(expr, &input.frame));
        let mut rows = Vec::new();
        'rows: for row in &input.rows {
            let scope = input.scope(row);
            for condition in &cheap {
                if !self.is_true(condition, &scope)? {
                    continue 'rows;
                }
            }
            let pending = dear.iter().map(|condition| self.condition(condition, &scope));
            rows.push(row.with_pending(pending));
        }
        Ok(Relation { rows, ..input })
    }

    /// Returns whether a condition is TRUE, to be tested when somebody asks.
    pub fn condition(self: &Rc<Self>, expr: &'a Expr, scope: &Scope<'a>) -> Cell<'a> {
        let (run, scope) = (Rc::clone(self), scope.clone());
        Lazy::new(move || Ok(ScalarValue::Boolean(Some(run.is_true(expr, &scope)?))))
    }
}

/// Returns the frame of a node's rows.
pub fn frame<'a>(
    plan: &LogicalPlan,
    dear: Vec<bool>,
    outer: Option<&Rc<Scope<'a>>>,
) -> Rc<Frame<'a>> {
    Rc::new(Frame { schema: plan.schema().clone(), dear, outer: outer.cloned() })
}
