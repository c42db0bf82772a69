//! What a run may be continued through: nodes that drop no row that a condition would have dropped.
//!
//! ```text
//! Filter: d.x IS NULL               The run below the filter is `q(a.s)` and the condition on it, over:
//!   Left Join: a.k = d.x              Left Join: a.k = d.x
//!     Filter: __async_0                 TableScan: a
//!       AsyncCalc: q(a.s)               TableScan: d
//!         TableScan: a
//!     TableScan: d
//! ```
//! Such a node gains nothing by itself, so that it is gone through only on behalf of one further up that
//! drops rows. Why what is tested above it leaves the same rows as below, node by node:
//!
//! * *The side that an outer or mark join keeps.* Each of its rows is there above, once or several times
//!   with equal columns; all copies pass or none does. Not the other side, nor either side of FULL.
//! * *Aggregation by columns that the condition reads.* All rows of a group answer alike, so that a group
//!   is dropped as a whole. Not over grouping sets, where a key is NULL in some sets; not over an
//!   aggregation without keys, which gives a row for no row; not by keys whose equal values differ (0.0 and
//!   -0.0).
//! * *Windows all of whose partitions are by columns that the condition reads*, for the same reason.
//!
//! What such a node reads it then reads of rows that the condition would have dropped: if that may fail,
//! nothing goes through.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_common::{Column, DFSchema, JoinType, Result};
use datafusion_expr::expr::WindowFunctionParams;
use datafusion_expr::expr_rewriter::unalias;
use datafusion_expr::{Aggregate, Expr, Join, LogicalPlan, Projection, Window};

use farcall_udf::FarcallConfig;

use super::chain::{Chain, Step, clashes};
use super::join::{conditions, is_unique};
use crate::calls::has_one_form;
use crate::fallible::may_fail;
use crate::rewrite::columns;

/// Takes a run apart that goes on below a node; `None` if it does not.
pub(super) fn through(plan: &LogicalPlan, config: &FarcallConfig) -> Result<Option<Chain>> {
    match plan {
        LogicalPlan::Join(join) => through_join(join, config),
        LogicalPlan::Aggregate(aggregate) => through_aggregate(aggregate, config),
        LogicalPlan::Window(window) => through_window(window, config),
        _ => Ok(None),
    }
}

fn through_join(join: &Join, config: &FarcallConfig) -> Result<Option<Chain>> {
    let (left, marks) = match join.join_type {
        JoinType::Left => (true, false),
        JoinType::LeftMark => (true, true),
        JoinType::Right => (false, false),
        JoinType::RightMark => (false, true),
        _ => return Ok(None),
    };
    let (side, other) = if left { (&join.left, &join.right) } else { (&join.right, &join.left) };
    let chain = Chain::through(side, config)?;
    if chain.steps.is_empty() || shares_a_column(chain.base().schema(), other.schema()) {
        return Ok(None);
    }
    let keys: Vec<Expr> =
        join.on.iter().map(|(l, r)| if left { l.clone() } else { r.clone() }).collect();
    let keys = chain.write_all(&keys, side.schema())?;
    let condition = join.filter.as_ref();
    let condition = condition.map(|filter| chain.write(filter, side.schema())).transpose()?;
    let read: Vec<Expr> = keys.iter().chain(&condition).cloned().collect();
    let both = chain.base().schema().join(other.schema())?;
    if chain.has_filter() && read.iter().any(|expr| may_fail(expr, &both)) {
        return Ok(None);
    }
    let of_other = join.on.iter().map(|(l, r)| if left { r } else { l });
    let once = marks || is_unique(other.schema(), of_other, join.null_equality);
    let may_wait = |step: &Step| match once {
        true => step.may_wait(),
        false => step.may_be_repeated(config),
    };
    let Some((input, above)) = chain.split(&read, may_wait)? else { return Ok(None) };
    let (on, condition) = conditions(join, left, keys, condition);
    let (l, r) = match left {
        true => (input, Arc::clone(other)),
        false => (Arc::clone(other), input),
    };
    let base = Join::try_new(
        l,
        r,
        on,
        condition,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let (steps, mut outputs) = above.into_parts();
    match (marks, left) {
        (true, _) => outputs.extend(columns(&join.schema).last()),
        (false, true) => outputs.extend(columns(other.schema())),
        (false, false) => outputs = columns(other.schema()).chain(outputs).collect(),
    }
    Ok(Some(Chain { outputs, steps, base: Arc::new(LogicalPlan::Join(base)) }))
}

fn through_aggregate(aggregate: &Aggregate, config: &FarcallConfig) -> Result<Option<Chain>> {
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = aggregate;
    if group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return Ok(None);
    }
    let chain = Chain::through(input, config)?;
    let exprs: Vec<&Expr> = group_expr.iter().chain(aggr_expr).collect();
    let Some(read) = Read::of(&exprs, &chain, input.schema())? else { return Ok(None) };
    let keys = group_expr.iter().enumerate().filter_map(|(index, key)| {
        let column = read.base_column(&unalias(key.clone()))?;
        Some((column, Expr::Column(Column::from(schema.qualified_field(index)))))
    });
    let keys: HashMap<Column, Expr> = keys.collect();
    if keys.is_empty() {
        return Ok(None);
    }
    let alike = Alike::of(&chain, config, |column| keys.contains_key(column));
    let Some((below, above)) = chain.split(&read.written, |step| alike.holds(step))? else {
        return Ok(None);
    };
    // A group has no column for the answer to a call but through a condition.
    if !above.has_filter() {
        return Ok(None);
    }
    let below = Projection::try_new(read.restored(), below)?;
    let below = Arc::new(LogicalPlan::Projection(below));
    let base = Aggregate::try_new(below, group_expr.clone(), aggr_expr.clone())?;
    let rename = |expr: Expr| {
        expr.transform_up(|part| match &part {
            Expr::Column(column) if let Some(key) = keys.get(column) => {
                Ok(Transformed::yes(key.clone()))
            }
            _ => Ok(Transformed::no(part)),
        })
        .data()
    };
    let (steps, _) = above.into_parts();
    let steps = steps.into_iter().map(|step| step.map(rename)).collect::<Result<_>>()?;
    let outputs = columns(schema).collect();
    Ok(Some(Chain { outputs, steps, base: Arc::new(LogicalPlan::Aggregate(base)) }))
}

fn through_window(window: &Window, config: &FarcallConfig) -> Result<Option<Chain>> {
    let Window { input, window_expr, schema } = window;
    let chain = Chain::through(input, config)?;
    let exprs: Vec<&Expr> = window_expr.iter().collect();
    let Some(read) = Read::of(&exprs, &chain, input.schema())? else { return Ok(None) };
    let mut keys: Option<HashSet<Column>> = None;
    for expr in window_expr {
        let Expr::WindowFunction(function) = unalias(expr.clone()) else { return Ok(None) };
        let WindowFunctionParams { partition_by, .. } = function.params;
        let own: HashSet<Column> =
            partition_by.iter().filter_map(|key| read.base_column(key)).collect();
        keys = Some(match keys {
            Some(keys) => keys.intersection(&own).cloned().collect(),
            None => own,
        });
    }
    let keys = keys.unwrap_or_default();
    if keys.is_empty() {
        return Ok(None);
    }
    let alike = Alike::of(&chain, config, |column| keys.contains(column));
    let Some((below, above)) = chain.split(&read.written, |step| alike.holds(step))? else {
        return Ok(None);
    };
    let mut exprs: Vec<Expr> = columns(below.schema()).collect();
    let restored: Vec<Expr> =
        read.restored().into_iter().filter(|expr| !exprs.contains(expr)).collect();
    let names = restored.iter().map(Expr::qualified_name);
    for (qualifier, name) in names {
        if clashes(qualifier.as_ref(), &name, below.schema()) {
            return Ok(None);
        }
    }
    exprs.extend(restored);
    let below = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, below)?));
    let base = Window::try_new(window_expr.clone(), below)?;
    let (steps, mut outputs) = above.into_parts();
    outputs.extend(columns(schema).skip(outputs.len()));
    Ok(Some(Chain { outputs, steps, base: Arc::new(LogicalPlan::Window(base)) }))
}

/// What a node reads of a run, in the columns of the run's base.
struct Read {
    /// The columns that it reads, as it calls them.
    columns: Vec<Column>,
    /// The same, in the columns of the base and the results of steps.
    written: Vec<Expr>,
    base: Arc<LogicalPlan>,
}

impl Read {
    /// Returns `None` if nothing is to be won, or the node might fail on rows that a condition dropped.
    fn of(exprs: &[&Expr], chain: &Chain, schema: &DFSchema) -> Result<Option<Self>> {
        if chain.steps.is_empty() || exprs.iter().any(|expr| may_fail(expr, schema)) {
            return Ok(None);
        }
        let mut columns: Vec<Column> = Vec::new();
        for column in exprs.iter().flat_map(|expr| expr.column_refs()) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        // In an order that does not depend on how a set is laid out.
        columns.sort_by_key(|column| schema.maybe_index_of_column(column));
        let own: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
        let written = chain.write_all(&own, schema)?;
        let base = Arc::clone(chain.base());
        if columns.is_empty() || written.iter().any(|expr| may_fail_on(expr, chain)) {
            return Ok(None);
        }
        Ok(Some(Self { columns, written, base }))
    }

    /// Returns the column of the base that an expression of the node is, if equal values of it are the same.
    fn base_column(&self, expr: &Expr) -> Option<Column> {
        let Expr::Column(column) = expr else { return None };
        let index = self.columns.iter().position(|read| read == column)?;
        let Expr::Column(column) = &self.written[index] else { return None };
        let (_, field) = self.base.schema().qualified_field_from_column(column).ok()?;
        has_one_form(field.data_type()).then(|| column.clone())
    }

    /// Returns the columns as the node calls them, made of those of the base.
    fn restored(&self) -> Vec<Expr> {
        let pairs = self.columns.iter().zip(&self.written);
        pairs
            .map(|(column, written)| match written {
                Expr::Column(same) if same == column => written.clone(),
                _ => written.clone().alias_qualified(column.relation.clone(), &column.name),
            })
            .collect()
    }
}

fn may_fail_on(expr: &Expr, chain: &Chain) -> bool {
    may_fail(expr, chain.base().schema())
}

/// Which steps of a run answer alike for all rows that have equal keys.
struct Alike<'c, F> {
    config: &'c FarcallConfig,
    is_key: F,
    /// The results that may differ among such rows.
    differ: HashSet<String>,
    results: HashSet<String>,
}

impl<'c, F: Fn(&Column) -> bool> Alike<'c, F> {
    fn of(chain: &Chain, config: &'c FarcallConfig, is_key: F) -> Self {
        let results = chain.results().cloned().collect();
        let mut alike = Self { config, is_key, differ: HashSet::new(), results };
        for step in &chain.steps {
            if let Step::Call(column) = step
                && !alike.holds(step)
            {
                alike.differ.insert(column.name.clone());
            }
        }
        alike
    }

    fn holds(&self, step: &Step) -> bool {
        let known = |column: &Column| match self.results.contains(&column.name) {
            true => !self.differ.contains(&column.name),
            false => (self.is_key)(column),
        };
        step.may_be_repeated(self.config) && step.exprs().flat_map(Expr::column_refs).all(known)
    }
}

/// Says whether a column of one schema could be taken for one of the other.
fn shares_a_column(schema: &DFSchema, other: &DFSchema) -> bool {
    schema.iter().any(|(qualifier, field)| clashes(qualifier, field.name(), other))
}

#[cfg(test)]
mod tests {
    use crate::rules::PlaceCalls;
    use crate::testing::{assert_rule, calls};

    #[test]
    fn conditions_rise_through_the_side_that_an_outer_join_keeps() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT x FROM t LEFT JOIN b o ON t.x = o.y WHERE o.y IS NULL AND p(t.k)",
            @r"
            Projection: t.x
              Projection: t.x, o.y
                Filter: __async_0
                  AsyncCalc: p(t.k) AS __async_0
                    Filter: o.y IS NULL
                      Left Join: t.x = o.y
                        TableScan: t projection=[x, k]
                        SubqueryAlias: o
                          TableScan: b projection=[y]
            "
        );
    }

    #[test]
    fn conditions_rise_through_an_aggregation_by_what_they_read() {
        assert_rule!(
            PlaceCalls,
            fires,
            "SELECT k, count(*) FROM t GROUP BY k HAVING max(x) > 57 AND p(k)",
            @r"
            Projection: t.k, count(Int64(1)) AS count(*)
              Projection: t.k, count(Int64(1)), max(t.x)
                Filter: __async_0
                  AsyncCalc: p(t.k) AS __async_0
                    Filter: max(t.x) > Int64(57)
                      Aggregate: groupBy=[[t.k]], aggr=[[count(Int64(1)), max(t.x)]]
                        Projection: t.x, t.k
                          TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn conditions_wait_for_cheap_ones_further_up() {
        for (sql, expected) in [
            ("SELECT x FROM t LEFT JOIN b o ON t.x = o.y WHERE o.y IS NULL AND p(t.x)", "p 50"),
            ("SELECT x FROM b o RIGHT JOIN t ON t.x = o.y WHERE o.y IS NULL AND p(t.x)", "p 50"),
            ("SELECT x FROM t LEFT JOIN b o ON t.x = o.y WHERE coalesce(o.z, 1) = 4 AND p(t.x)", "p 1"),
            (
                "SELECT v FROM (SELECT x + 1 AS v, k FROM t WHERE p(x)) q LEFT JOIN b o ON q.v = o.y
                 WHERE o.y IS NOT NULL OR q.k = 3",
                "p 14",
            ),
            (
                "SELECT x FROM t WHERE (x = 7 OR EXISTS (SELECT 1 FROM b o WHERE o.y = t.x AND z > 8)) AND p(x)",
                "p 5",
            ),
            ("SELECT k, count(*) FROM t GROUP BY k HAVING max(x) > 57 AND p(k)", "p 2"),
            (
                "SELECT q.k FROM (SELECT DISTINCT k FROM t WHERE p(k)) q JOIN b o ON q.k = o.y WHERE o.z = 4",
                "p 1",
            ),
            (
                "SELECT x FROM (SELECT x, k, sum(x) OVER (PARTITION BY k) AS s FROM t) q WHERE s > 200 AND p(k)",
                "p 6",
            ),
        ] {
            assert_eq!(calls(sql), expected, "{sql}");
        }
    }

    #[test]
    fn declines_where_the_condition_decides_what_the_node_makes_of_the_rows() {
        for (sql, expected) in [
            // A row is missing, not dropped, where the other side's condition is FALSE.
            ("SELECT x FROM t LEFT JOIN (SELECT y FROM b WHERE p(z)) o ON t.x = o.y WHERE o.y IS NULL", "p 10"),
            // Keys that are NULL in some grouping sets; other rows of a group; no keys.
            ("SELECT k, c FROM (SELECT k, count(*) AS c FROM t WHERE p(k) GROUP BY ROLLUP (k)) q WHERE c > 5", "p 60"),
            ("SELECT k, c FROM (SELECT k, count(*) AS c FROM t WHERE p(x) GROUP BY k) q WHERE c > 3", "p 60"),
            ("SELECT c FROM (SELECT count(*) AS c FROM t WHERE p(1)) q WHERE c > 5", "p 60"),
            // Rows of other partitions; a window over all rows beside one by key.
            ("SELECT x FROM (SELECT x, sum(x) OVER (PARTITION BY k) AS s FROM t WHERE p(x)) q WHERE s > 170", "p 60"),
            (
                "SELECT x FROM (SELECT x, count(*) OVER (PARTITION BY k) AS a, count(*) OVER (PARTITION BY n) AS c
                 FROM t WHERE p(k)) q WHERE a + c > 7",
                "p 60",
            ),
            // What may fail on the rows that the condition keeps from it.
            (
                "SELECT v FROM (SELECT k, max(10 / k) AS v FROM t WHERE q(k + 2) GROUP BY k) q WHERE v > 1",
                "q 60",
            ),
            ("SELECT x FROM (SELECT x, k FROM t WHERE q(k + 2)) v LEFT JOIN b o ON v.x = o.y WHERE 10 / v.k > coalesce(o.y, 1)", "q 60"),
        ] {
            assert_eq!(calls(sql), expected, "{sql}");
        }
    }
}
