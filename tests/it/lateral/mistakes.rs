//! What is refused, and how functions that fail end a query or a row.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use farcall::udf::{
    AsyncFunction, AsyncTableFunction, CallContext, CallError, Declaration, async_table_fn,
};

use crate::support::tables::Tables;

#[tokio::test]
async fn what_cannot_be_called_says_why_and_what_to_write() {
    let tables = Tables::new(1);
    for (sql, message) in [
        (
            "SELECT series(x) FROM t",
            "table function series cannot be called in an expression, since it gives rows; call it in \
             FROM: FROM t, LATERAL series(..) AS q",
        ),
        (
            "SELECT q.a FROM t, series(series(t.x)) q",
            "Failed to coerce arguments to satisfy a call to 'series' function",
        ),
        (
            "SELECT x FROM t WHERE EXISTS (SELECT 1 FROM series(t.x))",
            "table function series(outer_ref(t.x)) cannot be called on columns of the outer query in \
             this subquery; call it in FROM beside the table it reads: FROM t, LATERAL f(t.x) AS q",
        ),
        (
            "SELECT t.id, q.n FROM t, LATERAL (SELECT count(*) AS n FROM series(t.x)) q",
            "LATERAL around a table function holds an aggregate, which cannot be applied to the rows \
             of each call; join the function's rows alone, FROM t, LATERAL f(t.x) AS q, and do it on \
             the joined rows",
        ),
        (
            "SELECT t.id, q.a FROM t, LATERAL (SELECT a FROM series(t.x) ORDER BY a LIMIT 1) q",
            "LATERAL around a table function holds LIMIT,",
        ),
        (
            "SELECT t.id FROM t, LATERAL (SELECT DISTINCT a FROM series(t.x)) q",
            "LATERAL around a table function holds DISTINCT,",
        ),
        (
            "SELECT t.id FROM t LEFT JOIN LATERAL (SELECT q.a FROM series(t.x) q, s) r ON TRUE",
            "LEFT JOIN LATERAL holds a join beside a table function; join one function a time",
        ),
        (
            "SELECT t.id FROM t LEFT JOIN series(t.x) q ON p(q.a)",
            "a condition on the rows of table function series calls an async function, which only an \
             inner join can do; call it on the joined rows",
        ),
        (
            "SELECT t.id FROM t LEFT JOIN series(t.x) q ON q.a IN (SELECT y FROM s)",
            "a condition of LEFT JOIN LATERAL series holds a subquery",
        ),
        (
            "SELECT t.id FROM t, LATERAL (SELECT v, v + 1 AS w FROM \
             (SELECT g(a) AS v FROM series(t.x)) i) q",
            "i.v + Int64(1) reads what a call or volatile expression inside of LATERAL around a table \
             function gives; select the function's columns alone there, and compute it in the outer \
             query",
        ),
        (
            "SELECT t.id FROM t, LATERAL (SELECT a FROM series(t.x) q WHERE EXISTS \
             (SELECT 1 FROM s WHERE s.y = q.a)) r",
            "a subquery inside of LATERAL around a table function reads column q.a",
        ),
        (
            "SELECT t.id FROM t RIGHT JOIN series(t.x) q ON TRUE",
            "LATERAL syntax is not supported for",
        ),
        (
            "SELECT q.a FROM series(1, 2) q",
            "No function matches the given name and argument types 'series(",
        ),
        ("SELECT q.a FROM series('x') q", "'series(Utf8)'"),
        ("SELECT q.a FROM t, series(t.nothing) q", "No field named t.nothing"),
        (
            "SELECT q.a FROM t, series(t.x) AS q (a)",
            "Source table contains 2 columns but only 1 name",
        ),
        ("SELECT try_series(x) FROM t", "Invalid function 'try_series'"),
        (
            "SELECT s.k FROM s WHERE EXISTS (SELECT 1 FROM t LEFT JOIN series(t.x) q ON q.a = s.y)",
            "the join with series cannot read columns of the outer query in its condition; join the \
             outer table in the subquery, or test the condition in WHERE",
        ),
        (
            "SELECT s.k FROM s WHERE EXISTS (SELECT 1 FROM t LEFT JOIN series(t.x) q ON t.k = s.y)",
            "async function series(t.x) cannot be called under a condition on columns of the outer \
             query in this subquery; join the outer table to it, or test the condition in WHERE",
        ),
        (
            "SELECT q.a FROM t, series(t.x) q TABLESAMPLE BERNOULLI (1)",
            "TABLESAMPLE cannot be said of table function series; accepted are its arguments and an alias",
        ),
        (
            "SELECT q.a FROM t, series(t.x) WITH ORDINALITY AS q",
            "WITH ORDINALITY cannot be said of table function series;",
        ),
        (
            "SELECT q.a FROM TABLE(series(7) FILTER (WHERE false)) q",
            "FILTER cannot be said of table function series;",
        ),
        (
            "SELECT w.a FROM (SELECT q.a FROM TABLE(series(7) OVER ()) q) w",
            "OVER cannot be said of table function series;",
        ),
    ] {
        let refusal = tables.refusal(sql).await;
        assert!(refusal.contains(message), "{sql}\n{refusal}");
    }
    assert!(tables.take_calls().is_empty());
}

#[tokio::test]
async fn a_malformed_answer_names_the_function_and_both_numbers() {
    let tables = Tables::new(1);
    for (name, columns, message) in [
        ("short", 1, "short answered something malformed: 1 columns where 2 are declared"),
        ("texts", 2, "texts answered values of type Int64 where Utf8 (column b) is declared"),
    ] {
        let declared =
            vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
        let declaration = Declaration::table(name, vec![DataType::Int64], declared);
        tables.farcall.register(AsyncFunction::table(Numbers { declaration, columns }));
        let refusal = tables.refusal(&format!("SELECT q.a FROM t, {name}(t.x) q")).await;
        assert!(refusal.contains(message), "{refusal}");
    }
}

/// A function that answers numbers in so many columns, whatever it declares.
#[derive(Debug)]
struct Numbers {
    declaration: Declaration,
    columns: usize,
}

#[async_trait]
impl AsyncTableFunction for Numbers {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval(&self, _: Vec<ScalarValue>, _: &CallContext) -> Result<RecordBatch, CallError> {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let columns = (0..self.columns).map(|index| (format!("c{index}"), Arc::clone(&column)));
        RecordBatch::try_from_iter(columns).map_err(|error| CallError::function("numbers", error))
    }
}

#[tokio::test]
async fn a_row_that_fails_ends_the_query_or_has_no_rows() {
    let tables = Tables::new(1);
    tables.farcall.register(async_table_fn("even", ["a"], |n: i64| async move {
        match n % 2 {
            0 => Ok::<Vec<(i64,)>, CallError>(vec![(n,)]),
            _ => Err(CallError::rejected("even", format!("{n} is odd"))),
        }
    }));
    let sql = "SELECT s.k, q.a FROM s LEFT JOIN even(s.k) q ON TRUE ORDER BY s.k LIMIT 4";
    let refusal = tables.refusal(sql).await;
    assert!(refusal.contains("even") && refusal.contains("1 is odd"), "{refusal}");
    tables.rows("SET farcall.function.even.on_error = 'null'").await;
    assert_eq!(tables.rows(sql).await, ["|0|0|", "|1||", "|2|2|", "|3||"]);
    let inner = "SELECT s.k, q.a FROM s, even(s.k) q ORDER BY s.k LIMIT 2";
    assert_eq!(tables.rows(inner).await, ["|0|0|", "|2|2|"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_an_error_or_has_no_rows() {
    let tables = Tables::new(1);
    tables.farcall.register(async_table_fn("slow", ["a"], |n: i64| async move {
        if n == 3 {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        Ok::<Vec<(i64,)>, CallError>(vec![(n,)])
    }));
    tables.rows("SET farcall.function.slow.timeout = '2s'").await;
    let sql = "SELECT s.k, q.a FROM s LEFT JOIN slow(s.k) q ON TRUE WHERE s.k BETWEEN 2 AND 4 ORDER BY s.k";
    let refusal = tables.refusal(sql).await;
    assert!(refusal.contains("slow") && refusal.contains("timed out after 2s"), "{refusal}");
    tables.rows("SET farcall.function.slow.timeout_policy = 'allow_partial'").await;
    assert_eq!(tables.rows(sql).await, ["|2|2|", "|3||", "|4|4|"]);
}
