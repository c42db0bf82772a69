//! [`NarrowGuards`] makes calls for the rows only on which their results are read.
//!
//! ```text
//! Before:                                          After:
//! Projection: CASE WHEN k < 2 THEN v END           Projection: CASE WHEN k < 2 THEN v END
//!   Projection: k, __async_0 AS v                    Projection: k, __async_0 AS v
//!     AsyncCalc: f(x) AS __async_0                     AsyncCalc: f(x) AS __async_0 WHEN k < 2 IS TRUE
//!       TableScan: t                                     TableScan: t
//! ```
//! A guard is computed where a call is taken out of its expression. Where a subquery calls and the
//! query around it reads the column under a CASE, the guard is around the column: it is carried down
//! from what reads a result to the call, through the nodes between.
//!
//! Safe: on other rows the result is NULL, and nobody looks at it there. On its way down a condition
//! is written in the columns of the node below; where that cannot be (it reads a column that is made
//! above the call, or of another side of a join, or one that is volatile), it is left out, and the
//! call is made for more rows. Below an aggregation that is every condition but those on its keys,
//! below a Resolve those that a row and its candidates may see differently. Nodes that are not known to this rule read everything. Declines: no
//! guard around a result, or one that the call has already; functions with side effects.
//! Needs: runs after `place_calls`, since what is merged is read in several places, and before
//! `expand_project`, which takes the arguments of calls without a guard.

mod needs;

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, Result, internal_datafusion_err};
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::calls::{Names, any_part, find_call};
use crate::extract::Place;
use crate::guard::Guard;
use crate::logical::{AsyncCalc, CallColumn};
use crate::presence::plan_has_call;
use crate::rewrite::written_in;
use needs::{Reader, below, results_of};

/// Carries guards from the readers of results down to the calls.
#[derive(Debug, Default)]
pub struct NarrowGuards;

impl OptimizerRule for NarrowGuards {
    fn name(&self) -> &str {
        "narrow_guards"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !plan_has_call(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let mut names = Names::after(&plan)?;
        narrow_all(plan, &mut names)
    }
}

/// Narrows the calls of a plan whose columns are all read.
fn narrow_all(plan: LogicalPlan, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let needs = vec![Guard::always(); plan.schema().fields().len()];
    narrow(plan, &needs, names)
}

/// Narrows the calls of a plan; `needs` says for each of its columns on which rows it is read.
fn narrow(
    plan: LogicalPlan,
    needs: &[Guard],
    names: &mut Names,
) -> Result<Transformed<LogicalPlan>> {
    plan.map_subqueries(|subquery| narrow_all(subquery, names))?.transform_data(|plan| {
        if let Some(calc) = AsyncCalc::find(&plan) {
            return match narrow_calls(calc, needs, names)? {
                Some(narrowed) => Ok(Transformed::yes(narrowed)),
                None => Ok(Transformed::no(plan)),
            };
        }
        let mut below = below(&plan, needs, names)?.into_iter();
        plan.map_children(|input| {
            let needs = below
                .next()
                .ok_or_else(|| internal_datafusion_err!("narrow_guards lost an input"))?;
            narrow(input, &needs, names)
        })
    })
}

fn narrow_calls(
    calc: &AsyncCalc,
    needs: &[Guard],
    names: &mut Names,
) -> Result<Option<LogicalPlan>> {
    let input = calc.input();
    let width = input.schema().fields().len();
    let results = results_of(input);
    let (passed, made) = needs.split_at(width);
    let mut below: Vec<Guard> = passed.iter().map(|need| within(need, input.schema())).collect();
    let mut narrowed = false;
    let mut calls = Vec::with_capacity(calc.calls().len());
    for (written, need) in calc.calls().iter().zip(made) {
        let known = Guard::from_expr(written.guard.clone());
        let need = within(need, input.schema());
        let (guard, column) = if may_narrow(written, &known, &need) {
            let guard = known.both(&need);
            (guard.clone(), CallColumn { guard: guard.into_expr(), ..written.clone() })
        } else {
            (known, written.clone())
        };
        narrowed |= column.guard != written.guard;
        let mut reader = Reader::new(&mut below, input.schema(), &results, names);
        if let Some(guard) = &column.guard {
            reader.read(guard, &Place::condition())?;
        }
        if let Expr::ScalarFunction(call) = &column.call {
            for arg in &call.args {
                reader.read(arg, &Place::value_on(guard.clone()))?;
            }
        }
        calls.push(column);
    }
    let input = narrow(input.as_ref().clone(), &below, names)?;
    if !narrowed && !input.transformed {
        return Ok(None);
    }
    Ok(Some(AsyncCalc::try_new(Arc::new(input.data), calls)?.into_plan()))
}

/// Says whether a call may be made for fewer rows than before.
fn may_narrow(column: &CallColumn, known: &Guard, need: &Guard) -> bool {
    let side_effects =
        find_call(&column.call).is_none_or(|udf| udf.function().declaration().has_side_effects());
    // What nobody reads is left to `prune_calls`.
    !side_effects && !need.is_never() && !known.implies(need)
}

/// Keeps the conditions of a guard that read columns of the schema only, and no subquery.
fn within(need: &Guard, schema: &DFSchema) -> Guard {
    among(need, |column| schema.is_column_from_schema(column))
}

/// Keeps the conditions of a guard that read certain columns only, and no subquery.
fn among(need: &Guard, is_known: impl Fn(&Column) -> bool) -> Guard {
    need.map(|condition| {
        if any_part(condition, is_subquery) {
            return None;
        }
        written_in(condition, |column| is_known(column).then(|| Expr::Column(column.clone())))
    })
}

fn is_subquery(part: &Expr) -> bool {
    matches!(
        part,
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_rule, calls};

    #[test]
    fn carries_a_guard_through_projections_and_aliases() {
        assert_rule!(
            NarrowGuards,
            fires,
            "SELECT CASE WHEN k < 2 THEN v END FROM (SELECT k, f(x) AS v FROM t) q",
            @r"
            Projection: CASE WHEN q.k < Int64(2) THEN q.v END
              SubqueryAlias: q
                Projection: t.k, __async_0 AS v
                  AsyncCalc: f(t.x) AS __async_0 WHEN t.k < Int64(2) IS TRUE
                    TableScan: t projection=[x, k]
            "
        );
    }

    #[test]
    fn counts_the_rows_on_which_a_result_is_read() {
        for (sql, expected) in [
            ("SELECT coalesce(n, v) FROM (SELECT n, f(x) AS v FROM t) q", "f 30"),
            ("SELECT CASE WHEN k < 2 THEN v END FROM (SELECT k, fv(x) AS v FROM t) q", "fv 12"),
            (
                "SELECT CASE WHEN k < 2 THEN v END, CASE WHEN n > 50 THEN v END
                 FROM (SELECT k, n, f(x) AS v FROM t) q",
                "f 16",
            ),
            ("SELECT x FROM (SELECT x, k, f(x) AS v FROM t) q WHERE k < 5 OR v > 9", "f 30"),
            ("SELECT sum(CASE WHEN k < 2 THEN v END) FROM (SELECT k, f(x) AS v FROM t) q", "f 12"),
            ("SELECT sum(v) FILTER (WHERE k < 2) FROM (SELECT k, f(x) AS v FROM t) q", "f 12"),
            (
                "SELECT x FROM (SELECT x, k, f(x) AS v FROM t) q ORDER BY CASE WHEN k < 2 THEN v END",
                "f 12",
            ),
            (
                "SELECT CASE WHEN k < 2 THEN v END FROM (SELECT k, f(g(x)) AS v FROM t) q",
                "f 12, g 12",
            ),
            (
                "SELECT CASE WHEN q.k < 2 THEN v END FROM (SELECT k, f(x) AS v FROM t) q
                 LEFT JOIN b o ON q.k = o.y",
                "f 12",
            ),
            ("SELECT CASE WHEN k < 2 THEN v END FROM (SELECT k, send(x) AS v FROM t) q", "send 60"),
            (
                "SELECT CASE WHEN k <> 0 THEN v END FROM (SELECT k, f(x) AS v FROM t) q WHERE v > 9",
                "f 60",
            ),
            // Through an aggregation: by its keys, not by what it computes, nor by keys of some sets.
            (
                "SELECT CASE WHEN k < 2 THEN s END FROM (SELECT k, sum(f(x)) AS s FROM t GROUP BY k) q",
                "f 12",
            ),
            (
                "SELECT CASE WHEN k < 2 AND c > 3 THEN s END
                 FROM (SELECT k, count(*) AS c, sum(f(x)) FILTER (WHERE n > 9) AS s FROM t GROUP BY k) q",
                "f 5",
            ),
            (
                "SELECT CASE WHEN k < 2 THEN s END
                 FROM (SELECT k, sum(f(x)) AS s FROM t GROUP BY ROLLUP (k)) q",
                "f 60",
            ),
            // Through the candidates of a join: a mark is read where it decides.
            (
                "SELECT x FROM t WHERE k > 1 OR EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND p2(t.x, b.y))",
                "p2 24",
            ),
            (
                "SELECT CASE WHEN y IS NULL THEN v ELSE y END FROM (SELECT x, k, f(x) AS v FROM t) q
                 LEFT JOIN b ON q.k = b.k AND p2(q.x, b.y)",
                "f 60, p2 60",
            ),
        ] {
            assert_eq!(calls(sql), expected, "{sql}");
        }
    }

    #[test]
    fn declines_where_a_result_is_read_on_every_row() {
        assert_rule!(
            NarrowGuards,
            declines,
            "SELECT v, CASE WHEN k < 2 THEN v END FROM (SELECT k, f(x) AS v FROM t) q"
        );
    }

    #[test]
    fn declines_where_the_guard_stands_around_the_call() {
        assert_rule!(NarrowGuards, declines, "SELECT CASE WHEN k < 2 THEN f(x) END FROM t");
    }
}
