//! Answers kept for later queries of the same runtime.

use std::sync::Arc;
use std::time::Duration;

use datafusion_execution::memory_pool::UnboundedMemoryPool;

use super::{Partition, answers, batches, ms, scope_in};
use crate::adapt::any::AsyncFunction;
use crate::contract::declaration::Determinism;
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::dispatch::query::scope::QueryScope;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::{Cache, OnError};
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn a_later_query_makes_no_call_for_what_is_cached() {
    let ((function, seen), runtime) = (ScriptedFunction::new("f").build(), runtime());
    let mut first = query(&runtime, &function, cached());
    assert_eq!(first.call(0..4).await.unwrap(), answers(0..4));
    drop(first);
    let mut second = query(&runtime, &function, cached());
    assert_eq!(second.call(2..6).await.unwrap(), answers(2..6));
    assert_eq!(seen.attempts(), [[0, 1], [2, 3], [4, 5]]);
    assert_eq!((second.metrics().cache_hits, second.metrics().calls), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_one_tenant_was_answered_is_not_another_ones() {
    let ((function, seen), runtime) = (ScriptedFunction::new("f").build(), runtime());
    let query = |tenant: &str| {
        let parameters = [("tenant".to_owned(), tenant.to_owned())].into();
        let (config, memory) = (Arc::default(), Arc::new(UnboundedMemoryPool::default()));
        let scope = QueryScope::new(Arc::clone(&runtime), Arc::new(parameters), config, memory);
        Partition::new(&scope, 1, &function, cached())
    };
    for (tenant, calls) in [("a", 1), ("b", 2), ("a", 2)] {
        assert_eq!(query(tenant).call([1]).await.unwrap(), answers([1]));
        assert_eq!(seen.attempts().len(), calls, "{tenant}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_cached_unless_asked_for() {
    let ((function, seen), runtime) = (ScriptedFunction::new("f").build(), runtime());
    for _ in 0..2 {
        query(&runtime, &function, batches(2).with_dedup(true)).call(0..2).await.unwrap();
    }
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_gets_no_older_than_its_time() {
    let ((function, seen), runtime) = (ScriptedFunction::new("f").build(), runtime());
    let options = cached().with_cache_ttl(Duration::from_secs(10));
    for wait in [0, 9, 1, 9] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        query(&runtime, &function, options.clone()).call([1]).await.unwrap();
    }
    // Made at 0 s, still good at 9 s, made again at 10 s, and that one still good at 19 s.
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_answers_make_room() {
    let ((function, seen), runtime) = (ScriptedFunction::new("f").build(), runtime());
    let options = cached().with_cache_max_bytes(1_000);
    query(&runtime, &function, options.clone()).call(0..100).await.unwrap();
    query(&runtime, &function, options.clone()).call([99]).await.unwrap();
    assert_eq!(seen.attempts().len(), 50);
    query(&runtime, &function, options).call([0]).await.unwrap();
    assert_eq!(seen.attempts().len(), 51);
}

#[tokio::test(start_paused = true)]
async fn two_queries_at_once_make_one_call() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let runtime = runtime();
    let mut one = query(&runtime, &function, cached());
    let mut two = query(&runtime, &function, cached());
    let (one, two) = tokio::join!(one.call([1, 2]), two.call([1, 2]));
    assert_eq!((one.unwrap(), two.unwrap()), (answers([1, 2]), answers([1, 2])));
    assert_eq!(seen.attempts(), [[1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_leaves_its_calls_to_the_others() {
    let script = [Step::Fail(ms(1), CallError::configuration("f", "401"))];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let runtime = runtime();
    let mut failing = query(&runtime, &function, cached());
    let mut waiting = query(&runtime, &function, cached());
    let (error, answer) = tokio::join!(failing.call([1]), waiting.call([1]));
    assert!(error.is_err());
    // The failed one still exists: an error frees its calls, not only its end.
    assert_eq!((answer.unwrap(), seen.attempts().len()), (answers([1]), 2));
    drop(failing);
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_cached() {
    let script = [Step::Fail(ms(1), CallError::rejected("f", "no"))];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let (runtime, options) = (runtime(), cached().with_on_error(OnError::Null));
    assert_eq!(query(&runtime, &function, options.clone()).call([1]).await.unwrap(), [None]);
    assert_eq!(query(&runtime, &function, options).call([1]).await.unwrap(), answers([1]));
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_version_has_another_cache() {
    let runtime = runtime();
    for version in ["1", "2"] {
        let function = ScriptedFunction::new("f");
        let (function, seen) = function.with_declaration(|d| d.with_version(version)).build();
        query(&runtime, &function, cached()).call([1]).await.unwrap();
        assert_eq!(seen.attempts().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn volatile_functions_are_never_cached() {
    let function = ScriptedFunction::new("f");
    let function = function.with_declaration(|d| d.with_determinism(Determinism::Volatile));
    let ((function, seen), runtime) = (function.build(), runtime());
    for _ in 0..2 {
        query(&runtime, &function, cached()).call([1]).await.unwrap();
    }
    assert_eq!(seen.attempts().len(), 2);
}

fn cached() -> CallOptions {
    batches(2).with_cache(Cache::Partial)
}

fn runtime() -> Arc<FarcallRuntime> {
    Arc::new(FarcallRuntime::new())
}

fn query(
    runtime: &Arc<FarcallRuntime>,
    function: &AsyncFunction,
    options: CallOptions,
) -> Partition {
    Partition::new(&scope_in(runtime), 1, function, options)
}
