//! Which rows are called at all: guards, NULL arguments, equal calls.

use super::{Partition, answers, batches, ms, new_scope, one};
use crate::contract::declaration::Determinism;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::{NullInput, OnError};
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn guarded_rows_are_null_and_never_sent() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(10));
    partition.push_guarded([false, true, false, true], [7, 8]);
    partition.push_guarded([false, false], []);
    let expected = [None, Some(8), None, Some(9), None, None];
    assert_eq!(partition.finish().await.unwrap(), expected);
    assert_eq!(seen.attempts(), [[7, 8]]);
}

#[tokio::test(start_paused = true)]
async fn rows_that_need_no_call_wait_for_nothing() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Hang).build();
    let mut partition = one(&function, batches(1));
    partition.push_guarded([false, false, true], [1]);
    assert_eq!(partition.take(), [None, None]);
    assert_eq!(seen.opened_closed(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn null_arguments_are_never_sent() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(10));
    partition.push_nullable([None, Some(1), None, Some(2)]);
    assert_eq!(partition.finish().await.unwrap(), [None, Some(2), None, Some(3)]);
    assert_eq!(seen.attempts(), [[1, 2]]);
    assert_eq!((partition.metrics().rows, partition.metrics().calls), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn null_arguments_behind_a_guard_are_never_sent() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(10));
    let args = [None, Some(1)].into_iter().collect();
    partition.push_array(args, Some([true, false, true].into_iter().collect()));
    assert_eq!(partition.finish().await.unwrap(), [None, None, Some(2)]);
    assert_eq!(seen.attempts(), [[1]]);
}

#[tokio::test(start_paused = true)]
async fn null_arguments_are_sent_where_function_or_option_says_so() {
    let (declared, seen) = ScriptedFunction::new("f")
        .with_declaration(|declaration| declaration.with_null_input(NullInput::Send))
        .build();
    let mut partition = one(&declared, batches(10));
    partition.push_nullable([None, Some(1)]);
    assert_eq!(partition.finish().await.unwrap(), [None, Some(2)]);
    assert_eq!(seen.attempts(), [[0, 1]]);
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, batches(10).with_null_input(NullInput::Send));
    partition.push_nullable([None, Some(1)]);
    assert_eq!(partition.finish().await.unwrap(), [None, Some(2)]);
    assert_eq!(seen.attempts(), [[0, 1]]);
}

#[tokio::test(start_paused = true)]
async fn equal_calls_are_made_once() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, merged(10));
    partition.push([1, 2, 1, 1]);
    partition.run_until_ready(4).await.unwrap();
    partition.push([2, 3]);
    assert_eq!(partition.finish().await.unwrap(), answers([1, 2, 1, 1, 2, 3]));
    assert_eq!(seen.attempts(), [vec![1, 2], vec![3]]);
    let metrics = partition.metrics();
    assert_eq!((metrics.rows, metrics.calls, metrics.dedup_hits), (6, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn equal_calls_of_another_partition_wait_for_the_one_in_flight() {
    let usual = Step::Answer(ms(10));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let scope = new_scope();
    let mut one = Partition::new(&scope, 1, &function, merged(2));
    let mut two = Partition::new(&scope, 1, &function, merged(2));
    let (one, two) = tokio::join!(one.call([1, 2]), two.call([2, 1]));
    assert_eq!((one.unwrap(), two.unwrap()), (answers([1, 2]), answers([2, 1])));
    assert_eq!(seen.attempts(), [[1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn equal_calls_of_another_site_share_the_answer() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let scope = new_scope();
    let mut one = Partition::new(&scope, 1, &function, merged(2));
    let mut two = Partition::new(&scope, 2, &function, merged(2));
    assert_eq!(one.call([1, 2]).await.unwrap(), answers([1, 2]));
    assert_eq!(two.call([2, 3]).await.unwrap(), answers([2, 3]));
    assert_eq!(seen.attempts(), [vec![1, 2], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_cancelled_leader_make_the_call_themselves() {
    let (function, seen) = ScriptedFunction::new("f").with_script([Step::Hang]).build();
    let scope = new_scope();
    let mut leader = Partition::new(&scope, 1, &function, merged(1));
    let mut follower = Partition::new(&scope, 1, &function, merged(1));
    leader.push([1]);
    leader.run_for(ms(10)).await.unwrap();
    follower.push([1, 1]);
    follower.run_for(ms(10)).await.unwrap();
    assert_eq!((seen.attempts().len(), follower.dispatcher.ready_rows()), (1, 0));
    drop(leader);
    assert_eq!(follower.finish().await.unwrap(), answers([1, 1]));
    assert_eq!((seen.attempts().len(), follower.metrics().dedup_hits), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_leader_that_was_never_sent_make_the_call_themselves() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let scope = new_scope();
    let mut leader = Partition::new(&scope, 1, &function, merged(9));
    let mut follower = Partition::new(&scope, 1, &function, merged(9));
    leader.push([1]);
    follower.push([1]);
    drop(leader);
    assert_eq!(follower.finish().await.unwrap(), answers([1]));
    assert_eq!(seen.attempts(), [[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_those_in_flight_and_then_forgotten() {
    let script = [Step::Fail(ms(10), CallError::rejected("f", "no"))];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let mut partition = one(&function, merged(1).with_on_error(OnError::Null));
    partition.push([1, 1]);
    partition.run_until_ready(2).await.unwrap();
    assert_eq!(partition.take(), [None, None]);
    assert_eq!(partition.call([1]).await.unwrap(), answers([1]));
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_follower_applies_its_own_options_to_a_failure() {
    let script = [Step::Fail(ms(10), CallError::rejected("f", "no"))];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let scope = new_scope();
    let mut leader = Partition::new(&scope, 1, &function, merged(1).with_on_error(OnError::Null));
    let default = OnError::Default("-1".into());
    let mut follower = Partition::new(&scope, 2, &function, merged(1).with_on_error(default));
    let (leader, follower) = tokio::join!(leader.call([1]), follower.call([1]));
    assert_eq!((leader.unwrap(), follower.unwrap()), (vec![None], vec![Some(-1)]));
    assert_eq!(seen.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_may_try_more_does() {
    let script = [Step::Fail(ms(10), CallError::transient("f", "503"))];
    let (function, seen) = ScriptedFunction::new("f").with_script(script).build();
    let scope = new_scope();
    let hasty = merged(1).with_max_attempts(1).with_on_error(OnError::Null);
    let mut leader = Partition::new(&scope, 1, &function, hasty);
    let mut follower = Partition::new(&scope, 2, &function, merged(1));
    let (leader, follower) = tokio::join!(leader.call([1]), follower.call([1]));
    assert_eq!((leader.unwrap(), follower.unwrap()), (vec![None], answers([1])));
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_serves_the_followers_too() {
    let (function, seen) =
        ScriptedFunction::new("f").with_usual(Step::Hang).with_fallback(-1).build();
    let mut partition = one(&function, merged(1).with_timeout(ms(10)));
    assert_eq!(partition.call([1, 1]).await.unwrap(), [Some(-1), Some(-1)]);
    assert_eq!(seen.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn volatile_functions_and_side_effects_are_called_for_each_row() {
    for change in [0, 1] {
        let (function, seen) = ScriptedFunction::new("f")
            .with_declaration(|declaration| match change {
                0 => declaration.with_determinism(Determinism::Volatile),
                _ => declaration.with_side_effects(true),
            })
            .build();
        assert_eq!(one(&function, merged(2)).call([1, 1]).await.unwrap(), answers([1, 1]));
        assert_eq!(seen.attempts(), [[1, 1]]);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_beyond_the_memory_are_asked_for_again() {
    let (function, seen) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, merged(1).with_dedup_max_bytes(1));
    partition.push([1]);
    partition.run_until_ready(1).await.unwrap();
    assert_eq!(partition.call([1]).await.unwrap(), answers([1, 1]));
    assert_eq!(seen.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn equal_rows_of_a_bisected_request_share_its_answers() {
    let usual = Step::Poison(2, CallError::rejected("f", "no"));
    let (function, seen) = ScriptedFunction::new("f").with_usual(usual).build();
    let mut partition = one(&function, merged(4).with_on_error(OnError::Null));
    let expected = [Some(2), None, Some(4), Some(5), Some(2), None];
    assert_eq!(partition.call([1, 2, 3, 4, 1, 2]).await.unwrap(), expected);
    assert_eq!(seen.sizes(), [4, 2, 1, 1, 2]);
}

fn merged(rows: usize) -> CallOptions {
    batches(rows).with_dedup(true)
}
