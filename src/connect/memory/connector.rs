//! Connector `memory`: a lookup table whose rows are read from a file or a table when it is created.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, cast};
use datafusion::prelude::{
    CsvReadOptions, DataFrame, JsonReadOptions, ParquetReadOptions, SessionContext,
};
use farcall_udf::LookupProvider;

use super::MemoryLookup;
use crate::connect::http::{Owner, bad_option, canonical, unknown_option};
use crate::lookup::{LookupConnector, LookupDefinition};

/// The options of the connector.
const ACCEPTED: [&str; 2] = ["location", "table"];
/// The files that `location` may name, by their extension.
const EXTENSIONS: [&str; 6] = ["csv", "tsv", "json", "ndjson", "jsonl", "parquet"];

/// The connector `memory`.
///
/// Options: `location` (a file, by its extension csv, tsv, json, ndjson, jsonl or parquet) or `table`
/// (another table of the session), and the call options. Columns are found by their names and cast to
/// the declared types; the others are left out. The rows are read once, when the table is created.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryConnector;

#[async_trait]
impl LookupConnector for MemoryConnector {
    fn name(&self) -> &str {
        "memory"
    }

    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>> {
        plan_err!("lookup table {}: its rows are in the session that created it", table.name)
    }

    async fn create(
        &self,
        table: &LookupDefinition,
        context: &SessionContext,
    ) -> Result<Arc<dyn LookupProvider>> {
        let frame = Source::of(table)?.frame(table, context).await?;
        let batches = typed(table, frame)?.collect().await.map_err(|error| {
            error.context(format!("lookup table {}: its rows cannot be read", table.name))
        })?;
        let rows = concat_batches(&table.schema, &batches)?;
        let key: Vec<&str> =
            table.key.iter().map(|part| table.schema.field(*part).name().as_str()).collect();
        let rows = MemoryLookup::try_new(rows, &key)?;
        Ok(Arc::new(rows.with_options(table.call_options.clone())))
    }

    fn holds_rows(&self) -> bool {
        true
    }

    fn is_secret(&self, _: &str) -> bool {
        false
    }
}

/// Where the rows come from.
enum Source<'a> {
    File { path: &'a str, extension: &'static str },
    Table(&'a str),
}

impl<'a> Source<'a> {
    fn of(table: &'a LookupDefinition) -> Result<Self> {
        let owner = Owner { kind: "lookup table", name: &table.name, provider: "memory" };
        let (mut location, mut from) = (None, None);
        for (option, value) in &table.options {
            match canonical(option).as_str() {
                "location" => location = Some(value.as_str()),
                "table" => from = Some(value.as_str()),
                _ => return Err(unknown_option(owner, option, &ACCEPTED)),
            }
        }
        match (location, from) {
            (Some(path), None) => {
                let extension = Path::new(path).extension().and_then(|end| end.to_str());
                let same = |known: &&&str| extension.is_some_and(|e| e.eq_ignore_ascii_case(known));
                match EXTENSIONS.iter().find(same) {
                    Some(extension) => Ok(Source::File { path, extension }),
                    None => {
                        let accepted = EXTENSIONS.map(|extension| format!(".{extension}"));
                        let message =
                            format!("'{path}' is no file of a kind that is read, accepted are ");
                        Err(bad_option(owner, "location", message + &accepted.join(", ")))
                    }
                }
            }
            (None, Some(from)) => Ok(Source::Table(from)),
            (Some(_), Some(_)) => {
                Err(bad_option(owner, "table", "goes without 'location': rows have one source"))
            }
            (None, None) => {
                let message = "missing, expected a file, or the option 'table' with a table";
                Err(bad_option(owner, "location", message))
            }
        }
    }

    async fn frame(&self, table: &LookupDefinition, context: &SessionContext) -> Result<DataFrame> {
        let frame = match *self {
            Source::Table(from) => context.table(from).await,
            Source::File { path, extension: "parquet" } => {
                context.read_parquet(path, ParquetReadOptions::default()).await
            }
            Source::File { path, extension: extension @ ("csv" | "tsv") } => {
                texts(path, extension, context).await
            }
            Source::File { path, extension } => {
                let extension = format!(".{extension}");
                let options = JsonReadOptions::default().schema(&table.schema);
                context.read_json(path, options.file_extension(&extension)).await
            }
        };
        frame.map_err(|error| {
            error.context(format!("lookup table {}: its rows cannot be read", table.name))
        })
    }
}

/// Reads a file of separated values as texts: what a column holds is for the declaration to say, and
/// `0042` is no number if that says VARCHAR.
async fn texts(path: &str, extension: &str, context: &SessionContext) -> Result<DataFrame> {
    let (delimiter, ending) =
        (if extension == "tsv" { b'\t' } else { b',' }, format!(".{extension}"));
    let options = CsvReadOptions::new().delimiter(delimiter).file_extension(&ending);
    let named = context.read_csv(path, options.clone()).await?;
    let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
    let fields: Vec<Field> = named.schema().fields().iter().map(text).collect();
    context.read_csv(path, options.schema(&Schema::new(fields))).await
}

/// Selects the declared columns by name, in the declared types.
fn typed(table: &LookupDefinition, frame: DataFrame) -> Result<DataFrame> {
    let schema: &SchemaRef = &table.schema;
    let mut columns: Vec<Expr> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name();
        let found = frame.schema().qualified_field_with_unqualified_name(name);
        let (qualifier, _) = found.map_err(|_| {
            let names = frame.schema().fields().iter().map(|field| field.name().as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            plan_datafusion_err!(
                "lookup table {}: no column {name} among those that its rows are read from: {names}",
                table.name
            )
        })?;
        let column = Expr::Column(Column::new(qualifier.cloned(), name));
        columns.push(cast(column, field.data_type().clone()).alias(name));
    }
    frame.select(columns)
}
