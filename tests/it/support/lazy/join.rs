//! Joins of all types, pair by pair.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::common::{DFSchema, JoinType, NullEquality, Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

use super::Run;
use super::subquery::is_correlated;
use super::value::{Cell, Frame, Lazy, Relation, Row, Scope};

type Outer<'s, 'a> = Option<&'s Rc<Scope<'a>>>;

/// A pair of rows that passes the cheap conditions.
struct Pair<'a> {
    left: usize,
    right: usize,
    columns: Row<'a>,
    /// The conditions with calls.
    dear: Vec<Cell<'a>>,
}

/// Which rows of one side survive a join by themselves.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

impl<'a> Run<'a> {
    pub fn join(self: &Rc<Self>, join: &'a Join, outer: Outer<'_, 'a>) -> Result<Relation<'a>> {
        let left = self.relation(&join.left, outer)?;
        if is_lateral(&join.right) {
            return self.lateral(join, left);
        }
        let right = self.relation(&join.right, outer)?;
        let pairs = self.pairs(join, &left, &right, outer)?;
        let frame = output_frame(join, &left, &right, outer);
        let rows = match join.join_type {
            JoinType::Inner => pairs
                .into_iter()
                .map(|pair| {
                    let rows = [&left.rows[pair.left], &right.rows[pair.right]];
                    let pending = rows.into_iter().flat_map(|row| row.pending.iter().cloned());
                    pair.columns.with_pending(pending.chain(pair.dear))
                })
                .collect(),
            JoinType::Left => self.preserve(Side::Left, &left, &right, pairs)?,
            JoinType::Right => self.preserve(Side::Right, &left, &right, pairs)?,
            JoinType::Full => self.full(left, right, join, outer)?,
            JoinType::LeftSemi => self.semi(Side::Left, true, &left, &right, pairs),
            JoinType::LeftAnti => self.semi(Side::Left, false, &left, &right, pairs),
            JoinType::RightSemi => self.semi(Side::Right, true, &left, &right, pairs),
            JoinType::RightAnti => self.semi(Side::Right, false, &left, &right, pairs),
            kind => return not_impl_err!("the lazy oracle does not know {kind} joins"),
        };
        Ok(Relation { frame, rows, ordered: false })
    }

    /// Returns the pairs that pass the cheap conditions, with the dear ones still to be tested.
    fn pairs(
        self: &Rc<Self>,
        join: &'a Join,
        left: &Relation<'a>,
        right: &Relation<'a>,
        outer: Outer<'_, 'a>,
    ) -> Result<Vec<Pair<'a>>> {
        let filters: Vec<&'a Expr> =
            join.filter.as_ref().map(split_conjunction).unwrap_or_default();
        let schema = match filters.is_empty() {
            // Without a condition on both sides nobody asks for the columns by name; sides of a set
            // operation may have the same names.
            true => DFSchema::empty(),
            false => left.frame.schema.join(&right.frame.schema)?,
        };
        let dear = [&left.frame.dear[..], &right.frame.dear[..]].concat();
        let frame = Rc::new(Frame { schema: Arc::new(schema), dear, outer: outer.cloned() });
        let (dear_keys, cheap_keys): (Vec<_>, Vec<_>) = join
            .on
            .iter()
            .partition(|(l, r)| self.is_dear(l, &left.frame) || self.is_dear(r, &right.frame));
        let (dear_filters, cheap_filters): (Vec<&'a Expr>, Vec<&'a Expr>) =
            filters.into_iter().partition(|filter| self.is_dear(filter, &frame));
        let left_keys = self.keys(cheap_keys.iter().map(|(key, _)| key), left)?;
        let right_keys = self.keys(cheap_keys.iter().map(|(_, key)| key), right)?;
        let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
        let mut pairs = Vec::new();
        for (l, left_row) in left.rows.iter().enumerate() {
            'right: for (r, right_row) in right.rows.iter().enumerate() {
                self.step()?;
                if !equal_keys(&left_keys[l], &right_keys[r], nulls_match) {
                    continue;
                }
                let columns = left_row.columns.iter().chain(right_row.columns.iter());
                let columns = Row::new(columns.cloned().collect());
                let scope = Scope { frame: Rc::clone(&frame), row: columns.clone() };
                for filter in &cheap_filters {
                    if !self.is_true(filter, &scope)? {
                        continue 'right;
                    }
                }
                let mut dear = Vec::new();
                for (left_key, right_key) in &dear_keys {
                    let run = Rc::clone(self);
                    let (left, right) = (left.scope(left_row), right.scope(right_row));
                    dear.push(Lazy::new(move || {
                        let keys = [run.eval(left_key, &left)?];
                        let others = [run.eval(right_key, &right)?];
                        Ok(ScalarValue::from(equal_keys(&keys, &others, nulls_match)))
                    }));
                }
                dear.extend(dear_filters.iter().map(|filter| self.condition(filter, &scope)));
                pairs.push(Pair { left: l, right: r, columns, dear });
            }
        }
        Ok(pairs)
    }

    fn keys(
        self: &Rc<Self>,
        keys: impl Iterator<Item = &'a Expr> + Clone,
        side: &Relation<'a>,
    ) -> Result<Vec<Vec<ScalarValue>>> {
        let rows = side.rows.iter().map(|row| {
            let scope = side.scope(row);
            keys.clone().map(|key| self.eval(key, &scope)).collect()
        });
        rows.collect()
    }

    /// Keeps every row of one side, with its matches or with NULLs.
    fn preserve(
        self: &Rc<Self>,
        side: Side,
        left: &Relation<'a>,
        right: &Relation<'a>,
        pairs: Vec<Pair<'a>>,
    ) -> Result<Vec<Row<'a>>> {
        let (kept, other) = sides(side, left, right);
        let mut rows = Vec::new();
        for (row, pairs) in kept.rows.iter().zip(group(side, kept, pairs)) {
            let sure = |pair: &Pair<'a>| is_sure(pair, side, other);
            if pairs.iter().all(sure) {
                // Whether the row matches is known, whether it exists may wait.
                match pairs.is_empty() {
                    true => rows.push(null_extended(side, row, other)),
                    false => rows.extend(
                        pairs
                            .into_iter()
                            .map(|pair| pair.columns.with_pending(row.pending.iter().cloned())),
                    ),
                }
                continue;
            }
            if !self.exists(row)? {
                continue;
            }
            let before = rows.len();
            for pair in pairs {
                if self.all_hold(&conditions(&pair, side, other))? {
                    rows.push(pair.columns);
                }
            }
            if rows.len() == before {
                rows.push(null_extended(side, &row.without_pending(), other));
            }
        }
        Ok(rows)
    }

    fn full(
        self: &Rc<Self>,
        mut left: Relation<'a>,
        mut right: Relation<'a>,
        join: &'a Join,
        outer: Outer<'_, 'a>,
    ) -> Result<Vec<Row<'a>>> {
        left.rows = self.settle(left.rows)?;
        right.rows = self.settle(right.rows)?;
        let mut matched = (vec![false; left.rows.len()], vec![false; right.rows.len()]);
        let mut rows = Vec::new();
        for pair in self.pairs(join, &left, &right, outer)? {
            if self.all_hold(&pair.dear)? {
                matched.0[pair.left] = true;
                matched.1[pair.right] = true;
                rows.push(pair.columns);
            }
        }
        for (row, matched) in left.rows.iter().zip(matched.0) {
            rows.extend((!matched).then(|| null_extended(Side::Left, row, &right)));
        }
        for (row, matched) in right.rows.iter().zip(matched.1) {
            rows.extend((!matched).then(|| null_extended(Side::Right, row, &left)));
        }
        Ok(rows)
    }

    /// Keeps the rows of one side that have a match, or those that have none.
    fn semi(
        self: &Rc<Self>,
        side: Side,
        wanted: bool,
        left: &Relation<'a>,
        right: &Relation<'a>,
        pairs: Vec<Pair<'a>>,
    ) -> Vec<Row<'a>> {
        let (kept, other) = sides(side, left, right);
        let mut rows = Vec::new();
        for (row, pairs) in kept.rows.iter().zip(group(side, kept, pairs)) {
            let found = pairs.iter().any(|pair| is_sure(pair, side, other));
            if found || pairs.is_empty() {
                rows.extend((found == wanted).then(|| row.clone()));
                continue;
            }
            let tests: Vec<_> = pairs.iter().map(|pair| conditions(pair, side, other)).collect();
            let run = Rc::clone(self);
            rows.push(row.with_pending([Lazy::new(move || {
                let mut found = false;
                for test in tests {
                    found |= run.all_hold(&test)?;
                    if found && run.stops_at_match() {
                        break;
                    }
                }
                Ok(ScalarValue::Boolean(Some(found == wanted)))
            })]));
        }
        rows
    }

    /// Joins each row with a right side that reads it.
    fn lateral(self: &Rc<Self>, join: &'a Join, left: Relation<'a>) -> Result<Relation<'a>> {
        let mut rows = Vec::new();
        let mut frame = None;
        for row in &left.rows {
            let one =
                Relation { frame: Rc::clone(&left.frame), rows: vec![row.clone()], ordered: false };
            let scope = Rc::new(one.scope(row));
            let right = self.relation(&join.right, Some(&scope))?;
            let outer = left.frame.outer.as_ref();
            let pairs = self.pairs(join, &one, &right, outer)?;
            match join.join_type {
                JoinType::Inner => rows.extend(pairs.into_iter().map(|pair| {
                    let rows = [row, &right.rows[pair.right]];
                    let pending = rows.into_iter().flat_map(|row| row.pending.iter().cloned());
                    pair.columns.with_pending(pending.chain(pair.dear))
                })),
                JoinType::Left => rows.extend(self.preserve(Side::Left, &one, &right, pairs)?),
                kind => return not_impl_err!("the lazy oracle does not know LATERAL in {kind}"),
            }
            frame.get_or_insert_with(|| output_frame(join, &one, &right, outer));
        }
        let dear = vec![false; join.schema.fields().len()];
        let frame = frame.unwrap_or_else(|| {
            Rc::new(Frame { schema: Arc::clone(&join.schema), dear, outer: None })
        });
        Ok(Relation { frame, rows, ordered: false })
    }
}

fn output_frame<'a>(
    join: &Join,
    left: &Relation<'a>,
    right: &Relation<'a>,
    outer: Outer<'_, 'a>,
) -> Rc<Frame<'a>> {
    let dear = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left.frame.dear.clone(),
        JoinType::RightSemi | JoinType::RightAnti => right.frame.dear.clone(),
        _ => [&left.frame.dear[..], &right.frame.dear[..]].concat(),
    };
    Rc::new(Frame { schema: Arc::clone(&join.schema), dear, outer: outer.cloned() })
}

fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        LogicalPlan::Subquery(subquery) => is_correlated(&subquery.subquery),
        _ => false,
    }
}

fn sides<'r, 'a>(
    side: Side,
    left: &'r Relation<'a>,
    right: &'r Relation<'a>,
) -> (&'r Relation<'a>, &'r Relation<'a>) {
    match side {
        Side::Left => (left, right),
        Side::Right => (right, left),
    }
}

/// Distributes pairs over the rows of one side.
fn group<'a>(side: Side, kept: &Relation<'a>, pairs: Vec<Pair<'a>>) -> Vec<Vec<Pair<'a>>> {
    let mut groups: Vec<Vec<Pair<'a>>> = kept.rows.iter().map(|_| vec![]).collect();
    for pair in pairs {
        let index = if side == Side::Left { pair.left } else { pair.right };
        groups[index].push(pair);
    }
    groups
}

fn other_row<'r, 'a>(pair: &Pair<'a>, side: Side, other: &'r Relation<'a>) -> &'r Row<'a> {
    &other.rows[if side == Side::Left { pair.right } else { pair.left }]
}

/// Says whether a pair matches without any further test.
fn is_sure<'a>(pair: &Pair<'a>, side: Side, other: &Relation<'a>) -> bool {
    pair.dear.is_empty() && other_row(pair, side, other).pending.is_empty()
}

fn conditions<'a>(pair: &Pair<'a>, side: Side, other: &Relation<'a>) -> Vec<Cell<'a>> {
    let pending = other_row(pair, side, other).pending.iter();
    pending.chain(&pair.dear).cloned().collect()
}

fn null_extended<'a>(side: Side, row: &Row<'a>, other: &Relation<'a>) -> Row<'a> {
    let fields = other.frame.schema.fields().iter();
    let nulls = fields.map(|field| {
        Lazy::known(ScalarValue::try_from(field.data_type()).unwrap_or(ScalarValue::Null))
    });
    let own = row.columns.iter().cloned();
    row.with_columns(match side {
        Side::Left => own.chain(nulls).collect(),
        Side::Right => nulls.chain(own).collect(),
    })
}

fn equal_keys(left: &[ScalarValue], right: &[ScalarValue], nulls_match: bool) -> bool {
    left.iter().zip(right).all(|(left, right)| match left.is_null() || right.is_null() {
        true => nulls_match && left.is_null() && right.is_null(),
        false => left == right,
    })
}
