//! Joins whose rows survive a condition that fails: candidates first, then the calls, then one answer per row.

use std::sync::Arc;

use datafusion_common::{Column, DFSchemaRef, JoinType, NullEquality, Result, ScalarValue};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, Operator, Projection, and, binary_expr, ident};

use crate::calls::Names;
use crate::extract::{Extraction, Place, Wanted};
use crate::guard::is_true;
use crate::logical::{Resolve, ResolveKind, ResolveOutput, RowId};
use crate::rewrite::columns;

/// Says whether the rows of the left side are those that the join keeps, drops or marks.
///
/// `None` for joins that have no such side, or two.
pub(super) fn preserves_left(join_type: JoinType) -> Option<bool> {
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
    let Join { left, right, on, join_type, schema, .. } = join;
    let (row_id, present, matched) = (names.next(), names.next(), names.next());
    let (kept, other) = if preserves_left { (left, right) } else { (right, left) };
    let kept_columns: Vec<Column> = kept.schema().columns();
    let number = Arc::new(RowId::try_new(kept, &row_id)?.into_plan());
    let flag = Expr::Literal(ScalarValue::Boolean(Some(true)), None).alias(&present);
    let exprs = columns(other.schema()).chain([flag]).collect();
    let other = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, other)?));

    // NOT IN: a pair whose keys may be equal, one being NULL, is a candidate; what is left of the
    // condition decides whether it counts. DataFusion's own null-aware join knows no such rest.
    let (on, cheap) = match join.null_aware {
        true => (Vec::new(), on.into_iter().map(may_be_equal).chain(cheap).collect::<Vec<_>>()),
        false => (on, cheap),
    };
    let (left, right, outer) = match preserves_left {
        true => (number, other, JoinType::Left),
        false => (other, number, JoinType::Right),
    };
    let condition = conjunction(cheap);
    let nulls = if join.null_aware { NullEquality::NullEqualsNothing } else { join.null_equality };
    let constraint = join.join_constraint;
    let pairs = Join::try_new(left, right, on, condition, outer, constraint, nulls, false)?;

    let is_present = is_true(ident(&present));
    let mut extraction = Extraction::new(names, Wanted::All);
    let place = Place::condition().guarded(is_present.clone());
    let dear = conjunction(dear).map(|dear| extraction.rewrite(dear, &place)).transpose()?;
    let candidates = extraction.calculate(Arc::new(LogicalPlan::Join(pairs)))?;

    let matches = match dear {
        Some(dear) => and(is_present, is_true(dear)),
        None => is_present,
    };
    let outputs = outputs(&schema, &kept_columns, join_type);
    let exprs = outputs
        .iter()
        .map(|output| Expr::Column(output.column.clone()))
        .chain([ident(&row_id), matches.alias(&matched)])
        .collect();
    let judged = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, candidates)?));
    let (row_id, matched) = (Column::from_name(row_id), Column::from_name(matched));
    let kind = kind(join_type, &schema);
    Ok(Resolve::try_new(judged, kind, row_id, matched, outputs)?.into_plan())
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

fn kind(join_type: JoinType, schema: &DFSchemaRef) -> ResolveKind {
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
