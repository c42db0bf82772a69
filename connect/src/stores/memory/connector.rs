//! Connector `memory`: a lookup table whose rows are read from a file or a table when it is created.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_common::error::Result;
use datafusion_common::plan_err;
use farcall_udf::{LookupConnector, LookupDefinition, LookupProvider, RowSource};

use crate::common::options::{OptionReader, Owner};
use crate::stores::memory::MemoryLookup;

/// The files that `location` may name, by their extension.
const EXTENSIONS: [&str; 6] = ["csv", "tsv", "json", "ndjson", "jsonl", "parquet"];

/// The connector `memory`.
///
/// Options: `location` (a file, by its extension csv, tsv, json, ndjson, jsonl or parquet) or `table`
/// (another table of the session), and the call options. Columns are found by their names and cast to
/// the declared types; the others are left out. The rows are read once, when the table is created.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryConnector;

impl LookupConnector for MemoryConnector {
    fn name(&self) -> &str {
        "memory"
    }

    fn provider(&self, table: &LookupDefinition) -> Result<Arc<dyn LookupProvider>> {
        plan_err!("lookup table {}: its rows are in the session that created it", table.name)
    }

    fn source(&self, table: &LookupDefinition) -> Result<Option<RowSource>> {
        let mut reader = OptionReader::new(Owner::lookup_table(table, self.name()), &table.options);
        let location = reader.parse("location", file)?;
        let from = reader.take("table").map(|from| RowSource::Table(from.to_owned()));
        reader.finish()?;
        let source = match (location, from) {
            (Some(source), None) | (None, Some(source)) => source,
            (Some(_), Some(_)) => {
                return Err(reader.bad("table", "goes without 'location': rows have one source"));
            }
            (None, None) => {
                let message = "missing, expected a file, or the option 'table' with a table";
                return Err(reader.bad("location", message));
            }
        };
        Ok(Some(source))
    }

    fn filled(
        &self,
        table: &LookupDefinition,
        rows: RecordBatch,
    ) -> Result<Arc<dyn LookupProvider>> {
        let key: Vec<&str> =
            table.key.iter().map(|part| table.schema.field(*part).name().as_str()).collect();
        let rows = MemoryLookup::try_new(rows, &key)?;
        Ok(Arc::new(rows.with_options(table.call_options.clone())))
    }

    fn is_secret(&self, _: &str) -> bool {
        false
    }
}

fn file(path: &str) -> Result<RowSource, String> {
    let extension = Path::new(path).extension().and_then(|end| end.to_str());
    let same = |known: &&&str| extension.is_some_and(|e| e.eq_ignore_ascii_case(known));
    match EXTENSIONS.iter().find(same) {
        Some(extension) => {
            Ok(RowSource::File { path: path.to_owned(), extension: (*extension).to_owned() })
        }
        None => {
            let accepted = EXTENSIONS.map(|extension| format!(".{extension}")).join(", ");
            Err(format!("'{path}' is no file of a kind that is read, accepted are {accepted}"))
        }
    }
}
