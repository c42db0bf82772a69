//! An async batch function from a trait: many rows in one request, errors for single rows.
//!
//! `cargo run -p farcall --example batch_function`

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, CallOptions,
    Declaration,
};

/// Square roots from far away.
#[derive(Debug)]
struct RemoteSqrt(Declaration);

#[async_trait]
impl AsyncBatchFunction for RemoteSqrt {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        // One request for all rows; this one takes ten milliseconds however many they are.
        tokio::time::sleep(Duration::from_millis(10)).await;
        eprintln!("request {} carries {} rows", ctx.idempotency_key(), args.num_rows());
        let x = args.column(0).as_primitive::<Float64Type>();
        let negative = x.iter().enumerate().filter(|(_, x)| x.is_some_and(|x| x < 0.0));
        let errors = negative
            .map(|(row, _)| (row, CallError::rejected("remote_sqrt", "a negative number")))
            .collect();
        let roots: Float64Array = x.iter().map(|x| x.map(f64::sqrt)).collect();
        Ok(BatchAnswer::new(Arc::new(roots)).with_errors(errors))
    }
}

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let session = FarcallSession::new()?;
    let declaration = Declaration::new("remote_sqrt", vec![DataType::Float64], DataType::Float64)
        .with_options(CallOptions::new().with_max_batch_size(64).build()?);
    session.register(AsyncFunction::batch(RemoteSqrt(declaration)));
    // A row that fails for good becomes NULL instead of ending the query.
    session.sql("SET farcall.function.remote_sqrt.on_error = 'null'").await?;
    // The call is made only for the rows that pass the cheap condition.
    let sql = "SELECT value, remote_sqrt(value - 10.0) AS root FROM generate_series(1, 1000) AS s (value) \
               WHERE value % 100 = 4 ORDER BY value";
    session.sql(sql).await?.show().await
}
