//! [`AsyncDataStream`], which applies an async batch function to a data frame or a stream without SQL.

mod batch_call;

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Column, plan_err};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{Expr, ReturnFieldArgs};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, cast};
use datafusion::prelude::{DataFrame, SessionConfig};
use farcall_udf::{AsyncUdf, Dispatcher, FarcallConfig, OutputMode, QueryScope};

use farcall_exec::{Credit, Driver, Lane, SessionExt};

pub use batch_call::BatchCall;

/// The only call site of a stream.
const SITE: u64 = 0;

/// Calls an async batch function on the rows of something, and appends the results as a column.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use arrow::{array::{AsArray, Int64Array}, datatypes::{DataType, Int64Type}};
/// use async_trait::async_trait;
/// use farcall::udf::{
///     ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, Declaration,
/// };
/// use farcall::{AsyncDataStream, BatchCall, FarcallSession};
///
/// #[derive(Debug)]
/// struct Double(Declaration);
///
/// #[async_trait]
/// impl AsyncBatchFunction for Double {
///     fn declaration(&self) -> &Declaration {
///         &self.0
///     }
///     async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
///         let x = args.column(0).as_primitive::<Int64Type>();
///         Ok(BatchAnswer::new(Arc::new(x.unary::<_, Int64Type>(|x| 2 * x))))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> datafusion::error::Result<()> {
/// let double = Double(Declaration::new("double", vec![DataType::Int64], DataType::Int64));
/// let call = BatchCall::new(AsyncFunction::batch(double), ["value"])
///     .with_batch_size(64)
///     .with_batch_timeout(Duration::from_millis(20))
///     .with_capacity(8)
///     .with_timeout(Duration::from_secs(30));
/// let session = FarcallSession::new()?;
/// let frame = session.sql("SELECT value FROM generate_series(1, 1000)").await?;
/// // As a part of the plan, also of one that goes on in SQL ..
/// let rows = frame.clone().ordered_wait_batch(call.clone())?.collect().await?;
/// // .. or on rows that are flowing already, from wherever.
/// let stream = frame.execute_stream().await?.unordered_wait_batch(call)?;
/// # assert_eq!(rows[0].schema().field(1).name(), "double");
/// # let rows: Vec<_> = futures::TryStreamExt::try_collect(stream).await?;
/// # assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1000);
/// # Ok(())
/// # }
/// ```
///
/// Lazy: calls are made when rows are read. Errors: at once for a column that does not exist, a name
/// that is taken, arguments of wrong types and options out of range; those of calls arrive with the
/// rows. Cancel: dropping what is read aborts the requests in flight.
///
/// Source: named after `unorderedWait` and `orderedWait` of Flink's `AsyncDataStream`.
pub trait AsyncDataStream: Sized {
    /// Gives rows out as their answers come.
    ///
    /// # Errors
    /// A planning error for a column that does not exist, a name that is taken, arguments of wrong types and options out of range.
    fn unordered_wait_batch(self, call: BatchCall) -> Result<Self>;

    /// Gives rows out in the order in which they came.
    ///
    /// # Errors
    /// As [`AsyncDataStream::unordered_wait_batch`].
    fn ordered_wait_batch(self, call: BatchCall) -> Result<Self>;
}

/// Adds the call to the plan: it is planned, shown and run as if it had been written in SQL.
impl AsyncDataStream for DataFrame {
    fn unordered_wait_batch(self, call: BatchCall) -> Result<Self> {
        append_to_plan(self, &call, OutputMode::AllowUnordered)
    }

    fn ordered_wait_batch(self, call: BatchCall) -> Result<Self> {
        append_to_plan(self, &call, OutputMode::Ordered)
    }
}

/// Drives the rows through a dispatcher in a task of its own; the stream may be endless.
///
/// Wants a Tokio runtime when it is read.
impl AsyncDataStream for SendableRecordBatchStream {
    fn unordered_wait_batch(self, call: BatchCall) -> Result<Self> {
        Ok(driver(self, call, OutputMode::AllowUnordered)?.unordered().into_stream(()))
    }

    fn ordered_wait_batch(self, call: BatchCall) -> Result<Self> {
        Ok(driver(self, call, OutputMode::Ordered)?.into_stream(()))
    }
}

fn append_to_plan(
    frame: DataFrame,
    call: &BatchCall,
    output_mode: OutputMode,
) -> Result<DataFrame> {
    let (state, plan) = frame.into_parts();
    if SessionExt::of(state.config()).is_none() {
        return plan_err!("the data frame belongs to a session that is not farcall's");
    }
    let options = call.call_options(output_mode)?;
    let schema = plan.schema();
    check_columns(call, schema.as_arrow())?;
    let arguments = call.arguments.iter().map(|name| Expr::Column(Column::from_name(name)));
    let udf = AsyncUdf::new(call.function.clone()).with_call_options(options).into_scalar_udf();
    let result = udf.call(arguments.collect()).alias(call.result_column());
    let columns =
        schema.columns().into_iter().map(Expr::Column).chain([result]).collect::<Vec<_>>();
    DataFrame::new(state, plan).select(columns)
}

fn driver(
    input: SendableRecordBatchStream,
    call: BatchCall,
    output_mode: OutputMode,
) -> Result<Driver> {
    let options = call.call_options(output_mode)?;
    let schema = input.schema();
    check_columns(&call, &schema)?;
    let (args, fields, result) = arguments(&call, &schema)?;
    let columns: Vec<FieldRef> =
        schema.fields().iter().cloned().chain([Arc::clone(&result)]).collect();
    let output = Arc::new(Schema::new_with_metadata(columns, schema.metadata().clone()));
    let BatchCall { function, runtime, memory, .. } = call;
    let config = SessionConfig::new();
    let scope = QueryScope::new(
        runtime.unwrap_or_default(),
        Arc::default(),
        Arc::clone(config.options()),
        memory.unwrap_or_else(|| Arc::new(UnboundedMemoryPool::default())),
    );
    let options = FarcallConfig::default().resolve(&function, &options)?;
    let site = scope.site(SITE, 0, &function, &options, &result, &Arc::default());
    let dispatcher = Dispatcher::new(Arc::clone(&scope), site, fields.into())?;
    let lane = Lane { dispatcher, args, guard: None };
    Ok(Driver::new(scope, input, vec![lane], output, config.batch_size(), Credit::new(None)))
}

/// Returns the arguments in the types that the function wants, their fields, and the result's.
#[allow(clippy::type_complexity, reason = "three things that belong together once")]
fn arguments(
    call: &BatchCall,
    schema: &SchemaRef,
) -> Result<(Vec<Arc<dyn PhysicalExpr>>, Vec<FieldRef>, FieldRef)> {
    let indices = call.arguments.iter().map(|name| schema.index_of(name));
    let indices = indices.collect::<Result<Vec<_>, _>>()?;
    let given: Vec<FieldRef> = indices.iter().map(|i| Arc::clone(&schema.fields()[*i])).collect();
    let udf = AsyncUdf::new(call.function.clone()).into_scalar_udf();
    let wanted = fields_with_udf(&given, &udf)?;
    let args = indices
        .iter()
        .zip(&wanted)
        .map(|(index, wanted)| {
            let column = PhysicalColumn::new(schema.field(*index).name(), *index);
            cast(Arc::new(column), schema, wanted.data_type().clone())
        })
        .collect::<Result<Vec<_>>>()?;
    let scalar_arguments = vec![None; wanted.len()];
    let result = udf.return_field_from_args(ReturnFieldArgs {
        arg_fields: &wanted,
        scalar_arguments: &scalar_arguments,
    })?;
    let result = Field::clone(&result).with_name(call.result_column()).with_nullable(true);
    Ok((args, wanted, Arc::new(result)))
}

/// Checks that the arguments are columns and that the result's name is free.
fn check_columns(call: &BatchCall, schema: &Schema) -> Result<()> {
    let function = call.function.name();
    let found = |name: &str| schema.fields().iter().any(|field| field.name() == name);
    if let Some(missing) = call.arguments.iter().find(|name| !found(name)) {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return plan_err!(
            "{function} is called on column '{missing}', there are '{}'",
            names.join("', '")
        );
    }
    if found(call.result_column()) {
        return plan_err!(
            "the result of {function} would be a second column '{}', name another by \
             with_result_column",
            call.result_column()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Int64Type};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion::prelude::SessionContext;
    use farcall_udf::testing::{ScriptedFunction, Seen, Step};
    use futures::StreamExt;
    use tokio::time::Instant;

    use super::*;
    use crate::FarcallSession;

    #[tokio::test]
    async fn a_data_frame_gets_a_call_in_its_plan() {
        let (call, seen) = call([]);
        let session = FarcallSession::new().unwrap();
        let frame = session.sql("SELECT value AS x, 7 AS \"B\" FROM generate_series(1, 3)").await;
        let frame = frame.unwrap().unordered_wait_batch(call.with_batch_size(2)).unwrap();
        assert!(seen.attempts().is_empty());
        let plan = frame.clone().create_physical_plan().await.unwrap();
        let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        assert!(
            plan.contains("AsyncCalcExec: f(") && plan.contains("allow_unordered, batch=2"),
            "{plan}"
        );
        let batches = frame.collect().await.unwrap();
        let names: Vec<_> = batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["x", "B", "f"]);
        assert_eq!((sorted(&batches), seen.sizes()), (vec![(1, 2), (2, 3), (3, 4)], vec![2, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_keeps_its_order_or_gives_rows_out_as_answers_come() {
        for (ordered, first) in [(true, (0, 1)), (false, (2, 3))] {
            let (call, _) = call([Step::Answer(ms(30)), Step::Answer(ms(10))]);
            let (call, input) = (call.with_batch_size(2), stream([vec![0, 1, 2], vec![3]]));
            let output = match ordered {
                true => input.ordered_wait_batch(call).unwrap(),
                false => input.unordered_wait_batch(call).unwrap(),
            };
            let batches = collect(output).await;
            assert_eq!(rows(&batches)[0], first);
            assert_eq!(sorted(&batches), [(0, 1), (1, 2), (2, 3), (3, 4)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_an_endless_stream_wait_for_the_batch_timeout_and_the_call() {
        let (call, seen) = call([]);
        let ticks = futures::stream::unfold(0, |x| async move {
            tokio::time::sleep(ms(1000)).await;
            Some((Ok(batch(vec![x])), x + 1))
        });
        let input: SendableRecordBatchStream =
            Box::pin(RecordBatchStreamAdapter::new(batch(vec![]).schema(), ticks));
        let call = call.with_batch_size(100).with_batch_timeout(ms(50));
        let mut output = input.ordered_wait_batch(call).unwrap();
        let begun = Instant::now();
        for x in 0..3_u32 {
            let batch = output.next().await.unwrap().unwrap();
            assert_eq!(rows(&[batch]), [(i64::from(x), i64::from(x) + 1)]);
            assert_eq!(begun.elapsed(), ms(1000) * (x + 1) + ms(50 + 5));
        }
        assert_eq!(seen.sizes(), [1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_a_stream_aborts_its_requests() {
        let (call, seen) = call(vec![Step::Hang; 9]);
        let input = stream([vec![0, 1, 2, 3]]);
        let mut output =
            input.ordered_wait_batch(call.with_batch_size(1).with_capacity(3)).unwrap();
        assert!(tokio::time::timeout(ms(10), output.next()).await.is_err());
        assert_eq!(seen.in_flight(), 3);
        drop(output);
        tokio::time::sleep(ms(1)).await;
        assert_eq!((seen.in_flight(), seen.opened_closed()), (0, (1, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_reads_makes_no_call() {
        let (call, seen) = call([]);
        let output = stream([vec![0]]).ordered_wait_batch(call).unwrap();
        tokio::time::sleep(ms(500)).await;
        drop(output);
        assert!(seen.attempts().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_ends_the_stream_and_zero_is_none() {
        let slow = Step::Answer(ms(40_000));
        for (timeout, message) in [(ms(20_000), "f timed out after 20s"), (Duration::ZERO, "")] {
            let (call, _) = call([slow.clone()]);
            let call = call.with_timeout(timeout);
            let mut output = stream([vec![0]]).ordered_wait_batch(call).unwrap();
            match output.next().await.unwrap() {
                Ok(batch) => assert_eq!((rows(&[batch]), message), (vec![(0, 1)], "")),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!message.is_empty() && error.contains(message), "{error}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn arguments_are_coerced_to_what_the_function_wants() {
        let (call, seen) = call([]);
        let ints: Int32Array = vec![1, 2].into();
        let batch = RecordBatch::try_from_iter([("x", Arc::new(ints) as _)]).unwrap();
        let input = futures::stream::iter([Ok(batch.clone())]);
        let input: SendableRecordBatchStream =
            Box::pin(RecordBatchStreamAdapter::new(batch.schema(), input));
        let batches = collect(input.ordered_wait_batch(call).unwrap()).await;
        assert_eq!(batches[0].schema().field(0).data_type(), &DataType::Int32);
        assert_eq!(seen.attempts(), [[1, 2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_accounts_for_its_rows_in_the_pool_it_is_given() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(10));
        let (call, _) = call([]);
        let call = call.with_memory_pool(Arc::clone(&pool));
        let mut output = stream([vec![0, 1, 2]]).ordered_wait_batch(call).unwrap();
        let error = output.next().await.unwrap().unwrap_err().to_string();
        assert!(
            error.contains("the calls of f need") && error.contains("10 of 10 bytes"),
            "{error}"
        );
        drop(output);
        assert_eq!(pool.reserved(), 0);
    }

    #[tokio::test]
    async fn what_is_out_of_range_or_not_there_is_named() {
        let session = FarcallSession::new().unwrap();
        let frame = session.sql("SELECT 1 AS x, 2 AS y").await.unwrap();
        let (call, _) = call([]);
        let least = "value 0 is not accepted, the least is 1";
        for (bad, parts) in [
            (call.clone().with_batch_size(0), ["batch_size", least]),
            (call.clone().with_capacity(0), ["capacity", least]),
            (BatchCall::new(call.function.clone(), ["z"]), ["'z'", "'x'"]),
            (call.clone().with_result_column("x"), ["a second column 'x'", "with_result_column"]),
        ] {
            let of_frame = frame.clone().ordered_wait_batch(bad.clone()).unwrap_err().to_string();
            let of_stream = match stream([vec![0]]).unordered_wait_batch(bad) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            for part in parts {
                assert!(
                    of_frame.contains(part) && of_stream.contains(part),
                    "{of_frame} {of_stream}"
                );
            }
        }
        let plain = SessionContext::new().sql("SELECT 1 AS x").await.unwrap();
        let error = plain.ordered_wait_batch(call).unwrap_err().to_string();
        assert!(error.contains("a session that is not farcall's"), "{error}");
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A call of `f(x) = x + 1`, which takes 5 ms when its script has ended.
    fn call(script: impl IntoIterator<Item = Step>) -> (BatchCall, Arc<Seen>) {
        let function = ScriptedFunction::new("f").with_script(script);
        let (function, seen) = function.with_usual(Step::Answer(ms(5))).build();
        (BatchCall::new(function, ["x"]), seen)
    }

    fn batch(rows: Vec<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(rows)) as _)]).unwrap()
    }

    fn stream<const N: usize>(batches: [Vec<i64>; N]) -> SendableRecordBatchStream {
        let batches = batches.map(|rows| Ok(batch(rows)));
        let stream = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(batch(vec![]).schema(), stream))
    }

    async fn collect(stream: SendableRecordBatchStream) -> Vec<RecordBatch> {
        stream.map(Result::unwrap).collect().await
    }

    /// The first and the last column.
    fn rows(batches: &[RecordBatch]) -> Vec<(i64, i64)> {
        let column = |batch: &RecordBatch, index: usize| -> Vec<i64> {
            batch.column(index).as_primitive::<Int64Type>().values().to_vec()
        };
        let of_batch = |batch: &RecordBatch| {
            let (first, last) = (column(batch, 0), column(batch, batch.num_columns() - 1));
            first.into_iter().zip(last).collect::<Vec<_>>()
        };
        batches.iter().flat_map(of_batch).collect()
    }

    fn sorted(batches: &[RecordBatch]) -> Vec<(i64, i64)> {
        let mut rows = rows(batches);
        rows.sort_unstable();
        rows
    }
}
