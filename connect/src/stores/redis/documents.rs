//! Values that are JSON documents: an object is a row, a list of objects is several.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;
use serde::de::IgnoredAny;

use crate::json::{Kind, Mismatch, check_member, convert, elements, key_is, members, type_name};

/// The rows of documents, with what is wrong with some of them.
pub(crate) struct Documents {
    /// The columns, a value for each of `of`.
    pub(crate) columns: Vec<ArrayRef>,
    /// The document of each row.
    pub(crate) of: Vec<usize>,
    /// The documents that are wrong, each with the reason; their rows mean nothing.
    pub(crate) refused: Vec<(usize, String)>,
}

/// Reads documents by the declared types: nothing is lost in silence.
///
/// Nulls: the document `null` has no row; a member that is `null`, or not there, is NULL.
/// Errors: a document that is no JSON or does not fit is refused alone.
pub(crate) fn read(
    values: &[Vec<u8>],
    outputs: &[FieldRef],
    row: &FieldRef,
) -> Result<Documents, ArrowError> {
    let (mut rows, mut of, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (document, value) in values.iter().enumerate() {
        match objects(value, outputs) {
            Ok(found) => {
                of.extend(found.iter().map(|_| document));
                rows.extend(found);
            }
            Err(message) => refused.push((document, message)),
        }
    }
    let columns = match outputs {
        [] => Vec::new(),
        _ => {
            let (built, wrong) = convert_each(row, &mut rows)?;
            refused.extend(wrong.into_iter().map(|(row, message)| (of[row], message)));
            built.as_struct().columns().to_vec()
        }
    };
    Ok(Documents { columns, of, refused })
}

/// Returns the texts of a document's objects.
fn objects<'v>(value: &'v [u8], outputs: &[FieldRef]) -> Result<Vec<&'v str>, String> {
    let text = std::str::from_utf8(value).map_err(|_| "no UTF-8 and so no JSON".to_owned())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("no JSON ({error})"))?;
    let text = text.trim_ascii();
    let objects = match Kind::of(text) {
        Kind::Null => vec![],
        Kind::Array => elements(text).collect(),
        _ => vec![text],
    };
    for object in &objects {
        if Kind::of(object) != Kind::Object {
            return Err(format!("{} where an object is expected", Kind::of(object).name()));
        }
        for output in outputs {
            let member = members(object).find(|(key, _)| key_is(key, output.name()));
            if let Some((_, value)) = member {
                check_member(value, output).map_err(|Mismatch { place, got, declared }| {
                    let column = place.trim_start_matches('.');
                    format!("{got} where {declared} (column {column}) is declared")
                })?;
            }
        }
    }
    Ok(objects)
}

/// Converts checked JSON values; those that arrow-json refuses, a text that is no date for
/// instance, become NULL and are named.
pub(crate) fn convert_each(
    field: &FieldRef,
    rows: &mut [&str],
) -> Result<(ArrayRef, Vec<(usize, String)>), ArrowError> {
    if let Ok(column) = convert(field, rows) {
        return Ok((column, Vec::new()));
    }
    // The conversion does not say where; this path is rare.
    let mut refused = Vec::new();
    for (index, row) in rows.iter_mut().enumerate() {
        if let Err(error) = convert(field, &[row]) {
            let message = match &error {
                ArrowError::JsonError(message) => message.clone(),
                other => other.to_string(),
            };
            refused.push((index, format!("no {} ({message})", type_name(field.data_type()))));
            *row = "null";
        }
    }
    Ok((convert(field, rows)?, refused))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Int64Type};

    use super::*;

    fn outputs() -> Vec<FieldRef> {
        vec![
            Arc::new(Field::new("n", DataType::Int64, true)),
            Arc::new(Field::new("day", DataType::Date32, true)),
        ]
    }

    fn documents(values: &[&str]) -> Documents {
        let outputs = outputs();
        let row = Arc::new(Field::new("row", DataType::Struct(outputs.clone().into()), true));
        let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        read(&values, &outputs, &row).unwrap()
    }

    #[test]
    fn a_document_is_a_row_several_or_none() {
        let read = documents(&[
            r#"{"n": 1, "more": [2]}"#,
            "null",
            r#" [{"n": 2, "day": "2024-01-01"}, {}] "#,
            "[]",
        ]);
        assert_eq!((read.of, read.refused), (vec![0, 2, 2], vec![]));
        let numbers: Vec<_> = read.columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(numbers, [Some(1), Some(2), None]);
    }

    #[test]
    fn a_wrong_document_is_refused_alone() {
        let read = documents(&[
            r#"{"n": "x"}"#,
            r#"{"n": 1}"#,
            "{",
            "7",
            r#"[{"n": 2}, [3]]"#,
            r#"[{"n": 3}, {"day": "soon"}]"#,
            r#"{"n": 1.5}"#,
        ]);
        let refused: Vec<_> = read.refused.iter().map(|(document, _)| *document).collect();
        assert_eq!(refused, [0, 2, 3, 4, 6, 5]);
        assert_eq!(read.of, [1, 5, 5]);
        let told = |index: usize| read.refused[index].1.as_str();
        assert_eq!(told(0), "a string (\"x\") where BIGINT (column n) is declared");
        assert_eq!(told(1), "no JSON (EOF while parsing an object at line 1 column 1)");
        assert_eq!(told(2), "a number where an object is expected");
        assert!(told(5).contains("failed to parse \"soon\""), "{}", told(5));
    }
}
