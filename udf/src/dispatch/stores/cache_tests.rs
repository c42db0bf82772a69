use std::task::{Context, Waker};

use arrow::array::{Int64Array, ListArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::options::CallOptions;

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_answers_make_room_for_rows() {
    let cache = cache(CallOptions::new().with_cache_max_rows(2));
    for key in ["a", "b"] {
        cache.answer(key, &ints(1));
    }
    assert!(cache.has("a"));
    cache.answer("c", &ints(1));
    assert_eq!([cache.has("a"), cache.has("b"), cache.has("c")], [true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_counts_as_the_rows_that_it_found_and_a_miss_as_one() {
    let cache = cache(CallOptions::new().with_cache_max_rows(4));
    cache.answer("three", &list(3));
    cache.answer("none", &list(0));
    assert_eq!(cache.size().0, 4);
    cache.answer("one", &list(1));
    assert_eq!((cache.size().0, cache.has("three")), (2, false));
    cache.answer("five", &list(5));
    assert_eq!((cache.size(), cache.has("five")), ((0, 0), false));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_those_of_whole_buffers_each_once() {
    let of_hundred = ints(100);
    let bytes = of_hundred.get_buffer_memory_size();
    let entry = ENTRY_BYTES + 1;
    let cache = cache(CallOptions::new().with_cache_max_bytes(bytes + 3 * entry));
    let keys = ["a", "b", "c"].map(|key| cache.lead(key));
    cache.complete(keys.into_iter().zip(0..), &of_hundred);
    assert_eq!(cache.size(), (3, bytes + 3 * entry));
    // The array stays as long as one of its answers does.
    cache.answer("d", &of_hundred.slice(3, 1));
    assert_eq!(cache.size(), (3, bytes + 3 * entry));
    assert_eq!([cache.has("a"), cache.has("b")], [false, true]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_forgotten_when_it_is_old_or_was_not_used() {
    let seconds = Duration::from_secs;
    let options = CallOptions::new().with_cache_ttl(seconds(10));
    let cache = cache(options.with_cache_ttl_after_access(seconds(4)));
    cache.answer("a", &ints(1));
    cache.answer("b", &ints(1));
    for _ in 0..3 {
        tokio::time::advance(seconds(3)).await;
        assert!(cache.has("a"));
    }
    assert!(!cache.has("b"));
    tokio::time::advance(seconds(1)).await;
    assert!(!cache.has("a"));
    assert_eq!(cache.size(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn missing_keys_are_kept_unless_told_otherwise() {
    for keeps in [true, false] {
        let cache = cache(CallOptions::new().with_cache_missing_keys(keeps));
        cache.answer("none", &list(0));
        cache.answer("one", &list(1));
        assert_eq!([cache.has("none"), cache.has("one")], [keeps, true]);
    }
}

#[tokio::test(start_paused = true)]
async fn followers_get_an_answer_that_is_not_kept() {
    let cache = cache(CallOptions::new().with_cache_missing_keys(false));
    let (lead, inbox) = (cache.lead("a"), Arc::new(Inbox::default()));
    assert!(matches!(cache.look(&inbox, 7, "a"), Found::Wait));
    cache.complete([(lead, 0)].into_iter(), &list(0));
    let deliveries = inbox.take(&Context::from_waker(Waker::noop()));
    assert!(matches!(deliveries.as_slice(), [Delivery::Value(7, _, 0)]));
}

#[tokio::test(start_paused = true)]
async fn the_size_is_counted_until_the_cache_goes() {
    let totals = Arc::new(CallMetrics::default());
    let limits = CacheLimits::partial(&Resolved::of_call(&CallOptions::new()));
    let caches = [0, 1].map(|_| PartialCache::new(limits, true, Arc::clone(&totals)));
    for cache in &caches {
        cache.answer("a", &list(3));
    }
    assert_eq!((totals.cached_rows(), totals.cached_bytes()), (6, 2 * caches[0].size().1));
    drop(caches);
    assert_eq!((totals.cached_rows(), totals.cached_bytes()), (0, 0));
}

fn cache(options: CallOptions) -> PartialCache {
    PartialCache::new(CacheLimits::partial(&Resolved::of_call(&options)), true, Arc::default())
}

impl PartialCache {
    fn look(&self, inbox: &Arc<Inbox>, position: u64, key: &str) -> Found {
        let mut result = None;
        self.find([(position, key.as_bytes())].into_iter(), inbox, |_, found| {
            result = Some(found);
        });
        result.unwrap()
    }

    fn lead(&self, key: &str) -> Lead {
        match self.look(&Arc::default(), 0, key) {
            Found::Lead(lead) => lead,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a key, and answers with the first value.
    fn answer(&self, key: &str, array: &ArrayRef) {
        self.complete([(self.lead(key), 0)].into_iter(), array);
    }

    /// Says whether a key is kept, and uses it.
    fn has(&self, key: &str) -> bool {
        match self.look(&Arc::default(), 0, key) {
            Found::Answer(..) => true,
            Found::Lead(lead) => {
                self.abandon(lead);
                false
            }
            Found::Wait => panic!("somebody leads"),
        }
    }
}

fn ints(rows: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..rows))
}

fn list(rows: i32) -> ArrayRef {
    let rows = (0..rows).map(|row| Some(i64::from(row)));
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(rows)]))
}
