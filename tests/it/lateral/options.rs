//! Options of table functions, at every level, and NULL arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Signature, Volatility};
use farcall::udf::{
    AsyncFunction, AsyncTableFunction, CallContext, CallError, CallOptions, Declaration,
    async_table_fn,
};

use crate::support::plans::plan_text;
use crate::support::tables::Tables;

const SQL: &str = "SELECT s.k, q.a FROM s, series(s.k) q";

#[tokio::test]
async fn options_are_those_of_table_functions_and_of_the_function() {
    let tables = Tables::new(1);
    tables.rows("SET farcall.async_scalar.buffer_capacity = 9").await;
    let window = async |window: usize| {
        let plan = plan_text(&tables.farcall, SQL).await;
        assert!(plan.contains(&format!("[async, ordered, batch=1, window={window},")), "{plan}");
    };
    window(100).await;
    tables.rows("SET farcall.async_table.buffer_capacity = 7").await;
    window(7).await;
    tables.rows("SET farcall.function.series.buffer_capacity = 5").await;
    window(5).await;
    tables.rows("RESET farcall.function.series.buffer_capacity").await;
    tables.rows("SET table.exec.async-table.buffer-capacity = 3").await;
    window(3).await;
}

#[tokio::test(start_paused = true)]
async fn calls_run_beside_each_other_up_to_the_capacity() {
    let tables = Tables::new(1);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let options = CallOptions::new().with_buffer_capacity(3);
    let function = async_table_fn("slow", ["a"], move |n: i64| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<Vec<(i64,)>, CallError>(vec![(n,)])
        }
    });
    tables.farcall.register(function.with_options(options));
    let begun = tokio::time::Instant::now();
    assert_eq!(tables.rows("SELECT q.a FROM s, slow(s.k) q").await.len(), 8);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    // Eight calls of a second, three at a time.
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_null_argument_gives_no_rows_unless_it_is_sent() {
    let tables = Tables::new(1);
    let kept =
        "SELECT n, q.a FROM (VALUES (1), (NULL)) AS v (n) LEFT JOIN {f}(n) q ON TRUE ORDER BY n";
    let optional = async_table_fn("optional", ["a"], |n: Option<i64>| async move {
        Ok::<Vec<(i64,)>, CallError>(vec![(n.unwrap_or(-1),)])
    });
    tables.farcall.register(optional);
    let series = kept.replace("{f}", "series");
    assert_eq!(tables.rows(&series).await, ["|1|1|", "|||"]);
    assert_eq!(tables.take_calls().into_keys().collect::<Vec<_>>(), [1]);
    let sent = kept.replace("{f}", "optional");
    assert_eq!(tables.rows(&sent).await, ["|1|1|", "||-1|"]);
    tables.rows("SET farcall.function.optional.null_input = 'skip'").await;
    assert_eq!(tables.rows(&sent).await, ["|1|1|", "|||"]);
}

#[tokio::test]
async fn columns_may_follow_from_the_types_of_the_arguments() {
    let tables = Tables::new(1);
    let signature = Signature::any(1, Volatility::Immutable);
    let declaration =
        Declaration::with_signature("twice", signature, DataType::Null).with_columns(|args| {
            Ok(vec![args.arg_fields[0].as_ref().clone().with_name("same")].into())
        });
    tables.farcall.register(AsyncFunction::table(Twice(declaration)));
    for (argument, rows) in [("'x'", ["|x|", "|x|"]), ("1.5", ["|1.5|", "|1.5|"])] {
        assert_eq!(tables.rows(&format!("SELECT q.same FROM twice({argument}) q")).await, rows);
    }
}

/// A function that gives its argument back in two rows.
#[derive(Debug)]
struct Twice(Declaration);

#[async_trait]
impl AsyncTableFunction for Twice {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        _: &CallContext,
    ) -> Result<RecordBatch, CallError> {
        let column = args[0].to_array_of_size(2);
        column
            .and_then(|column| Ok(RecordBatch::try_from_iter([("v", column)])?))
            .map_err(|error| CallError::function("twice", error))
    }
}
