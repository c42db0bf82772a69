//! Sort, limit, distinct, unnest, and recursion.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use arrow::array::Array;
use datafusion::common::{NullHandling, Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::expr::Sort as SortKey;
use datafusion::logical_expr::{
    DistinctOn, FetchType, Limit, LogicalPlan, RecursiveQuery, SkipType, Sort, Unnest,
};

use super::Run;
use super::aggregate::untyped;
use super::plan::frame;
use super::scalar::compare_sorted;
use super::value::{Lazy, Relation, Row, Scope};

type Outer<'s, 'a> = Option<&'s Rc<Scope<'a>>>;

/// The rounds after which a recursive query is given up.
const MAX_ROUNDS: usize = 1_000;

impl<'a> Run<'a> {
    pub fn sort(self: &Rc<Self>, sort: &'a Sort, outer: Outer<'_, 'a>) -> Result<Relation<'a>> {
        let mut input = self.relation(&sort.input, outer)?;
        if sort.expr.iter().any(|key| self.is_dear(&key.expr, &input.frame)) {
            input.rows = self.settle(input.rows)?;
        }
        let mut rows = self.sorted(&sort.expr, &input)?;
        if let Some(fetch) = sort.fetch {
            rows = self.settle(rows)?;
            rows.truncate(fetch);
        }
        Ok(Relation { rows, ordered: true, ..input })
    }

    /// Sorts rows, keeping equal ones in place.
    pub fn sorted(
        self: &Rc<Self>,
        keys: &'a [SortKey],
        input: &Relation<'a>,
    ) -> Result<Vec<Row<'a>>> {
        let mut keyed = Vec::with_capacity(input.rows.len());
        for row in &input.rows {
            let scope = input.scope(row);
            let values = keys.iter().map(|key| self.eval(&key.expr, &scope));
            keyed.push((values.collect::<Result<Vec<_>>>()?, row.clone()));
        }
        let mut error = None;
        keyed.sort_by(|left, right| match compare_keys(keys, &left.0, &right.0) {
            Ok(order) => order,
            Err(incomparable) => {
                error = Some(incomparable);
                Ordering::Equal
            }
        });
        match error {
            Some(error) => Err(error),
            None => Ok(keyed.into_iter().map(|(_, row)| row).collect()),
        }
    }

    pub fn limit(self: &Rc<Self>, limit: &'a Limit, outer: Outer<'_, 'a>) -> Result<Relation<'a>> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return not_impl_err!("the lazy oracle knows only literal limits");
        };
        let input = self.relation(&limit.input, outer)?;
        let until = fetch.map_or(usize::MAX, |fetch| skip.saturating_add(fetch));
        let rows = if until == 0 {
            vec![]
        } else if input.ordered {
            // Nobody can sort rows without knowing that they exist.
            self.settle(input.rows)?
        } else {
            let mut rows = Vec::new();
            for row in input.rows {
                if rows.len() == until {
                    self.arbitrary.set(true);
                    break;
                }
                if self.exists(&row)? {
                    rows.push(row.without_pending());
                }
            }
            rows
        };
        let rows = rows.into_iter().take(until).skip(skip).collect();
        Ok(Relation { rows, frame: input.frame, ordered: input.ordered })
    }

    pub fn distinct(
        self: &Rc<Self>,
        plan: &'a LogicalPlan,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let mut input = self.relation(plan, outer)?;
        if input.frame.dear.contains(&true) {
            input.rows = self.settle(input.rows)?;
        }
        let mut groups: Vec<Vec<Row<'a>>> = Vec::new();
        let mut known: HashMap<Vec<ScalarValue>, usize> = HashMap::new();
        for row in input.rows {
            let key = row.columns.iter().map(|cell| Ok(untyped(cell.get()?)));
            let key = key.collect::<Result<Vec<_>>>()?;
            let group = *known.entry(key).or_insert(groups.len());
            if group == groups.len() {
                groups.push(vec![]);
            }
            groups[group].push(row);
        }
        let rows = groups.into_iter().map(|group| {
            let first = group[0].without_pending();
            if group.iter().any(|row| row.pending.is_empty()) {
                return first;
            }
            let run = Rc::clone(self);
            first.with_pending([Lazy::new(move || {
                let found = !run.settle(group)?.is_empty();
                Ok(ScalarValue::Boolean(Some(found)))
            })])
        });
        Ok(Relation { rows: rows.collect(), frame: input.frame, ordered: false })
    }

    pub fn distinct_on(
        self: &Rc<Self>,
        distinct: &'a DistinctOn,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let mut input = self.relation(&distinct.input, outer)?;
        input.rows = self.settle(input.rows)?;
        if let Some(keys) = &distinct.sort_expr {
            input.rows = self.sorted(keys, &input)?;
        }
        let mut known = HashSet::new();
        let mut rows = Vec::new();
        for row in &input.rows {
            let scope = input.scope(row);
            let key = distinct.on_expr.iter().map(|expr| Ok(untyped(self.eval(expr, &scope)?)));
            if known.insert(key.collect::<Result<Vec<_>>>()?) {
                let cells = distinct.select_expr.iter().map(|expr| self.cell(expr, &scope));
                rows.push(Row::new(cells.collect()));
            }
        }
        let dear = distinct.select_expr.iter().map(|expr| self.is_dear(expr, &input.frame));
        let dear = dear.collect();
        let frame = Rc::new(super::value::Frame {
            schema: distinct.schema.clone(),
            dear,
            outer: outer.cloned(),
        });
        Ok(Relation { frame, rows, ordered: true })
    }

    /// Unnests lists of one level, and structs.
    pub fn unnest(
        self: &Rc<Self>,
        unnest: &'a Unnest,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let mut input = self.relation(&unnest.input, outer)?;
        input.rows = self.settle(input.rows)?;
        if unnest.list_type_columns.iter().any(|(_, list)| list.depth != 1) {
            return not_impl_err!("the lazy oracle unnests one level");
        }
        if !unnest.struct_type_columns.is_empty() {
            return not_impl_err!("the lazy oracle does not unnest structs");
        }
        let width = unnest.schema.fields().len();
        let mut rows = Vec::new();
        for row in &input.rows {
            let mut lists = Vec::new();
            for (index, _) in &unnest.list_type_columns {
                lists.push((*index, elements(&row.columns[*index].get()?)?));
            }
            let longest = lists.iter().map(|(_, list)| list.as_ref().map_or(0, Vec::len)).max();
            let kept = match unnest.options.null_handling {
                NullHandling::Drop => 0,
                NullHandling::Preserve => usize::from(lists.iter().any(|(_, list)| list.is_none())),
                NullHandling::PreserveAndExpandEmpty => 1,
            };
            for element in 0..longest.unwrap_or(0).max(kept) {
                let columns = (0..width).map(|column| {
                    let source = unnest.dependency_indices[column];
                    match lists.iter().find(|(index, _)| *index == source) {
                        Some((_, list)) => {
                            let value = list.as_ref().and_then(|list| list.get(element));
                            Lazy::known(value.cloned().unwrap_or(ScalarValue::Null))
                        }
                        None => Rc::clone(&row.columns[source]),
                    }
                });
                rows.push(Row::new(columns.collect()));
            }
        }
        let dear = (0..width).map(|column| {
            let source = unnest.dependency_indices[column];
            input.frame.dear[source]
                && !unnest.list_type_columns.iter().any(|(index, _)| *index == source)
        });
        let frame = Rc::new(super::value::Frame {
            schema: unnest.schema.clone(),
            dear: dear.collect(),
            outer: outer.cloned(),
        });
        Ok(Relation { frame, rows, ordered: false })
    }

    pub fn recursive(
        self: &Rc<Self>,
        query: &'a RecursiveQuery,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let mut known = HashSet::new();
        let mut all: Vec<Row<'a>> = Vec::new();
        let mut new = self.relation(&query.static_term, outer)?.rows;
        for _ in 0..MAX_ROUNDS {
            new = self.settle(new)?;
            if query.is_distinct {
                let mut distinct = Vec::new();
                for row in new {
                    let key = row.columns.iter().map(|cell| Ok(untyped(cell.get()?)));
                    if known.insert(key.collect::<Result<Vec<_>>>()?) {
                        distinct.push(row);
                    }
                }
                new = distinct;
            }
            if new.is_empty() {
                let dear = vec![false; query.schema.fields().len()];
                let mut frame = frame(&query.static_term, dear, outer);
                if let Some(frame) = Rc::get_mut(&mut frame) {
                    frame.schema = query.schema.clone();
                }
                return Ok(Relation { frame, rows: all, ordered: false });
            }
            all.extend(new.iter().cloned());
            self.work_tables.borrow_mut().insert(query.name.clone(), new);
            // What the last round left in a subquery is out of date.
            self.subqueries.borrow_mut().clear();
            new = self.relation(&query.recursive_term, outer)?.rows;
        }
        not_impl_err!("the lazy oracle gives up recursion after {MAX_ROUNDS} rounds")
    }
}

fn compare_keys(keys: &[SortKey], left: &[ScalarValue], right: &[ScalarValue]) -> Result<Ordering> {
    for ((key, left), right) in keys.iter().zip(left).zip(right) {
        let order = compare_sorted(left, right, key.asc, key.nulls_first)?;
        if order.is_ne() {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

/// Returns the elements of a list; `None` if it is NULL.
fn elements(list: &ScalarValue) -> Result<Option<Vec<ScalarValue>>> {
    if list.is_null() {
        return Ok(None);
    }
    let ScalarValue::List(list) = list else {
        return not_impl_err!("the lazy oracle unnests lists, not {}", list.data_type());
    };
    let values = list.value(0);
    let values = (0..values.len()).map(|index| ScalarValue::try_from_array(&values, index));
    values.collect::<Result<_>>().map(Some)
}
