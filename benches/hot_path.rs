//! The dispatcher's way of a row, for `scripts/instructions`, which counts the instructions that it takes.
//!
//! `hot_path SCENARIO ROWS` moves that many rows through one dispatcher, whose function answers at once: what is left is
//! the dispatcher's own work. Called with anything else it runs every scenario once and prints the scenarios' names.

#![allow(clippy::expect_used)]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};

use arrow::array::{AsArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, AsyncScalarFunction, BatchAnswer, CallContext,
    CallError, CallOptions, Declaration, Dispatcher, FarcallConfig, FarcallRuntime, QueryScope,
    async_fn,
};

/// Rows of an input batch, as DataFusion cuts them.
const INPUT_ROWS: usize = 8192;

/// What is called, how, and whether a guard lets only every second row through.
struct Scenario {
    name: &'static str,
    function: fn() -> AsyncFunction,
    options: fn() -> CallOptions,
    guarded: bool,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "row_closure", function: closure, options: plain, guarded: false },
    Scenario { name: "row_trait", function: trait_object, options: plain, guarded: false },
    Scenario { name: "batch_of_8192", function: batch, options: large, guarded: false },
    Scenario { name: "batch_of_8192_guarded", function: batch, options: large, guarded: true },
    Scenario { name: "batch_of_64", function: batch, options: small, guarded: false },
    Scenario { name: "batch_of_64_dedup", function: batch, options: deduplicated, guarded: false },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let chosen = match args.as_slice() {
        [name, rows] => SCENARIOS.iter().find(|s| s.name == name).zip(rows.parse().ok()),
        _ => None,
    };
    match chosen {
        Some((scenario, rows)) => run(scenario, rows),
        None => SCENARIOS.iter().for_each(|scenario| {
            run(scenario, INPUT_ROWS);
            println!("{}", scenario.name);
        }),
    }
}

fn run(scenario: &Scenario, rows: usize) {
    // One thread: the same work in the same order each time.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut dispatcher = dispatcher(scenario);
        for start in (0..rows).step_by(INPUT_ROWS) {
            pass(&mut dispatcher, start, INPUT_ROWS.min(rows - start), scenario.guarded).await;
        }
    });
}

fn dispatcher(scenario: &Scenario) -> Dispatcher {
    let function = (scenario.function)();
    let options = FarcallConfig::default();
    let options = options.resolve(&function, &(scenario.options)()).expect("options");
    let field = |name| -> FieldRef { Arc::new(Field::new(name, DataType::Int64, true)) };
    let scope = QueryScope::new(
        Arc::new(FarcallRuntime::new()),
        Arc::default(),
        Arc::new(ConfigOptions::new()),
        Arc::new(UnboundedMemoryPool::default()),
    );
    let site = scope.site(1, 0, &function, &options, &field("y"), &Arc::default());
    Dispatcher::new(scope, site, [field("x")].into()).expect("a dispatcher")
}

/// Moves one input batch through.
async fn pass(dispatcher: &mut Dispatcher, start: usize, rows: usize, guarded: bool) {
    let guard = guarded.then(|| BooleanBuffer::collect_bool(rows, |row| row % 2 == 0));
    let calls = guard.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
    let args = Int64Array::from_iter_values(start as i64..(start + calls) as i64);
    dispatcher.push(rows, vec![Arc::new(args)], guard).expect("rows");
    dispatcher.flush();
    poll_fn(|cx| {
        while dispatcher.ready_rows() < rows {
            ready!(dispatcher.poll_progress(cx)).expect("answers");
        }
        Poll::Ready(())
    })
    .await;
    let answer = dispatcher.take(rows).expect("an answer");
    assert_eq!(answer.as_primitive::<Int64Type>().value(0), start as i64 + 1);
}

fn plain() -> CallOptions {
    CallOptions::new().with_dedup(false)
}

fn large() -> CallOptions {
    plain().with_max_batch_size(INPUT_ROWS)
}

fn small() -> CallOptions {
    plain().with_max_batch_size(64)
}

fn deduplicated() -> CallOptions {
    small().with_dedup(true)
}

fn closure() -> AsyncFunction {
    async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x + 1) }).build()
}

fn trait_object() -> AsyncFunction {
    AsyncFunction::scalar(AddOne(declared()))
}

fn batch() -> AsyncFunction {
    AsyncFunction::batch(AddOne(declared()))
}

fn declared() -> Declaration {
    Declaration::new("f", vec![DataType::Int64], DataType::Int64)
}

#[derive(Debug)]
struct AddOne(Declaration);

#[async_trait]
impl AsyncScalarFunction for AddOne {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        _: &CallContext,
    ) -> Result<ScalarValue, CallError> {
        match args[0] {
            ScalarValue::Int64(x) => Ok(ScalarValue::Int64(x.map(|x| x + 1))),
            ref other => Err(CallError::function("f", format!("{other} is no BIGINT"))),
        }
    }
}

#[async_trait]
impl AsyncBatchFunction for AddOne {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        let x = args.column(0).as_primitive::<Int64Type>();
        Ok(BatchAnswer::new(Arc::new(x.unary::<_, Int64Type>(|x| x + 1))))
    }
}
