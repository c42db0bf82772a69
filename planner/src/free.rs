//! [`free_references`], the columns that a plan reads from queries around it.

use datafusion_common::Column;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, Join, LogicalPlan, Subquery};

/// Returns the columns of outer queries that a plan reads, subqueries included.
///
/// What is resolved inside the plan is not free: the right side of a lateral join reads columns of the
/// left side, and a subquery in an expression those of the node that it stands in.
/// `LogicalPlan::all_out_ref_exprs` returns them as well, and looks into no subquery.
pub(crate) fn free_references(plan: &LogicalPlan) -> Vec<Column> {
    let mut free = Vec::new();
    collect(plan, &mut free);
    free
}

/// Finds what DataFusion wraps the right side of a lateral join in.
pub(crate) fn find_lateral(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => find_lateral(&alias.input),
        LogicalPlan::Subquery(subquery) => Some(subquery),
        _ => None,
    }
}

fn collect(plan: &LogicalPlan, free: &mut Vec<Column>) {
    // The closures never fail, so neither do the walks.
    let _ = plan.apply_expressions(|expr| {
        expr.apply(|part| {
            match part {
                Expr::OuterReferenceColumn(_, column) => add(column.clone(), free),
                Expr::ScalarSubquery(subquery) => add_subquery(subquery, plan, free),
                Expr::Exists(exists) => add_subquery(&exists.subquery, plan, free),
                Expr::InSubquery(list) => add_subquery(&list.subquery, plan, free),
                Expr::SetComparison(comparison) => add_subquery(&comparison.subquery, plan, free),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    match plan {
        LogicalPlan::Join(Join { left, right, .. }) if find_lateral(right).is_some() => {
            collect(left, free);
            let resolved = |column: &Column| left.schema().maybe_index_of_column(column).is_some();
            free_references(right).into_iter().filter(|c| !resolved(c)).for_each(|c| add(c, free));
        }
        plan => plan.inputs().into_iter().for_each(|input| collect(input, free)),
    }
}

fn add_subquery(subquery: &Subquery, node: &LogicalPlan, free: &mut Vec<Column>) {
    let inputs = node.inputs();
    let resolved = |column: &Column| {
        inputs.iter().any(|input| input.schema().maybe_index_of_column(column).is_some())
    };
    let references = free_references(&subquery.subquery).into_iter();
    references.filter(|column| !resolved(column)).for_each(|column| add(column, free));
}

fn add(column: Column, free: &mut Vec<Column>) {
    if !free.contains(&column) {
        free.push(column);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::planned;

    #[test]
    fn what_a_lateral_join_resolves_is_not_free() {
        for sql in [
            "SELECT count(*) FROM t z CROSS JOIN LATERAL (SELECT 1 FROM t r WHERE r.k = z.x) l",
            "SELECT 1 FROM t z, LATERAL (SELECT z.x AS w) l, LATERAL (SELECT l.w + z.k AS v) m",
            "SELECT x FROM t WHERE EXISTS (SELECT 1 FROM b WHERE b.k = t.k)",
            "SELECT x, (SELECT max(y) FROM b WHERE b.k = t.k) FROM t WHERE x IN (SELECT y FROM b)",
        ] {
            assert_eq!(free_references(&planned(sql)), [], "{sql}");
        }
    }

    #[test]
    fn what_a_query_around_resolves_is_free() {
        for (sql, expected) in [
            ("SELECT x FROM t WHERE EXISTS (SELECT 1 FROM b WHERE b.k = t.k)", "t.k"),
            ("SELECT x FROM t WHERE EXISTS (SELECT 1 FROM b, LATERAL (SELECT b.y + t.n) l)", "t.n"),
            (
                "SELECT x FROM t WHERE EXISTS (SELECT 1 FROM b z CROSS JOIN LATERAL \
                 (SELECT 1 FROM b WHERE b.k = z.k AND EXISTS (SELECT t.x FROM b o WHERE o.y = b.z)) l)",
                "t.x",
            ),
        ] {
            let plan = planned(sql);
            let mut found = Vec::new();
            plan.apply_with_subqueries(|node| {
                if let LogicalPlan::Filter(filter) = node
                    && let Expr::Exists(exists) = &filter.predicate
                    && found.is_empty()
                {
                    found = free_references(&exists.subquery.subquery);
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
            let found: Vec<String> = found.iter().map(Column::flat_name).collect();
            assert_eq!(found, [expected], "{sql}");
        }
    }
}
