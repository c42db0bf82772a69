//! Functions of the user in SQL: argument types, overloads, names, functions of others.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use async_trait::async_trait;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, AsyncScalarFunction, BatchAnswer, CallContext,
    CallError, CallOptions, Declaration, async_fn,
};

use crate::support::remote::{rows, session};

async fn one(session: &FarcallSession, expr: &str) -> String {
    match rows(session, &format!("SELECT {expr} AS v")).await {
        Ok(rows) => rows.join(","),
        Err(message) => message,
    }
}

macro_rules! takes {
    ($($name:ident: $ty:ty, $sql:expr => $shown:expr;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let session = session(1);
            session.register(async_fn("same", |x: $ty| async move { Ok::<$ty, CallError>(x) }));
            session.register(async_fn("maybe", |x: Option<$ty>| async move {
                tokio::task::yield_now().await;
                Ok::<Option<$ty>, CallError>(x)
            }));
            for function in ["same", "maybe"] {
                assert_eq!(one(&session, &format!("{function}({})", $sql)).await, $shown);
                assert_eq!(one(&session, &format!("{function}(NULL)")).await, "||");
            }
        }
    )+};
}

takes! {
    a_bool_argument: bool, "1 < 2" => "|true|";
    an_i8_argument: i8, "CAST(-128 AS TINYINT)" => "|-128|";
    an_i16_argument: i16, "CAST(-32768 AS SMALLINT)" => "|-32768|";
    an_i32_argument: i32, "CAST(7 AS INT)" => "|7|";
    an_i64_argument: i64, "9223372036854775807" => "|9223372036854775807|";
    a_u8_argument: u8, "CAST(255 AS TINYINT UNSIGNED)" => "|255|";
    a_u16_argument: u16, "CAST(65535 AS SMALLINT UNSIGNED)" => "|65535|";
    a_u32_argument: u32, "CAST(4294967295 AS INT UNSIGNED)" => "|4294967295|";
    a_u64_argument: u64, "18446744073709551615" => "|18446744073709551615|";
    an_f32_argument: f32, "CAST(0.5 AS FLOAT)" => "|0.5|";
    an_f64_argument: f64, "1e300" => "|1e300|";
    a_text_argument: String, "'grüße'" => "|grüße|";
    a_binary_argument: Vec<u8>, "X'00ff'" => "|00ff|";
}

#[tokio::test]
async fn arguments_are_cast_where_nothing_is_lost() {
    let session = session(1);
    session.register(async_fn("half", |x: f64| async move { Ok::<f64, CallError>(x / 2.0) }));
    session.register(async_fn("length_of", |x: String| async move {
        Ok::<i64, CallError>(x.len() as i64)
    }));
    for (expr, value) in [
        ("half(3)", "|1.5|"),
        ("half(CAST(3 AS TINYINT))", "|1.5|"),
        ("half(CAST(2.5 AS DECIMAL(10, 2)))", "|1.25|"),
        ("length_of('abc')", "|3|"),
        ("length_of(arrow_cast('abc', 'Utf8View'))", "|3|"),
        ("length_of(arrow_cast('abc', 'LargeUtf8'))", "|3|"),
        ("length_of(arrow_cast('abc', 'Dictionary(Int32, Utf8)'))", "|3|"),
    ] {
        assert_eq!(one(&session, expr).await, value, "{expr}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_while_planning() {
    let session = session(1);
    session.register(async_fn("half", |x: f64| async move { Ok::<f64, CallError>(x / 2.0) }));
    for (expr, said) in [
        ("half()", "half"),
        ("half(1, 2)", "half"),
        ("half([1])", "half"),
        ("half(x => 1)", "half"),
    ] {
        let error = session.sql(&format!("SELECT {expr}")).await.unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("Internal"), "{expr}: {error}");
    }
}

/// A function without arguments, counting its calls.
#[derive(Debug)]
struct Answer(Declaration, Arc<AtomicUsize>);

#[async_trait]
impl AsyncScalarFunction for Answer {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval(&self, _: Vec<ScalarValue>, _: &CallContext) -> Result<ScalarValue, CallError> {
        self.1.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        Ok(ScalarValue::Int64(Some(42)))
    }
}

#[tokio::test]
async fn a_function_without_arguments_is_called_once_for_all_rows() {
    let session = session(2);
    let calls = Arc::new(AtomicUsize::new(0));
    let declaration = Declaration::new("answer", vec![], DataType::Int64);
    session.register(AsyncFunction::scalar(Answer(declaration, Arc::clone(&calls))));
    let got = rows(&session, "SELECT sum(answer()) AS s, count(answer()) AS c FROM t").await;
    assert_eq!((got.unwrap(), calls.load(SeqCst)), (vec!["|4200|100|".to_owned()], 1));
    assert_eq!(one(&session, "answer()").await, "|42|");
}

/// A batch function that remembers the batches it got and answers its last argument.
#[derive(Debug)]
struct Echo {
    declaration: Declaration,
    batches: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl AsyncBatchFunction for Echo {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        self.batches.lock().unwrap().push(args.num_rows());
        Ok(BatchAnswer::new(Arc::clone(args.columns().last().unwrap())))
    }
}

fn echo(declaration: Declaration) -> (AsyncFunction, Arc<Mutex<Vec<usize>>>) {
    let batches = Arc::new(Mutex::new(vec![]));
    (AsyncFunction::batch(Echo { declaration, batches: Arc::clone(&batches) }), batches)
}

#[tokio::test]
async fn overloads_have_their_own_types() {
    let signature = Signature::one_of(
        vec![
            TypeSignature::Exact(vec![DataType::Int64]),
            TypeSignature::Exact(vec![DataType::Utf8]),
            TypeSignature::Exact(vec![DataType::Int64, DataType::Utf8]),
        ],
        Volatility::Immutable,
    );
    let declaration = Declaration::with_signature("echo", signature, DataType::Null)
        .with_aliases(["repeat_after_me"])
        .with_return_field(|args| {
            let last = args.arg_fields.last().unwrap();
            Ok(Arc::new(Field::new("echo", last.data_type().clone(), true)))
        });
    let session = session(1);
    session.register(echo(declaration).0);
    for (expr, value) in [
        ("echo(1)", "|1|"),
        ("echo('1')", "|1|"),
        ("echo(1, 'x')", "|x|"),
        ("echo(1) + 1", "|2|"),
        ("echo('1') || 'x'", "|1x|"),
        ("repeat_after_me(5)", "|5|"),
        ("ECHO(echo(2), repeat_after_me('y'))", "|y|"),
        ("arrow_typeof(echo(1))", "|Int64|"),
        ("arrow_typeof(echo('1'))", "|Utf8|"),
    ] {
        assert_eq!(one(&session, expr).await, value, "{expr}");
    }
    // Both overloads in one query are opened once and do not mix their answers.
    assert_eq!(
        rows(&session, "SELECT echo(1) AS a, echo('1') AS b, echo(1) AS c").await.unwrap(),
        ["|1|1|1|"]
    );
}

#[tokio::test]
async fn arguments_may_be_named_in_any_order() {
    let declaration =
        Declaration::new("echo", vec![DataType::Int64, DataType::Utf8], DataType::Utf8)
            .with_parameter_names(vec!["times".into(), "text".into()])
            .unwrap();
    let session = session(1);
    session.register(echo(declaration).0);
    for expr in ["echo(1, 'a')", "echo(times => 1, text => 'a')", "echo(text => 'a', times => 1)"] {
        assert_eq!(one(&session, expr).await, "|a|", "{expr}");
    }
    let wrong = one(&session, "echo(txt => 'a', times => 1)").await;
    assert!(wrong.contains("txt") && wrong.contains("text"), "{wrong}");
}

#[tokio::test]
async fn a_function_that_panics_fails_its_query_and_nothing_else() {
    let session = session(1);
    session.register(async_fn("boom", |x: i64| async move {
        tokio::task::yield_now().await;
        if x == 7 {
            panic!("seven");
        }
        Ok::<i64, CallError>(x)
    }));
    assert_eq!(rows(&session, "SELECT boom(id) FROM t").await.unwrap_err(), "boom panicked: seven");
    assert_eq!(rows(&session, "SELECT boom(id) FROM t WHERE id <> 7").await.unwrap().len(), 99);
}

#[tokio::test]
async fn on_error_decides_about_a_panic_too() {
    let session = session(1);
    session.register(async_fn("boom", |x: i64| async move {
        tokio::task::yield_now().await;
        if x == 7 {
            panic!("seven");
        }
        Ok::<i64, CallError>(x)
    }));
    session.sql("SET farcall.function.boom.on_error = 'default:-7'").await.unwrap();
    let sql = "SELECT id FROM t WHERE boom(id) = -7";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|7|"]);
}

#[tokio::test]
async fn an_answer_of_another_type_or_length_is_refused() {
    let session = session(1);
    let wrong = Declaration::new("echo", vec![DataType::Int64], DataType::Utf8);
    session.register(echo(wrong).0);
    assert_eq!(
        one(&session, "echo(1)").await,
        "echo failed after 2 of 2 attempts: echo answered values of type Int64 where Utf8 is declared"
    );
}

#[tokio::test]
async fn a_function_finds_session_parameters_and_a_deadline() {
    #[derive(Debug)]
    struct Context(Declaration);
    #[async_trait]
    impl AsyncScalarFunction for Context {
        fn declaration(&self) -> &Declaration {
            &self.0
        }
        async fn eval(
            &self,
            _: Vec<ScalarValue>,
            ctx: &CallContext,
        ) -> Result<ScalarValue, CallError> {
            assert!(ctx.deadline > tokio::time::Instant::now() && ctx.attempt == 1);
            let tenant = ctx.parameters.get("tenant").cloned();
            Ok(ScalarValue::Utf8(tenant.map(|tenant| format!("{tenant}/{}", ctx.call_site > 0))))
        }
    }
    let session = FarcallSession::builder().with_parameter("tenant", "acme").build().unwrap();
    session.register(AsyncFunction::scalar(Context(Declaration::new(
        "context",
        vec![DataType::Int64],
        DataType::Utf8,
    ))));
    assert!(one(&session, "context(1)").await.starts_with("|acme/"));
}

/// A function written for DataFusion's own interface.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Foreign {
    name: &'static str,
    signature: Signature,
    batch: Option<usize>,
}

static FOREIGN_BATCHES: Mutex<Vec<usize>> = Mutex::new(vec![]);

impl ScalarUDFImpl for Foreign {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Int64; types.len()])
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("not this way")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Foreign {
    fn ideal_batch_size(&self) -> Option<usize> {
        self.batch
    }
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let column: ArrayRef = args.args[0].to_array(args.number_rows)?;
        if self.batch == Some(17) {
            FOREIGN_BATCHES.lock().unwrap().push(column.len());
        }
        let ids = column.as_primitive::<Int64Type>();
        if ids.iter().any(|id| id == Some(666)) {
            return exec_err!("not the number of the beast");
        }
        let counted: Int64Array = ids.iter().map(|id| Some(id.unwrap_or(-1) + 1)).collect();
        Ok(ColumnarValue::Array(Arc::new(counted)))
    }
}

fn foreign(name: &'static str, signature: Signature, batch: Option<usize>) -> FarcallSession {
    let session = session(1);
    let udf = AsyncScalarUDF::new(Arc::new(Foreign { name, signature, batch }));
    session.context().register_udf(udf.into_scalar_udf());
    session
}

fn exact() -> Signature {
    Signature::exact(vec![DataType::Int64], Volatility::Immutable)
}

#[tokio::test]
async fn a_function_of_others_is_batched_by_its_own_size() {
    let session = foreign("next", exact(), Some(17));
    let got = rows(&session, "SELECT next(id) AS v FROM t WHERE next(id) > 0").await.unwrap();
    assert_eq!(got, (0..100).map(|id| format!("|{}|", id + 1)).collect::<Vec<_>>());
    let batches = FOREIGN_BATCHES.lock().unwrap().clone();
    assert_eq!(batches, [17, 17, 17, 17, 17, 15]);
}

#[tokio::test]
async fn a_function_of_others_gets_nulls() {
    let session = foreign("next", exact(), None);
    let sql = "SELECT next(nullif(id, 1)) AS v FROM t WHERE id < 3";
    assert_eq!(rows(&session, sql).await.unwrap(), ["|1|", "|0|", "|3|"]);
}

#[tokio::test]
async fn an_error_in_a_function_of_others_names_it() {
    let session = foreign("next", exact(), None);
    let message = one(&session, "next(666)").await;
    assert!(message.starts_with("next failed: "), "{message}");
    assert!(message.ends_with("not the number of the beast"), "{message}");
    session.sql("SET farcall.function.next.on_error = 'null'").await.unwrap();
    assert_eq!(one(&session, "next(666)").await, "||");
}

#[tokio::test]
async fn a_function_of_others_cannot_coerce_its_arguments_itself() {
    // DataFusion's own AsyncScalarUDF hides the function's coerce_types, from itself and from us.
    let session = foreign("next", Signature::user_defined(Volatility::Immutable), None);
    let error = one(&session, "next(4)").await;
    assert!(error.contains("next does not implement coerce_types"), "{error}");
}

#[tokio::test]
async fn options_of_a_function_are_set_by_its_name_or_alias() {
    let session = session(1);
    let declaration = Declaration::new("echo", vec![DataType::Int64], DataType::Int64)
        .with_aliases(["parrot"])
        .with_options(CallOptions::new().with_max_batch_size(50));
    let (function, batches) = echo(declaration);
    session.register(function);
    for (set, sizes) in [
        ("SET farcall.async_scalar.max_batch_size = 10", vec![50, 50]),
        ("SET farcall.function.parrot.max_batch_size = 40", vec![40, 40, 20]),
        ("RESET farcall.function.parrot.max_batch_size", vec![50, 50]),
        ("SET farcall.function.echo.max-batch-size = 100", vec![100]),
    ] {
        session.sql(set).await.unwrap();
        batches.lock().unwrap().clear();
        assert_eq!(rows(&session, "SELECT parrot(id) FROM t").await.unwrap().len(), 100);
        assert_eq!(*batches.lock().unwrap(), sizes, "{set}");
    }
}

#[tokio::test]
async fn a_function_replaces_one_of_the_same_name() {
    let session = session(1);
    for answer in [1_i64, 2] {
        session.register(async_fn("f", move |_: i64| async move { Ok::<i64, CallError>(answer) }));
        assert_eq!(one(&session, "f(0)").await, format!("|{answer}|"));
    }
}
