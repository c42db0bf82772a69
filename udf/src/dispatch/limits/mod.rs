//! [`Limiter`], the limits that everything in a runtime shares when it calls the same function.

pub(crate) mod adaptive;
pub(crate) mod key_gate;
pub(crate) mod queue;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod retry_budget;
pub(crate) mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::contract::answer::RateHints;
use crate::dispatch::clock::after;
use crate::dispatch::limits::adaptive::Adaptive;
use crate::dispatch::limits::queue::{Place, Priority, Queue};
use crate::dispatch::limits::quota::{Grant, LocalQuota, Quota};
use crate::dispatch::limits::rate::Bucket;
use crate::dispatch::limits::retry_budget::RetryBudget;
use crate::error::{CallError, ErrorClass};
use crate::settings::resolved::Resolved;

/// How much of a function may be called, over everything in a runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Attempts running at once.
    pub max_concurrency: Option<usize>,
    /// Attempts a minute.
    pub rpm: Option<usize>,
    /// Tokens a minute, sent and received.
    pub tpm: Option<usize>,
    /// Whether further limits are learned from how the remote side answers.
    pub adaptive: bool,
}

impl Limits {
    /// Reads the limits of a call.
    pub fn of(options: &Resolved) -> Self {
        Self {
            max_concurrency: options.max_concurrency(),
            rpm: options.rpm(),
            tpm: options.tpm(),
            adaptive: options.adaptive(),
        }
    }
}

/// What an attempt tells about the limits of the remote side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It was answered, and took so many tokens.
    Answered { tokens: u64, hints: RateHints },
    /// It was refused because of a limit.
    Throttled,
    /// It failed in a way that many requests may be the cause of.
    Overloaded,
    /// It failed in another way.
    Other,
}

impl Outcome {
    /// Returns what a failure tells.
    pub(crate) fn of(error: &CallError) -> Self {
        match error.class() {
            ErrorClass::Throttled => Outcome::Throttled,
            ErrorClass::Transient => Outcome::Overloaded,
            ErrorClass::Exhausted
            | ErrorClass::Rejected
            | ErrorClass::Configuration
            | ErrorClass::Malformed
            | ErrorClass::Internal
            | ErrorClass::Cancelled => Outcome::Other,
        }
    }
}

/// Bounds the attempts at one function in a runtime.
///
/// Those who wait stand in a queue, the first of whom waits for places and rates. Whoever gives
/// up waiting leaves nothing reserved.
#[derive(Debug)]
pub struct Limiter {
    name: String,
    limits: Limits,
    quota: Arc<dyn Quota>,
    /// The turn of whoever asks the quota.
    asking: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether the quota has granted anything yet.
    granted: bool,
    /// When the grant expires, if it does.
    until: Option<Instant>,
    places: Option<usize>,
    queue: Queue,
    in_flight: usize,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// What a request cost of late: it is charged before its own cost is known.
    tokens_per_request: Option<f64>,
    adaptive: Option<Adaptive>,
    retries: RetryBudget,
}

/// Why a request must wait.
enum Wait {
    /// The quota must be asked.
    Grant,
    /// Others must be served, or a place must become free.
    Turn,
    /// Time must pass.
    Time(Duration),
}

impl Limiter {
    /// Makes a limiter that shares its limits with no other process.
    pub fn new(limits: Limits) -> Self {
        Self::granted_by(Arc::new(LocalQuota), "", limits)
    }

    /// Makes the limiter of a function or model whose limits a quota hands out.
    pub fn granted_by(quota: Arc<dyn Quota>, name: impl Into<String>, limits: Limits) -> Self {
        let now = Instant::now();
        let state = State {
            granted: false,
            until: None,
            places: None,
            queue: Queue::default(),
            in_flight: 0,
            requests: None,
            tokens: None,
            tokens_per_request: None,
            adaptive: limits.adaptive.then(Adaptive::new),
            retries: RetryBudget::new(now),
        };
        let (name, asking) = (name.into(), Semaphore::new(1));
        Self { name, limits, quota, asking, state: Mutex::new(state) }
    }

    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Says whether every permit is granted at once.
    pub fn is_unlimited(&self) -> bool {
        self.limits == Limits::default()
    }

    /// Returns the attempts running now; those without any limit are not counted.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// Waits for the right to make one attempt.
    pub(crate) async fn acquire(self: &Arc<Self>, priority: Priority) -> Permit {
        if self.is_unlimited() {
            return Permit { limiter: None, begun: Instant::now(), tokens: 0.0 };
        }
        let (place, wake) = self.state().queue.enter(priority);
        let _waiting = Waiting { limiter: self, place };
        loop {
            let (asked, until) = {
                let mut state = self.state();
                (state.ask(&place, Instant::now()), state.until)
            };
            match asked {
                Ok(tokens) => {
                    let limiter = Some(Arc::clone(self));
                    return Permit { limiter, begun: Instant::now(), tokens };
                }
                Err(Wait::Grant) => self.renew().await,
                Err(Wait::Turn) => match until {
                    Some(end) => {
                        let _ = tokio::time::timeout_at(end, wake.notified()).await;
                    }
                    None => wake.notified().await,
                },
                // What is freed, learned or granted meanwhile may shorten the wait.
                Err(Wait::Time(time)) => {
                    let end = after(Instant::now(), time);
                    let end = until.map_or(end, |until| until.min(end));
                    let _ = tokio::time::timeout_at(end, wake.notified()).await;
                }
            }
        }
    }

    /// Asks the quota, unless somebody else has done so meanwhile.
    async fn renew(&self) {
        let _turn = self.asking.acquire().await;
        if self.state().has_grant(Instant::now()) {
            return;
        }
        let grant = self.quota.grant(&self.name, self.limits).await;
        self.state().grant(&self.limits, grant, Instant::now());
    }

    /// Counts a request, which pays for some retries.
    pub(crate) fn count_request(&self) {
        self.state().retries.deposit();
    }

    /// Counts a retry; returns how long it must wait at least.
    pub(crate) fn count_retry(&self) -> Duration {
        self.state().retries.withdraw(Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody in the queue, who leaves it served or not.
struct Waiting<'a> {
    limiter: &'a Limiter,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limiter.state().queue.leave(&self.place);
    }
}

impl State {
    /// Takes what an attempt needs for somebody in the queue, if it is their turn.
    fn ask(&mut self, place: &Place, now: Instant) -> Result<f64, Wait> {
        if !self.queue.is_first(place) {
            return Err(Wait::Turn);
        }
        if !self.has_grant(now) {
            return Err(Wait::Grant);
        }
        self.take(now)
    }

    fn has_grant(&self, now: Instant) -> bool {
        self.granted && self.until.is_none_or(|until| now < until)
    }

    /// Holds to a grant, as far as it stays within the limits that were set.
    fn grant(&mut self, limits: &Limits, grant: Grant, now: Instant) {
        let Grant { limits: share, life } = grant;
        let within = |set: Option<usize>, share: Option<usize>| {
            set.map(|set| share.map_or(set, |share| share.min(set)))
        };
        self.granted = true;
        self.until = life.map(|life| after(now, life));
        self.places = within(limits.max_concurrency, share.max_concurrency);
        for (bucket, limit) in [
            (&mut self.requests, within(limits.rpm, share.rpm)),
            (&mut self.tokens, within(limits.tpm, share.tpm)),
        ] {
            match (bucket, limit) {
                (Some(bucket), Some(limit)) => bucket.set_per_minute(limit, now),
                (bucket, limit) => *bucket = limit.map(|limit| Bucket::per_minute(limit, now)),
            }
        }
    }

    /// Takes a place and what the rates want; returns the tokens that were charged.
    fn take(&mut self, now: Instant) -> Result<f64, Wait> {
        let learned = self.adaptive.as_ref().map(Adaptive::concurrency);
        let places = self.places.into_iter().chain(learned).min();
        if places.is_some_and(|places| self.in_flight >= places) {
            return Err(Wait::Turn);
        }
        if self.tokens.is_some() && self.tokens_per_request.is_none() && self.in_flight > 0 {
            // The first request tells what one costs.
            return Err(Wait::Turn);
        }
        let cost = self.tokens_per_request.unwrap_or_default();
        let requests = self.requests.as_mut().map(|bucket| bucket.wait(1.0, now));
        let tokens = self.tokens.as_mut().map(|bucket| bucket.wait(cost.max(1.0), now));
        let learned = self.adaptive.as_mut().map(|adaptive| adaptive.wait(now));
        let wait = requests.max(tokens).max(learned).unwrap_or_default();
        if !wait.is_zero() {
            return Err(Wait::Time(wait));
        }
        self.in_flight += 1;
        if let Some(bucket) = &mut self.requests {
            bucket.take(1.0);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(cost);
        }
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.take();
        }
        Ok(cost)
    }

    /// Learns from an attempt for which `charged` tokens were taken.
    fn learn(&mut self, outcome: Outcome, took: Duration, charged: f64, now: Instant) {
        let in_flight = self.in_flight;
        let spent = match outcome {
            Outcome::Answered { tokens, .. } => tokens as f64,
            _ => 0.0,
        };
        if let Some(bucket) = &mut self.tokens {
            bucket.take(spent - charged);
            if matches!(outcome, Outcome::Answered { .. }) {
                let usual = self.tokens_per_request.unwrap_or(spent);
                self.tokens_per_request = Some(usual + (spent - usual) * 0.1);
            }
        }
        let Some(adaptive) = &mut self.adaptive else { return };
        match outcome {
            Outcome::Answered { hints, .. } => {
                adaptive.answered(took, in_flight, now);
                adaptive.hint(hints, now);
            }
            Outcome::Throttled => adaptive.throttled(now),
            Outcome::Overloaded => adaptive.failed(in_flight, now),
            Outcome::Other => {}
        }
    }
}

/// The right to make one attempt; returned with the response, never held while backing off.
#[derive(Debug)]
pub(crate) struct Permit {
    limiter: Option<Arc<Limiter>>,
    begun: Instant,
    tokens: f64,
}

impl Permit {
    /// Returns the permit, and says what came of the attempt.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.give_back(outcome);
    }

    fn give_back(&mut self, outcome: Outcome) {
        let Some(limiter) = self.limiter.take() else { return };
        let now = Instant::now();
        let mut state = limiter.state();
        state.learn(outcome, now.saturating_duration_since(self.begun), self.tokens, now);
        state.in_flight -= 1;
        state.queue.wake_first();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // An attempt that was aborted tells nothing.
        self.give_back(Outcome::Other);
    }
}
