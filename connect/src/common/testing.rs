//! Definitions for the tests of connectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use farcall_udf::{CallOptions, LookupDefinition};

/// Makes the definition of a lookup table without columns.
pub(crate) fn table(name: &str, options: BTreeMap<String, String>) -> LookupDefinition {
    LookupDefinition {
        name: name.to_owned(),
        schema: Arc::new(Schema::empty()),
        key: vec![],
        options,
        call_options: CallOptions::new(),
    }
}
