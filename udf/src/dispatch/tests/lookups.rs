//! [`look_up`], one partition's lookups in a table (id BIGINT, name VARCHAR), for tests.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion_expr::ReturnFieldArgs;

use super::resolved;
use crate::adapt::lookup_table::LookupTable;
use crate::contract::lookup::LookupQuery;
use crate::dispatch::Dispatcher;
use crate::dispatch::meters::metrics::MetricsSnapshot;
use crate::dispatch::query::scope::QueryScope;
use crate::error::CallError;
use crate::options::CallOptions;

/// Looks keys up as one partition of a query, and writes what each was answered: the key and the
/// names, or `NULL`.
pub(crate) async fn look_up(
    scope: &Arc<QueryScope>,
    table: &LookupTable,
    keys: impl IntoIterator<Item = Option<i64>>,
    options: CallOptions,
) -> (Result<Vec<String>, CallError>, MetricsSnapshot) {
    let query = LookupQuery::new([0, 1]);
    let function = table.function(query).unwrap();
    let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
    let field = function.declaration().return_field(&args).unwrap();
    let options = resolved(&function, options);
    let site = scope.site(1, 0, &function, &options, &field, &Arc::default());
    let key: FieldRef = Arc::new(Field::new("x", DataType::Int64, true));
    let mut dispatcher =
        Dispatcher::new(Arc::clone(scope), Arc::clone(&site), [key].into()).unwrap();
    let keys: Int64Array = keys.into_iter().collect();
    let pushed = dispatcher.push(keys.len(), vec![Arc::new(keys.clone())], None);
    dispatcher.finish();
    let done = poll_fn(|cx| {
        loop {
            if dispatcher.ready_rows() == keys.len() {
                return Poll::Ready(Ok(()));
            }
            match dispatcher.poll_progress(cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
    });
    let rows = match pushed {
        Ok(()) => done.await.map(|()| write(&dispatcher.take(keys.len()).unwrap(), &keys)),
        Err(error) => Err(error),
    };
    (rows, site.metrics().snapshot())
}

fn write(lists: &ArrayRef, keys: &Int64Array) -> Vec<String> {
    let lists = lists.as_list::<i32>();
    let write = |row: usize| {
        if lists.is_null(row) {
            return "NULL".to_owned();
        }
        let rows = lists.value(row);
        let rows = rows.as_struct();
        let ids = rows.column(0).as_primitive::<Int64Type>();
        assert!(ids.iter().all(|id| id == Some(keys.value(row))));
        let names = rows.column(1).as_string::<i32>();
        names
            .iter()
            .fold(format!("{}:", keys.value(row)), |text, name| format!("{text} {}", name.unwrap()))
    };
    (0..lists.len()).map(write).collect()
}
