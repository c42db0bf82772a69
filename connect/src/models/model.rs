//! [`HttpModel`], the batch function that sends one request for each batch of rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, new_null_array};
use async_trait::async_trait;
use farcall_udf::{
    ArgBatch, AsyncBatchFunction, BatchAnswer, CallContext, CallError, Declaration, FunctionContext,
};

use crate::common::opened::opened;
use crate::http::endpoint::{Endpoint, Opened, Target};
use crate::http::options::Limits;
use crate::http::protocol::Protocol;
use crate::json::Encoded;
use crate::models::wire::{Reply, Wire};

/// A model behind HTTP, as a function.
pub(crate) struct HttpModel {
    declaration: Declaration,
    wire: Arc<dyn Wire>,
    endpoint: Endpoint,
}

impl fmt::Debug for HttpModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpModel").field("name", &self.declaration.name()).finish_non_exhaustive()
    }
}

impl HttpModel {
    /// Makes the function of a model; nothing is sent or resolved before `open`.
    pub(crate) fn new(
        declaration: Declaration,
        wire: Arc<dyn Wire>,
        target: Arc<dyn Target>,
        limits: Limits,
    ) -> Self {
        Self { endpoint: Endpoint::new(declaration.name(), target, limits), declaration, wire }
    }

    fn name(&self) -> &str {
        self.declaration.name()
    }
}

#[async_trait]
impl AsyncBatchFunction for HttpModel {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<farcall_udf::Opened, CallError> {
        self.endpoint.open(ctx).await.map(farcall_udf::Opened::new)
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        let opened: &Opened = opened(ctx, self.name())?;
        let Encoded { body, sent, refused } = self.wire.encode(&args)?;
        if sent == 0 {
            let nulls = new_null_array(args.return_field().data_type(), args.num_rows());
            return Ok(BatchAnswer::new(nulls).with_errors(refused));
        }
        let protocol = self.wire.as_ref() as &dyn Protocol;
        let (body, metadata) = self.endpoint.post(opened, body, ctx, protocol).await?;
        let secrets = &opened.secrets;
        let reply = Reply { body: &body, sent, return_field: args.return_field(), secrets };
        let (values, errors) = self.wire.decode(&reply)?;
        let (values, errors) = self.spread(values, errors, refused, args.num_rows())?;
        let answer = BatchAnswer::new(values).with_errors(errors).with_metadata(metadata);
        Ok(answer.with_usage(self.wire.usage(&body)))
    }
}

impl HttpModel {
    /// Puts the answers back to the rows that were sent, and the refusals between them.
    fn spread(
        &self,
        values: ArrayRef,
        errors: Vec<(usize, CallError)>,
        refused: Vec<(usize, CallError)>,
        rows: usize,
    ) -> Result<(ArrayRef, Vec<(usize, CallError)>), CallError> {
        if refused.is_empty() {
            return Ok((values, errors));
        }
        let is_sent = |row: &usize| refused.binary_search_by_key(row, |(row, _)| *row).is_err();
        let sent_rows: Vec<usize> = (0..rows).filter(is_sent).collect();
        let mut positions: Vec<Option<u32>> = vec![None; rows];
        for (position, row) in sent_rows.iter().enumerate() {
            positions[*row] = u32::try_from(position).ok();
        }
        let values = arrow::compute::take(&values, &UInt32Array::from(positions), None)
            .map_err(|error| CallError::function(self.name(), error))?;
        let answered = errors.into_iter().map(|(row, error)| (sent_rows[row], error));
        let mut errors: Vec<_> = answered.chain(refused).collect();
        errors.sort_by_key(|(row, _)| *row);
        Ok((values, errors))
    }
}
