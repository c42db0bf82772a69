//! [`BatchAnswer`], what one request gives back: values, errors of single rows, usage, metadata.

use std::time::Duration;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;

use crate::error::CallError;

/// What a request consumed, as far as the remote side says so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// Price in US dollars.
    pub cost_usd: f64,
}

/// What the remote side says about how much more it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateHints {
    /// Requests left in the current period.
    pub remaining_requests: Option<u64>,
    /// Tokens left in the current period.
    pub remaining_tokens: Option<u64>,
    /// Time until the period ends.
    pub reset_after: Option<Duration>,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseMetadata {
    /// The model that answered, which may be more exact than the one asked.
    pub model: Option<String>,
    /// The remote side's name for the request, for its support desk.
    pub request_id: Option<String>,
    /// What the remote side says about its limits.
    pub rate: RateHints,
}

/// The answer to one request: row i answers row i, each with a value or an error of its own.
#[derive(Debug, Clone)]
pub struct BatchAnswer {
    values: ArrayRef,
    errors: Vec<(usize, CallError)>,
    usage: Usage,
    metadata: ResponseMetadata,
}

impl BatchAnswer {
    /// Answers every row with a value.
    pub fn new(values: ArrayRef) -> Self {
        Self {
            values,
            errors: Vec::new(),
            usage: Usage::default(),
            metadata: ResponseMetadata::default(),
        }
    }

    /// Answers row by row, some with errors; `data_type` is the type of the values.
    ///
    /// # Errors
    /// An error if the values have not all the type `data_type`.
    pub fn from_rows(
        rows: Vec<Result<ScalarValue, CallError>>,
        data_type: &DataType,
    ) -> datafusion_common::Result<Self> {
        let mut errors = Vec::new();
        let null = ScalarValue::try_from(data_type)?;
        let values: Vec<ScalarValue> = rows
            .into_iter()
            .enumerate()
            .map(|(row, value)| {
                value.unwrap_or_else(|error| {
                    errors.push((row, error));
                    null.clone()
                })
            })
            .collect();
        let values = if values.is_empty() {
            new_null_array(data_type, 0)
        } else {
            ScalarValue::iter_to_array(values)?
        };
        Ok(Self { errors, ..Self::new(values) })
    }

    /// Marks rows as failed; what stands in their value is ignored.
    pub fn with_errors(mut self, errors: Vec<(usize, CallError)>) -> Self {
        self.errors = errors;
        self
    }

    /// Puts other values in place, row by row the same ones in another type.
    pub(crate) fn with_values(mut self, values: ArrayRef) -> Self {
        self.values = values;
        self
    }

    /// Adds what the request consumed.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Adds where the answer comes from.
    pub fn with_metadata(mut self, metadata: ResponseMetadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Returns the values, one per row of the request.
    pub fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// Returns the rows that failed, with their errors.
    pub fn errors(&self) -> &[(usize, CallError)] {
        &self.errors
    }

    /// Returns what the request consumed.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Returns where the answer comes from.
    pub fn metadata(&self) -> &ResponseMetadata {
        &self.metadata
    }

    /// Takes the answer apart into values and errors of rows.
    pub fn into_parts(self) -> (ArrayRef, Vec<(usize, CallError)>) {
        (self.values, self.errors)
    }
}
