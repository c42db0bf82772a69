//! [`Encoder`], the rows of one result as text.
//!
//! All formats but `table` encode batch by batch in constant memory; a table must know its widest
//! value before it prints its first row. Several results of one run are written one after another.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder, make_encoder};
use arrow::json::{EncoderOptions, Writer};
use arrow::util::display::FormatOptions;
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::config::FormatOptions as FormatConfig;
use datafusion::error::Result;

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table with a frame.
    #[default]
    Table,
    /// Comma-separated values with a header; NULL is empty.
    Csv,
    /// Tab-separated values with a header, quoted like csv; NULL is empty.
    Tsv,
    /// One array of objects per result.
    Json,
    /// One object per line.
    Ndjson,
}

/// Encodes the rows of one result.
pub struct Encoder {
    schema: SchemaRef,
    kind: Kind,
}

enum Kind {
    Table { batches: Vec<RecordBatch>, format: Box<FormatConfig> },
    Delimited { delimiter: u8, header: bool },
    Json(Box<Writer<Vec<u8>, JsonArray>>),
    Ndjson(Box<Writer<Vec<u8>, LineDelimited>>),
}

impl Encoder {
    /// Starts a result; `config` is the session's `datafusion.format.*`, which tables follow.
    pub fn new(format: Format, schema: SchemaRef, config: &FormatConfig) -> Self {
        let kind = match format {
            Format::Table => Kind::Table { batches: vec![], format: Box::new(config.clone()) },
            Format::Csv => Kind::Delimited { delimiter: b',', header: true },
            Format::Tsv => Kind::Delimited { delimiter: b'\t', header: true },
            Format::Json => Kind::Json(Box::new(json_builder().build(vec![]))),
            Format::Ndjson => Kind::Ndjson(Box::new(json_builder().build(vec![]))),
        };
        Encoder { schema, kind }
    }

    /// Takes a batch and returns what can be written of it.
    ///
    /// # Errors
    /// A value that the format cannot hold.
    pub fn batch(&mut self, batch: RecordBatch) -> Result<Vec<u8>> {
        match &mut self.kind {
            Kind::Table { batches, .. } => {
                batches.push(batch);
                Ok(vec![])
            }
            Kind::Delimited { delimiter, header } => {
                let with_header = std::mem::take(header);
                delimited(&batch, *delimiter, with_header)
            }
            Kind::Json(writer) => {
                writer.write(&batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Kind::Ndjson(writer) => {
                writer.write(&batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// Ends the result and returns what is left to be written.
    ///
    /// # Errors
    /// A value that the format cannot hold.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.kind {
            Kind::Table { mut batches, format } => {
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(self.schema));
                }
                let options: FormatOptions = format.as_ref().try_into()?;
                let table = pretty_format_batches_with_options(&batches, &options)?;
                Ok(format!("{table}\n").into_bytes())
            }
            // No batch has come: the header alone says which columns there are.
            Kind::Delimited { delimiter, header: true } => {
                delimited(&RecordBatch::new_empty(self.schema), delimiter, true)
            }
            Kind::Delimited { .. } => Ok(vec![]),
            Kind::Json(mut writer) => {
                writer.finish()?;
                let mut bytes = writer.into_inner();
                bytes.push(b'\n');
                Ok(bytes)
            }
            Kind::Ndjson(mut writer) => {
                writer.finish()?;
                Ok(writer.into_inner())
            }
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn json_builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

fn delimited(batch: &RecordBatch, delimiter: u8, header: bool) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let builder = csv::WriterBuilder::new().with_delimiter(delimiter).with_header(header);
    builder.build(&mut bytes).write(&nested_as_json(batch)?)?;
    Ok(bytes)
}

/// Replaces lists, structs and maps, which csv has no form for, by their JSON text.
fn nested_as_json(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let (mut fields, mut columns) = (vec![], vec![]);
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(json_texts(field, column)?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn json_texts(field: &Arc<Field>, column: &ArrayRef) -> Result<ArrayRef> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column.as_ref(), &options)?;
    let texts = (0..column.len()).map(|row| {
        let mut text = vec![];
        (!encoder.is_null(row)).then(|| {
            encoder.encode(row, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn csv_quotes_and_leaves_null_empty() {
        assert_eq!(written(Format::Csv), "n,text,list\n1,\"a,\"\"b\",\"[1,null]\"\n,x\ty,\n");
    }

    #[test]
    fn tsv_quotes_a_tab() {
        assert_eq!(written(Format::Tsv), "n\ttext\tlist\n1\t\"a,\"\"b\"\t[1,null]\n\t\"x\ty\"\t\n");
    }

    #[test]
    fn json_is_one_array_with_explicit_nulls() {
        let expected =
            r#"[{"n":1,"text":"a,\"b","list":[1,null]},{"n":null,"text":"x\ty","list":null}]"#;
        assert_eq!(written(Format::Json), format!("{expected}\n"));
    }

    #[test]
    fn ndjson_is_one_object_per_line() {
        let lines: Vec<serde_json::Value> = written(Format::Ndjson)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!((lines.len(), &lines[1]["text"]), (2, &serde_json::json!("x\ty")));
    }

    #[test]
    fn two_batches_share_one_header_and_one_array() {
        let csv = encoded(Format::Csv, &[numbers(&[1]), numbers(&[2])]);
        assert_eq!(csv, "n\n1\n2\n");
        let json = encoded(Format::Json, &[numbers(&[1]), numbers(&[2])]);
        assert_eq!(json, "[{\"n\":1},{\"n\":2}]\n");
    }

    #[test]
    fn rows_leave_with_their_batch() {
        for format in [Format::Csv, Format::Tsv, Format::Json, Format::Ndjson] {
            let batch = numbers(&[7]);
            let mut encoder = Encoder::new(format, batch.schema(), &FormatConfig::default());
            let bytes = encoder.batch(batch).unwrap();
            assert!(String::from_utf8(bytes).unwrap().contains('7'), "{format:?}");
        }
    }

    #[test]
    fn an_empty_result_still_names_its_columns() {
        assert_eq!(encoded(Format::Csv, &[]), "n\n");
        assert_eq!(encoded(Format::Json, &[]), "[]\n");
        assert_eq!(encoded(Format::Ndjson, &[]), "");
        assert!(encoded(Format::Table, &[]).contains("| n |"));
    }

    #[test]
    fn a_table_leaves_null_empty() {
        assert!(written(Format::Table).contains("|   | x\ty "));
    }

    fn written(format: Format) -> String {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None::<Vec<Option<i32>>>,
        ]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef, true),
            ("text", Arc::new(StringArray::from(vec!["a,\"b", "x\ty"])), true),
            ("list", Arc::new(list), true),
        ]);
        encoded(format, &[batch.unwrap()])
    }

    fn encoded(format: Format, batches: &[RecordBatch]) -> String {
        let schema = numbers(&[]).schema();
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        let mut encoder = Encoder::new(format, schema, &FormatConfig::default());
        let mut bytes = vec![];
        for batch in batches {
            bytes.extend(encoder.batch(batch.clone()).unwrap());
        }
        bytes.extend(encoder.finish().unwrap());
        String::from_utf8(bytes).unwrap()
    }

    fn numbers(values: &[i32]) -> RecordBatch {
        let array = Arc::new(Int32Array::from(values.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([("n", array)]).unwrap()
    }
}
