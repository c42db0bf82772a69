//! Expressions of one row, in three-valued lazy logic.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use farcall::udf::Determinism;

use super::Run;
use super::scalar::{binary, boolean, constant};
use super::value::{Frame, Scope};

impl<'a> Run<'a> {
    /// Says whether an expression costs a call to evaluate.
    pub fn is_dear(&self, expr: &'a Expr, frame: &Frame<'a>) -> bool {
        let key = std::ptr::from_ref(expr).addr();
        if let Some(dear) = self.dear.borrow().get(&key) {
            return *dear;
        }
        let dear = self.find_dear(expr, frame);
        self.dear.borrow_mut().insert(key, dear);
        dear
    }

    fn find_dear(&self, expr: &Expr, frame: &Frame<'a>) -> bool {
        let mut dear = false;
        // The closure never fails, so neither does the walk.
        let _ = expr.apply(|part| {
            dear = dear
                || match part {
                    Expr::ScalarFunction(function) => self.functions.contains_key(function.name()),
                    Expr::Column(column) => column_is_dear(frame, column),
                    Expr::OuterReferenceColumn(_, column) => outer_is_dear(frame, column),
                    Expr::Exists(exists) => self.plan_is_dear(&exists.subquery.subquery, frame),
                    Expr::InSubquery(part) => self.plan_is_dear(&part.subquery.subquery, frame),
                    Expr::ScalarSubquery(part) => self.plan_is_dear(&part.subquery, frame),
                    Expr::SetComparison(part) => self.plan_is_dear(&part.subquery.subquery, frame),
                    _ => false,
                };
            Ok(if dear { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        dear
    }

    /// Says whether a subquery holds a call, or reads an outer column that costs one.
    fn plan_is_dear(&self, plan: &LogicalPlan, frame: &Frame<'a>) -> bool {
        let mut dear = false;
        let _ = plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                let _ = expr.apply(|part| {
                    dear = dear
                        || match part {
                            Expr::ScalarFunction(function) => {
                                self.functions.contains_key(function.name())
                            }
                            Expr::OuterReferenceColumn(_, column) => {
                                column_is_dear(frame, column) || outer_is_dear(frame, column)
                            }
                            _ => false,
                        };
                    Ok(TreeNodeRecursion::Continue)
                });
                Ok(TreeNodeRecursion::Continue)
            })
        });
        dear
    }

    /// Evaluates an expression.
    pub fn eval(self: &Rc<Self>, expr: &'a Expr, scope: &Scope<'a>) -> Result<ScalarValue> {
        self.step()?;
        let truth = |value: bool| Ok(ScalarValue::Boolean(Some(value)));
        match expr {
            Expr::Alias(alias) => self.eval(&alias.expr, scope),
            Expr::Column(column) => match scope.frame.schema.maybe_index_of_column(column) {
                Some(index) => scope.row.columns[index].get(),
                None => plan_err!("no column {column} in {}", scope.frame.schema),
            },
            Expr::OuterReferenceColumn(_, column) => outer_value(scope, column),
            Expr::Literal(value, _) => Ok(value.clone()),
            Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
                Ok(ScalarValue::Boolean(self.logical(expr, *op, scope)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (left, right) = (self.eval(left, scope)?, self.eval(right, scope)?);
                self.binary(left, *op, right)
            }
            Expr::Not(inner) => {
                Ok(ScalarValue::Boolean(boolean(&self.eval(inner, scope)?).map(|value| !value)))
            }
            Expr::IsNull(inner) => truth(self.eval(inner, scope)?.is_null()),
            Expr::IsNotNull(inner) => truth(!self.eval(inner, scope)?.is_null()),
            Expr::IsTrue(inner) => truth(self.is_true(inner, scope)?),
            Expr::IsNotTrue(inner) => truth(!self.is_true(inner, scope)?),
            Expr::IsFalse(inner) => truth(self.is_false(inner, scope)?),
            Expr::IsNotFalse(inner) => truth(!self.is_false(inner, scope)?),
            Expr::IsUnknown(inner) => truth(self.eval(inner, scope)?.is_null()),
            Expr::IsNotUnknown(inner) => truth(!self.eval(inner, scope)?.is_null()),
            Expr::Cast(cast) => self.eval(&cast.expr, scope)?.cast_to(cast.field.data_type()),
            Expr::Between(between) => self.between(between, scope),
            Expr::Case(case) => self.case(case, scope),
            Expr::InList(list) => self.in_list(list, scope),
            Expr::Exists(exists) => truth(self.exists_subquery(exists, scope)?),
            Expr::InSubquery(part) => Ok(ScalarValue::Boolean(self.in_subquery(part, scope)?)),
            Expr::SetComparison(part) => {
                Ok(ScalarValue::Boolean(self.set_comparison(part, scope)?))
            }
            Expr::ScalarSubquery(subquery) => self.scalar_subquery(subquery, scope),
            Expr::ScalarFunction(function) => self.function(function, scope),
            expr => self.by_datafusion(expr, scope),
        }
    }

    /// Says whether a condition is TRUE; FALSE and NULL need not be told apart.
    pub fn is_true(self: &Rc<Self>, expr: &'a Expr, scope: &Scope<'a>) -> Result<bool> {
        match expr {
            Expr::Alias(alias) => self.is_true(&alias.expr, scope),
            Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => {
                self.all(expr, Operator::And, scope, |run, part| run.is_true(part, scope))
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
                Ok(!self
                    .all(expr, Operator::Or, scope, |run, part| Ok(!run.is_true(part, scope)?))?)
            }
            Expr::Not(inner) => self.is_false(inner, scope),
            Expr::Case(case) => match self.branch(case, scope)? {
                Some(branch) => self.is_true(branch, scope),
                None => Ok(false),
            },
            expr => Ok(boolean(&self.eval(expr, scope)?) == Some(true)),
        }
    }

    /// Says whether a condition is FALSE; TRUE and NULL need not be told apart.
    fn is_false(self: &Rc<Self>, expr: &'a Expr, scope: &Scope<'a>) -> Result<bool> {
        match expr {
            Expr::Alias(alias) => self.is_false(&alias.expr, scope),
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
                self.all(expr, Operator::Or, scope, |run, part| run.is_false(part, scope))
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => {
                Ok(!self
                    .all(expr, Operator::And, scope, |run, part| Ok(!run.is_false(part, scope)?))?)
            }
            Expr::Not(inner) => self.is_true(inner, scope),
            expr => Ok(boolean(&self.eval(expr, scope)?) == Some(false)),
        }
    }

    /// Tests the operands of a chain of AND or OR, cheap ones first, until one fails.
    fn all(
        self: &Rc<Self>,
        expr: &'a Expr,
        op: Operator,
        scope: &Scope<'a>,
        mut test: impl FnMut(&Rc<Self>, &'a Expr) -> Result<bool>,
    ) -> Result<bool> {
        for part in self.staged(expr, op, scope) {
            if !test(self, part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn staged(&self, expr: &'a Expr, op: Operator, scope: &Scope<'a>) -> Vec<&'a Expr> {
        let mut parts = Vec::new();
        flatten(expr, op, &mut parts);
        let (dear, mut staged): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| self.is_dear(part, &scope.frame));
        staged.extend(self.in_order(dear));
        staged
    }

    fn logical(
        self: &Rc<Self>,
        expr: &'a Expr,
        op: Operator,
        scope: &Scope<'a>,
    ) -> Result<Option<bool>> {
        let decisive = op == Operator::Or;
        let mut result = Some(!decisive);
        for part in self.staged(expr, op, scope) {
            match boolean(&self.eval(part, scope)?) {
                Some(value) if value == decisive => return Ok(Some(decisive)),
                Some(_) => {}
                None => result = None,
            }
        }
        Ok(result)
    }

    pub fn binary(
        &self,
        left: ScalarValue,
        op: Operator,
        right: ScalarValue,
    ) -> Result<ScalarValue> {
        match binary(&left, op, &right)? {
            Some(value) => Ok(value),
            None => {
                let expr = BinaryExpr::new(Box::new(literal(left)), op, Box::new(literal(right)));
                constant(self.plain, Expr::BinaryExpr(expr))
            }
        }
    }

    fn between(self: &Rc<Self>, between: &'a Between, scope: &Scope<'a>) -> Result<ScalarValue> {
        let value = self.eval(&between.expr, scope)?;
        let at_least =
            self.binary(value.clone(), Operator::GtEq, self.eval(&between.low, scope)?)?;
        // A bound that costs a call is read only where the other one has not decided.
        let mut result = boolean(&at_least);
        if result != Some(false) {
            let high = self.eval(&between.high, scope)?;
            let at_most = boolean(&self.binary(value, Operator::LtEq, high)?);
            result = match (result, at_most) {
                (_, Some(false)) => Some(false),
                (Some(true), at_most) => at_most,
                _ => None,
            };
        }
        Ok(ScalarValue::Boolean(result.map(|inside| inside != between.negated)))
    }

    fn case(self: &Rc<Self>, case: &'a Case, scope: &Scope<'a>) -> Result<ScalarValue> {
        match self.branch(case, scope)? {
            Some(branch) => self.eval(branch, scope),
            None => Ok(ScalarValue::Null),
        }
    }

    fn branch(self: &Rc<Self>, case: &'a Case, scope: &Scope<'a>) -> Result<Option<&'a Expr>> {
        let base = match &case.expr {
            Some(base) => Some(self.eval(base, scope)?),
            None => None,
        };
        for (when, then) in &case.when_then_expr {
            let taken = match &base {
                Some(base) => {
                    let equal = self.binary(base.clone(), Operator::Eq, self.eval(when, scope)?)?;
                    boolean(&equal) == Some(true)
                }
                None => self.is_true(when, scope)?,
            };
            if taken {
                return Ok(Some(then));
            }
        }
        Ok(case.else_expr.as_deref())
    }

    fn in_list(self: &Rc<Self>, list: &'a InList, scope: &Scope<'a>) -> Result<ScalarValue> {
        let value = self.eval(&list.expr, scope)?;
        let (dear, mut staged): (Vec<&Expr>, Vec<&Expr>) =
            list.list.iter().partition(|item| self.is_dear(item, &scope.frame));
        staged.extend(dear);
        let mut found = Some(false);
        for item in staged {
            let equal = self.binary(value.clone(), Operator::Eq, self.eval(item, scope)?)?;
            match boolean(&equal) {
                Some(true) => {
                    found = Some(true);
                    break;
                }
                Some(false) => {}
                None => found = None,
            }
        }
        Ok(ScalarValue::Boolean(found.map(|found| found != list.negated)))
    }

    fn function(
        self: &Rc<Self>,
        function: &'a ScalarFunction,
        scope: &Scope<'a>,
    ) -> Result<ScalarValue> {
        match function.name() {
            "coalesce" | "nvl" => {
                let mut last = ScalarValue::Null;
                for arg in &function.args {
                    last = self.eval(arg, scope)?;
                    if !last.is_null() {
                        break;
                    }
                }
                Ok(last)
            }
            "nvl2" => match self.eval(&function.args[0], scope)?.is_null() {
                true => self.eval(&function.args[2], scope),
                false => self.eval(&function.args[1], scope),
            },
            name if self.functions.contains_key(name) => self.call(name, &function.args, scope),
            _ => {
                let args = function.args.iter().map(|arg| Ok(literal(self.eval(arg, scope)?)));
                let args = args.collect::<Result<_>>()?;
                let call = ScalarFunction::new_udf(Arc::clone(&function.func), args);
                constant(self.plain, Expr::ScalarFunction(call))
            }
        }
    }

    fn call(
        self: &Rc<Self>,
        name: &str,
        args: &'a [Expr],
        scope: &Scope<'a>,
    ) -> Result<ScalarValue> {
        let entry = &self.functions[name];
        let args: Vec<ScalarValue> =
            args.iter().map(|arg| self.eval(arg, scope)).collect::<Result<_>>()?;
        if args.iter().any(ScalarValue::is_null) {
            return ScalarValue::try_from(&entry.returns);
        }
        let mut memo = self.memo.borrow_mut();
        let key = (name.to_owned(), args);
        let reusable = entry.determinism == Determinism::Deterministic;
        if let Some(answer) = memo.answers.get(&key)
            && reusable
        {
            return Ok(answer.clone());
        }
        *memo.calls.entry(name.to_owned()).or_default() += 1;
        let answer = (entry.eval)(&key.1);
        memo.answers.insert(key, answer.clone());
        Ok(answer)
    }

    /// Evaluates an operator that reads all its operands, by DataFusion.
    fn by_datafusion(self: &Rc<Self>, expr: &'a Expr, scope: &Scope<'a>) -> Result<ScalarValue> {
        let mut operands = Vec::new();
        expr.apply_children(|child| {
            operands.push(literal(self.eval(child, scope)?));
            Ok(TreeNodeRecursion::Continue)
        })?;
        let mut operands = operands.into_iter();
        let expr = expr
            .clone()
            .map_children(|child| match operands.next() {
                Some(operand) => Ok(Transformed::yes(operand)),
                None => Ok(Transformed::no(child)),
            })
            .data()?;
        constant(self.plain, expr)
    }
}

fn literal(value: ScalarValue) -> Expr {
    Expr::Literal(value, None)
}

fn flatten<'a>(expr: &'a Expr, op: Operator, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryExpr(binary) if binary.op == op => {
            flatten(&binary.left, op, parts);
            flatten(&binary.right, op, parts);
        }
        Expr::Alias(alias) => flatten(&alias.expr, op, parts),
        expr => parts.push(expr),
    }
}

fn column_is_dear(frame: &Frame<'_>, column: &Column) -> bool {
    frame.schema.maybe_index_of_column(column).is_some_and(|index| frame.dear[index])
}

fn outer_is_dear(frame: &Frame<'_>, column: &Column) -> bool {
    let mut outer = frame.outer.as_ref();
    while let Some(scope) = outer {
        if let Some(index) = scope.frame.schema.maybe_index_of_column(column) {
            return scope.frame.dear[index];
        }
        outer = scope.frame.outer.as_ref();
    }
    false
}

fn outer_value(scope: &Scope<'_>, column: &Column) -> Result<ScalarValue> {
    let mut outer = scope.frame.outer.as_ref();
    while let Some(scope) = outer {
        if let Some(index) = scope.frame.schema.maybe_index_of_column(column) {
            return scope.row.columns[index].get();
        }
        outer = scope.frame.outer.as_ref();
    }
    plan_err!("no outer column {column}")
}
