//! [`Extraction`], which takes calls out of expressions and computes the guards they stood under.
//!
//! Only outermost calls are taken. Their arguments and guards stay as the user wrote them, so a
//! call may hold another call, in its arguments (`f(g(x))`) or in its guard
//! (`CASE WHEN p(x) THEN f(x) END`); `nested_split` takes those out in turn. Nothing is lost by
//! that: a guard tells the guards of the calls inside it, since it is itself a conjunction that is
//! evaluated from left to right.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, Result};
use datafusion_expr::expr::{Case, InList};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::split_binary_owned;
use datafusion_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator, Projection, binary_expr, ident, not,
};

use crate::calls::{Names, any_part, find_call, has_call, is_volatile, same_value};
use crate::cost::Ranking;
use crate::guard::{Guard, is_not_false, is_not_true, is_true};
use crate::logical::CallColumn;
use crate::rewrite::{calculate, columns};

/// Which calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// All outermost calls.
    All,
    /// Calls of whose answer one field is read: `f(x).a`.
    FieldAccess,
    /// All outermost calls but those.
    Plain,
    /// No calls but these columns, the results of calls, to learn where they are read.
    Results(&'a HashSet<Column>),
}

impl Wanted<'_> {
    /// Says whether the expression holds a call that is taken.
    pub(crate) fn is_in(self, expr: &Expr) -> bool {
        if let Wanted::Results(_) = self {
            return any_part(expr, |part| self.is_at(part));
        }
        if find_call(expr).is_some() {
            return self != Wanted::FieldAccess;
        }
        if is_field_of_call(expr) && self != Wanted::All {
            return self == Wanted::FieldAccess;
        }
        if matches!(expr, Expr::Lambda(_)) {
            return false;
        }
        let mut found = false;
        // The closure never fails, so neither does the walk.
        let _ = expr.apply_children(|child| {
            found |= self.is_in(child);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        found
    }
}

impl Wanted<'_> {
    /// Says whether the expression is itself what is taken.
    fn is_at(self, expr: &Expr) -> bool {
        match (self, expr) {
            (Wanted::Results(results), Expr::Column(column)) => results.contains(column),
            (Wanted::Results(_), _) => false,
            _ => find_call(expr).is_some(),
        }
    }

    /// Says whether the expression waits for a call.
    fn makes_dear(self, expr: &Expr) -> bool {
        match self {
            Wanted::Results(results) => {
                expr.column_refs().into_iter().any(|column| results.contains(column))
            }
            _ => has_call(expr),
        }
    }

    /// Ranks the operands of an AND or OR by what their calls cost and settle: a lower one comes
    /// first.
    fn ranks(self, operands: &[Expr], op: Operator) -> Vec<f64> {
        match self {
            Wanted::Results(results) => {
                let read = |expr: &Expr| {
                    let columns = expr.column_refs().into_iter();
                    columns.filter(|column| results.contains(column)).count() as f64
                };
                operands.iter().map(read).collect()
            }
            _ => {
                let ranking = Ranking::among(operands, op);
                operands.iter().map(|operand| ranking.rank(operand)).collect()
            }
        }
    }
}

fn is_field_of_call(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(function) => {
            function.name() == "get_field"
                && function.args.first().is_some_and(|base| find_call(base).is_some())
        }
        _ => false,
    }
}

/// Where an expression stands: the rows it is evaluated on, and what its reader tells apart.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    guard: Guard,
    /// Whether the reader tells TRUE from the rest only, as a filter does.
    condition: bool,
    /// Whether equal calls are one call whatever the function says.
    by_equality: bool,
}

impl Place {
    /// An expression whose value is read, on every row.
    pub(crate) fn value() -> Self {
        Self { guard: Guard::always(), condition: false, by_equality: false }
    }

    /// A condition of which only TRUE matters, on every row.
    pub(crate) fn condition() -> Self {
        Self { condition: true, ..Self::value() }
    }

    /// An expression whose value is read, on the rows that pass a guard.
    pub(crate) fn value_on(guard: Guard) -> Self {
        Self { guard, ..Self::value() }
    }

    /// The same place in a list of keys, which upstream has compared structurally already.
    pub(crate) fn of_keys(self) -> Self {
        Self { by_equality: true, ..self }
    }

    /// The same place on the rows that pass a guard as well.
    pub(crate) fn guarded(&self, condition: Expr) -> Self {
        Self { guard: self.guard.and(condition), ..self.clone() }
    }

    fn as_value(&self) -> Self {
        Self { condition: false, ..self.clone() }
    }

    /// The same place, of whose value only TRUE matters.
    pub(crate) fn as_condition(&self) -> Self {
        Self { condition: true, ..self.clone() }
    }
}

struct Found {
    call: Expr,
    guard: Guard,
    name: String,
}

/// Takes calls out of expressions and remembers them, equal ones once.
pub(crate) struct Extraction<'a> {
    names: &'a mut Names,
    wanted: Wanted<'a>,
    found: Vec<Found>,
    /// Whether a guard must not come to hold more calls by merging, see [`Self::with_known`].
    nested: bool,
    /// Whether no further call may be taken.
    closed: bool,
    /// Volatile conditions that guard calls, computed once below them.
    computed: Vec<(Expr, String)>,
}

impl<'a> Extraction<'a> {
    /// Starts with no call taken.
    pub(crate) fn new(names: &'a mut Names, wanted: Wanted<'a>) -> Self {
        Self {
            names,
            wanted,
            found: Vec::new(),
            nested: false,
            closed: false,
            computed: Vec::new(),
        }
    }

    /// Starts with calls that are there already.
    ///
    /// Equal calls whose guards depend on further calls are kept apart then: each round of
    /// `nested_split` must leave smaller calls than it found, or it would not end.
    pub(crate) fn with_known(mut self, calls: Vec<CallColumn>) -> Self {
        self.nested = true;
        self.found = calls
            .into_iter()
            .map(|CallColumn { call, guard, name }| Found {
                call,
                guard: Guard::from_expr(guard),
                name,
            })
            .collect();
        self
    }

    /// Puts the calls taken above a plan.
    pub(crate) fn calculate(self, input: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        let mut input = input;
        if !self.computed.is_empty() {
            let computed = self.computed.iter().map(|(expr, name)| expr.clone().alias(name));
            let exprs = columns(input.schema()).chain(computed).collect();
            input = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input)?));
        }
        calculate(input, self.into_calls())
    }

    /// Returns the calls taken, in the order in which they were met.
    pub(crate) fn into_calls(self) -> Vec<CallColumn> {
        self.found
            .into_iter()
            .map(|Found { call, guard, name }| CallColumn { call, guard: guard.into_expr(), name })
            .collect()
    }

    /// Takes the calls out of an expression, which keeps its name.
    pub(crate) fn rewrite_named(&mut self, expr: Expr, place: &Place) -> Result<Expr> {
        if !self.wanted.is_in(&expr) {
            return Ok(expr);
        }
        let name = NamePreserver::new_for_projection().save(&expr);
        Ok(name.restore(self.rewrite(expr, place)?))
    }

    /// Takes the calls out of expressions, which keep their names.
    pub(crate) fn rewrite_all_named(
        &mut self,
        exprs: Vec<Expr>,
        place: &Place,
    ) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.rewrite_named(expr, place)).collect()
    }

    /// Rewrites an expression whose calls have all been taken already; `None` if one has not.
    pub(crate) fn reuse(&mut self, expr: &Expr, place: &Place) -> Result<Option<Expr>> {
        self.closed = true;
        let rewritten = self.rewrite(expr.clone(), place);
        self.closed = false;
        Ok(Some(rewritten?).filter(|rewritten| !has_call(rewritten)))
    }

    /// Takes the calls out of an expression.
    pub(crate) fn rewrite(&mut self, expr: Expr, place: &Place) -> Result<Expr> {
        if !self.wanted.is_in(&expr) {
            return Ok(expr);
        }
        if self.wanted.is_at(&expr) {
            return Ok(self.take(expr, place));
        }
        match expr {
            Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
                self.rewrite_chain(expr, op, place)
            }
            Expr::Case(case) => self.rewrite_case(case, place),
            Expr::InList(list) if self.spells_out(&list) => {
                self.rewrite(spell_out(list, self.wanted), place)
            }
            Expr::Alias(mut alias) => {
                alias.expr = Box::new(self.rewrite(*alias.expr, place)?);
                Ok(Expr::Alias(alias))
            }
            Expr::IsTrue(inner) => {
                Ok(Expr::IsTrue(Box::new(self.rewrite(*inner, &place.as_condition())?)))
            }
            Expr::IsNotTrue(inner) => {
                Ok(Expr::IsNotTrue(Box::new(self.rewrite(*inner, &place.as_condition())?)))
            }
            expr if is_field_of_call(&expr) => self.rewrite_field(expr, place),
            expr => {
                let place = place.as_value();
                expr.map_children(|child| Ok(Transformed::yes(self.rewrite(child, &place)?)))
                    .map(|transformed| transformed.data)
            }
        }
    }

    /// Takes one call and returns the column of its result.
    fn take(&mut self, call: Expr, place: &Place) -> Expr {
        let (nested, closed) = (self.nested, self.closed);
        let usable = |found: &Found| {
            let same =
                if place.by_equality { found.call == call } else { same_value(&found.call, &call) };
            let known = place.guard.implies(&found.guard);
            let may_grow = !nested || !(place.guard.has_call() || found.guard.has_call());
            same && (known || (may_grow && !closed))
        };
        match self.found.iter_mut().find(|found| usable(found)) {
            Some(found) => {
                found.guard.or(place.guard.clone());
                ident(&found.name)
            }
            None if closed => call,
            None => {
                let name = self.names.next();
                self.found.push(Found { call, guard: place.guard.clone(), name: name.clone() });
                ident(name)
            }
        }
    }

    /// Lets a volatile condition be computed once, if a call is guarded by it.
    ///
    /// `CASE WHEN random() < 0.5 THEN f(x) END` asks twice, in the guard and in the CASE, and must
    /// be answered once. Where the condition is itself guarded it stays, and guards nothing: it may
    /// fail on the other rows, and calls that are too many do no harm.
    fn once(&mut self, condition: Expr, place: &Place) -> Expr {
        let once = is_volatile(&condition) && !has_call(&condition) && place.guard.is_always();
        if !once || self.closed || matches!(self.wanted, Wanted::Results(_)) {
            return condition;
        }
        let name = self.names.next();
        self.computed.push((condition, name.clone()));
        ident(name)
    }

    fn rewrite_field(&mut self, expr: Expr, place: &Place) -> Result<Expr> {
        let place = place.as_value();
        expr.map_children(|child| {
            Ok(match find_call(&child) {
                Some(_) => Transformed::yes(self.take(child, &place)),
                None => Transformed::yes(self.rewrite(child, &place)?),
            })
        })
        .map(|transformed| transformed.data)
    }

    fn spells_out(&self, list: &InList) -> bool {
        list.list.iter().any(|item| self.wanted.makes_dear(item)) && !is_volatile(&list.expr)
    }

    /// Takes the calls out of a chain of AND or OR: cheap operands guard all calls, and each call
    /// guards the ones after it. An operand with fewer calls comes before one with more.
    fn rewrite_chain(&mut self, expr: Expr, op: Operator, place: &Place) -> Result<Expr> {
        let operands = split_binary_owned(expr, op);
        let ranks = self.wanted.ranks(&operands, op);
        let mut operands: Vec<(usize, Expr)> = operands.into_iter().enumerate().collect();
        operands.sort_by(|(a, _), (b, _)| ranks[*a].total_cmp(&ranks[*b]));
        let mut place = place.clone();
        let mut rewritten = Vec::with_capacity(operands.len());
        let number = operands.len();
        for (done, (position, operand)) in operands.into_iter().enumerate() {
            let operand = if done + 1 < number { self.once(operand, &place) } else { operand };
            let condition = operand.clone();
            rewritten.push((position, self.rewrite(operand, &place)?));
            place = place.guarded(match (op, place.condition) {
                (Operator::Or, _) => is_not_true(condition),
                (_, true) => is_true(condition),
                (_, false) => is_not_false(condition),
            });
        }
        rewritten.sort_by_key(|(position, _)| *position);
        let chain = rewritten.into_iter().map(|(_, operand)| operand);
        Ok(chain.reduce(|left, right| binary_expr(left, op, right)).unwrap_or_default())
    }

    /// Takes the calls out of a CASE: each branch is evaluated where its condition is TRUE and
    /// those before it are not.
    fn rewrite_case(&mut self, case: Case, place: &Place) -> Result<Expr> {
        let Case { expr, when_then_expr, else_expr } = case;
        let operand = expr.as_deref().cloned();
        let expr = expr.map(|expr| self.rewrite(*expr, &place.as_value())).transpose()?;
        let mut rest = place.clone();
        let mut branches = Vec::with_capacity(when_then_expr.len());
        for (when, then) in when_then_expr {
            let when = match &operand {
                Some(_) => when,
                None => Box::new(self.once(*when, &rest)),
            };
            let (condition, when) = match &operand {
                Some(operand) => (
                    binary_expr(operand.clone(), Operator::Eq, when.as_ref().clone()),
                    self.rewrite(*when, &rest.as_value())?,
                ),
                None => (when.as_ref().clone(), self.rewrite(*when, &rest.as_condition())?),
            };
            let then = self.rewrite(*then, &rest.guarded(is_true(condition.clone())))?;
            rest = rest.guarded(is_not_true(condition));
            branches.push((Box::new(when), Box::new(then)));
        }
        let otherwise = else_expr.map(|expr| self.rewrite(*expr, &rest)).transpose()?;
        Ok(Expr::Case(Case::new(expr.map(Box::new), branches, otherwise.map(Box::new))))
    }
}

/// Writes a list as a list of its cheap items OR one comparison for each item with a call, so that the
/// cheap ones are tested first.
fn spell_out(list: InList, wanted: Wanted<'_>) -> Expr {
    let InList { expr, list, negated } = list;
    let (dear, cheap): (Vec<_>, Vec<_>) =
        list.into_iter().partition(|item| wanted.makes_dear(item));
    let cheap = (!cheap.is_empty()).then(|| expr.as_ref().clone().in_list(cheap, false));
    let dear = dear.into_iter().map(|item| expr.as_ref().clone().eq(item));
    let any = cheap.into_iter().chain(dear).reduce(Expr::or).unwrap_or_default();
    if negated { not(any) } else { any }
}
