//! [`PostgresLookup`], which finds the rows of a batch of keys by one statement.

use std::collections::BTreeMap;

use async_trait::async_trait;
use farcall_udf::{
    ArgBatch, AsyncBatchLookupFunction, CallContext, CallError, FunctionContext, LookupAnswer,
};
use smallvec::SmallVec;

use super::encode::Keys;
use super::source::{Opened, Rows, Source, value};
use crate::common::opened::opened;

/// The lookup of one place in a query.
#[derive(Debug)]
pub(crate) struct PostgresLookup(pub(super) Source);

#[async_trait]
impl AsyncBatchLookupFunction for PostgresLookup {
    async fn open(&self, ctx: &FunctionContext) -> Result<farcall_udf::Opened, CallError> {
        self.0.open(ctx).map(farcall_udf::Opened::new)
    }

    async fn lookup_batch(
        &self,
        keys: ArgBatch,
        ctx: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        self.find(opened(ctx, self.0.name())?, &keys, ctx).await
    }

    async fn close(&self, opened: farcall_udf::Opened) -> Result<(), CallError> {
        if let Some(opened) = opened.get::<Opened>() {
            opened.close().await;
        }
        Ok(())
    }
}

impl PostgresLookup {
    async fn find(
        &self,
        opened: &Opened,
        keys: &ArgBatch,
        ctx: &CallContext,
    ) -> Result<LookupAnswer, CallError> {
        let name = self.0.name();
        let (mut connection, select) = self.0.connect(opened, Some(ctx.deadline)).await?;
        let keys = Keys::of(keys.columns(), &select.key, keys.num_rows())
            .ok_or_else(|| CallError::function(name, "a key of a type that does not travel"))?;
        let mut columns = Rows::of(name, select);
        let (mut of_row, mut errors) = (Vec::new(), BTreeMap::new());
        let (mut bytes, limit) = (0, self.0.max_response_bytes());
        if !keys.is_empty() {
            let mut positions = keys.positions();
            let statement = connection.prepared(&select.sql).await?;
            let mut rows = match connection.query(&statement, keys.parameters()).await {
                // Keys that are refused together are asked for again, down to the one with the letter.
                Err(_) if keys.len() == 1 && connection.lacks_parameter() => {
                    return Ok(LookupAnswer::new(columns.finish()?, of_row));
                }
                rows => rows?,
            };
            while let Some(row) = connection.next(&mut rows).await? {
                // Rows that are thrown away below have come as well.
                bytes += row.raw_size_bytes();
                if bytes > limit {
                    let message =
                        format!("the answer has more than {limit} bytes (max_response_bytes)");
                    return Err(CallError::malformed(name, message));
                }
                let mut parts = SmallVec::<[&[u8]; 4]>::new();
                for part in 0..select.key.len() {
                    // No key is NULL, and no NULL is equal to one.
                    parts.extend(value(name, &row, part)?);
                }
                // The server may find rows whose key is equal to it, and is none of those asked for.
                let Some(position) = positions.find(&parts) else { continue };
                if let Some(error) = columns.push(&row)? {
                    errors.entry(position).or_insert(error);
                }
                of_row.push(position as u32);
            }
        }
        let answer = LookupAnswer::new(columns.finish()?, of_row);
        Ok(answer.with_errors(errors.into_iter().collect()))
    }
}
