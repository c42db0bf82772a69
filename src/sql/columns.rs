//! Turns the columns of CREATE MODEL and of lookup tables into Arrow fields, by DataFusion's own type planner.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{TableReference, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::ContextProvider;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::ColumnDef;

use crate::sql::names::normalize;

/// Returns the fields of the columns of `owner`, a model or a table.
///
/// # Errors
/// A planning error that names the column, where it stands, and the type that is not supported.
pub(crate) fn fields(
    owner: &str,
    columns: Vec<ColumnDef>,
    state: &SessionState,
) -> Result<Vec<FieldRef>> {
    let options = state.config_options();
    let parser = &options.sql_parser;
    let parser = ParserOptions::new()
        .with_support_varchar_with_length(parser.support_varchar_with_length)
        .with_map_string_types_to_utf8view(parser.map_string_types_to_utf8view);
    let types = TypesOnly(options.as_ref());
    let planner = SqlToRel::new_with_options(&types, parser);
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let name = normalize(&column.name);
        let location = column.name.span.start;
        let schema = planner.build_schema(vec![column]).map_err(|error| {
            let message = error.strip_backtrace();
            DataFusionError::Plan(format!("{owner}: column {name}{location}: {message}"))
        })?;
        fields.extend(schema.fields().iter().map(Arc::clone));
    }
    Ok(fields)
}

/// What the type planner needs to know: the configuration, and nothing else.
struct TypesOnly<'a>(&'a ConfigOptions);

impl ContextProvider for TypesOnly<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("a type cannot hold table {name}")
    }

    fn get_function_meta(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.0
    }

    fn udf_names(&self) -> Vec<String> {
        vec![]
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }

    fn udaf_names(&self) -> Vec<String> {
        vec![]
    }

    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}
