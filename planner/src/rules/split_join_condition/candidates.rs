//! Joins whose rows survive a condition that fails: candidates first, then the calls, then one answer per row.

use std::sync::Arc;

use datafusion_common::{Column, DFSchemaRef, JoinType, NullEquality, Result, ScalarValue};
use datafusion_expr::expr::Case;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, Operator, Projection, and, binary_expr, ident};

use crate::calls::Names;
use crate::extract::{Extraction, Place, Wanted};
use crate::guard::is_true;
use crate::logical::{Resolve, ResolveKind, ResolveOutput, RowId};
use crate::rewrite::columns;

/// Says whether the rows of the left side are those that the join keeps, drops or marks.
///
/// `None` for joins that have no such side (inner), or two (full).
pub(in crate::rules) fn preserves_left(join_type: JoinType) -> Option<bool> {
    match join_type {
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => Some(true),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            Some(false)
        }
        JoinType::Inner | JoinType::Full => None,
    }
}

/// Joins on the cheap conditions, calls on the candidates, and resolves them row by row.
pub(super) fn resolve_join(
    join: Join,
    preserves_left: bool,
    cheap: Vec<Expr>,
    dear: Vec<Expr>,
    names: &mut Names,
) -> Result<LogicalPlan> {
    let (row_id, present, matched) = (names.next(), names.next(), names.next());
    let (kept, other) =
        if preserves_left { (&join.left, &join.right) } else { (&join.right, &join.left) };
    let (kept, other) = (Arc::clone(kept), Arc::clone(other));
    let kept_columns: Vec<Column> = kept.schema().columns();
    let flag = Expr::Literal(ScalarValue::Boolean(Some(true)), None).alias(&present);
    let exprs = columns(other.schema()).chain([flag]).collect();
    let other = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, other)?));

    // NOT IN: a pair whose keys may be equal, one being NULL, is a candidate; what is left of the
    // condition decides whether it counts. DataFusion's own null-aware join knows no such rest.
    let on = join.on.clone();
    let (on, cheap) = match join.null_aware {
        true => (Vec::new(), on.into_iter().map(may_be_equal).chain(cheap).collect::<Vec<_>>()),
        false => (on, cheap),
    };
    let pairs = find_candidates(&join, kept, &row_id, other, on, conjunction(cheap))?;
    let (candidates, matches) = call_on_pairs(pairs, is_true(ident(&present)), dear, names)?;
    let outputs = outputs(&join.schema, &kept_columns, join.join_type);
    let kind = kind(join.join_type, &join.schema);
    resolve(candidates, kind, &row_id, (&matched, matches), outputs)
}

/// Numbers the rows that a join keeps, and joins each with its candidates, or with NULLs if it has none.
pub(in crate::rules) fn find_candidates(
    join: &Join,
    kept: Arc<LogicalPlan>,
    row_id: &str,
    other: Arc<LogicalPlan>,
    on: Vec<(Expr, Expr)>,
    condition: Option<Expr>,
) -> Result<Join> {
    let number = Arc::new(RowId::try_new(kept, row_id)?.into_plan());
    let (left, right, outer) = match preserves_left(join.join_type) {
        Some(false) => (other, number, JoinType::Right),
        _ => (number, other, JoinType::Left),
    };
    let nulls = if join.null_aware { NullEquality::NullEqualsNothing } else { join.null_equality };
    Join::try_new(left, right, on, condition, outer, join.join_constraint, nulls, false)
}

/// Joins both sides in full on the cheap conditions, calls on the pairs, and resolves them twice.
///
/// The first Resolve, by the rows of the left side, keeps matches and left rows without one, and
/// lets a witness of the right row pass for every pair that does not match. The second, by the rows
/// of the right side, drops the witnesses of rows that have a match and keeps one of the others.
pub(super) fn resolve_full(
    join: Join,
    cheap: Vec<Expr>,
    dear: Vec<Expr>,
    names: &mut Names,
) -> Result<LogicalPlan> {
    let Join { left, right, on, join_constraint: constraint, schema, .. } = join;
    let (left_id, right_id) = (names.next(), names.next());
    let (matched, matched_again) = (names.next(), names.next());
    let left_columns: Vec<Column> = left.schema().columns();
    let left = Arc::new(RowId::try_new(left, &left_id)?.into_plan());
    let right = Arc::new(RowId::try_new(right, &right_id)?.into_plan());
    let (condition, nulls) = (conjunction(cheap), join.null_equality);
    let pairs =
        Join::try_new(left, right, on, condition, JoinType::Full, constraint, nulls, false)?;

    let has_right = ident(&right_id).is_not_null();
    let is_pair = and(ident(&left_id).is_not_null(), has_right.clone());
    let (candidates, matches) = call_on_pairs(pairs, is_pair.clone(), dear, names)?;
    // NULL for a left row alone, which is no witness of anything.
    let branch = (Box::new(has_right), Box::new(matches));
    let matches = Expr::Case(Case::new(None, vec![branch], None));
    let of_left = |column: &Column| left_columns.contains(column);
    let output = |column: Column, nulled: bool| ResolveOutput { column, nulled };
    let sides = schema.columns().into_iter().map(|column| (of_left(&column), column));
    let mut outputs: Vec<_> =
        sides.clone().map(|(of_left, column)| output(column, !of_left)).collect();
    outputs.push(output(Column::from_name(&left_id), false));
    outputs.push(output(Column::from_name(&right_id), true));
    let by_left = resolve(candidates, ResolveKind::Full, &left_id, (&matched, matches), outputs)?;
    // A witness has lost its left row's number, a left row alone has no right one.
    let outputs = sides.map(|(of_left, column)| output(column, of_left)).collect();
    let again = (matched_again.as_str(), is_pair);
    resolve(Arc::new(by_left), ResolveKind::Outer, &right_id, again, outputs)
}

/// Makes the calls of conditions on the pairs that are there.
///
/// Returns the plan with their results, and whether a pair is there and passes all conditions.
fn call_on_pairs(
    pairs: Join,
    is_pair: Expr,
    dear: Vec<Expr>,
    names: &mut Names,
) -> Result<(Arc<LogicalPlan>, Expr)> {
    let mut extraction = Extraction::new(names, Wanted::All);
    let place = Place::condition().guarded(is_pair.clone());
    let dear = conjunction(dear).map(|dear| extraction.rewrite(dear, &place)).transpose()?;
    let candidates = extraction.calculate(Arc::new(LogicalPlan::Join(pairs)))?;
    let matches = match dear {
        Some(dear) => and(is_pair, is_true(dear)),
        None => is_pair,
    };
    Ok((candidates, matches))
}

/// Puts a Resolve above candidates, and the column below it that says which of them match.
pub(in crate::rules) fn resolve(
    candidates: Arc<LogicalPlan>,
    kind: ResolveKind,
    row_id: &str,
    (matched, matches): (&str, Expr),
    outputs: Vec<ResolveOutput>,
) -> Result<LogicalPlan> {
    let (row_id, matches) = (Column::from_name(row_id), matches.alias(matched));
    let mut read: Vec<Column> = outputs.iter().map(|output| output.column.clone()).collect();
    if !read.contains(&row_id) {
        read.push(row_id.clone());
    }
    let exprs = read.into_iter().map(Expr::Column).chain([matches]).collect();
    let judged = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, candidates)?));
    Ok(Resolve::try_new(judged, kind, row_id, Column::from_name(matched), outputs)?.into_plan())
}

fn may_be_equal((left, right): (Expr, Expr)) -> Expr {
    Expr::IsNotFalse(Box::new(binary_expr(left, Operator::Eq, right)))
}

fn outputs(schema: &DFSchemaRef, kept: &[Column], join_type: JoinType) -> Vec<ResolveOutput> {
    let outer = matches!(join_type, JoinType::Left | JoinType::Right);
    schema
        .columns()
        .into_iter()
        .filter_map(|column| match kept.contains(&column) {
            true => Some(ResolveOutput { column, nulled: false }),
            // Only outer joins show the other side; the mark is made by the node.
            false => outer.then_some(ResolveOutput { column, nulled: true }),
        })
        .collect()
}

pub(in crate::rules) fn kind(join_type: JoinType, schema: &DFSchemaRef) -> ResolveKind {
    match join_type {
        JoinType::LeftSemi | JoinType::RightSemi => ResolveKind::Semi,
        JoinType::LeftAnti | JoinType::RightAnti => ResolveKind::Anti,
        JoinType::LeftMark | JoinType::RightMark => match schema.iter().last() {
            Some((qualifier, field)) => ResolveKind::Mark(qualifier.cloned(), field.name().clone()),
            None => ResolveKind::Mark(None, "mark".to_owned()),
        },
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => ResolveKind::Outer,
    }
}
