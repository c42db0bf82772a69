//! What a query opened is its own: another query, session or environment changes nothing of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use async_trait::async_trait;
use farcall::FarcallSession;
use farcall::connect::{Environment, HttpConnector, PostgresConnector, RedisConnector};
use farcall::udf::{
    ArgBatch, AsyncBatchFunction, AsyncBatchLookupFunction, AsyncFunction, BatchAnswer,
    CallContext, CallError, CallOptions, Declaration, FarcallRuntime, FunctionContext,
    LookupConnector, LookupDefinition, LookupQuery, Opened,
};

use crate::support::postgres::Database;
use crate::support::redis::Redis;
use crate::support::server::{Script, TestServer};

/// Two opens of one lookup `(id BIGINT, name VARCHAR)`, between which the environment changed.
struct TwoOpens {
    lookup: Arc<dyn AsyncBatchLookupFunction>,
    before: Opened,
    after: Opened,
}

impl TwoOpens {
    /// `options` name the variables `URL` and `KEY`, which have the values `before` and `after`.
    async fn new(
        connector: &dyn LookupConnector,
        options: &[(&str, &str)],
        before: [&str; 2],
        after: [&str; 2],
    ) -> Self {
        let fields = [("id", DataType::Int64), ("name", DataType::Utf8)];
        let fields: Vec<Field> =
            fields.into_iter().map(|(name, of)| Field::new(name, of, true)).collect();
        let definition = LookupDefinition {
            name: "users".into(),
            schema: Arc::new(Schema::new(fields)),
            key: vec![0],
            options: options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            call_options: CallOptions::new(),
        };
        let changed = Arc::new(AtomicBool::new(false));
        let (now, values) = (Arc::clone(&changed), [before, after].map(|v| v.map(str::to_owned)));
        let environment = Environment::new(move |name| {
            let [url, key] = &values[usize::from(now.load(Ordering::SeqCst))];
            Some(if name == "URL" { url } else { key }.clone())
        });
        let runtime = FarcallRuntime::new();
        runtime.resource(|| Ok::<_, Infallible>(environment)).unwrap();
        let ctx = FunctionContext::new("query", Arc::clone(runtime.resources()));
        let query = LookupQuery::new([0, 1]);
        let lookup = connector.provider(&definition).unwrap().lookup(&query).unwrap();
        let before = lookup.open(&ctx).await.unwrap();
        changed.store(true, Ordering::SeqCst);
        let after = lookup.open(&ctx).await.unwrap();
        Self { lookup, before, after }
    }

    async fn name_of_seven(&self, opened: &Opened) -> Result<String, CallError> {
        let id: FieldRef = Arc::new(Field::new("id", DataType::Int64, true));
        let keys = vec![Arc::new(Int64Array::from(vec![7])) as _];
        let args = ArgBatch::new(keys, vec![Arc::clone(&id)].into(), id, 1);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let ctx = CallContext::new("query", 1, deadline).with_opened(opened.clone());
        let answer = self.lookup.lookup_batch(args, &ctx).await?;
        Ok(answer.columns()[0].as_string::<i32>().value(0).to_owned())
    }
}

#[tokio::test]
async fn http_lookups_keep_the_endpoint_and_the_key_of_their_query() {
    let answer = || Script::Body(r#"{"rows": [{"name": "ann"}]}"#.into());
    let servers = [(); 2].map(|()| TestServer::builder().keep_requests().always(answer()).start());
    let [first, second] = &servers;
    let options = [("endpoint", "${env:URL}"), ("headers", "X-Key: ${env:KEY}")];
    let (before, after) = (first.url(), second.url());
    let opens = TwoOpens::new(&HttpConnector, &options, [&before, "one"], [&after, "two"]).await;
    for opened in [&opens.before, &opens.after, &opens.before] {
        assert_eq!(opens.name_of_seven(opened).await.unwrap(), "ann");
    }
    let keys = |server: &TestServer| {
        let sent = server.requests().into_iter();
        sent.map(|request| request.headers["x-key"].to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (keys(first), keys(second)),
        (vec!["one".to_owned(), "one".into()], vec!["two".to_owned()])
    );
}

#[tokio::test]
async fn redis_lookups_keep_the_server_and_the_password_of_their_query() {
    let redis = Redis::shared().await;
    let key = redis.key("opened", "{id}");
    let stored = vec!["SET".into(), redis.key("opened", 7), r#"{"name": "ann"}"#.into()];
    redis.fill(&[stored]).await;
    let options = [("url", "${env:URL}"), ("password", "${env:KEY}"), ("key", key.as_str())];
    let before = [redis.url(), redis.password().to_owned()];
    let opens = TwoOpens::new(
        &RedisConnector,
        &options,
        before.each_ref().map(String::as_str),
        ["redis://127.0.0.1:9", "wrong"],
    )
    .await;
    assert_eq!(opens.name_of_seven(&opens.before).await.unwrap(), "ann");
    assert!(opens.name_of_seven(&opens.after).await.is_err());
    assert_eq!(opens.name_of_seven(&opens.before).await.unwrap(), "ann");
}

#[tokio::test]
async fn postgres_lookups_keep_the_server_of_their_query() {
    let database = Database::new().await;
    database.run("CREATE TABLE opened (id BIGINT PRIMARY KEY, name TEXT)").await;
    database.run("INSERT INTO opened VALUES (7, 'ann')").await;
    let table = format!("{}.opened", database.schema);
    let options = [("url", "${env:URL}"), ("password", "${env:KEY}"), ("table", table.as_str())];
    let (before, after) = (database.url(), "postgres://nobody@127.0.0.1:9/none");
    let before = [before.as_str(), database.password.as_str()];
    let opens = TwoOpens::new(&PostgresConnector, &options, before, [after, "wrong"]).await;
    assert_eq!(opens.name_of_seven(&opens.before).await.unwrap(), "ann");
    assert!(opens.name_of_seven(&opens.after).await.is_err());
    assert_eq!(opens.name_of_seven(&opens.before).await.unwrap(), "ann");
}

/// Answers each row with the tenant for which it was opened.
#[derive(Debug)]
struct Tenant(Declaration);

#[async_trait]
impl AsyncBatchFunction for Tenant {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn open(&self, ctx: &FunctionContext) -> Result<Opened, CallError> {
        Ok(Opened::new(ctx.parameters["tenant"].clone()))
    }

    async fn eval_batch(
        &self,
        args: ArgBatch,
        ctx: &CallContext,
    ) -> Result<BatchAnswer, CallError> {
        tokio::task::yield_now().await;
        let tenant = ctx.opened.get::<String>().expect("it was opened").as_str();
        Ok(BatchAnswer::new(Arc::new(StringArray::from(vec![tenant; args.num_rows()]))))
    }
}

#[tokio::test]
async fn one_function_in_two_sessions_of_a_runtime_is_opened_for_each() {
    let declaration = Declaration::new("tenant", vec![DataType::Int64], DataType::Utf8);
    let function = AsyncFunction::batch(Tenant(declaration));
    let runtime = Arc::new(FarcallRuntime::new());
    let answers = ["a", "b"].map(|tenant| {
        let builder = FarcallSession::builder().with_runtime(Arc::clone(&runtime));
        let session = builder.with_parameter("tenant", tenant).build().unwrap();
        session.register(function.clone());
        async move {
            let sql = "SELECT tenant(value) AS t, count(*) FROM range(0, 500) GROUP BY 1";
            let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
            let row = rows.iter().find(|rows| rows.num_rows() > 0).unwrap();
            assert_eq!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>(), 1);
            (tenant, arrow::util::display::array_value_to_string(row.column(0), 0).unwrap())
        }
    });
    let answers: BTreeMap<_, _> = futures::future::join_all(answers).await.into_iter().collect();
    assert_eq!(answers, BTreeMap::from([("a", "a".to_owned()), ("b", "b".to_owned())]));
}
