//! What is accounted as memory: answers that wait, answers that are remembered.

use std::sync::Arc;
use std::time::Duration;

use datafusion_execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};

use super::{Partition, answers, batches, ms, one, scope_with};
use crate::dispatch::query::runtime::FarcallRuntime;
use crate::options::CallOptions;
use crate::testing::{ScriptedFunction, Step};

#[tokio::test(start_paused = true)]
async fn answers_are_held_until_they_are_taken() {
    for unordered in [false, true] {
        let (function, _) = ScriptedFunction::new("f").build();
        let mut partition = one(&function, batches(10));
        if unordered {
            partition = partition.unordered();
        }
        partition.push(0..20);
        partition.run_until_ready(20).await.unwrap();
        // Two requests were answered, each with a buffer of ten numbers.
        let held = partition.dispatcher.held_bytes();
        assert!(held >= 160, "{held}");
        match unordered {
            true => drop(partition.take_any()),
            false => drop(partition.take()),
        }
        assert_eq!(partition.dispatcher.held_bytes(), 0, "unordered: {unordered}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_calls_share_the_memory_of_their_answer() {
    let (function, _) = ScriptedFunction::new("f").build();
    let mut partition = one(&function, CallOptions::new().with_max_batch_size(10));
    partition.push([1; 1000]);
    partition.dispatcher.finish();
    partition.run_until_ready(1000).await.unwrap();
    let held = partition.dispatcher.held_bytes();
    assert!(held < 1000, "{held}");
    assert_eq!(partition.take(), [Some(2); 1000]);
    assert_eq!(partition.dispatcher.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn remembered_answers_are_accounted_until_the_query_ends() {
    let (pool, runtime) = pool(1 << 20);
    let (function, _) = ScriptedFunction::new("f").build();
    let scope = scope_with(&runtime, Arc::clone(&pool));
    let mut partition = Partition::new(&scope, 1, &function, CallOptions::new());
    partition.call(0..100).await.unwrap();
    let bytes = pool.reserved();
    assert!(bytes > 100 * 64, "{bytes}");
    drop((scope, partition));
    tokio::time::sleep(ms(1)).await;
    assert_eq!(pool.reserved(), 0);
}

#[tokio::test(start_paused = true)]
async fn answers_are_forgotten_when_the_pool_has_no_room() {
    let (pool, runtime) = pool(1000);
    let other = MemoryConsumer::new("other").register(&pool);
    other.try_grow(900).unwrap();
    let (function, seen) = ScriptedFunction::new("f").build();
    let scope = scope_with(&runtime, Arc::clone(&pool));
    let options = CallOptions::new().with_max_batch_size(10);
    let mut partition = Partition::new(&scope, 1, &function, options.clone());
    assert_eq!(partition.call(0..10).await.unwrap(), answers(0..10));
    assert_eq!(pool.reserved(), 900);
    let mut again = Partition::new(&scope, 1, &function, options.clone());
    assert_eq!(again.call(0..10).await.unwrap(), answers(0..10));
    assert_eq!(seen.sizes(), [10, 10]);
    // With room for some they are remembered, the oldest of them not.
    other.free();
    for rows in [0..8, 8..16] {
        let mut partition = Partition::new(&scope, 1, &function, options.clone());
        partition.call(rows).await.unwrap();
    }
    let mut partition = Partition::new(&scope, 1, &function, options);
    assert_eq!(partition.call(0..16).await.unwrap(), answers(0..16));
    assert_eq!(seen.attempts()[4..], [(0..8).collect::<Vec<_>>()]);
    assert!((500..1000).contains(&pool.reserved()), "{}", pool.reserved());
}

#[tokio::test(start_paused = true)]
async fn a_flushed_partial_request_leaves_at_once_and_the_next_one_waits_again() {
    let (function, seen) = ScriptedFunction::new("f").with_usual(Step::Answer(ms(1))).build();
    let mut partition = one(&function, batches(10).with_batch_timeout(Duration::MAX));
    partition.push(0..3);
    partition.run_for(ms(500)).await.unwrap();
    assert_eq!(seen.sizes(), [0; 0]);
    assert!(partition.dispatcher.flush());
    assert!(!partition.dispatcher.flush());
    partition.run_until_ready(3).await.unwrap();
    partition.push(3..5);
    partition.run_for(ms(500)).await.unwrap();
    assert_eq!(seen.sizes(), [3]);
}

fn pool(bytes: usize) -> (Arc<dyn MemoryPool>, Arc<FarcallRuntime>) {
    (Arc::new(GreedyMemoryPool::new(bytes)), Arc::default())
}
