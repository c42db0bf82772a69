//! The catalogue of the tests: its tables, its functions, and their synchronous twins.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::datasource::MemTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use farcall_udf::{AsyncFunction, AsyncUdf, CallError, Declaration, Determinism, async_fn};

use crate::calls::find_call;
use crate::{SiteCounter, analyzer_rules};

/// A session with the analyzer rules and the async functions.
pub(crate) fn session() -> SessionState {
    let mut builder = builder();
    for rule in analyzer_rules(Arc::new(SiteCounter::default())) {
        builder = builder.with_analyzer_rule(rule);
    }
    let context = SessionContext::new_with_state(builder.build());
    tables(&context);
    for function in FUNCTIONS {
        let udf = AsyncUdf::new(scripted(function.declaration()));
        context.register_udf(udf.into_scalar_udf());
    }
    context.register_udf(AsyncScalarUDF::new(Arc::new(Foreign)).into_scalar_udf());
    context.state()
}

/// A function that was written for DataFusion's own async interface; it promises not to be NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Foreign;

impl ScalarUDFImpl for Foreign {
    fn name(&self) -> &str {
        "foreign_score"
    }

    fn signature(&self) -> &Signature {
        static SIGNATURE: LazyLock<Signature> =
            LazyLock::new(|| Signature::exact(vec![DataType::Int64], Volatility::Immutable));
        &SIGNATURE
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("planner tests make no calls")
    }
}

impl AsyncScalarUDFImpl for Foreign {
    fn invoke_async_with_args<'a, 'b>(
        &'a self,
        _: ScalarFunctionArgs,
    ) -> Pin<Box<dyn Future<Output = Result<ColumnarValue>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async { internal_err!("planner tests make no calls") })
    }
}

/// A session in which the same functions are synchronous.
pub(super) fn twin() -> SessionState {
    let context = SessionContext::new_with_state(builder().build());
    tables(&context);
    for function in FUNCTIONS {
        context.register_udf(ScalarUDF::new_from_impl(Twin::new(*function, Counts::default())));
    }
    context.state()
}

fn builder() -> SessionStateBuilder {
    let config = SessionConfig::new().with_target_partitions(1).with_information_schema(true);
    // An `AsyncCalc` is run as a projection here, which these rules would move.
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let rules = rules.filter(|rule| !rule.name().contains("Pushdown")).collect();
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
}

fn tables(context: &SessionContext) {
    let numbers = |rows: i64, value: fn(i64) -> Option<i64>| -> ArrayRef {
        Arc::new((0..rows).map(value).collect::<Int64Array>())
    };
    let text: ArrayRef =
        Arc::new((0..60).map(|x| Some(format!("text {}", x % 7))).collect::<StringArray>());
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let a = numbers(60, |x| Some(x % 3));
    let s: ArrayRef = Arc::new(StructArray::new(fields, vec![a, Arc::clone(&text)], None));
    let t = RecordBatch::try_from_iter_with_nullable([
        ("x", numbers(60, Some), false),
        ("k", numbers(60, |x| Some(x % 10)), true),
        ("n", numbers(60, |x| (x % 2 == 1).then_some(x)), true),
        ("a", numbers(60, |x| Some(x % 4)), true),
        ("b", numbers(60, |x| Some(x % 5)), true),
        ("txt", text, true),
        ("s", s, true),
    ]);
    let b = RecordBatch::try_from_iter_with_nullable([
        ("y", numbers(10, Some), false),
        ("k", numbers(10, |y| Some(y % 5)), true),
        ("z", numbers(10, |y| (y != 3).then_some(2 * y)), true),
    ]);
    for (name, batch) in [("t", t.unwrap()), ("b", b.unwrap())] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
}

/// A function of the catalogue: SQL text of its synchronous meaning is kept in `eval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// The number plus this.
    Add(i64),
    /// Whether the number is a multiple of this; NULL for multiples of 13.
    Divides(i64),
    /// Whether the sum of two numbers is even.
    EvenSum,
    /// The text in capitals.
    Shout,
    /// A struct of the number and its text.
    Struct,
}

const FUNCTIONS: &[Function] = &[
    Function { name: "f", kind: Kind::Add(1) },
    Function { name: "g", kind: Kind::Add(2) },
    Function { name: "h", kind: Kind::Add(3) },
    Function { name: "fv", kind: Kind::Add(4) },
    Function { name: "send", kind: Kind::Add(5) },
    Function { name: "p", kind: Kind::Divides(2) },
    Function { name: "q", kind: Kind::Divides(3) },
    Function { name: "p2", kind: Kind::EvenSum },
    Function { name: "dear", kind: Kind::Divides(2) },
    Function { name: "rare", kind: Kind::Divides(5) },
    Function { name: "ask", kind: Kind::Shout },
    Function { name: "fs", kind: Kind::Struct },
];

impl Function {
    fn arg_types(self) -> Vec<DataType> {
        match self.kind {
            Kind::Add(_) | Kind::Divides(_) | Kind::Struct => vec![DataType::Int64],
            Kind::EvenSum => vec![DataType::Int64, DataType::Int64],
            Kind::Shout => vec![DataType::Utf8],
        }
    }

    fn return_type(self) -> DataType {
        match self.kind {
            Kind::Add(_) => DataType::Int64,
            Kind::Divides(_) | Kind::EvenSum => DataType::Boolean,
            Kind::Shout => DataType::Utf8,
            Kind::Struct => DataType::Struct(Fields::from(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("b", DataType::Utf8, true),
            ])),
        }
    }

    fn declaration(self) -> Declaration {
        let declaration = Declaration::new(self.name, self.arg_types(), self.return_type());
        match self.name {
            "fv" => declaration.with_determinism(Determinism::Volatile),
            "send" => declaration.with_side_effects(true),
            "dear" => declaration.with_cost(10.0),
            "rare" => declaration.with_selectivity(0.1),
            _ => declaration,
        }
    }

    /// Answers one row; NULL for NULL.
    fn eval(self, args: &[ScalarValue]) -> ScalarValue {
        let number = |index: usize| match &args[index] {
            ScalarValue::Int64(value) => *value,
            _ => None,
        };
        match self.kind {
            Kind::Add(by) => ScalarValue::Int64(number(0).map(|x| x + by)),
            Kind::Divides(by) => ScalarValue::Boolean(
                number(0).filter(|x| *x == 0 || x % 13 != 0).map(|x| x % by == 0),
            ),
            Kind::EvenSum => {
                ScalarValue::Boolean(number(0).zip(number(1)).map(|(x, y)| (x + y) % 2 == 0))
            }
            Kind::Shout => match &args[0] {
                ScalarValue::Utf8(text) => {
                    ScalarValue::Utf8(text.as_ref().map(|text| text.to_uppercase()))
                }
                _ => ScalarValue::Utf8(None),
            },
            Kind::Struct => {
                let DataType::Struct(fields) = self.return_type() else { unreachable!() };
                let a: ArrayRef = Arc::new(Int64Array::from(vec![number(0)]));
                let b: ArrayRef =
                    Arc::new(StringArray::from(vec![number(0).map(|x| x.to_string())]));
                ScalarValue::Struct(Arc::new(StructArray::new(fields, vec![a, b], None)))
            }
        }
    }
}

/// The async side; it is planned with and never called.
fn scripted(declaration: Declaration) -> AsyncFunction {
    async_fn("scripted", |x: i64| async move { Ok::<i64, CallError>(x) })
        .with_declaration(|_| declaration)
        .build()
}

/// How many rows each function was called on.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(pub(super) Arc<Mutex<BTreeMap<String, u64>>>);

/// The synchronous side, which counts its rows.
#[derive(Debug, Clone)]
struct Twin {
    function: Function,
    signature: Signature,
    counts: Counts,
    id: u64,
}

impl Twin {
    fn new(function: Function, counts: Counts) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let volatility = match function.name {
            "fv" | "send" => Volatility::Volatile,
            _ => Volatility::Immutable,
        };
        let signature = Signature::exact(function.arg_types(), volatility);
        Self { function, signature, counts, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl PartialEq for Twin {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Twin {}

impl std::hash::Hash for Twin {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl ScalarUDFImpl for Twin {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.function.return_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        *self.counts.0.lock().unwrap().entry(self.function.name.to_owned()).or_default() +=
            rows as u64;
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let values = (0..rows).map(|row| {
            let args: Vec<ScalarValue> = arrays
                .iter()
                .map(|array| {
                    let row = if array.len() == 1 { 0 } else { row };
                    ScalarValue::try_from_array(array, row).unwrap()
                })
                .collect();
            self.function.eval(&args)
        });
        let values: Vec<ScalarValue> = values.collect();
        if values.is_empty() {
            let empty = arrow::array::new_empty_array(&self.function.return_type());
            return Ok(ColumnarValue::Array(empty));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(values)?))
    }
}

/// Replaces an async call by a counted synchronous one.
pub(super) fn synchronous(call: &Expr, counts: &Counts) -> Expr {
    let name = find_call(call).unwrap().function().name();
    let function = FUNCTIONS.iter().find(|function| function.name == name).unwrap();
    let Expr::ScalarFunction(ScalarFunction { args, .. }) = call else { unreachable!() };
    let twin = ScalarUDF::new_from_impl(Twin::new(*function, counts.clone()));
    let args = args
        .iter()
        .zip(function.arg_types())
        .map(|(arg, data_type)| cast(arg.clone(), data_type))
        .collect();
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(twin), args))
}
