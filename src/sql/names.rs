//! Names as SQL folds and quotes them.

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

/// Unquoted names are folded to lower case, as DataFusion does it.
pub(crate) fn normalize(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Returns a dotted name as models are registered under it.
pub(crate) fn dotted<'i>(parts: impl IntoIterator<Item = &'i Ident>) -> String {
    parts.into_iter().map(normalize).collect::<Vec<_>>().join(".")
}

/// Returns a table's name as messages show it.
pub(crate) fn table_name(name: &ObjectName) -> String {
    let parts: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    parts.into_iter().map(normalize).collect::<Vec<_>>().join(".")
}

/// Returns a table as DataFusion's catalog is asked for it.
pub(crate) fn table_reference(name: &ObjectName) -> TableReference {
    let parts: Vec<String> =
        name.0.iter().filter_map(|part| part.as_ident()).map(normalize).collect();
    match parts.as_slice() {
        [catalog, schema, table] => {
            TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())
        }
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        _ => TableReference::bare(parts.join(".")),
    }
}
