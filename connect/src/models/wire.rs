//! [`Wire`], how one provider writes a request and reads its answer.

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use farcall_udf::{ArgBatch, CallError, ModelDefinition, Usage};

use crate::common::secrets::Secrets;
use crate::http::protocol::Protocol;
use crate::json::{Answer, Encoded, encode};

/// A provider's wire form, beside the transport: what a body holds, what a status means.
///
/// A provider over HTTP is a wire form and its options; [`HttpModel`](super::model::HttpModel) does
/// the rest.
pub(crate) trait Wire: Protocol + fmt::Debug {
    /// Writes a batch of rows as the body of one request.
    ///
    /// Errors: a row that cannot be written is left out, with an error of its own.
    fn encode(&self, args: &ArgBatch) -> Result<Encoded, CallError>;

    /// Reads the answer: one value for each row that was sent, and the rows that failed.
    ///
    /// Errors: [`CallError::RowCount`], [`CallError::WrongType`], [`CallError::Malformed`] for the
    /// request.
    fn decode(&self, reply: &Reply<'_>) -> Result<(ArrayRef, Vec<(usize, CallError)>), CallError>;

    /// Reads what the answer cost; nothing if the wire form does not say.
    fn usage(&self, _body: &[u8]) -> Usage {
        Usage::default()
    }
}

/// The body of an answer, and what is needed to read it.
pub(crate) struct Reply<'a> {
    pub(crate) body: &'a [u8],
    /// Rows in the request.
    pub(crate) sent: usize,
    /// The field that the values must have.
    pub(crate) return_field: &'a FieldRef,
    /// What messages must not show.
    pub(crate) secrets: &'a Secrets,
}

/// The wire form of `http` and `local`: `{"inputs": [row, ..]}` out, `{"outputs": [row, ..]}` back.
#[derive(Debug)]
pub(crate) struct Rows {
    model: String,
    inputs: Vec<FieldRef>,
    outputs: Vec<FieldRef>,
}

impl Rows {
    pub(crate) fn of(model: &ModelDefinition) -> Self {
        Self {
            model: model.name.clone(),
            inputs: model.input.clone(),
            outputs: model.output.clone(),
        }
    }
}

impl Protocol for Rows {}

impl Wire for Rows {
    fn encode(&self, args: &ArgBatch) -> Result<Encoded, CallError> {
        encode(&self.model, "inputs", &self.inputs, args)
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<(ArrayRef, Vec<(usize, CallError)>), CallError> {
        let Reply { body, sent, return_field, secrets } = *reply;
        let answer =
            Answer { function: &self.model, outputs: &self.outputs, return_field, secrets };
        answer.decode(sent, body)
    }
}
