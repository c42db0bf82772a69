//! [`Guard`], the condition under which a row needs a call.

use datafusion_common::ScalarValue;
use datafusion_expr::utils::{
    conjunction, disjunction, split_binary_owned, split_conjunction_owned,
};
use datafusion_expr::{BinaryExpr, Expr, Operator, and};

use crate::calls::{has_call, is_volatile, same_value};

/// The most conjunctions that a combined guard may have; it is evaluated on every row.
const MOST_PARTS: usize = 8;

/// The condition under which a row needs a call: any of several conjunctions.
///
/// Every condition in it is TRUE or FALSE, never NULL.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    any_of: Vec<Vec<Expr>>,
}

impl Guard {
    /// Every row needs the call.
    pub(crate) fn always() -> Self {
        Self { any_of: vec![Vec::new()] }
    }

    /// No row needs the call.
    pub(crate) fn never() -> Self {
        Self { any_of: Vec::new() }
    }

    /// Reads a guard back from a node.
    pub(crate) fn from_expr(guard: Option<Expr>) -> Self {
        let Some(guard) = guard else { return Self::always() };
        let any_of = split_binary_owned(guard, Operator::Or)
            .into_iter()
            .map(|part| split_conjunction_owned(part).into_iter().map(is_true).collect())
            .collect();
        Self { any_of }
    }

    /// Writes the guard as one expression, `None` if every row needs the call.
    pub(crate) fn into_expr(self) -> Option<Expr> {
        if self.is_always() {
            return None;
        }
        disjunction(self.any_of.into_iter().filter_map(conjunction))
    }

    /// Says whether every row needs the call.
    pub(crate) fn is_always(&self) -> bool {
        self.any_of.iter().any(Vec::is_empty)
    }

    /// Says whether no row needs the call.
    pub(crate) fn is_never(&self) -> bool {
        self.any_of.is_empty()
    }

    /// Says whether an async call must be made before the guard is known.
    pub(crate) fn has_call(&self) -> bool {
        self.any_of.iter().flatten().any(has_call)
    }

    /// Adds a condition that is never NULL.
    ///
    /// A condition that would have another value when evaluated again is left out: the guard is
    /// weaker then, which costs calls but never a result.
    pub(crate) fn and(&self, condition: Expr) -> Self {
        let mut guard = self.clone();
        let conditions: Vec<Expr> = split_conjunction_owned(condition)
            .into_iter()
            .filter(|condition| !is_volatile(condition) && *condition != boolean(true))
            .collect();
        for part in &mut guard.any_of {
            for condition in &conditions {
                if !part.iter().any(|known| same_value(known, condition)) {
                    part.push(condition.clone());
                }
            }
        }
        guard
    }

    /// Adds the rows of another guard.
    pub(crate) fn or(&mut self, other: Self) {
        for part in other.any_of {
            if self.any_of.iter().any(|known| is_subset(known, &part)) {
                continue;
            }
            self.any_of.retain(|known| !is_subset(&part, known));
            self.any_of.push(part);
        }
    }

    /// Returns the rows that pass this guard and another one.
    ///
    /// Where that would take more conjunctions than [`MOST_PARTS`], this guard alone.
    pub(crate) fn both(&self, other: &Self) -> Self {
        if self.any_of.len() * other.any_of.len() > MOST_PARTS {
            return self.clone();
        }
        let mut both = Self::never();
        for part in &other.any_of {
            let mut narrowed = self.clone();
            for condition in part {
                narrowed = narrowed.and(condition.clone());
            }
            both.or(narrowed);
        }
        both
    }

    /// Writes each condition differently, or leaves it out: the guard is weaker then.
    pub(crate) fn map(&self, write: impl Fn(&Expr) -> Option<Expr>) -> Self {
        let any_of = self.any_of.iter().map(|part| part.iter().filter_map(&write).collect());
        let mut mapped = Self::never();
        mapped.or(Self { any_of: any_of.collect() });
        mapped
    }

    /// Says whether the other guard is seen to hold wherever this one holds.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        self.any_of.iter().all(|part| other.any_of.iter().any(|weaker| is_subset(weaker, part)))
    }
}

fn is_subset(part: &[Expr], of: &[Expr]) -> bool {
    part.iter().all(|condition| of.iter().any(|other| same_value(condition, other)))
}

fn boolean(value: bool) -> Expr {
    Expr::Literal(ScalarValue::Boolean(Some(value)), None)
}

/// Says that an expression is TRUE, rather than FALSE or NULL.
pub(crate) fn is_true(expr: Expr) -> Expr {
    match expr {
        expr if is_never_null(&expr) => expr,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            and(is_true(*left), is_true(*right))
        }
        expr => Expr::IsTrue(Box::new(expr)),
    }
}

/// Says that an expression is FALSE or NULL.
pub(crate) fn is_not_true(expr: Expr) -> Expr {
    match expr {
        Expr::IsTrue(inner) => is_not_true(*inner),
        Expr::IsNotTrue(inner) => is_true(*inner),
        Expr::IsFalse(inner) => is_not_false(*inner),
        Expr::IsNotFalse(inner) => Expr::IsFalse(inner),
        Expr::IsNull(inner) => Expr::IsNotNull(inner),
        Expr::IsNotNull(inner) => Expr::IsNull(inner),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            and(is_not_true(*left), is_not_true(*right))
        }
        expr => Expr::IsNotTrue(Box::new(expr)),
    }
}

/// Says that an expression is TRUE or NULL.
pub(crate) fn is_not_false(expr: Expr) -> Expr {
    match expr {
        expr if is_never_null(&expr) => expr,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            and(is_not_false(*left), is_not_false(*right))
        }
        expr => Expr::IsNotFalse(Box::new(expr)),
    }
}

fn is_never_null(expr: &Expr) -> bool {
    match expr {
        Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Literal(ScalarValue::Boolean(Some(_)), _) => true,
        Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
            is_never_null(&binary.left) && is_never_null(&binary.right)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion_expr::{col, lit};

    use super::*;

    #[test]
    fn takes_conditions_apart_where_that_keeps_their_meaning() {
        let both = and(col("a"), col("b"));
        assert_eq!(is_true(both.clone()).to_string(), "a IS TRUE AND b IS TRUE");
        assert_eq!(is_not_false(both.clone()).to_string(), "a IS NOT FALSE AND b IS NOT FALSE");
        assert_eq!(is_not_true(both).to_string(), "a AND b IS NOT TRUE");
        let either = col("a").or(col("b"));
        assert_eq!(is_not_true(either.clone()).to_string(), "a IS NOT TRUE AND b IS NOT TRUE");
        assert_eq!(is_true(either).to_string(), "a OR b IS TRUE");
    }

    #[test]
    fn negates_a_test_for_null_without_wrapping_it() {
        assert_eq!(is_not_true(is_true(col("a"))).to_string(), "a IS NOT TRUE");
        assert_eq!(is_not_true(is_not_true(col("a"))).to_string(), "a IS TRUE");
        assert_eq!(is_not_true(is_not_false(col("a"))).to_string(), "a IS FALSE");
        assert_eq!(is_not_true(col("a").is_null()).to_string(), "a IS NOT NULL");
    }

    #[test]
    fn the_weaker_guard_swallows_the_stronger() {
        let weak = Guard::always().and(is_true(col("a")));
        let strong = weak.and(is_true(col("b")));
        let mut merged = strong.clone();
        merged.or(weak.clone());
        assert_eq!(merged.into_expr(), weak.clone().into_expr());
        assert!(strong.implies(&weak) && !weak.implies(&strong));
    }

    #[test]
    fn guards_that_say_nothing_of_each_other_are_both_kept() {
        let mut merged = Guard::always().and(is_true(col("a")));
        merged.or(Guard::always().and(is_true(col("b"))));
        assert_eq!(merged.clone().into_expr().unwrap().to_string(), "a IS TRUE OR b IS TRUE");
        let read = Guard::from_expr(merged.clone().into_expr());
        assert!(read.implies(&merged) && merged.implies(&read));
    }

    #[test]
    fn a_row_that_needs_the_call_anyway_ends_all_guards() {
        let mut merged = Guard::always().and(is_true(col("a")));
        merged.or(Guard::always());
        assert_eq!(merged.into_expr(), None);
        assert_eq!(Guard::always().and(lit(true)).into_expr(), None);
    }
}
