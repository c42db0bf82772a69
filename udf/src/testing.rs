//! [`ScriptedFunction`], a batch function that answers, delays and fails as a test tells it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::Opened;
use crate::adapt::any::AsyncFunction;
use crate::contract::answer::BatchAnswer;
use crate::contract::args::ArgBatch;
use crate::contract::context::{CallContext, FunctionContext};
use crate::contract::declaration::Declaration;
use crate::contract::function::AsyncBatchFunction;
use crate::error::CallError;

/// What a [`ScriptedFunction`] does with one attempt.
#[derive(Debug, Clone)]
pub enum Step {
    /// Answers x + 1 after a delay.
    Answer(Duration),
    /// Fails after a delay.
    Fail(Duration, CallError),
    /// Never answers.
    Hang,
    /// Panics.
    Panic,
    /// Answers one row less than asked.
    Short,
    /// Answers one row more than asked.
    Long,
    /// Answers texts where numbers are declared.
    WrongType,
    /// Fails if this number is among the arguments, and answers otherwise.
    Poison(i64, CallError),
    /// Answers, but for one row, counted from 0, which fails.
    FailRow(usize, CallError),
}

/// One attempt as a [`ScriptedFunction`] saw it.
#[derive(Debug, Clone)]
pub struct SeenAttempt {
    /// The arguments; a NULL is 0.
    pub args: Vec<i64>,
    /// When it began.
    pub begun: Instant,
    /// Which attempt it was told to be.
    pub attempt: u32,
    /// The key it was given against repetitions.
    pub idempotency_key: String,
}

/// What a [`ScriptedFunction`] saw, shared with the test.
#[derive(Debug, Default)]
pub struct Seen {
    attempts: Mutex<Vec<SeenAttempt>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
}

impl Seen {
    /// Returns every attempt, in the order in which they began.
    pub fn details(&self) -> Vec<SeenAttempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the arguments of every attempt, in the order in which they began.
    pub fn attempts(&self) -> Vec<Vec<i64>> {
        self.details().into_iter().map(|attempt| attempt.args).collect()
    }

    /// Returns the rows of every attempt.
    pub fn sizes(&self) -> Vec<usize> {
        self.attempts().iter().map(Vec::len).collect()
    }

    /// Returns the attempts running now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Returns the most attempts that ran at the same time.
    pub fn in_flight_max(&self) -> usize {
        self.in_flight_max.load(Ordering::SeqCst)
    }

    /// Returns how often the function was opened and closed.
    pub fn opened_closed(&self) -> (usize, usize) {
        (self.opened.load(Ordering::SeqCst), self.closed.load(Ordering::SeqCst))
    }
}

/// A function from BIGINT to BIGINT, x + 1, that follows a script: one step an attempt, and the
/// usual step when the script has ended.
#[derive(Debug)]
pub struct ScriptedFunction {
    declaration: Declaration,
    script: Mutex<VecDeque<Step>>,
    usual: Step,
    open: Step,
    fallback: Option<i64>,
    seen: Arc<Seen>,
}

impl ScriptedFunction {
    /// Makes a function that answers at once.
    pub fn new(name: &str) -> Self {
        Self {
            declaration: Declaration::new(name, vec![DataType::Int64], DataType::Int64),
            script: Mutex::default(),
            usual: Step::Answer(Duration::ZERO),
            open: Step::Answer(Duration::ZERO),
            fallback: None,
            seen: Arc::default(),
        }
    }

    /// Adds steps for the next attempts.
    pub fn with_script(self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).extend(steps);
        self
    }

    /// Sets what happens when the script has ended.
    pub fn with_usual(mut self, step: Step) -> Self {
        self.usual = step;
        self
    }

    /// Sets what happens when the function is opened: an answer, a failure, a panic, or nothing.
    pub fn with_open(mut self, step: Step) -> Self {
        self.open = step;
        self
    }

    /// Sets the value of rows whose request timed out.
    pub fn with_fallback(mut self, value: i64) -> Self {
        self.fallback = Some(value);
        self
    }

    /// Changes what the function says about itself.
    pub fn with_declaration(mut self, change: impl FnOnce(Declaration) -> Declaration) -> Self {
        self.declaration = change(self.declaration);
        self
    }

    /// Finishes the function; the second value tells what it saw.
    pub fn build(self) -> (AsyncFunction, Arc<Seen>) {
        let seen = Arc::clone(&self.seen);
        (AsyncFunction::batch(self), seen)
    }

    fn next_step(&self) -> Step {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.pop_front().unwrap_or_else(|| self.usual.clone())
    }
}

/// Waits, fails, hangs or panics as a step says.
async fn perform(step: &Step) -> Result<(), CallError> {
    match step {
        Step::Answer(delay) if delay.is_zero() => Ok(()),
        Step::Answer(delay) => {
            tokio::time::sleep(*delay).await;
            Ok(())
        }
        Step::Fail(delay, error) => {
            tokio::time::sleep(*delay).await;
            Err(error.clone())
        }
        Step::Hang => std::future::pending().await,
        #[allow(clippy::panic, reason = "a script may ask for it")]
        Step::Panic => panic!("scripted panic"),
        Step::Short | Step::Long | Step::WrongType => Ok(()),
        Step::Poison(..) | Step::FailRow(..) => Ok(()),
    }
}

/// Counts an attempt as running until it is dropped, also by an abort.
struct Running<'a>(&'a Seen);

impl<'a> Running<'a> {
    fn new(seen: &'a Seen) -> Self {
        let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        seen.in_flight_max.fetch_max(now, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl AsyncBatchFunction for ScriptedFunction {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn open(&self, _ctx: &FunctionContext) -> Result<Opened, CallError> {
        self.seen.opened.fetch_add(1, Ordering::SeqCst);
        perform(&self.open).await?;
        Ok(Opened::nothing())
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        let _running = Running::new(&self.seen);
        let x = args.column(0).as_primitive::<Int64Type>();
        let sent: Vec<i64> = x.iter().map(Option::unwrap_or_default).collect();
        let poisoned = |poison: &i64| sent.contains(poison);
        self.seen.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(SeenAttempt {
            args: sent.clone(),
            begun: Instant::now(),
            attempt: ctx.attempt,
            idempotency_key: ctx.idempotency_key(),
        });
        let values: ArrayRef = Arc::new(x.iter().map(|x| Some(x? + 1)).collect::<Int64Array>());
        let step = self.next_step();
        perform(&step).await?;
        match step {
            Step::Short => Ok(BatchAnswer::new(values.slice(0, values.len() - 1))),
            Step::Long => {
                let longer: Int64Array = x.iter().chain([None]).collect();
                Ok(BatchAnswer::new(Arc::new(longer)))
            }
            Step::WrongType => {
                Ok(BatchAnswer::new(Arc::new(StringArray::from(vec!["no"; x.len()]))))
            }
            Step::Poison(poison, error) if poisoned(&poison) => Err(error),
            Step::FailRow(row, error) => {
                Ok(BatchAnswer::new(values).with_errors(vec![(row, error)]))
            }
            _ => Ok(BatchAnswer::new(values)),
        }
    }

    async fn timeout_batch(&self, args: &ArgBatch, _: &CallContext) -> Option<BatchAnswer> {
        let values = Int64Array::from(vec![self.fallback?; args.num_rows()]);
        Some(BatchAnswer::new(Arc::new(values)))
    }

    async fn close(&self, _: Opened) -> Result<(), CallError> {
        self.seen.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
