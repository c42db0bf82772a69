//! Calls without SQL: a batch function applied to a data frame, in order, and to rows that are flowing
//! already, as answers come.
//!
//! `cargo run -p farcall --example streams`

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::pretty::print_batches;
use async_trait::async_trait;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, Declaration,
};
use farcall::{AsyncDataStream, BatchCall, FarcallSession};
use futures::{StreamExt, TryStreamExt};

/// Scores measurements far away; the first request is the slowest.
#[derive(Debug)]
struct Score(Declaration);

#[async_trait]
impl AsyncBatchFunction for Score {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        let latency = if ctx.request == 0 { 60 } else { 10 };
        tokio::time::sleep(Duration::from_millis(latency)).await;
        let celsius = args.column(0).as_primitive::<Float64Type>();
        let scores = celsius.unary::<_, Float64Type>(|celsius| (celsius - 20.0).abs());
        Ok(BatchAnswer::new(Arc::new(scores)))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let score = Declaration::new("score", vec![DataType::Float64], DataType::Float64);
    let call = BatchCall::new(AsyncFunction::batch(Score(score)), ["celsius"])
        .with_batch_size(2)
        .with_batch_timeout(Duration::from_millis(20))
        .with_capacity(4)
        .with_timeout(Duration::from_secs(5));

    // On a data frame the call becomes part of the plan, which goes on behind it as it likes.
    let session = FarcallSession::new()?;
    let frame = session
        .sql("SELECT value AS id, value * 6.5 AS celsius FROM generate_series(1, 6)")
        .await?;
    let scored = frame.ordered_wait_batch(call.clone())?;
    println!("A data frame, in order:");
    scored.limit(0, Some(4))?.show().await?;

    // On a stream it runs by itself, beside whatever brings the rows and whatever takes them.
    println!("A stream, as answers come:");
    let mut scored = readings()?.unordered_wait_batch(call.with_result_column("far_from_20"))?;
    let mut rows = Vec::new();
    while let Some(batch) = scored.try_next().await? {
        rows.push(batch);
    }
    print_batches(&rows)?;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
    Ok(())
}

/// Measurements that come one after the other, as from a queue.
fn readings() -> Result<SendableRecordBatchStream> {
    let reading = |id: i64| {
        let celsius = Float64Array::from(vec![id as f64 * 6.5]);
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![id])) as _),
            ("celsius", Arc::new(celsius) as _),
        ])
    };
    let schema = reading(0)?.schema();
    let rows = futures::stream::iter(1..=6).then(move |id| async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(reading(id)?)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}
