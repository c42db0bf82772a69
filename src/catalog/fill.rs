//! [`fill`], the query whose rows a lookup table holds.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, cast};
use datafusion::prelude::{
    CsvReadOptions, DataFrame, JsonReadOptions, ParquetReadOptions, SessionContext,
};
use farcall_udf::{LookupDefinition, RowSource};

/// Reads the rows of a table from a file or another table, in the declared types.
///
/// Columns are found by their names; those that the table does not declare are left out.
///
/// # Errors
/// What reading or casting fails with, with the table's name.
pub(crate) async fn fill(
    table: &LookupDefinition,
    source: &RowSource,
    context: &SessionContext,
) -> Result<RecordBatch> {
    let frame = frame(table, source, context).await?;
    let batches = typed(table, frame)?.collect().await.map_err(|error| {
        error.context(format!("lookup table {}: its rows cannot be read", table.name))
    })?;
    Ok(concat_batches(&table.schema, &batches)?)
}

async fn frame(
    table: &LookupDefinition,
    source: &RowSource,
    context: &SessionContext,
) -> Result<DataFrame> {
    let frame = match source {
        RowSource::Table(from) => context.table(from.as_str()).await,
        RowSource::File { path, extension } => match extension.as_str() {
            "parquet" => context.read_parquet(path, ParquetReadOptions::default()).await,
            "csv" | "tsv" => texts(path, extension, context).await,
            _ => {
                let extension = format!(".{extension}");
                let options = JsonReadOptions::default().schema(&table.schema);
                context.read_json(path, options.file_extension(&extension)).await
            }
        },
        other => return plan_err!("lookup table {}: {other:?} cannot be read here", table.name),
    };
    frame.map_err(|error| {
        error.context(format!("lookup table {}: its rows cannot be read", table.name))
    })
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
