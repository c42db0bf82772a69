use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use datafusion_common::config::ExtensionOptions;

use super::*;
use crate::options::words::Cache;
use crate::{ArgBatch, AsyncBatchFunction, BatchAnswer, CallContext, async_fn, async_table_fn};

#[test]
fn narrower_levels_win_in_the_documented_order() {
    let mut config = FarcallConfig::default();
    let resolved = |config: &FarcallConfig, declared: usize, call: usize| {
        let set = |rows: usize| match rows {
            0 => CallOptions::new(),
            rows => CallOptions::new().with_buffer_capacity(rows),
        };
        config.resolve(&model("m", set(declared)), &set(call)).unwrap().buffer_capacity()
    };
    assert_eq!(resolved(&config, 0, 0), 100);
    config.set("async_scalar.buffer_capacity", "1").unwrap();
    assert_eq!(resolved(&config, 0, 0), 1);
    config.set("ml_predict.buffer_capacity", "2").unwrap();
    assert_eq!(resolved(&config, 0, 0), 2);
    assert_eq!(resolved(&config, 3, 0), 3);
    config.set("function.m.buffer_capacity", "4").unwrap();
    assert_eq!(resolved(&config, 3, 0), 4);
    assert_eq!(resolved(&config, 3, 5), 5);
}

#[test]
fn a_function_does_not_listen_to_the_group_of_models() {
    let mut config = FarcallConfig::default();
    config.set("ml_predict.timeout", "1s").unwrap();
    let options = config.resolve(&row_wise(), &CallOptions::new()).unwrap();
    assert_eq!(options.timeout(), Duration::from_secs(180));
}

#[test]
fn a_batch_function_has_32_rows_unless_somebody_says_otherwise() {
    let mut config = FarcallConfig::default();
    let rows = |config: &FarcallConfig, function: &AsyncFunction| {
        config.resolve(function, &CallOptions::new()).unwrap().max_batch_size()
    };
    let batch = model("m", CallOptions::new());
    assert_eq!((rows(&config, &batch), rows(&config, &row_wise())), (32, 1));
    config.set("async_scalar.max_batch_size", "64").unwrap();
    assert_eq!(rows(&config, &batch), 64);
}

#[test]
fn a_function_is_found_by_its_alias() {
    let mut config = FarcallConfig::default();
    config.set("function.rate.timeout", "1s").unwrap();
    let declaration =
        Declaration::new("score", vec![DataType::Utf8], DataType::Utf8).with_aliases(["rate"]);
    let function = AsyncFunction::batch(Silent(declaration));
    let options = config.resolve(&function, &CallOptions::new()).unwrap();
    assert_eq!(options.timeout(), Duration::from_secs(1));
}

#[test]
fn all_names_of_a_function_count_and_the_last_of_them_wins() {
    let mut config = FarcallConfig::default();
    let f = AsyncFunction::batch(Silent(declared("score").with_aliases(["rate"])));
    let tried = f.clone().with_try();
    for (key, value) in [
        ("function.rate.timeout", "1s"),
        ("function.score.timeout", "2s"),
        ("function.score.rpm", "3"),
        ("function.rate.rpm", "4"),
        ("function.rate.dedup", "false"),
        ("function.other.mode", "sync"),
    ] {
        config.set(key, value).unwrap();
    }
    for function in [&f, &tried] {
        let options = config.resolve(function, &CallOptions::new()).unwrap();
        let got = (options.timeout(), options.rpm(), options.dedup(), options.mode());
        assert_eq!(got, (Duration::from_secs(2), Some(4), false, Mode::Async));
        assert_eq!(options.level("rpm"), Some(Level::Function));
    }
    config.set("function.try_rate.timeout", "5s").unwrap();
    config.set("function.score.timeout", "6s").unwrap();
    let timeout = |function| config.resolve(function, &CallOptions::new()).unwrap().timeout();
    assert_eq!([timeout(&f), timeout(&tried)], [6, 5].map(Duration::from_secs));
}

#[test]
fn a_limit_is_lifted_by_a_narrower_level() {
    let mut config = FarcallConfig::default();
    config.set("async_scalar.rpm", "7").unwrap();
    config.set("function.f.rpm", "none").unwrap();
    let options = config.resolve(&row_wise(), &CallOptions::new()).unwrap();
    assert_eq!((options.rpm(), options.level("rpm")), (None, Some(Level::Function)));
}

#[test]
fn what_a_function_cannot_honour_is_refused_by_name() {
    let table =
        async_table_fn("rows", ["a"], |x: i64| async move { Ok::<_, CallError>(vec![(x,)]) });
    let lookup = AsyncFunction::batch(Silent(declared("u").with_kind(Kind::Lookup)));
    let capped = AsyncFunction::batch(Silent(declared("c").with_max_rows(3)));
    for (function, option, value, group, holds) in [
        (row_wise(), "max_batch_size", "2", Some("async_scalar"), "1"),
        (table.into(), "max_batch_size", "2", Some("async_table"), "1"),
        (capped, "max_batch_size", "4", Some("async_scalar"), "3"),
        (row_wise(), "retry_predicate", "lookup_miss", None, "failure"),
        (row_wise(), "cache_missing_keys", "false", None, "true"),
        (row_wise(), "cache_reload_interval", "1s", None, "none"),
        (lookup, "null_input", "send", None, "skip"),
    ] {
        let name = function.name().to_owned();
        let mut call = CallOptions::new();
        call.set(option, value).unwrap();
        let error = FarcallConfig::default().resolve(&function, &call).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}: option '{option}': value ")), "{error}");
        let mut config = FarcallConfig::default();
        if let Some(group) = group {
            config.set(&format!("{group}.{option}"), value).unwrap();
        }
        let options = config.resolve(&function, &CallOptions::new()).unwrap();
        assert_eq!(options.get(option).as_deref(), Some(holds), "{name} {option}");
    }
}

#[test]
fn a_mistake_made_in_rust_names_function_and_option() {
    let call = CallOptions::new().with_timeout(Duration::ZERO);
    let error = FarcallConfig::default().resolve(&row_wise(), &call).unwrap_err().to_string();
    assert!(error.contains("bad option timeout of f: value '0s' is not accepted"), "{error}");
}

#[test]
fn delays_that_contradict_each_other_are_refused() {
    let call = CallOptions::new()
        .with_retry_delay(Duration::from_secs(60))
        .with_max_retry_delay(Duration::from_secs(1));
    let error = FarcallConfig::default().resolve(&row_wise(), &call).unwrap_err().to_string();
    let said = "f: option 'retry_delay': '1m' is longer than 'max_retry_delay', '1s'";
    assert!(error.contains(said), "{error}");
    let fixed = call.with_retry_strategy(RetryStrategy::FixedDelay);
    assert!(FarcallConfig::default().resolve(&row_wise(), &fixed).is_ok());
}

#[test]
fn a_whole_table_is_no_cache_of_a_function() {
    let call = CallOptions::new().with_cache(Cache::Full);
    let error = FarcallConfig::default().resolve(&row_wise(), &call).unwrap_err().to_string();
    let said = "f: option 'cache': 'full' is for lookup tables, accepted are 'none', 'partial'";
    assert!(error.contains(said), "{error}");
}

#[test]
fn side_effects_are_sent_once_and_one_by_one_unless_somebody_says_otherwise() {
    let function = AsyncFunction::batch(Silent(declared("f").with_side_effects(true)));
    let resolve = |call| FarcallConfig::default().resolve(&function, &call).unwrap();
    let options = resolve(CallOptions::new());
    assert_eq!((options.mode(), options.attempts()), (Mode::Sync, 1));
    let options = resolve(
        CallOptions::new().with_mode(Mode::Async).with_retry_strategy(RetryStrategy::FixedDelay),
    );
    assert_eq!((options.mode(), options.attempts()), (Mode::Async, 3));
}

fn row_wise() -> AsyncFunction {
    async_fn("f", |x: i64| async move { Ok::<i64, CallError>(x) }).into()
}

fn declared(name: &str) -> Declaration {
    Declaration::new(name, vec![DataType::Utf8], DataType::Utf8)
}

fn model(name: &str, options: CallOptions) -> AsyncFunction {
    AsyncFunction::batch(Silent(declared(name).with_kind(Kind::Model).with_options(options)))
}

#[derive(Debug)]
struct Silent(Declaration);

#[async_trait::async_trait]
impl AsyncBatchFunction for Silent {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval_batch(&self, args: ArgBatch, _: &CallContext) -> Result<BatchAnswer, CallError> {
        Ok(BatchAnswer::new(Arc::clone(args.column(0))))
    }
}
