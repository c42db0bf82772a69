//! Runs one statement up to the point where its rows can be read.

use std::sync::Arc;

use datafusion::common::config::ExtensionOptions;
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    CreateView, DdlStatement, LogicalPlan, LogicalPlanBuilder, Prepare, Statement as PlanStatement,
};
use datafusion::prelude::DataFrame;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::Statement as AstStatement;
use farcall_udf::{CallError, FarcallConfig};

use crate::catalog::{IfExists, LookupSpec, ModelSpec, Objects};
use crate::sql::lookup_statement::CreateLookupTable;
use crate::sql::model_statement::CreateModel;
use crate::sql::names::{table_name, table_reference};
use crate::sql::predict::bind::bind_models;
use crate::sql::predict::call;
use crate::sql::{Statement, columns, lookup_hint, show, system_time, table_call};

/// Runs a statement up to the point where its rows can be read.
pub(crate) async fn execute(session: &Objects, statement: Statement) -> Result<DataFrame> {
    let context = session.context();
    let models = session.models();
    match statement {
        Statement::DataFusion(statement) => return query(session, *statement).await,
        Statement::CreateModel(statement) => create_model(session, *statement)?,
        Statement::CreateLookupTable(statement) => {
            create_lookup_table(session, *statement).await?;
        }
        Statement::DropModel { name, if_exists } => {
            models.drop_model(&name, if_exists)?;
        }
        Statement::ShowModels => return context.read_batch(show::models(&models.list())?),
        Statement::ShowCreateModel { name } => {
            return context.read_batch(show::create_model(models.get(&name)?.as_ref())?);
        }
        Statement::DescribeModel { name } => {
            return context.read_batch(show::describe_model(models.get(&name)?.as_ref())?);
        }
        Statement::Set { key, written, value } => {
            configure(session, &written, |config| config.set(&key, &value))?;
        }
        Statement::Reset { key, written } => {
            configure(session, &written, |config| config.reset(&key))?;
        }
    }
    Ok(DataFrame::new(context.state(), LogicalPlanBuilder::empty(false).build()?))
}

async fn query(session: &Objects, mut statement: SqlStatement) -> Result<DataFrame> {
    let context = session.context();
    // A view keeps the name of its model and looks it up when it is used.
    let written = is_view(&statement).then(|| statement.to_string());
    call::rewrite(&mut statement, session.models())?;
    system_time::check(&mut statement, context).await?;
    lookup_hint::rewrite(&mut statement)?;
    table_call::rewrite(&mut statement, context)?;
    let state = context.state();
    match state.statement_to_plan(statement).await? {
        LogicalPlan::Ddl(DdlStatement::CreateView(view)) => {
            let definition = written.or(view.definition);
            let view = CreateView { definition, ..view };
            context.execute_logical_plan(LogicalPlan::Ddl(DdlStatement::CreateView(view))).await
        }
        LogicalPlan::Statement(PlanStatement::Prepare(prepare)) => {
            // DataFusion optimizes what it prepares without analyzing it: LATERAL is a join by then.
            let input = bind_models(Arc::unwrap_or_clone(prepare.input))?;
            let input = Arc::new(table_call::analyze(input, &state)?);
            let prepare =
                LogicalPlan::Statement(PlanStatement::Prepare(Prepare { input, ..prepare }));
            context.execute_logical_plan(prepare).await
        }
        plan @ (LogicalPlan::Ddl(_) | LogicalPlan::Statement(_)) => {
            context.execute_logical_plan(bind_models(plan)?).await
        }
        // As `execute_logical_plan` does, but with the state that is there: to clone it once more
        // would be a good part of planning.
        plan => Ok(DataFrame::new(state, bind_models(plan)?)),
    }
}

fn is_view(statement: &SqlStatement) -> bool {
    match statement {
        SqlStatement::Statement(statement) => matches!(**statement, AstStatement::CreateView(_)),
        _ => false,
    }
}

fn create_model(session: &Objects, statement: CreateModel) -> Result<()> {
    let CreateModel { if_exists, name, input, output, comment, options } = statement;
    let state = session.context().state();
    let owner = format!("model {name}");
    let input = columns::fields(&owner, input, &state)?;
    let output = columns::fields(&owner, output, &state)?;
    let spec = ModelSpec { name, input, output, comment, options };
    session.models().create(spec, if_exists)?;
    Ok(())
}

async fn create_lookup_table(session: &Objects, statement: CreateLookupTable) -> Result<()> {
    let CreateLookupTable { if_exists, name: written, columns, key, options } = statement;
    let context = session.context();
    let (name, table) = (table_name(&written), table_reference(&written));
    if context.table_exist(table.clone())? {
        match if_exists {
            IfExists::Keep => return Ok(()),
            IfExists::Replace => {}
            IfExists::Fail => return plan_err!("table '{name}' exists"),
        }
    }
    let columns = columns::fields(&format!("lookup table {name}"), columns, &context.state())?;
    let spec = LookupSpec { name: name.clone(), columns, key, options };
    let lookups = session.lookups();
    let provider = lookups.entry(lookups.create(&spec, context).await?)?;
    context.deregister_table(table.clone())?;
    context.register_table(table, Arc::new(provider))?;
    Ok(())
}

/// Changes the session's options; an error names the option as the user wrote it.
fn configure(
    session: &Objects,
    written: &str,
    change: impl FnOnce(&mut FarcallConfig) -> Result<()>,
) -> Result<()> {
    let state = session.context().state_ref();
    let mut state = state.write();
    let extensions = &mut state.config_mut().options_mut().extensions;
    if extensions.get::<FarcallConfig>().is_none() {
        extensions.insert(FarcallConfig::default());
    }
    let Some(config) = extensions.get_mut::<FarcallConfig>() else {
        return Err(DataFusionError::Internal("the session lacks farcall's options".into()));
    };
    change(config).map_err(|error| {
        let refused = match CallError::find(&error).as_deref() {
            Some(CallError::BadOption { message, .. }) => Some(message.clone()),
            _ => None,
        };
        match refused {
            Some(message) => CallError::BadOption { option: written.to_owned(), message }.into(),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionConfig;
    use farcall_planner::Plain;
    use farcall_udf::CallOptions;

    use super::*;
    use crate::catalog::table::CatalogLookups;
    use crate::catalog::testing::{TestProvider, spec, with};
    use crate::session::FarcallSession;
    use crate::sql::predict::install;

    const CREATE: &str = "CREATE MODEL m INPUT (text VARCHAR) OUTPUT (label VARCHAR, score DOUBLE)
        COMMENT 'why' WITH ('provider' = 'test', 'endpoint' = 'http://h/score', \
        'headers' = 'Authorization: hush', 'max_batch_size' = '64')";

    #[tokio::test]
    async fn a_definition_answers_nothing_and_is_listed() {
        let session = session();
        assert_eq!(rows(&session, CREATE).await, "++\n++");
        rows(&session, "CREATE MODEL a INPUT (x INT) OUTPUT (y INT) WITH ('provider' = 'test')")
            .await;
        let shown = rows(&session, "SHOW MODELS").await;
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().to_owned()).filter(|c| !c.is_empty()).collect()
        };
        let lines: Vec<Vec<String>> = shown.lines().skip(1).map(cells).collect();
        assert_eq!(lines[0], ["name", "provider", "input", "output", "options"]);
        assert_eq!(lines[2], ["a", "test", "x INT", "y INT"]);
        let options = "'endpoint' = 'http://h/score', 'headers' = '***', 'max_batch_size' = '64'";
        let output = "label VARCHAR, score DOUBLE";
        assert_eq!(lines[3], ["m", "test", "text VARCHAR", output, options]);
    }

    #[tokio::test]
    async fn a_shown_definition_makes_the_same_model() {
        let session = session();
        let types = "a BOOLEAN, b TINYINT, c SMALLINT, d INT, e BIGINT, f TINYINT UNSIGNED, \
                     g BIGINT UNSIGNED, h FLOAT, i DOUBLE, j VARCHAR, k BYTEA, l DATE, m TIME, \
                     n TIMESTAMP, o TIMESTAMP(3), p DECIMAL(20, 3), q ARRAY<FLOAT>, r FLOAT[384], \
                     s STRUCT<a INT, \"B c\" ARRAY<VARCHAR>>, t INTERVAL, u FLOAT[], \
                     \"select\" INT, \"V\" INT, w TEXT, x NUMERIC(9)";
        let create = format!(
            "CREATE MODEL \"M\".x INPUT ({types}) OUTPUT ({types}) COMMENT 'it''s' \
             WITH ('provider' = 'test', 'version' = 'v''1', 'headers' = '${{env:TOKEN}}')"
        );
        rows(&session, &create).await;
        let model = session.models().get("M.x").unwrap();
        rows(&session, "DROP MODEL \"M\".x").await;
        rows(&session, &model.to_sql()).await;
        let again = session.models().get("M.x").unwrap();
        assert_eq!((again.input(), again.output()), (model.input(), model.output()));
        assert_eq!(again.to_sql(), model.to_sql());
        assert_eq!(again.function(), model.function());
    }

    #[tokio::test]
    async fn show_create_and_describe_show_the_model_without_secrets() {
        let session = session();
        rows(&session, CREATE).await;
        let shown = rows(&session, "SHOW CREATE MODEL m").await;
        assert!(shown.contains("CREATE MODEL m") && shown.contains("'headers' = '***'"), "{shown}");
        assert!(shown.contains("COMMENT 'why'") && !shown.contains("hush"), "{shown}");
        assert_eq!(
            rows(&session, "DESCRIBE MODEL m").await,
            "\
+-------------+-----------+--------+
| column_name | data_type | role   |
+-------------+-----------+--------+
| text        | VARCHAR   | input  |
| label       | VARCHAR   | output |
| score       | DOUBLE    | output |
+-------------+-----------+--------+"
        );
    }

    #[tokio::test]
    async fn a_bad_definition_is_refused_and_nothing_is_registered() {
        let session = session();
        for (clauses, message) in [
            (
                "INPUT (a HSTORE) OUTPUT (b INT) WITH ('provider' = 'test')",
                "model m: column a at Line: 1, Column: 23: ",
            ),
            (
                "INPUT (a INT) OUTPUT (b INT)",
                "model m: option 'provider': missing, accepted are 'test'",
            ),
            (
                "INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'nil')",
                "no provider 'nil', accepted are 'test'",
            ),
            (
                "INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'test', 'timeout' = '0s', 'headers' = 'hush')",
                "model m: option 'timeout': value '0s' is not accepted",
            ),
            (
                "INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'test', 'colour' = 'hush')",
                "no option 'colour'",
            ),
        ] {
            let error = session.sql(&format!("CREATE MODEL m {clauses}")).await.unwrap_err();
            let error = error.to_string();
            assert!(error.contains(message) && !error.contains("hush"), "{clauses}: {error}");
        }
        assert!(session.models().list().is_empty());
    }

    #[tokio::test]
    async fn a_view_is_shown_as_it_was_written() {
        let session = session();
        rows(&session, CREATE).await;
        rows(&session, "CREATE VIEW v AS SELECT PREDICT(m, 'x', mode => 'sync') AS p").await;
        let shown = rows(&session, "SELECT definition FROM information_schema.views").await;
        assert!(shown.contains("SELECT PREDICT(m, 'x', mode => 'sync') AS p"), "{shown}");
    }

    #[tokio::test]
    async fn several_outputs_are_a_struct_with_fields() {
        let session = session();
        rows(&session, CREATE).await;
        let sql = "SELECT PREDICT(m, 'x')['score'] AS s, PREDICT(m, 'x').label AS l";
        let frame = session.sql(sql).await.unwrap();
        let types: Vec<_> =
            frame.schema().fields().iter().map(|f| f.data_type().to_string()).collect();
        assert_eq!(types, ["Float64", "Utf8View"]);
    }

    #[tokio::test]
    async fn explain_shows_the_call_and_no_secret() {
        let session = session();
        rows(&session, CREATE).await;
        let plan = "EXPLAIN SELECT PREDICT(m, 'x') AS p";
        let plan = session.sql(plan).await.unwrap();
        let shown = format!("{} {:?}", plan.logical_plan(), plan.logical_plan());
        assert!(shown.contains("m(CAST(Utf8(") && !shown.contains("hush"), "{shown}");
    }

    #[tokio::test]
    async fn options_are_set_shown_and_reset() {
        let session = session();
        for (set, shown) in [
            ("SET farcall.async_scalar.timeout = '30s'", Some("30s")),
            ("SET table.exec.async-scalar.timeout = 9s", Some("9s")),
            ("SET 'table.exec.async-scalar.timeout' = '8s'", Some("8s")),
            ("RESET table.exec.async-scalar.timeout", None),
            ("SET \"farcall.async-scalar.timeout\" TO '7s'", Some("7s")),
            ("RESET farcall.async_scalar.timeout", None),
        ] {
            rows(&session, set).await;
            let table = rows(&session, "SHOW farcall.async_scalar.timeout").await;
            assert!(table.contains(&format!("| {} ", shown.unwrap_or("3m"))), "{set}: {table}");
        }
    }

    #[tokio::test]
    async fn a_bad_setting_names_the_option_as_it_was_written() {
        let session = session();
        for (sql, message) in [
            (
                "SET table.exec.async-scalar.buffer-capacity = 0",
                "bad option table.exec.async-scalar.buffer-capacity: value 0 is not accepted, the least is 1",
            ),
            (
                "SET farcall.async_scalar.colour = 'red'",
                "bad option farcall.async_scalar.colour: no such option, accepted are 'mode'",
            ),
            ("SET farcall.colour = 'red'", "bad option farcall.colour: no such option"),
            (
                "RESET farcall.async_scalar.colour",
                "bad option farcall.async_scalar.colour: no such option",
            ),
            (
                "SET table.exec.async-scalar.retry-strategy = often",
                "'no_retry', 'fixed_delay', 'exponential_backoff'",
            ),
        ] {
            let error = session.sql(sql).await.unwrap_err().to_string();
            assert!(error.contains(message), "{sql}: {error}");
        }
    }

    #[tokio::test]
    async fn what_is_set_reaches_the_resolution_of_a_call() {
        let session = session();
        rows(&session, CREATE).await;
        rows(&session, "SET farcall.ml_predict.max_batch_size = 8").await;
        let rows_of = |session: &FarcallSession| {
            let model = session.models().get("m").unwrap();
            let state = session.context().state();
            let config = FarcallConfig::of(state.config_options());
            config.resolve(model.function(), &CallOptions::new()).unwrap().max_batch_size()
        };
        assert_eq!(rows_of(&session), 64);
        rows(&session, "SET farcall.function.m.max_batch_size = 4").await;
        assert_eq!(rows_of(&session), 4);
    }

    #[tokio::test]
    async fn a_state_of_the_users_keeps_its_options_and_rules() {
        let mut config = SessionConfig::new().with_option_extension(FarcallConfig::default());
        config.options_mut().set("farcall.async_scalar.mode", "sync").unwrap();
        let state = datafusion::execution::SessionStateBuilder::new()
            .with_default_features()
            .with_config(config);
        let registry = crate::catalog::testing::registry();
        let plain = Plain::new(Arc::new(CatalogLookups), crate::sql::predict::bind::is_predict);
        let state = install(state, &registry, &Arc::new(plain)).build();
        let shown = FarcallConfig::of(state.config_options()).entries();
        let mode = shown.iter().find(|entry| entry.key == "farcall.async_scalar.mode").unwrap();
        assert_eq!(mode.value.as_deref(), Some("sync"));
        let rules: Vec<_> = state.analyzer().rules.iter().map(|rule| rule.name()).collect();
        assert!(rules[0] == "bind_models" && rules.contains(&"type_coercion"), "{rules:?}");
    }

    #[tokio::test]
    async fn a_model_is_called_from_a_dataframe_too() {
        let session = session();
        let model = with(spec("m"), &[]);
        session.models().create(model, Default::default()).unwrap();
        let frame = session.context().sql("SELECT predict('m', 'x') AS p").await.unwrap();
        let plan = frame.into_optimized_plan().unwrap();
        let calls = format!("{plan:?}");
        assert!(calls.contains("AsyncUdf") && !calls.contains("PredictUdf"), "{calls}");
    }

    fn session() -> FarcallSession {
        let session =
            FarcallSession::builder().with_model_provider(Arc::new(TestProvider)).build().unwrap();
        let state = session.context().state_ref();
        state.write().config_mut().options_mut().catalog.information_schema = true;
        session
    }

    async fn rows(session: &FarcallSession, sql: &str) -> String {
        let frame = session.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string()
    }
}
