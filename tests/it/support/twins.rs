//! The synchronous-twin oracle: the same functions, once async in farcall, once plain in DataFusion.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use async_trait::async_trait;
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use farcall::FarcallSession;
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncFunction, BatchAnswer, CallContext, CallError, Declaration,
    Determinism,
};

/// Rows of the table `t`.
pub const ROWS: i64 = 10_000;

type Eval = fn(&[ScalarValue]) -> ScalarValue;

/// One function of the catalogue: what it computes, row by row.
#[derive(Clone)]
pub struct Entry {
    pub name: &'static str,
    pub args: Vec<DataType>,
    pub returns: DataType,
    pub determinism: Determinism,
    pub eval: Eval,
}

/// The rows each function was called on, by name.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<String, usize>>);

impl Calls {
    fn add(&self, name: &str, rows: usize) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += rows;
    }

    pub fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn int(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int64(value) => *value,
        other => panic!("not an integer: {other:?}"),
    }
}

fn int_fn(value: &ScalarValue, f: impl Fn(i64) -> i64) -> ScalarValue {
    ScalarValue::Int64(int(value).map(f))
}

fn pair_fields() -> Fields {
    vec![Field::new("foo", DataType::Int64, true), Field::new("bar", DataType::Int64, true)].into()
}

/// The functions of the catalogue; all are strict.
pub fn catalogue() -> Vec<Entry> {
    use DataType::{Boolean, Int64, Utf8};
    let entry = |name, args, returns, eval| Entry {
        name,
        args,
        returns,
        determinism: Determinism::Deterministic,
        eval,
    };
    vec![
        entry("f", vec![Int64], Int64, |a| int_fn(&a[0], |x| x + 1_000_000)),
        entry("g", vec![Int64], Int64, |a| int_fn(&a[0], |x| 2 * x)),
        entry("h", vec![Int64], Int64, |a| int_fn(&a[0], |x| -x)),
        entry("p", vec![Int64], Boolean, |a| {
            ScalarValue::Boolean(int(&a[0]).map(|x| x.rem_euclid(2) == 0))
        }),
        entry("q", vec![Int64], Boolean, |a| {
            ScalarValue::Boolean(int(&a[0]).map(|x| x.rem_euclid(3) == 0))
        }),
        entry("p2", vec![Int64, Int64], Boolean, |a| {
            let sum = int(&a[0]).zip(int(&a[1])).map(|(x, y)| (x + y).rem_euclid(3) == 0);
            ScalarValue::Boolean(sum)
        }),
        entry("m", vec![Int64], Int64, |a| {
            ScalarValue::Int64(int(&a[0]).filter(|x| x % 5 != 0).map(|x| x + 1))
        }),
        entry("pn", vec![Int64], Boolean, |a| {
            let known = int(&a[0]).filter(|x| x.rem_euclid(4) != 3);
            ScalarValue::Boolean(known.map(|x| x.rem_euclid(4) == 0))
        }),
        entry("f2", vec![Int64, Int64], Int64, |a| {
            ScalarValue::Int64(int(&a[0]).zip(int(&a[1])).map(|(x, y)| x + 100 * y))
        }),
        entry("shout", vec![Utf8], Utf8, |a| match &a[0] {
            ScalarValue::Utf8(text) => {
                ScalarValue::Utf8(text.as_ref().map(|text| text.to_uppercase() + "!"))
            }
            other => panic!("not a text: {other:?}"),
        }),
        entry("pair", vec![Int64], DataType::Struct(pair_fields()), |a| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from(vec![int(&a[0])])),
                Arc::new(Int64Array::from(vec![int(&a[0]).map(|x| -x)])),
            ];
            ScalarValue::Struct(Arc::new(StructArray::new(pair_fields(), columns, None)))
        }),
        Entry {
            name: "fv",
            args: vec![Int64],
            returns: Int64,
            determinism: Determinism::Volatile,
            eval: |a| int_fn(&a[0], |x| x + 7),
        },
    ]
}

fn evaluate(entry: &Entry, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let args: Vec<ScalarValue> = columns
            .iter()
            .map(|column| ScalarValue::try_from_array(column, row))
            .collect::<Result<_>>()?;
        let value = match args.iter().any(ScalarValue::is_null) {
            true => ScalarValue::try_from(&entry.returns)?,
            false => (entry.eval)(&args),
        };
        values.push(value);
    }
    if values.is_empty() {
        return Ok(arrow::array::new_empty_array(&entry.returns));
    }
    ScalarValue::iter_to_array(values)
}

struct AsyncTwin {
    declaration: Declaration,
    entry: Entry,
    calls: Arc<Calls>,
}

impl std::fmt::Debug for AsyncTwin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.entry.name)
    }
}

#[async_trait]
impl AsyncBatchFunction for AsyncTwin {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        self.calls.add(self.entry.name, args.num_rows());
        // Answers must come from another task, or nothing asynchronous would be tried.
        tokio::task::yield_now().await;
        evaluate(&self.entry, args.columns(), args.num_rows())
            .map(BatchAnswer::new)
            .map_err(|error| CallError::function(self.entry.name, error))
    }
}

struct SyncTwin {
    entry: Entry,
    signature: Signature,
}

impl std::fmt::Debug for SyncTwin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.entry.name)
    }
}

impl PartialEq for SyncTwin {
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name
    }
}

impl Eq for SyncTwin {}

impl std::hash::Hash for SyncTwin {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.entry.name.hash(state);
    }
}

impl ScalarUDFImpl for SyncTwin {
    fn name(&self) -> &str {
        self.entry.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.entry.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = columns.first().map_or(args.number_rows, |column| column.len());
        Ok(ColumnarValue::Array(evaluate(&self.entry, &columns, rows)?))
    }
}

/// Two sessions over the same tables, and the calls that farcall made.
pub struct Twins {
    pub farcall: FarcallSession,
    pub plain: SessionContext,
    pub calls: Arc<Calls>,
}

impl Twins {
    /// Twins over the tables of 10,000 and 100 rows.
    pub fn new(partitions: usize) -> Self {
        Self::over(partitions, 1000, || vec![("t", table_t()), ("b", table_b())])
    }

    /// Twins over small tables with NULLs and duplicates.
    pub fn small(partitions: usize) -> Self {
        Self::over(partitions, 16, || vec![("t", small_t()), ("b", small_b()), ("c", small_c())])
    }

    fn over(
        partitions: usize,
        batch_size: usize,
        tables: impl Fn() -> Vec<(&'static str, MemTable)>,
    ) -> Self {
        let config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_batch_size(batch_size)
            .with_information_schema(true);
        let twins = Self::without_tables(config);
        for context in [twins.farcall.context(), &twins.plain] {
            for (name, table) in tables() {
                context.register_table(name, Arc::new(table)).unwrap();
            }
        }
        twins
    }

    /// Twins that know the functions alone.
    pub fn without_tables(config: SessionConfig) -> Self {
        let farcall = FarcallSession::builder().with_config(config.clone()).build().unwrap();
        let plain = SessionContext::new_with_config(config);
        let calls = Arc::new(Calls::default());
        for entry in catalogue() {
            let declaration =
                Declaration::new(entry.name, entry.args.clone(), entry.returns.clone())
                    .with_determinism(entry.determinism);
            let calls = Arc::clone(&calls);
            let twin = AsyncTwin { declaration, entry: entry.clone(), calls };
            farcall.register(AsyncFunction::batch(twin));
            let volatility = match entry.determinism {
                Determinism::Deterministic => Volatility::Immutable,
                Determinism::Volatile => Volatility::Volatile,
            };
            let signature = Signature::exact(entry.args.clone(), volatility);
            plain.register_udf(ScalarUDF::new_from_impl(SyncTwin { entry, signature }));
        }
        Self { farcall, plain, calls }
    }

    /// Returns the rows of both sessions as text, and farcall's calls.
    pub async fn rows(&self, sql: &str) -> (Vec<String>, Vec<String>, BTreeMap<String, usize>) {
        let expected = self.plain.sql(sql).await.unwrap().collect().await.unwrap();
        self.calls.take();
        let got = self.farcall.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let got = got.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        (lines(&expected), lines(&got), self.calls.take())
    }

    /// Checks that the rows are the twin's and that exactly these calls were made.
    pub async fn check(&self, sql: &str, calls: &[(&str, usize)]) {
        let (mut expected, mut got, made) = self.rows(sql).await;
        if !sql.to_uppercase().contains("ORDER BY") {
            expected.sort();
            got.sort();
        }
        assert!(expected == got, "{sql}\nexpected {expected:.200?}\ngot {got:.200?}");
        let calls: BTreeMap<String, usize> =
            calls.iter().filter(|(_, n)| *n > 0).map(|(f, n)| ((*f).to_owned(), *n)).collect();
        assert_eq!(made, calls, "calls of {sql}");
    }
}

/// Returns rows as text, one a line.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string();
    // Column widths depend on the longest value: compare values, not blanks.
    let cells = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join("|");
    text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect()
}

/// x 0..10000, k = x % 100, n NULL for even x, d = x % 100 (100 distinct), txt, s = {foo: x}.
pub fn table_t() -> MemTable {
    let x: Vec<i64> = (0..ROWS).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("x", Arc::new(Int64Array::from(x.clone()))),
        ("k", Arc::new(x.iter().map(|x| Some(x % 100)).collect::<Int64Array>())),
        ("n", Arc::new(x.iter().map(|x| (x % 2 == 1).then_some(*x)).collect::<Int64Array>())),
        ("txt", Arc::new(x.iter().map(|x| Some(format!("t{x}"))).collect::<StringArray>())),
        (
            "s",
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("foo", DataType::Int64, true)),
                Arc::new(Int64Array::from(x.clone())) as ArrayRef,
            )])),
        ),
    ];
    mem_table(columns, 2)
}

/// y 0..100, k = y % 20 * 5, z = y % 7.
pub fn table_b() -> MemTable {
    let y: Vec<i64> = (0..100).collect();
    mem_table(
        vec![
            ("y", Arc::new(Int64Array::from(y.clone()))),
            ("k", Arc::new(y.iter().map(|y| Some(y % 20 * 5)).collect::<Int64Array>())),
            ("z", Arc::new(y.iter().map(|y| Some(y % 7)).collect::<Int64Array>())),
        ],
        1,
    )
}

/// 60 rows: id 0..60, x of 0..23 or NULL, k = id % 6, n NULL for even id, txt, s = {foo: x}, l a list.
pub fn small_t() -> MemTable {
    let id: Vec<i64> = (0..60).collect();
    let x: Int64Array = id.iter().map(|id| (id % 12 != 7).then_some(id * 5 % 23)).collect();
    let list = id.iter().map(|id| match id % 4 {
        0 => None,
        length => Some((0..length - 1).map(|item| Some(id % 5 + item)).collect::<Vec<_>>()),
    });
    let field = Arc::new(Field::new("foo", DataType::Int64, true));
    mem_table(
        vec![
            ("id", Arc::new(Int64Array::from(id.clone()))),
            ("x", Arc::new(x.clone())),
            ("k", Arc::new(id.iter().map(|id| Some(id % 6)).collect::<Int64Array>())),
            (
                "n",
                Arc::new(
                    id.iter().map(|id| (id % 2 == 1).then_some(id % 9)).collect::<Int64Array>(),
                ),
            ),
            (
                "txt",
                Arc::new(
                    id.iter().map(|id| Some(format!("t{}", id % 10))).collect::<StringArray>(),
                ),
            ),
            ("s", Arc::new(StructArray::from(vec![(field, Arc::new(x) as ArrayRef)]))),
            ("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(list))),
        ],
        3,
    )
}

/// 20 rows: y 0..20, k = y % 8, z = y % 7 or NULL.
pub fn small_b() -> MemTable {
    let y: Vec<i64> = (0..20).collect();
    mem_table(
        vec![
            ("y", Arc::new(Int64Array::from(y.clone()))),
            ("k", Arc::new(y.iter().map(|y| Some(y % 8)).collect::<Int64Array>())),
            (
                "z",
                Arc::new(y.iter().map(|y| (y % 5 != 4).then_some(y % 7)).collect::<Int64Array>()),
            ),
        ],
        2,
    )
}

/// 8 rows: k of 3..7 or NULL, w with duplicates.
pub fn small_c() -> MemTable {
    let row: Vec<i64> = (0..8).collect();
    mem_table(
        vec![
            (
                "k",
                Arc::new(
                    row.iter()
                        .map(|row| (row % 4 != 3).then_some(3 + row % 5))
                        .collect::<Int64Array>(),
                ),
            ),
            ("w", Arc::new(row.iter().map(|row| Some(row / 2)).collect::<Int64Array>())),
        ],
        1,
    )
}

fn mem_table(columns: Vec<(&str, ArrayRef)>, partitions: usize) -> MemTable {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let rows = batch.num_rows() / partitions;
    let partitions = (0..partitions).map(|part| vec![batch.slice(part * rows, rows)]).collect();
    MemTable::try_new(schema, partitions).unwrap()
}
