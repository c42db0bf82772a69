//! Calls of equal ordering keys, one after the other.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Partition, answers, batches, ms, new_scope, one, resolved};
use crate::adapt::any::AsyncFunction;
use crate::error::CallError;
use crate::options::words::OnError;
use crate::testing::{ScriptedFunction, Seen, Step};

#[tokio::test(start_paused = true)]
async fn equal_keys_are_in_different_requests_and_in_order() {
    let (function, seen) = keyed(Step::Answer(ms(10)));
    let mut partition = one(&function, batches(3));
    let begun = Instant::now();
    assert_eq!(partition.call([1, 1, 2, 1, 3]).await.unwrap(), answers([1, 1, 2, 1, 3]));
    assert_eq!(seen.attempts(), [vec![1, 2, 3], vec![1], vec![1]]);
    assert_eq!(begun.elapsed(), ms(30));
}

#[tokio::test(start_paused = true)]
async fn other_keys_run_at_the_same_time() {
    let (function, seen) = keyed(Step::Answer(ms(10)));
    let mut partition = one(&function, batches(1));
    let begun = Instant::now();
    partition.call([1, 2, 3, 1, 2, 3]).await.unwrap();
    assert_eq!((begun.elapsed(), seen.in_flight_max()), (ms(20), 3));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_busy_in_all_partitions() {
    let (function, seen) = keyed(Step::Answer(ms(10)));
    let scope = new_scope();
    let mut one = Partition::new(&scope, 1, &function, batches(1));
    let mut two = Partition::new(&scope, 1, &function, batches(1));
    let begun = Instant::now();
    let (one, two) = tokio::join!(one.call([7, 7]), two.call([7, 7]));
    assert_eq!((one.unwrap(), two.unwrap()), (answers([7, 7]), answers([7, 7])));
    assert_eq!((begun.elapsed(), seen.in_flight_max()), (ms(40), 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_busy_between_attempts() {
    let failure = Step::Fail(ms(10), CallError::transient("f", "503"));
    let (function, seen) = ScriptedFunction::new("f")
        .with_declaration(|declaration| declaration.with_ordering_key(0))
        .with_script([failure])
        .build();
    let mut partition = one(&function, batches(1));
    assert_eq!(partition.call([1, 1]).await.unwrap(), answers([1, 1]));
    let attempts: Vec<u32> = seen.details().iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_frees_its_key() {
    let (function, seen) = keyed(Step::Poison(1, CallError::rejected("f", "no")));
    let mut partition = one(&function, batches(1).with_on_error(OnError::Null));
    assert_eq!(partition.call([1, 1, 2]).await.unwrap(), [None, None, Some(3)]);
    assert_eq!(seen.attempts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_goes_frees_its_keys() {
    let (function, _) = keyed(Step::Answer(ms(10)));
    let scope = new_scope();
    let mut holding = Partition::new(&scope, 1, &function, batches(1));
    let mut waiting = Partition::new(&scope, 1, &function, batches(1));
    let mut last = Partition::new(&scope, 1, &function, batches(1));
    holding.push([7]);
    holding.run_for(ms(1)).await.unwrap();
    waiting.push([7, 7]);
    last.push([7]);
    drop(holding);
    drop(waiting);
    assert_eq!(last.finish().await.unwrap(), answers([7]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_for_its_key_waits_for_no_company() {
    let (function, _) = keyed(Step::Answer(ms(150)));
    let mut partition = one(&function, batches(2).with_batch_timeout(ms(100)));
    let begun = Instant::now();
    partition.push([1, 1]);
    partition.run_until_ready(2).await.unwrap();
    // 100 ms for company, 150 for the first call, 150 for the second.
    assert_eq!(begun.elapsed(), ms(400));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_no_argument_is_a_configuration_error() {
    let (function, _) = ScriptedFunction::new("f")
        .with_declaration(|declaration| declaration.with_ordering_key(3))
        .build();
    let scope = new_scope();
    let field =
        Arc::new(arrow::datatypes::Field::new("y", arrow::datatypes::DataType::Int64, true));
    let options = resolved(&function, batches(1));
    let site = scope.site(1, 0, &function, &options, &(field as _), &Arc::default());
    let error = super::Dispatcher::new(scope, site, [].into()).unwrap_err();
    assert!(error.to_string().contains("argument 3 of 0"), "{error}");
}

fn keyed(usual: Step) -> (AsyncFunction, Arc<Seen>) {
    ScriptedFunction::new("f")
        .with_declaration(|declaration| declaration.with_ordering_key(0))
        .with_usual(usual)
        .build()
}
