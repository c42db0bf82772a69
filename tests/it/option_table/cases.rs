//! [`Case`], a level at which an option can be set for a call of some kind, in SQL.

use farcall::FarcallSession;
use farcall::udf::testing::ScriptedFunction;
use farcall::udf::{AsyncFunction, CallError, CallOptions, async_fn, async_table_fn};

use crate::support::remote::message;
use crate::support::twins::lines;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A function that takes rows in batches.
    Batch,
    /// A function that takes one row at a time.
    RowWise,
    /// A table function, `series`.
    Table,
    /// A model behind HTTP.
    Model,
    /// A lookup table in memory.
    Lookup,
}

/// Where an option is set, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A named argument of PREDICT.
    Call,
    /// A LOOKUP hint.
    Hint,
    /// `SET farcall.function.<name>.<option>`.
    Function,
    /// What a function says of itself where it is registered.
    Declared,
    /// WITH of CREATE MODEL.
    Model,
    /// OPTIONS or WITH of a lookup table.
    Table,
    /// `SET farcall.<group>.<option>`; for a model the group is `ml_predict`.
    Session,
    /// `SET farcall.async_scalar.<option>` for a model.
    WiderSession,
}

impl Level {
    /// Returns the word by which EXPLAIN VERBOSE names the level.
    pub fn word(self) -> &'static str {
        match self {
            Level::Call => "call",
            Level::Hint => "hint",
            Level::Function | Level::Declared => "function",
            Level::Model => "model",
            Level::Table => "table",
            Level::Session | Level::WiderSession => "session",
        }
    }
}

/// The words of all levels.
pub const WORDS: [&str; 7] = ["call", "hint", "function", "model", "table", "session", "default"];

/// A call of a kind, with options set at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub kind: Kind,
    pub level: Level,
}

/// Every level at which options can be set, for every kind of call, the narrowest first.
pub const CASES: [Case; 16] = [
    case(Kind::Batch, Level::Function),
    case(Kind::Batch, Level::Declared),
    case(Kind::Batch, Level::Session),
    case(Kind::RowWise, Level::Function),
    case(Kind::RowWise, Level::Session),
    case(Kind::Table, Level::Function),
    case(Kind::Table, Level::Session),
    case(Kind::Model, Level::Call),
    case(Kind::Model, Level::Function),
    case(Kind::Model, Level::Model),
    case(Kind::Model, Level::Session),
    case(Kind::Model, Level::WiderSession),
    case(Kind::Lookup, Level::Hint),
    case(Kind::Lookup, Level::Function),
    case(Kind::Lookup, Level::Table),
    case(Kind::Lookup, Level::Session),
];

const fn case(kind: Kind, level: Level) -> Case {
    Case { kind, level }
}

/// An option as SQL writes it, and its value.
pub type Set<'s> = (&'s str, &'s str);

/// A statement that was refused, or what a query's calls show.
pub type Told = Result<String, String>;

/// The names by which options of the four that say how a miss is retried are given together.
const RETRY: [Set<'static>; 4] = [
    ("retry_predicate", "lookup_miss"),
    ("retry_strategy", "fixed_delay"),
    ("retry_delay", "1s"),
    ("max_attempts", "2"),
];

/// A session in which options are set, and the query that calls.
pub struct Scene {
    pub session: FarcallSession,
    pub query: String,
}

/// Sets options, each at its level.
pub async fn scene(kind: Kind, sets: &[(Level, Set<'_>)]) -> Result<Scene, String> {
    let session = session(kind, &at(Level::Declared, sets)).await?;
    for statement in statements(kind, sets) {
        session.sql(&statement).await.map_err(|error| message(&error))?;
    }
    Ok(Scene { session, query: query(kind, sets) })
}

impl Scene {
    /// Returns what EXPLAIN VERBOSE shows of the call in the plan that runs, the last one.
    pub async fn explain(&self) -> Told {
        let sql = format!("EXPLAIN VERBOSE {}", self.query);
        let frame = self.session.sql(&sql).await.map_err(|error| message(&error))?;
        let batches = frame.collect().await.map_err(|error| message(&error))?;
        let text = lines(&batches).join("\n");
        let line = text.lines().rfind(|line| line.contains("AsyncCalcExec: "));
        line.map(str::to_owned).ok_or_else(|| format!("no call in the plan of {}", self.query))
    }
}

/// Sets options, each at its level, and returns what EXPLAIN VERBOSE shows of the call.
pub async fn explain(kind: Kind, sets: &[(Level, Set<'_>)]) -> Told {
    scene(kind, sets).await?.explain().await
}

/// Makes a session with what is called: function `b`, which has the alias `bee` and says `declared`, or
/// `r`, `series`, or the rows of `users`.
async fn session(kind: Kind, declared: &[Set<'_>]) -> Result<FarcallSession, String> {
    let session = FarcallSession::new().map_err(|error| message(&error))?;
    let mut options = CallOptions::new();
    for (name, value) in declared {
        options.set(name, value).map_err(|error| error.to_string())?;
    }
    match kind {
        Kind::Batch => {
            let function = ScriptedFunction::new("b")
                .with_declaration(|b| b.with_options(options).with_aliases(["bee"]));
            session.register(function.build().0);
        }
        Kind::RowWise => {
            session.register(async_fn("r", |n: i64| async move { Ok::<i64, CallError>(n) }));
        }
        Kind::Table => {
            let series = async_table_fn("series", ["a"], |n: i64| async move {
                Ok::<Vec<(i64,)>, CallError>(vec![(n,)])
            });
            session.register(AsyncFunction::from(series));
        }
        Kind::Lookup => {
            let rows = "CREATE TABLE stored (id BIGINT, name VARCHAR) AS VALUES (1, 'ann')";
            let created = session.sql(rows).await.map_err(|error| message(&error))?;
            created.collect().await.map_err(|error| message(&error))?;
        }
        Kind::Model => {}
    }
    Ok(session)
}

fn statements(kind: Kind, sets: &[(Level, Set<'_>)]) -> Vec<String> {
    let mut statements = Vec::new();
    match kind {
        Kind::Model => statements.push(create_model(&at(Level::Model, sets))),
        Kind::Lookup => statements.push(create_table(&at(Level::Table, sets))),
        Kind::Batch | Kind::RowWise | Kind::Table => {}
    }
    let (name, group) = match kind {
        Kind::Batch => ("b", "async_scalar"),
        Kind::RowWise => ("r", "async_scalar"),
        Kind::Table => ("series", "async_table"),
        Kind::Model => ("m", "ml_predict"),
        Kind::Lookup => ("users", "async_lookup"),
    };
    for (level, (option, value)) in sets {
        statements.extend(match level {
            Level::Function => Some(format!("SET farcall.function.{name}.{option} = '{value}'")),
            Level::Session => Some(format!("SET farcall.{group}.{option} = '{value}'")),
            Level::WiderSession => Some(format!("SET farcall.async_scalar.{option} = '{value}'")),
            _ => None,
        });
    }
    statements
}

pub fn create_model(options: &[Set<'_>]) -> String {
    let options: String =
        options.iter().map(|(name, value)| format!(", '{name}' = '{value}'")).collect();
    format!(
        "CREATE MODEL m INPUT (x BIGINT) OUTPUT (y BIGINT) WITH ('provider' = 'http', 'endpoint' = \
         'http://127.0.0.1:9/m'{options})"
    )
}

pub fn create_table(options: &[Set<'_>]) -> String {
    let options: String =
        options.iter().map(|(name, value)| format!(", '{name}' '{value}'")).collect();
    format!(
        "CREATE EXTERNAL TABLE users (id BIGINT, name VARCHAR, PRIMARY KEY (id)) STORED AS LOOKUP \
         OPTIONS ('connector' 'memory', 'table' 'stored'{options})"
    )
}

fn query(kind: Kind, sets: &[(Level, Set<'_>)]) -> String {
    let rows = "(VALUES (CAST(1 AS BIGINT)), (2)) AS t (id)";
    match kind {
        Kind::Batch => format!("SELECT b(t.id) AS v FROM {rows}"),
        Kind::RowWise => format!("SELECT r(t.id) AS v FROM {rows}"),
        Kind::Table => format!("SELECT q.a FROM {rows}, series(t.id) q"),
        Kind::Model => format!("SELECT {} AS v FROM {rows}", predict(&at(Level::Call, sets))),
        Kind::Lookup => {
            let hint = hint(&at(Level::Hint, sets));
            format!("SELECT {hint} u.name FROM {rows} LEFT JOIN users u ON t.id = u.id")
        }
    }
}

pub fn predict(options: &[Set<'_>]) -> String {
    let options: String =
        options.iter().map(|(name, value)| format!(", {name} => '{value}'")).collect();
    format!("PREDICT(m, t.id{options})")
}

/// Writes a hint; one of the four options of retries brings the others.
pub fn hint(options: &[Set<'_>]) -> String {
    if options.is_empty() {
        return String::new();
    }
    let mut options = options.to_vec();
    let is_given =
        |options: &[Set<'_>], name: &str| options.iter().any(|(known, _)| *known == name);
    if RETRY.iter().any(|(name, _)| is_given(&options, name)) {
        for set in RETRY {
            if !is_given(&options, set.0) {
                options.push(set);
            }
        }
    }
    let options: String =
        options.iter().map(|(name, value)| format!(", '{name}'='{value}'")).collect();
    format!("/*+ LOOKUP('table'='u'{options}) */")
}

fn at<'s>(wanted: Level, sets: &[(Level, Set<'s>)]) -> Vec<Set<'s>> {
    sets.iter().filter(|(level, _)| *level == wanted).map(|(_, set)| *set).collect()
}
