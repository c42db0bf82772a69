//! [`Quota`], who hands out the limits that several processes share.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::dispatch::limits::Limits;

/// Hands out the limits of what is called: to one process all of them, to those of a cluster shares.
///
/// A [`Limiter`](crate::Limiter) asks before its first attempt, and again when its grant has expired
/// and somebody waits. What is granted beyond the limits that were set is not used.
///
/// Cancel: whoever asks may give up; the next one in line asks again.
#[async_trait]
pub trait Quota: fmt::Debug + Send + Sync {
    /// Grants a share of the limits of a function or model.
    async fn grant(&self, name: &str, limits: Limits) -> Grant;
}

/// A share of some limits, for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The share; a limit of 0 lets nothing go until the grant expires.
    pub limits: Limits,
    /// How long it holds; `None` for ever.
    pub life: Option<Duration>,
}

impl Grant {
    /// Grants a share for some time.
    pub fn lasting(limits: Limits, life: Duration) -> Self {
        Self { limits, life: Some(life) }
    }

    /// Grants limits for ever.
    pub fn for_ever(limits: Limits) -> Self {
        Self { limits, life: None }
    }
}

/// Grants everything, for ever: the quota of a process that shares its limits with no other.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalQuota;

#[async_trait]
impl Quota for LocalQuota {
    async fn grant(&self, _: &str, limits: Limits) -> Grant {
        Grant::for_ever(limits)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;
    use crate::dispatch::limits::Limiter;
    use crate::dispatch::limits::queue::Priority;

    /// Grants what a script says, and then everything; notes who asked when.
    #[derive(Debug)]
    struct Scripted {
        grants: Mutex<VecDeque<Grant>>,
        asked: Mutex<Vec<(String, u64)>>,
        begun: Instant,
    }

    #[async_trait]
    impl Quota for Scripted {
        async fn grant(&self, name: &str, limits: Limits) -> Grant {
            let seconds = self.begun.elapsed().as_secs();
            self.asked.lock().unwrap().push((name.to_owned(), seconds));
            let next = self.grants.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Grant::for_ever(limits))
        }
    }

    fn limiter(limits: Limits, grants: &[Grant]) -> (Arc<Limiter>, Arc<Scripted>) {
        let grants = Mutex::new(grants.iter().copied().collect());
        let quota = Scripted { grants, asked: Mutex::default(), begun: Instant::now() };
        let quota = Arc::new(quota);
        let shared = Arc::clone(&quota) as Arc<dyn Quota>;
        (Arc::new(Limiter::granted_by(shared, "m", limits)), quota)
    }

    /// Returns the second in which each of some attempts began, one after the other.
    async fn begun(limiter: &Arc<Limiter>, attempts: usize) -> Vec<u64> {
        let start = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..attempts {
            drop(limiter.acquire(Priority::new(0, 0)).await);
            seconds.push(start.elapsed().as_secs());
        }
        seconds
    }

    fn rpm(rpm: usize) -> Limits {
        Limits { rpm: Some(rpm), ..Limits::default() }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_holds_until_it_expires() {
        let (limiter, quota) = limiter(rpm(60), &[Grant::lasting(rpm(30), secs(5))]);
        assert_eq!(begun(&limiter, 6).await, [0, 2, 4, 5, 6, 7]);
        assert_eq!(*quota.asked.lock().unwrap(), [("m".to_owned(), 0), ("m".to_owned(), 5)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_nothing_waits_for_the_next() {
        for nothing in [
            rpm(0),
            Limits { tpm: Some(0), ..Limits::default() },
            Limits { max_concurrency: Some(0), ..Limits::default() },
        ] {
            let all = Limits {
                max_concurrency: Some(9),
                rpm: Some(6_000),
                tpm: Some(9),
                adaptive: false,
            };
            let (limiter, _) = limiter(all, &[Grant::lasting(nothing, secs(3))]);
            assert_eq!(begun(&limiter, 1).await, [3], "{nothing:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_more_than_was_set() {
        let (limiter, _) = limiter(rpm(60), &[Grant::for_ever(rpm(6_000))]);
        assert_eq!(begun(&limiter, 3).await, [0, 1, 2]);
        let (limiter, _) = self::limiter(rpm(60), &[Grant::for_ever(Limits::default())]);
        assert_eq!(begun(&limiter, 3).await, [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_asking_leaves_it_to_the_next() {
        let (limiter, quota) = limiter(rpm(60), &[Grant::lasting(rpm(0), secs(3))]);
        let first = limiter.acquire(Priority::new(0, 0));
        assert!(tokio::time::timeout(secs(1), first).await.is_err());
        assert_eq!(begun(&limiter, 1).await, [2]);
        assert_eq!(quota.asked.lock().unwrap().len(), 2);
    }
}
