//! [`Lazy`], a value that is computed when it is first read.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use datafusion::common::{DFSchemaRef, Result, ScalarValue, internal_err};

type Todo<'a> = Box<dyn FnOnce() -> Result<ScalarValue> + 'a>;

enum State<'a> {
    Todo(Todo<'a>),
    Running,
    Done(ScalarValue),
}

/// A value that is computed when it is first read, and then known.
pub struct Lazy<'a>(RefCell<State<'a>>);

pub type Cell<'a> = Rc<Lazy<'a>>;

impl<'a> Lazy<'a> {
    pub fn known(value: ScalarValue) -> Cell<'a> {
        Rc::new(Self(RefCell::new(State::Done(value))))
    }

    pub fn new(todo: impl FnOnce() -> Result<ScalarValue> + 'a) -> Cell<'a> {
        Rc::new(Self(RefCell::new(State::Todo(Box::new(todo)))))
    }

    /// Returns the value; an error is returned once, since the query ends with it.
    pub fn get(&self) -> Result<ScalarValue> {
        let state = self.0.replace(State::Running);
        let value = match state {
            State::Done(value) => value,
            State::Todo(todo) => todo()?,
            State::Running => return internal_err!("a value depends on itself or has failed"),
        };
        self.0.replace(State::Done(value.clone()));
        Ok(value)
    }

    /// Reads a condition: says whether it is TRUE.
    pub fn holds(&self) -> Result<bool> {
        Ok(self.get()? == ScalarValue::Boolean(Some(true)))
    }
}

/// A row that exists if all its pending conditions hold.
///
/// Conditions with calls wait here until somebody must know whether the row exists, so that cheap
/// conditions further up are tested first.
#[derive(Clone)]
pub struct Row<'a> {
    pub columns: Rc<[Cell<'a>]>,
    pub pending: Rc<[Cell<'a>]>,
}

impl<'a> Row<'a> {
    pub fn new(columns: Vec<Cell<'a>>) -> Self {
        Self { columns: columns.into(), pending: Rc::new([]) }
    }

    pub fn with_pending(&self, more: impl IntoIterator<Item = Cell<'a>>) -> Self {
        let pending = self.pending.iter().cloned().chain(more).collect();
        Self { columns: Rc::clone(&self.columns), pending }
    }

    pub fn without_pending(&self) -> Self {
        Self { columns: Rc::clone(&self.columns), pending: Rc::new([]) }
    }

    pub fn with_columns(&self, columns: Vec<Cell<'a>>) -> Self {
        Self { columns: columns.into(), pending: Rc::clone(&self.pending) }
    }
}

/// What the columns of a relation are called, and which of them cost a call to read.
pub struct Frame<'a> {
    pub schema: DFSchemaRef,
    pub dear: Vec<bool>,
    pub outer: Option<Rc<Scope<'a>>>,
}

/// A row, with the rows of the queries around it.
#[derive(Clone)]
pub struct Scope<'a> {
    pub frame: Rc<Frame<'a>>,
    pub row: Row<'a>,
}

/// The rows of a node.
pub struct Relation<'a> {
    pub frame: Rc<Frame<'a>>,
    pub rows: Vec<Row<'a>>,
    /// Whether the order of the rows was asked for.
    pub ordered: bool,
}

impl<'a> Relation<'a> {
    pub fn scope(&self, row: &Row<'a>) -> Scope<'a> {
        Scope { frame: Rc::clone(&self.frame), row: row.clone() }
    }
}

/// The answers that were given, and what they cost.
#[derive(Default)]
pub struct Memo {
    pub answers: HashMap<(String, Vec<ScalarValue>), ScalarValue>,
    pub calls: BTreeMap<String, usize>,
}
