//! [`PlainUdf`], an async function as a plain DataFusion session runs it, without our planner.

use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::{Poll, ready};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use async_trait::async_trait;
use datafusion_common::{Result, internal_err};
use datafusion_execution::memory_pool::UnboundedMemoryPool;
use datafusion_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};

use crate::async_udf::AsyncUdf;
use crate::contract::context::Parameters;
use crate::dispatch::Dispatcher;
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::dispatch::query::scope::QueryScope;
use crate::error::CallError;
use crate::settings::config::FarcallConfig;

/// The only call site of an invocation.
const SITE: u64 = 0;

/// One of our functions behind DataFusion's own async interface.
///
/// Requests are formed, bounded, timed and retried as ever, within the batch that DataFusion hands
/// over at a time: it waits for each batch's answers before it hands over the next, does not know
/// guards, and tells neither query nor call site apart, so that each batch is a query of its own.
#[derive(Debug)]
struct PlainUdf {
    udf: AsyncUdf,
    runtime: Arc<FarcallRuntime>,
}

impl AsyncUdf {
    /// Turns it into a function for a plain DataFusion session, which lacks our planner rules.
    ///
    /// Options are those of the function and of this call; the session's are not read. Limits are
    /// shared with whatever else uses the runtime.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use farcall_udf::{AsyncUdf, CallError, FarcallRuntime, async_fn};
    ///
    /// let shout = async_fn("shout", |text: String| async move {
    ///     Ok::<String, CallError>(text.to_uppercase())
    /// });
    /// let runtime = Arc::new(FarcallRuntime::new());
    /// let udf = AsyncUdf::new(shout).into_async_scalar_udf(&runtime).into_scalar_udf();
    /// assert!(udf.as_async().is_some());
    /// ```
    pub fn into_async_scalar_udf(self, runtime: &Arc<FarcallRuntime>) -> AsyncScalarUDF {
        AsyncScalarUDF::new(Arc::new(PlainUdf { udf: self, runtime: Arc::clone(runtime) }))
    }
}

impl PartialEq for PlainUdf {
    fn eq(&self, other: &Self) -> bool {
        let Self { udf, runtime } = self;
        *udf == other.udf && Arc::ptr_eq(runtime, &other.runtime)
    }
}

impl Eq for PlainUdf {}

impl Hash for PlainUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { udf, runtime: _ } = self;
        udf.hash(state);
    }
}

impl ScalarUDFImpl for PlainUdf {
    fn name(&self) -> &str {
        self.udf.name()
    }

    fn signature(&self) -> &Signature {
        self.udf.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.udf.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.udf.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.udf.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("async function {} was called as a synchronous one", self.name())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for PlainUdf {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ScalarFunctionArgs { args, arg_fields, number_rows, return_field, config_options } =
            args;
        let function = self.udf.function();
        let options = FarcallConfig::default().resolve(function, self.udf.call_options())?;
        // DataFusion's interface has no pool: it accounts for what it hands over and gets back.
        let memory = Arc::new(UnboundedMemoryPool::default());
        let runtime = Arc::clone(&self.runtime);
        let scope = QueryScope::new(runtime, Parameters::default(), config_options, memory);
        let site = scope.site(SITE, 0, function, &options, &return_field, &Arc::default());
        let mut dispatcher = Dispatcher::new(scope, site, arg_fields.into())?;
        let columns =
            args.into_iter().map(|arg| arg.into_array(number_rows)).collect::<Result<Vec<_>>>()?;
        dispatcher.push(number_rows, columns, None)?;
        dispatcher.finish();
        Ok(ColumnarValue::Array(answers(dispatcher, number_rows).await?))
    }
}

/// Drives a dispatcher until all its rows are answered; dropping the future aborts its requests.
async fn answers(mut dispatcher: Dispatcher, rows: usize) -> Result<ArrayRef, CallError> {
    poll_fn(|cx| {
        loop {
            if dispatcher.ready_rows() == rows {
                return Poll::Ready(dispatcher.take(rows));
            }
            ready!(dispatcher.poll_progress(cx))?;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type};
    use datafusion_common::ScalarValue;
    use tokio::time::Instant;

    use super::*;
    use crate::options::CallOptions;
    use crate::options::words::OnError;
    use crate::testing::{ScriptedFunction, Seen, Step};

    #[tokio::test(start_paused = true)]
    async fn a_plain_session_gets_batches_that_run_at_the_same_time() {
        let (udf, seen) = plain(Step::Answer(Duration::from_millis(10)), batches_of_two());
        let begun = Instant::now();
        let rows = vec![Some(1), None, Some(2), Some(3), Some(4)];
        let answer = invoke(&udf, rows).await.unwrap();
        assert_eq!(answer, [Some(2), None, Some(3), Some(4), Some(5)]);
        assert_eq!((seen.sizes(), begun.elapsed()), (vec![2, 2], Duration::from_millis(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_session_gets_retries_and_replacements() {
        let failure = Step::Fail(Duration::ZERO, CallError::transient("f", "503"));
        let options = batches_of_two().with_max_attempts(2).with_on_error(OnError::Null);
        let (udf, seen) = plain(failure, options);
        assert_eq!(invoke(&udf, vec![Some(1)]).await.unwrap(), [None]);
        assert_eq!(seen.attempts().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_reaches_a_plain_session_as_a_call_error() {
        let failure = Step::Fail(Duration::ZERO, CallError::rejected("f", "no"));
        let (udf, _) = plain(failure, batches_of_two());
        let error = invoke(&udf, vec![Some(1)]).await.unwrap_err();
        assert!(matches!(CallError::find(&error).as_deref(), Some(CallError::Rejected { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn every_batch_opens_and_closes_the_function() {
        let (udf, seen) = plain(Step::Answer(Duration::ZERO), batches_of_two());
        invoke(&udf, vec![Some(1)]).await.unwrap();
        invoke(&udf, vec![Some(1)]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(seen.opened_closed(), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_an_invocation_aborts_its_requests() {
        let (udf, seen) = plain(Step::Hang, batches_of_two());
        let call = invoke(&udf, vec![Some(1), Some(2), Some(3)]);
        tokio::time::timeout(Duration::from_millis(1), call).await.unwrap_err();
        tokio::task::yield_now().await;
        assert_eq!((seen.attempts().len(), seen.in_flight()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn no_rows_and_literals_are_fine() {
        let (udf, seen) = plain(Step::Answer(Duration::ZERO), batches_of_two());
        assert_eq!(invoke(&udf, vec![]).await.unwrap(), []);
        let literal = ColumnarValue::Scalar(ScalarValue::Int64(Some(7)));
        assert_eq!(invoke_with(&udf, literal, 3).await.unwrap(), [Some(8); 3]);
        assert_eq!(seen.attempts(), [[7]]);
    }

    #[test]
    fn functions_of_one_runtime_are_equal() {
        let function = ScriptedFunction::new("f").build().0;
        let (one, two) = (Arc::new(FarcallRuntime::new()), Arc::new(FarcallRuntime::new()));
        let udf = |runtime| AsyncUdf::new(function.clone()).into_async_scalar_udf(runtime);
        assert_eq!(udf(&one), udf(&one));
        assert_ne!(udf(&one), udf(&two));
    }

    fn batches_of_two() -> CallOptions {
        CallOptions::new().with_max_batch_size(2).with_retry_delay(Duration::ZERO)
    }

    fn plain(usual: Step, options: CallOptions) -> (AsyncScalarUDF, Arc<Seen>) {
        let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
        let udf = AsyncUdf::new(function).with_call_options(options);
        (udf.into_async_scalar_udf(&Arc::new(FarcallRuntime::new())), seen)
    }

    async fn invoke(udf: &AsyncScalarUDF, rows: Vec<Option<i64>>) -> Result<Vec<Option<i64>>> {
        let number_rows = rows.len();
        let column = ColumnarValue::Array(Arc::new(Int64Array::from(rows)));
        invoke_with(udf, column, number_rows).await
    }

    async fn invoke_with(
        udf: &AsyncScalarUDF,
        arg: ColumnarValue,
        number_rows: usize,
    ) -> Result<Vec<Option<i64>>> {
        let field: FieldRef = Arc::new(Field::new("x", DataType::Int64, true));
        let args = ScalarFunctionArgs {
            args: vec![arg],
            arg_fields: vec![Arc::clone(&field)],
            number_rows,
            return_field: field,
            config_options: Arc::default(),
        };
        let value = udf.invoke_async_with_args(args).await?.into_array_of_size(number_rows)?;
        Ok(value.as_primitive::<Int64Type>().iter().collect())
    }
}
