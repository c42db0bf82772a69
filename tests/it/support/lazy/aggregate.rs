//! Aggregation, group by group.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err, not_impl_err};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, NullTreatment};
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, powerset};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet};

use super::Run;
use super::scalar::{boolean, compare};
use super::value::{Frame, Lazy, Relation, Row, Scope};

type Outer<'s, 'a> = Option<&'s Rc<Scope<'a>>>;

/// Rows with equal keys; which of them exist is found out when it is asked.
struct Group<'a> {
    key: Vec<ScalarValue>,
    candidates: Vec<Row<'a>>,
    members: OnceCell<Relation<'a>>,
}

impl<'a> Group<'a> {
    fn members(&self, run: &Run<'a>, frame: &Rc<Frame<'a>>) -> Result<&Relation<'a>> {
        if self.members.get().is_none() {
            let rows = run.settle(self.candidates.clone())?;
            let members = Relation { frame: Rc::clone(frame), rows, ordered: false };
            // It was empty just now, and nobody else is at work.
            let _ = self.members.set(members);
        }
        match self.members.get() {
            Some(members) => Ok(members),
            None => internal_err!("a group has no members"),
        }
    }
}

impl<'a> Run<'a> {
    pub fn aggregate(
        self: &Rc<Self>,
        aggregate: &'a Aggregate,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let mut input = self.relation(&aggregate.input, outer)?;
        let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
        if keys.iter().any(|key| self.is_dear(key, &input.frame)) {
            input.rows = self.settle(input.rows)?;
        }
        let mut rows = Vec::new();
        let sets = grouping_sets(&aggregate.group_expr, &keys)?;
        for (number, set) in sets.iter().enumerate() {
            let earlier = sets[..number].iter().filter(|earlier| *earlier == set).count();
            for group in self.groups(&keys, set, &input)? {
                let id = match matches!(aggregate.group_expr[..], [Expr::GroupingSet(_)]) {
                    true => Some(grouping_id(set, earlier)),
                    false => None,
                };
                // The group of all rows is there even if there are none.
                let always = !set.contains(&true);
                rows.push(self.group_row(aggregate, Rc::new(group), id, always, &input)?);
            }
        }
        let known = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
        let mut dear = vec![false; known];
        dear.extend(aggregate.aggr_expr.iter().map(|expr| self.is_dear(expr, &input.frame)));
        let schema = Arc::clone(&aggregate.schema);
        let frame = Rc::new(Frame { schema, dear, outer: outer.cloned() });
        Ok(Relation { frame, rows, ordered: false })
    }

    /// Returns the groups of one grouping set, in the order in which their first rows come.
    fn groups(
        self: &Rc<Self>,
        keys: &[&'a Expr],
        set: &[bool],
        input: &Relation<'a>,
    ) -> Result<Vec<Group<'a>>> {
        let new = |key| Group { key, candidates: vec![], members: OnceCell::new() };
        let mut groups = Vec::new();
        let mut known: HashMap<Vec<ScalarValue>, usize> = HashMap::new();
        if !set.contains(&true) {
            let key = vec![ScalarValue::Null; keys.len()];
            groups.push(new(key.clone()));
            known.insert(key, 0);
        }
        for row in &input.rows {
            self.step()?;
            let scope = input.scope(row);
            let key = keys.iter().zip(set).map(|(key, present)| match present {
                true => Ok(untyped(self.eval(key, &scope)?)),
                false => Ok(ScalarValue::Null),
            });
            let key = key.collect::<Result<Vec<_>>>()?;
            let group = *known.entry(key.clone()).or_insert(groups.len());
            if group == groups.len() {
                groups.push(new(key));
            }
            groups[group].candidates.push(row.clone());
        }
        Ok(groups)
    }

    fn group_row(
        self: &Rc<Self>,
        aggregate: &'a Aggregate,
        group: Rc<Group<'a>>,
        id: Option<u64>,
        always: bool,
        input: &Relation<'a>,
    ) -> Result<Row<'a>> {
        let fields = aggregate.schema.fields();
        let mut cells: Vec<_> = group.key.iter().cloned().map(Lazy::known).collect();
        if let Some(id) = id {
            let id = ScalarValue::from(id).cast_to(fields[cells.len()].data_type())?;
            cells.push(Lazy::known(id));
        }
        for expr in &aggregate.aggr_expr {
            let (run, group, frame) = (Rc::clone(self), Rc::clone(&group), Rc::clone(&input.frame));
            let returns = fields[cells.len()].data_type().clone();
            cells.push(Lazy::new(move || {
                run.aggregate_value(expr, group.members(&run, &frame)?, &returns)
            }));
        }
        let row = Row::new(cells);
        if always || group.candidates.iter().any(|row| row.pending.is_empty()) {
            return Ok(row);
        }
        let (run, frame) = (Rc::clone(self), Rc::clone(&input.frame));
        Ok(row.with_pending([Lazy::new(move || {
            Ok(ScalarValue::from(!group.members(&run, &frame)?.rows.is_empty()))
        })]))
    }

    fn aggregate_value(
        self: &Rc<Self>,
        expr: &'a Expr,
        members: &Relation<'a>,
        returns: &DataType,
    ) -> Result<ScalarValue> {
        let expr = unaliased(expr);
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else {
            return not_impl_err!("the lazy oracle does not know the aggregate {expr}");
        };
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        let mut kept = Vec::new();
        for row in &members.rows {
            let passes = match filter {
                Some(filter) => self.is_true(filter, &members.scope(row))?,
                None => true,
            };
            kept.extend(passes.then(|| row.clone()));
        }
        let mut kept = Relation { frame: Rc::clone(&members.frame), rows: kept, ordered: false };
        if !order_by.is_empty() {
            kept.rows = self.sorted(order_by, &kept)?;
        }
        if *null_treatment != Some(NullTreatment::IgnoreNulls) && !*distinct {
            // One row decides; the arguments of the others are not read.
            match func.name() {
                "first_value" => kept.rows.truncate(1),
                "last_value" => kept.rows = kept.rows.split_off(kept.rows.len().saturating_sub(1)),
                _ => {}
            }
        }
        let mut known = HashSet::new();
        let mut values = Vec::new();
        for row in &kept.rows {
            let scope = kept.scope(row);
            let args = args.iter().map(|arg| self.eval(arg, &scope));
            let args = args.collect::<Result<Vec<_>>>()?;
            let key = args.iter().cloned().map(untyped).collect::<Vec<_>>();
            if !*distinct || known.insert(key) {
                values.push(args);
            }
        }
        if *null_treatment == Some(NullTreatment::IgnoreNulls) {
            values.retain(|args| args.iter().all(|arg| !arg.is_null()));
        }
        combine(func.name(), values, returns)
    }
}

/// Computes an aggregate function of the arguments of its rows.
pub fn combine(
    function: &str,
    values: Vec<Vec<ScalarValue>>,
    returns: &DataType,
) -> Result<ScalarValue> {
    let null = || ScalarValue::try_from(returns);
    let known: Vec<ScalarValue> = match function {
        "array_agg" | "first_value" | "last_value" => {
            values.iter().map(|args| args[0].clone()).collect()
        }
        _ => values
            .iter()
            .filter(|args| args.iter().all(|arg| !arg.is_null()))
            .map(|args| args.first().cloned().unwrap_or(ScalarValue::Null))
            .collect(),
    };
    let value = match function {
        "count" => ScalarValue::from(known.len() as i64),
        _ if known.is_empty() => return null(),
        "sum" => sum(&known, returns)?,
        "avg" => match sum(&known, &DataType::Float64)? {
            ScalarValue::Float64(Some(sum)) => ScalarValue::from(sum / known.len() as f64),
            other => other,
        },
        "min" | "max" => extreme(&known, function == "min")?,
        "bool_and" => ScalarValue::from(known.iter().all(|value| boolean(value) == Some(true))),
        "bool_or" => ScalarValue::from(known.iter().any(|value| boolean(value) == Some(true))),
        "first_value" => known[0].clone(),
        "last_value" => known[known.len() - 1].clone(),
        "array_agg" => match returns {
            DataType::List(field) => {
                let item = field.data_type();
                let items = known.iter().map(|value| value.cast_to(item));
                let items = items.collect::<Result<Vec<_>>>()?;
                ScalarValue::List(ScalarValue::new_list_nullable(&items, item))
            }
            _ => return not_impl_err!("array_agg returns {returns}"),
        },
        "string_agg" => {
            let separator = values[0][1].to_string();
            let texts = known.iter().map(ToString::to_string).collect::<Vec<_>>();
            ScalarValue::from(texts.join(&separator))
        }
        name => return not_impl_err!("the lazy oracle does not know the aggregate {name}"),
    };
    value.cast_to(returns)
}

fn sum(values: &[ScalarValue], returns: &DataType) -> Result<ScalarValue> {
    let mut total = match returns {
        DataType::Int64 => ScalarValue::from(0_i64),
        DataType::UInt64 => ScalarValue::from(0_u64),
        DataType::Float64 => ScalarValue::from(0_f64),
        other => return not_impl_err!("the lazy oracle does not know sums of {other}"),
    };
    for value in values {
        total = total.add(value.cast_to(returns)?)?;
    }
    Ok(total)
}

fn extreme(values: &[ScalarValue], least: bool) -> Result<ScalarValue> {
    let mut found = &values[0];
    for value in values {
        let order = compare(value, found)?;
        if if least { order.is_lt() } else { order.is_gt() } {
            found = value;
        }
    }
    Ok(found.clone())
}

/// Returns for each grouping set which keys are in it.
fn grouping_sets(exprs: &[Expr], keys: &[&Expr]) -> Result<Vec<Vec<bool>>> {
    let [Expr::GroupingSet(set)] = exprs else { return Ok(vec![vec![true; keys.len()]]) };
    let mask = |set: &[&Expr]| keys.iter().map(|key| set.contains(key)).collect::<Vec<_>>();
    Ok(match set {
        GroupingSet::Rollup(_) => (0..=keys.len()).map(|prefix| mask(&keys[..prefix])).collect(),
        GroupingSet::Cube(_) => powerset(keys)?
            .into_iter()
            .map(|set| mask(&set.into_iter().copied().collect::<Vec<_>>()))
            .collect(),
        GroupingSet::GroupingSets(sets) => {
            sets.iter().map(|set| mask(&set.iter().collect::<Vec<_>>())).collect()
        }
    })
}

fn grouping_id(set: &[bool], earlier: usize) -> u64 {
    let mask = set.iter().fold(0, |id, present| (id << 1) | u64::from(!present));
    mask | ((earlier as u64) << set.len())
}

/// NULLs of all types are one key.
pub fn untyped(value: ScalarValue) -> ScalarValue {
    if value.is_null() { ScalarValue::Null } else { value }
}

pub fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        expr => expr,
    }
}
