//! The wire form of the providers that speak JSON: `{"inputs": [row, ..]}` out, `{"outputs": [row, ..]}` back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::writer::{EncoderOptions, make_encoder};
use farcall_udf::{ArgBatch, CallError};
use serde::de::IgnoredAny;

use super::check::{Mismatch, check, check_member};
use super::scan::{Kind, elements, key_is, members, text_of};
use super::types::type_name;
use super::writable::problems;
use crate::common::secrets::Secrets;

/// The body of one request, and the rows that could not be written.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The JSON text.
    pub(crate) body: Vec<u8>,
    /// Rows in the body.
    pub(crate) sent: usize,
    /// Rows left out, in order, each with the reason.
    pub(crate) refused: Vec<(usize, CallError)>,
}

/// Writes the arguments of a request as JSON: `{member: [row, ..]}`.
///
/// Shape: a row is the bare value if there is one column, else an object by column name.
/// Nulls: sent as `null`.
/// Errors: a row with a value that JSON cannot hold (NaN) is left out, with an error of its own.
pub(crate) fn encode(
    function: &str,
    member: &str,
    inputs: &[FieldRef],
    args: &ArgBatch,
) -> Result<Encoded, CallError> {
    let (field, rows) = rows_of(inputs, args).map_err(|error| conversion(function, &error))?;
    let refused = refused_rows(function, inputs, args);
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, rows.as_ref(), &options)
        .map_err(|error| conversion(function, &error))?;
    let mut body = Vec::with_capacity(16 + args.num_rows() * 24);
    body.extend_from_slice(format!("{{\"{member}\":[").as_bytes());
    let mut skip = refused.iter().map(|(row, _)| *row).peekable();
    let mut sent = 0;
    for row in 0..args.num_rows() {
        if skip.next_if_eq(&row).is_some() {
            continue;
        }
        if sent > 0 {
            body.push(b',');
        }
        if encoder.is_null(row) {
            body.extend_from_slice(b"null");
        } else {
            encoder.encode(row, &mut body);
        }
        sent += 1;
    }
    body.extend_from_slice(b"]}");
    Ok(Encoded { body, sent, refused })
}

fn conversion(function: &str, error: &ArrowError) -> CallError {
    CallError::Conversion {
        function: function.to_owned(),
        what: "its arguments to JSON".to_owned(),
        message: error.to_string(),
    }
}

/// Returns the rows as one array: the only column, or a struct of all.
fn rows_of(inputs: &[FieldRef], args: &ArgBatch) -> Result<(FieldRef, ArrayRef), ArrowError> {
    let named = |(input, column): (&FieldRef, &ArrayRef)| {
        Field::new(input.name(), column.data_type().clone(), true)
    };
    let fields: Fields = inputs.iter().zip(args.columns()).map(named).collect();
    let row_type = DataType::Struct(fields.clone());
    match args.columns() {
        [column] => Ok((Arc::clone(&fields[0]), Arc::clone(column))),
        columns => {
            let rows =
                StructArray::try_new_with_length(fields, columns.to_vec(), None, args.num_rows())?;
            Ok((Arc::new(Field::new("row", row_type, false)), Arc::new(rows)))
        }
    }
}

/// Finds the rows that hold a value without JSON form.
fn refused_rows(function: &str, inputs: &[FieldRef], args: &ArgBatch) -> Vec<(usize, CallError)> {
    let total = args.num_rows();
    let mut refused = BTreeMap::new();
    for (input, column) in inputs.iter().zip(args.columns()) {
        for (row, problem) in problems(column.as_ref()) {
            refused.entry(row).or_insert_with(|| CallError::Conversion {
                function: function.to_owned(),
                what: format!("column {} to JSON", input.name()),
                message: format!("row {} of {total} holds {problem}", row + 1),
            });
        }
    }
    refused.into_iter().collect()
}

/// What is needed to read an answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The model's name.
    pub(crate) function: &'a str,
    /// The declared output columns.
    pub(crate) outputs: &'a [FieldRef],
    /// The field that the answer must have.
    pub(crate) return_field: &'a FieldRef,
    /// What messages must not show.
    pub(crate) secrets: &'a Secrets,
}

impl Answer<'_> {
    /// Reads the answer to a request: an array of one value per row sent, and the rows that failed.
    ///
    /// Shape: `{"outputs": [row, ..]}`; a row is the bare value if one output column is declared,
    /// else an object that has every declared column.
    /// Nulls: `null` is NULL, for a row as for a column; a missing column is an error.
    /// Errors: [`CallError::RowCount`], [`CallError::WrongType`], [`CallError::Malformed`] for the
    /// request; a row `{"error": "text"}` is a [`CallError::Rejected`] of that row alone, unless
    /// the declared output has a field `error` itself.
    pub(crate) fn decode(
        &self,
        sent: usize,
        body: &[u8],
    ) -> Result<(ArrayRef, Vec<(usize, CallError)>), CallError> {
        let text = self.read_json(body)?;
        let mut rows = self.array(text, "outputs")?;
        if rows.len() != sent {
            let function = self.function.to_owned();
            return Err(CallError::RowCount { function, sent, got: rows.len() });
        }
        let mut errors = Vec::new();
        let may_fail = !self.declares_error();
        for (index, row) in rows.iter_mut().enumerate() {
            if may_fail && let Some(message) = row_error(row) {
                let message = self.secrets.excerpt(&message);
                errors.push((index, CallError::rejected(self.function, message)));
                *row = "null";
            }
            self.check_row(row).map_err(|mismatch| self.wrong_type(index, sent, mismatch))?;
        }
        Ok((self.build(&rows)?, errors))
    }

    /// Checks that a body is JSON.
    pub(crate) fn read_json<'b>(&self, body: &'b [u8]) -> Result<&'b str, CallError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| self.malformed("the body is not UTF-8 and so not JSON".into()))?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
            self.malformed(format!(
                "the body is not JSON ({error}): {}",
                self.secrets.excerpt(text)
            ))
        })?;
        Ok(text.trim_ascii())
    }

    /// Returns the elements of the array that a body holds under a name.
    pub(crate) fn array<'b>(&self, text: &'b str, name: &str) -> Result<Vec<&'b str>, CallError> {
        let array = members(text)
            .find(|(key, value)| key_is(key, name) && Kind::of(value) == Kind::Array)
            .filter(|_| Kind::of(text) == Kind::Object)
            .map(|(_, value)| value)
            .ok_or_else(|| {
                let excerpt = self.secrets.excerpt(text);
                self.malformed(format!("the body has no array \"{name}\": {excerpt}"))
            })?;
        Ok(elements(array).collect())
    }

    pub(crate) fn malformed(&self, message: String) -> CallError {
        CallError::malformed(self.function, message)
    }

    /// Says whether `{"error": ..}` may be an ordinary value of the declared output.
    pub(crate) fn declares_error(&self) -> bool {
        let has_error = |fields: &Fields| fields.iter().any(|field| field.name() == "error");
        match self.return_field.data_type() {
            DataType::Struct(fields) => has_error(fields),
            _ => false,
        }
    }

    fn check_row(&self, row: &str) -> Result<(), Mismatch> {
        let [_] = self.outputs else {
            return self.check_object(row);
        };
        check(row, self.return_field.data_type())
    }

    /// Checks a row of several columns: each must be there, since a misspelt one would be NULL.
    pub(crate) fn check_object(&self, row: &str) -> Result<(), Mismatch> {
        if Kind::of(row) == Kind::Null {
            return Ok(());
        }
        if Kind::of(row) != Kind::Object {
            return check(row, self.return_field.data_type());
        }
        for output in self.outputs {
            match members(row).find(|(key, _)| key_is(key, output.name())) {
                Some((_, value)) => check_member(value, output)?,
                None => {
                    return Err(Mismatch {
                        place: format!(".{}", output.name()),
                        got: "nothing".to_owned(),
                        declared: type_name(output.data_type()),
                    });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn wrong_type(&self, row: usize, sent: usize, mismatch: Mismatch) -> CallError {
        let Mismatch { place, got, declared } = mismatch;
        let column = match self.outputs {
            [output] => format!("{}{place}", output.name()),
            _ => place.trim_start_matches('.').to_owned(),
        };
        let at = if column.is_empty() { String::new() } else { format!(" (column {column})") };
        CallError::WrongType {
            function: self.function.to_owned(),
            declared: format!("{declared}{at}"),
            got: self.secrets.excerpt(&format!("{got} in row {} of {sent}", row + 1)),
        }
    }

    /// Converts checked rows.
    pub(crate) fn build(&self, rows: &[&str]) -> Result<ArrayRef, CallError> {
        convert(self.return_field, rows).map_err(|error| {
            // The conversion does not say where; rows are few and this path is rare.
            let found = rows.iter().enumerate().find_map(|(index, row)| {
                convert(self.return_field, &[row]).err().map(|error| (index, error))
            });
            let (place, error) = match found {
                Some((index, error)) => (format!("row {} of {}: ", index + 1, rows.len()), error),
                None => (String::new(), error),
            };
            let column = match self.outputs {
                [output] => format!("column {}, ", output.name()),
                _ => String::new(),
            };
            let message = match &error {
                ArrowError::JsonError(message) => message.clone(),
                other => other.to_string(),
            };
            self.malformed(format!("{column}{place}{}", self.secrets.excerpt(&message)))
        })
    }
}

/// Converts JSON values to an array of the field's type by arrow-json.
pub(crate) fn convert(field: &FieldRef, rows: &[&str]) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(field.as_ref().clone().with_nullable(true));
    if rows.is_empty() {
        return Ok(arrow::array::new_empty_array(field.data_type()));
    }
    let mut decoder =
        ReaderBuilder::new_with_field(field).with_batch_size(rows.len()).build_decoder()?;
    for row in rows {
        decoder.decode(row.as_bytes())?;
        decoder.decode(b"\n")?;
    }
    let Some(batch) = decoder.flush()? else {
        return Err(ArrowError::JsonError("no value".to_owned()));
    };
    Ok(Arc::clone(batch.column(0)))
}

/// Returns the text of `{"error": "text"}`, which stands for a row that failed.
pub(crate) fn row_error(row: &str) -> Option<String> {
    if Kind::of(row) != Kind::Object {
        return None;
    }
    let mut found = members(row);
    match (found.next(), found.next()) {
        (Some((key, value)), None) if key_is(key, "error") && Kind::of(value) == Kind::String => {
            text_of(value)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
