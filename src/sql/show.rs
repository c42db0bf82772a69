//! What SHOW MODELS, SHOW CREATE MODEL and DESCRIBE MODEL answer.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::Result;

use crate::catalog::Model;
use crate::catalog::sql_text::{sql_columns, sql_text, sql_type};

/// One row per model: name, provider, input, output, options; secrets as `***`.
pub(crate) fn models(models: &[Arc<Model>]) -> Result<RecordBatch> {
    let options = |model: &Arc<Model>| {
        let options = model.shown_options().iter().filter(|(name, _)| name != "provider");
        let options =
            options.map(|(name, value)| format!("{} = {}", sql_text(name), sql_text(value)));
        options.collect::<Vec<_>>().join(", ")
    };
    batch([
        ("name", models.iter().map(|model| model.name().to_owned()).collect()),
        ("provider", models.iter().map(|model| model.provider().to_owned()).collect()),
        ("input", models.iter().map(|model| sql_columns(model.input())).collect()),
        ("output", models.iter().map(|model| sql_columns(model.output())).collect()),
        ("options", models.iter().map(options).collect()),
    ])
}

/// One row: the statement that creates the model, secrets as `***`.
pub(crate) fn create_model(model: &Model) -> Result<RecordBatch> {
    batch([("name", vec![model.name().to_owned()]), ("statement", vec![model.to_sql()])])
}

/// One row per column of the model.
pub(crate) fn describe_model(model: &Model) -> Result<RecordBatch> {
    let columns: Vec<_> = model
        .input()
        .iter()
        .map(|column| ("input", column))
        .chain(model.output().iter().map(|column| ("output", column)))
        .collect();
    batch([
        ("column_name", columns.iter().map(|(_, column)| column.name().clone()).collect()),
        ("data_type", columns.iter().map(|(_, column)| sql_type(column.data_type())).collect()),
        ("role", columns.iter().map(|(role, _)| (*role).to_owned()).collect()),
    ])
}

fn batch<const N: usize>(columns: [(&str, Vec<String>); N]) -> Result<RecordBatch> {
    let columns = columns.map(|(name, values)| {
        let values: ArrayRef = Arc::new(StringArray::from(values));
        (name, values, false)
    });
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}
