//! Each option at each level: honoured or refused by name, and no third.
//!
//! EXPLAIN VERBOSE shows every option of a call as `name=value (level)`, the level being the one that
//! set it: `call`, `hint`, `function`, `model`, `table`, `session` or `default`. What it shows is
//! what holds, what travels with the plan, and, where nobody set anything, what the table of options
//! says.

mod cases;
mod dedup;
mod repeated;

use std::sync::Arc;

use cases::{CASES, Case, Kind, Level, Scene, Set, Told, WORDS, explain, scene};
use datafusion::physical_plan::displayable;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use farcall::udf::CallOptions;

/// Each option with a value that is not its default, as SQL writes it and as it is shown.
const VALUES: [(&str, &str); 33] = [
    ("mode", "sync"),
    ("output_mode", "allow_unordered"),
    ("buffer_capacity", "7"),
    ("max_batch_size", "5"),
    ("max_batch_bytes", "1000"),
    ("batch_timeout", "7ms"),
    ("max_buffered_rows", "700"),
    ("attempt_timeout", "7s"),
    ("timeout", "7m"),
    ("timeout_policy", "allow_partial"),
    ("retry_strategy", "fixed_delay"),
    ("retry_delay", "7ms"),
    ("max_retry_delay", "7s"),
    ("retry_multiplier", "3"),
    ("max_attempts", "7"),
    ("retry_predicate", "lookup_miss"),
    ("on_error", "null"),
    ("null_input", "send"),
    ("max_concurrency", "7"),
    ("rpm", "7"),
    ("tpm", "700"),
    ("adaptive", "false"),
    ("dedup", "false"),
    ("dedup_max_bytes", "7000"),
    ("cache", "partial"),
    ("cache_max_bytes", "7000"),
    ("cache_max_rows", "7"),
    ("cache_ttl", "7s"),
    ("cache_ttl_after_access", "7s"),
    ("cache_missing_keys", "false"),
    ("cache_reload_interval", "7s"),
    ("cost", "7"),
    ("selectivity", "0.25"),
];

/// Options that a hint may leave to other levels; the others it takes, under their own names too.
const NOT_OF_HINTS: [&str; 15] = [
    "max_batch_bytes",
    "max_buffered_rows",
    "attempt_timeout",
    "timeout_policy",
    "max_retry_delay",
    "retry_multiplier",
    "on_error",
    "null_input",
    "max_concurrency",
    "rpm",
    "tpm",
    "adaptive",
    "dedup_max_bytes",
    "cost",
    "selectivity",
];

/// Options that mean something for lookups alone.
const OF_LOOKUPS: [&str; 3] = ["retry_predicate", "cache_missing_keys", "cache_reload_interval"];

/// What must become of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Honoured,
    /// It has no meaning there, and the message says its name.
    Refused,
    /// One of both.
    Either,
    /// The function itself says how many rows a request has, and is narrower than a session.
    OneRow,
}

fn fate(case: Case, option: &str) -> Fate {
    match (case.kind, case.level, option) {
        // NULL equals nothing, whatever a store would find for it.
        (Kind::Lookup, _, "null_input") => Fate::Refused,
        (Kind::RowWise | Kind::Table, Level::Session, "max_batch_size") => Fate::OneRow,
        (Kind::RowWise | Kind::Table, _, "max_batch_size") => Fate::Refused,
        (Kind::Lookup, Level::Hint, _) if NOT_OF_HINTS.contains(&option) => Fate::Either,
        (Kind::Lookup, ..) => Fate::Honoured,
        _ if OF_LOOKUPS.contains(&option) => Fate::Either,
        _ => Fate::Honoured,
    }
}

#[test]
fn the_values_are_of_all_options() {
    let names: Vec<&str> = VALUES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, CallOptions::names());
}

#[tokio::test]
async fn each_option_is_honoured_or_refused_by_name_at_each_level() {
    let mut wrong = Vec::new();
    for case in CASES {
        let (plain, others): (Vec<_>, Vec<_>) =
            VALUES.into_iter().partition(|(option, _)| fate(case, option) == Fate::Honoured);
        // What is honoured is so beside others, too; one by one it takes minutes.
        let sets: Vec<_> = plain.iter().map(|set| (case.level, *set)).collect();
        let together = explain(case.kind, &sets).await;
        for set in plain.iter().chain(&others) {
            let told = match &together {
                Ok(line) if plain.contains(set) => Ok(line.clone()),
                _ => explain(case.kind, &[(case.level, *set)]).await,
            };
            wrong.extend(complaint(case, *set, &told));
        }
    }
    assert!(wrong.is_empty(), "{} of the table:\n{}", wrong.len(), wrong.join("\n"));
}

/// Says what became of an option, unless it is what should.
fn complaint(case: Case, (option, value): Set<'_>, told: &Told) -> Option<String> {
    let shown = told.as_ref().ok().and_then(|line| shown(line, option));
    let honoured = shown == Some((value.to_owned(), case.level.word()));
    let refused = told.as_ref().is_err_and(|error| error.contains(option));
    let right = match fate(case, option) {
        Fate::Honoured => honoured,
        Fate::Refused => refused,
        Fate::Either => honoured || refused,
        Fate::OneRow => shown == Some(("1".to_owned(), "function")),
    };
    let got = match told {
        Ok(_) => format!("shown as {shown:?}"),
        Err(error) => error.clone(),
    };
    let Case { kind, level } = case;
    (!right).then(|| format!("{kind:?}, {level:?}, {option} = '{value}': {got}"))
}

#[tokio::test]
async fn an_option_that_nobody_set_has_the_default_of_the_table() {
    let mut wrong = Vec::new();
    for kind in [Kind::Batch, Kind::RowWise, Kind::Table, Kind::Model, Kind::Lookup] {
        let line = explain(kind, &[]).await.unwrap();
        for info in CallOptions::TABLE {
            let expected = match (info.name, kind) {
                ("max_batch_size", Kind::RowWise | Kind::Table) => ("1", "function"),
                ("max_batch_size", _) => ("32", "default"),
                ("null_input", _) => ("skip", "default"),
                ("adaptive", Kind::Model) => ("true", "default"),
                ("adaptive", _) => ("false", "default"),
                ("cost", _) => ("1", "default"),
                ("selectivity", _) => ("0.5", "default"),
                _ => (info.default, "default"),
            };
            let got = shown(&line, info.name);
            if got != Some((expected.0.to_owned(), expected.1)) {
                wrong.push(format!("{kind:?} {}: {got:?}, not {expected:?}", info.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} defaults:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_narrowest_level_wins() {
    let mut wrong = Vec::new();
    for kind in [Kind::Batch, Kind::Table, Kind::Model, Kind::Lookup] {
        let levels = CASES.iter().filter(|case| case.kind == kind).map(|case| case.level);
        let levels: Vec<Level> = levels.collect();
        let values = |level: usize| {
            let dedup = if level.is_multiple_of(2) { "false" } else { "true" };
            [
                ("buffer_capacity", ["11", "12", "13", "14", "15"][level]),
                ("timeout", ["11s", "12s", "13s", "14s", "15s"][level]),
                // Of two values, so that neighbours differ.
                ("dedup", dedup),
            ]
        };
        for narrowest in 0..levels.len() {
            let sets: Vec<_> = (narrowest..levels.len())
                .flat_map(|level| values(level).map(|set| (levels[level], set)))
                .collect();
            let told = explain(kind, &sets).await;
            for (option, value) in values(narrowest) {
                let got = told.as_ref().map(|line| shown(line, option));
                let level = levels[narrowest];
                if got != Ok(Some((value.to_owned(), level.word()))) {
                    wrong.push(format!("{kind:?}, {option} set from {level:?} on: {got:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_name_and_an_alias_set_options_of_one_function() {
    let name = (Level::Function, ("timeout", "7m"));
    let scene = scene(Kind::Batch, &[name]).await.unwrap();
    let refused = scene.session.sql("SET farcall.function.b.colour = 'red'").await;
    assert!(refused.is_err());
    scene.session.sql("SET farcall.function.bee.buffer_capacity = '7'").await.unwrap();
    let line = scene.explain().await.unwrap();
    assert_eq!(shown(&line, "timeout"), Some(("7m".to_owned(), "function")), "{line}");
    assert_eq!(shown(&line, "buffer_capacity"), Some(("7".to_owned(), "function")), "{line}");
    let window = line.contains("window=7,");
    assert!(window, "what is shown is not what holds: {line}");
}

#[tokio::test]
async fn what_cannot_be_an_option_is_refused_at_every_level_in_the_same_words() {
    let no_such = "no such option, accepted are 'mode', ";
    let zero = "value 0 is not accepted, the least is 1";
    let unit = "value '30' is not accepted, a duration needs a unit";
    let mut wrong = Vec::new();
    for case in CASES {
        for (option, value, words) in
            [("colour", "red", no_such), ("buffer_capacity", "0", zero), ("timeout", "30", unit)]
        {
            // What CREATE does not know may be the provider's or the connector's.
            if option == "colour" && matches!(case.level, Level::Model | Level::Table) {
                continue;
            }
            let told = explain(case.kind, &[(case.level, (option, value))]).await;
            let refused = |error: &String| error.contains(option) && error.contains(words);
            if !told.as_ref().is_err_and(refused) {
                wrong.push(format!("{case:?} {option} = '{value}': {told:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn values_and_levels_travel_with_the_plan() {
    for (kind, level) in [
        (Kind::Batch, Level::Function),
        (Kind::Batch, Level::Session),
        (Kind::Model, Level::Call),
        (Kind::Model, Level::Model),
        (Kind::Lookup, Level::Hint),
        (Kind::Lookup, Level::Table),
    ] {
        let set = (level, ("timeout", "7m"));
        let Scene { session, query } = scene(kind, &[set]).await.unwrap();
        // What was set by statements is not set there; what is defined by a statement is.
        let defined = matches!(level, Level::Model | Level::Table);
        let sets_there = if defined { vec![set] } else { vec![] };
        let there = scene(kind, &sets_there).await.unwrap().session;
        let plan = session.sql(&query).await.unwrap().create_physical_plan().await.unwrap();
        let bytes =
            physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &session.codec())
                .unwrap();
        let context = there.context().task_ctx();
        let back = physical_plan_from_bytes_with_extension_codec(&bytes, &context, &there.codec())
            .unwrap();
        let text = |plan: &_| displayable(plan).indent(true).to_string();
        assert_eq!(text(plan.as_ref()), text(back.as_ref()), "{kind:?}, {level:?}");
        let shown = shown(&text(back.as_ref()), "timeout");
        assert_eq!(shown, Some(("7m".to_owned(), level.word())), "{kind:?}, {level:?}");
    }
}

/// Returns the value of an option and the level that set it, as a line of EXPLAIN VERBOSE has them.
fn shown(line: &str, option: &str) -> Option<(String, &'static str)> {
    let start = format!("{option}=");
    line.match_indices(&start).find_map(|(place, _)| {
        let before = line[..place].chars().next_back()?;
        let (value, rest) = line[place + start.len()..].split_once(" (")?;
        let level = WORDS.into_iter().find(|word| rest.starts_with(&format!("{word})")))?;
        let stands_alone = matches!(before, ' ' | '[') && !value.contains([',', '=']);
        stands_alone.then(|| (value.to_owned(), level))
    })
}

#[test]
fn a_value_is_read_with_its_level() {
    let line = "[async, timeout=1m/3m, calls<=2, cache_timeout=2s (call), timeout=7m (session), \
                on_error=default:x (model)]";
    assert_eq!(shown(line, "timeout"), Some(("7m".to_owned(), "session")));
    assert_eq!(shown(line, "on_error"), Some(("default:x".to_owned(), "model")));
    assert_eq!(shown(line, "calls"), None);
}
