//! Subqueries in expressions, per outer row.

use std::rc::Rc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, Subquery};

use super::Run;
use super::scalar::boolean;
use super::value::{Relation, Scope};

impl<'a> Run<'a> {
    /// Returns the rows of a subquery; those of an uncorrelated one are made once.
    fn subquery(
        self: &Rc<Self>,
        subquery: &'a Subquery,
        scope: &Scope<'a>,
    ) -> Result<Rc<Relation<'a>>> {
        let plan: &'a LogicalPlan = &subquery.subquery;
        if is_correlated(plan) {
            return Ok(Rc::new(self.relation(plan, Some(&Rc::new(scope.clone())))?));
        }
        let key = std::ptr::from_ref(plan).addr();
        if let Some(relation) = self.subqueries.borrow().get(&key) {
            return Ok(Rc::clone(relation));
        }
        let relation = Rc::new(self.relation(plan, None)?);
        self.subqueries.borrow_mut().insert(key, Rc::clone(&relation));
        Ok(relation)
    }

    pub fn scalar_subquery(
        self: &Rc<Self>,
        subquery: &'a Subquery,
        scope: &Scope<'a>,
    ) -> Result<ScalarValue> {
        let relation = self.subquery(subquery, scope)?;
        let mut value = None;
        for row in &relation.rows {
            if self.exists(row)? && value.replace(row.columns[0].get()?).is_some() {
                return exec_err!("a scalar subquery gave more than one row");
            }
        }
        match value {
            Some(value) => Ok(value),
            None => ScalarValue::try_from(relation.frame.schema.field(0).data_type()),
        }
    }

    pub fn exists_subquery(self: &Rc<Self>, exists: &'a Exists, scope: &Scope<'a>) -> Result<bool> {
        let relation = self.subquery(&exists.subquery, scope)?;
        let mut found = false;
        for row in &relation.rows {
            found |= self.exists(row)?;
            if found && self.stops_at_match() {
                break;
            }
        }
        Ok(found != exists.negated)
    }

    pub fn in_subquery(
        self: &Rc<Self>,
        part: &'a InSubquery,
        scope: &Scope<'a>,
    ) -> Result<Option<bool>> {
        let found = self.any(&part.expr, Operator::Eq, &part.subquery, scope)?;
        Ok(found.map(|found| found != part.negated))
    }

    pub fn set_comparison(
        self: &Rc<Self>,
        part: &'a SetComparison,
        scope: &Scope<'a>,
    ) -> Result<Option<bool>> {
        match part.quantifier {
            SetQuantifier::Any => self.any(&part.expr, part.op, &part.subquery, scope),
            SetQuantifier::All => {
                let op = part.op.negate().unwrap_or(part.op);
                Ok(self.any(&part.expr, op, &part.subquery, scope)?.map(|found| !found))
            }
        }
    }

    /// Says whether the comparison holds for any row of a subquery.
    fn any(
        self: &Rc<Self>,
        expr: &'a Expr,
        op: Operator,
        subquery: &'a Subquery,
        scope: &Scope<'a>,
    ) -> Result<Option<bool>> {
        let relation = self.subquery(subquery, scope)?;
        let cheap = !relation.frame.dear[0] && !self.is_dear(expr, &scope.frame);
        let mut found = Some(false);
        for row in &relation.rows {
            let compare = || -> Result<Option<bool>> {
                let (left, right) = (self.eval(expr, scope)?, row.columns[0].get()?);
                Ok(boolean(&self.binary(left, op, right)?))
            };
            // A cheap comparison that fails spares the conditions of the row.
            let early = if cheap { compare()? } else { None };
            if early == Some(false) || !self.exists(row)? {
                continue;
            }
            match if cheap { early } else { compare()? } {
                Some(true) => found = Some(true),
                Some(false) => {}
                None => found = found.filter(|found| *found),
            }
            if found == Some(true) && self.stops_at_match() {
                break;
            }
        }
        Ok(found)
    }

    /// Says whether a semi join stops at its match in this evaluation.
    pub fn stops_at_match(&self) -> bool {
        self.stops.set(true);
        self.choice.stop
    }
}

/// Says whether a plan reads columns of a query around it.
pub fn is_correlated(plan: &LogicalPlan) -> bool {
    let mut correlated = false;
    // The closures never fail, so neither does the walk.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            correlated = correlated
                || expr
                    .exists(|part| Ok(matches!(part, Expr::OuterReferenceColumn(..))))
                    .unwrap_or(false);
            Ok(TreeNodeRecursion::Continue)
        })
    });
    correlated
}
