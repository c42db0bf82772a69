//! Window functions, partition by partition.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{Expr, Window, WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::Run;
use super::aggregate::{combine, unaliased, untyped};
use super::value::{Frame, Lazy, Relation, Scope};

type Outer<'s, 'a> = Option<&'s Rc<Scope<'a>>>;

/// The partition of each row, and the rows of each partition.
type Partitions = (Vec<usize>, Vec<Vec<usize>>);

/// The values of one window function, found partition by partition as they are read.
struct Column<'a> {
    function: &'a WindowFunction,
    returns: DataType,
    input: Rc<Relation<'a>>,
    /// Known once one value was read.
    partitions: RefCell<Option<Partitions>>,
    values: RefCell<HashMap<usize, ScalarValue>>,
}

impl<'a> Run<'a> {
    pub fn window(
        self: &Rc<Self>,
        window: &'a Window,
        outer: Outer<'_, 'a>,
    ) -> Result<Relation<'a>> {
        let input = Rc::new(self.relation(&window.input, outer)?);
        let mut dear = input.frame.dear.clone();
        let mut columns = Vec::new();
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = unaliased(expr) else {
                return not_impl_err!("the lazy oracle does not know the window function {expr}");
            };
            let returns = window.schema.field(dear.len()).data_type().clone();
            dear.push(self.is_dear(expr, &input.frame));
            columns.push(Rc::new(Column {
                function,
                returns,
                input: Rc::clone(&input),
                partitions: RefCell::default(),
                values: RefCell::default(),
            }));
        }
        let rows = input.rows.iter().enumerate().map(|(index, row)| {
            let mut cells = row.columns.to_vec();
            for column in &columns {
                let (run, column) = (Rc::clone(self), Rc::clone(column));
                cells.push(Lazy::new(move || column.value(&run, index)));
            }
            row.with_columns(cells)
        });
        let rows = rows.collect();
        let schema = Arc::clone(&window.schema);
        let frame = Rc::new(Frame { schema, dear, outer: outer.cloned() });
        Ok(Relation { frame, rows, ordered: input.ordered })
    }
}

impl<'a> Column<'a> {
    fn value(&self, run: &Rc<Run<'a>>, row: usize) -> Result<ScalarValue> {
        if self.partitions.borrow().is_none() {
            let partitions = self.partition(run)?;
            *self.partitions.borrow_mut() = Some(partitions);
        }
        if let Some(value) = self.values.borrow().get(&row) {
            return Ok(value.clone());
        }
        let members = match &*self.partitions.borrow() {
            Some((of_row, members)) => members[of_row[row]].clone(),
            None => vec![],
        };
        let values = self.compute(run, &members)?;
        self.values.borrow_mut().extend(values);
        let value = self.values.borrow().get(&row).cloned();
        // A row that does not exist has no value, and nobody will see it.
        value.map_or_else(|| ScalarValue::try_from(&self.returns), Ok)
    }

    fn partition(&self, run: &Rc<Run<'a>>) -> Result<Partitions> {
        let keys = &self.function.params.partition_by;
        let dear = keys.iter().any(|key| run.is_dear(key, &self.input.frame));
        let mut known = HashMap::new();
        let (mut of_row, mut members) = (Vec::new(), Vec::new());
        for (index, row) in self.input.rows.iter().enumerate() {
            let key = match dear && !run.exists(row)? {
                true => None,
                false => {
                    let scope = self.input.scope(row);
                    let key = keys.iter().map(|key| Ok(untyped(run.eval(key, &scope)?)));
                    Some(key.collect::<Result<Vec<_>>>()?)
                }
            };
            let partition = *known.entry(key).or_insert(members.len());
            if partition == members.len() {
                members.push(vec![]);
            }
            of_row.push(partition);
            members[partition].push(index);
        }
        Ok((of_row, members))
    }

    fn compute(
        &self,
        run: &Rc<Run<'a>>,
        candidates: &[usize],
    ) -> Result<Vec<(usize, ScalarValue)>> {
        let WindowFunctionParams { args, order_by, window_frame, filter, distinct, .. } =
            &self.function.params;
        let mut members =
            Relation { frame: Rc::clone(&self.input.frame), rows: vec![], ordered: false };
        let mut indices = Vec::new();
        for index in candidates {
            if run.exists(&self.input.rows[*index])? {
                // The index travels through the sort as a column behind the others.
                let row = &self.input.rows[*index];
                let mut cells = row.columns.to_vec();
                cells.push(Lazy::known(ScalarValue::from(*index as u64)));
                members.rows.push(row.with_columns(cells));
            }
        }
        members.rows = run.sorted(order_by, &members)?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for row in &members.rows {
            let scope = members.scope(row);
            let key = order_by.iter().map(|key| Ok(untyped(run.eval(&key.expr, &scope)?)));
            keys.push(key.collect::<Result<Vec<_>>>()?);
            let kept = match filter {
                Some(filter) => run.is_true(filter, &scope)?,
                None => true,
            };
            let args = args.iter().map(|arg| run.eval(arg, &scope));
            values.push(if kept { Some(args.collect::<Result<Vec<_>>>()?) } else { None });
            match row.columns.last().map(|cell| cell.get()).transpose()? {
                Some(ScalarValue::UInt64(Some(index))) => indices.push(index as usize),
                _ => return not_impl_err!("a window row has lost its index"),
            }
        }
        if *distinct {
            return not_impl_err!("the lazy oracle does not know DISTINCT window functions");
        }
        let sorted = Sorted { keys, values, frame: window_frame };
        let name = self.function.fun.name();
        let results =
            (0..indices.len()).map(|at| Ok((indices[at], sorted.value(name, at, &self.returns)?)));
        results.collect()
    }
}

/// A sorted partition.
struct Sorted<'a> {
    keys: Vec<Vec<ScalarValue>>,
    /// The arguments of each row; `None` where FILTER drops it.
    values: Vec<Option<Vec<ScalarValue>>>,
    frame: &'a WindowFrame,
}

impl Sorted<'_> {
    fn value(&self, name: &str, at: usize, returns: &DataType) -> Result<ScalarValue> {
        let first_peer = (0..=at).find(|row| self.keys[*row] == self.keys[at]).unwrap_or(at);
        let value = match name {
            "row_number" => ScalarValue::from(at as u64 + 1),
            "rank" => ScalarValue::from(first_peer as u64 + 1),
            "dense_rank" => {
                let mut keys = self.keys[..=at].to_vec();
                keys.dedup();
                ScalarValue::from(keys.len() as u64)
            }
            "lag" => return self.shifted(at, -1, returns),
            "lead" => return self.shifted(at, 1, returns),
            _ => {
                let (from, to) = self.range(at, first_peer)?;
                let rows = self.values[from.min(to)..to].iter().flatten().cloned().collect();
                return combine(name, rows, returns);
            }
        };
        value.cast_to(returns)
    }

    fn shifted(&self, at: usize, sign: i64, returns: &DataType) -> Result<ScalarValue> {
        let args = self.values[at].clone().unwrap_or_default();
        let by = match args.get(1) {
            Some(ScalarValue::Int64(Some(by))) => *by,
            _ => 1,
        };
        let other = usize::try_from(at as i64 + sign * by).ok();
        match other.and_then(|other| self.values.get(other)) {
            Some(Some(args)) => args[0].cast_to(returns),
            _ => args.get(2).unwrap_or(&ScalarValue::Null).cast_to(returns),
        }
    }

    /// Returns the rows of the frame of a row.
    fn range(&self, at: usize, first_peer: usize) -> Result<(usize, usize)> {
        let rows = self.keys.len();
        let WindowFrame { units, start_bound, end_bound, .. } = self.frame;
        if *units == WindowFrameUnits::Groups {
            return not_impl_err!("the lazy oracle does not know GROUPS frames");
        }
        let by_rows = *units == WindowFrameUnits::Rows;
        let from = match start_bound {
            WindowFrameBound::Preceding(by) if by.is_null() => 0,
            WindowFrameBound::CurrentRow if by_rows => at,
            WindowFrameBound::CurrentRow => first_peer,
            WindowFrameBound::Preceding(by) if by_rows => at.saturating_sub(number(by)?),
            WindowFrameBound::Following(by) if by_rows => (at + number(by)?).min(rows),
            bound => return not_impl_err!("the lazy oracle does not know RANGE {bound}"),
        };
        let to = match end_bound {
            WindowFrameBound::Following(by) if by.is_null() => rows,
            WindowFrameBound::CurrentRow if by_rows => at + 1,
            WindowFrameBound::CurrentRow => {
                at + self.keys[at..].iter().take_while(|key| **key == self.keys[at]).count()
            }
            WindowFrameBound::Following(by) if by_rows => (at + 1 + number(by)?).min(rows),
            WindowFrameBound::Preceding(by) if by_rows => (at + 1).saturating_sub(number(by)?),
            bound => return not_impl_err!("the lazy oracle does not know RANGE {bound}"),
        };
        Ok((from, to))
    }
}

fn number(value: &ScalarValue) -> Result<usize> {
    match value.cast_to(&DataType::UInt64)? {
        ScalarValue::UInt64(Some(number)) => Ok(number as usize),
        other => not_impl_err!("a frame bound of {other} rows"),
    }
}
