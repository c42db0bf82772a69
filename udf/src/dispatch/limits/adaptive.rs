//! [`Adaptive`], the limits that are learned from how the remote side answers.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::answer::RateHints;
use crate::dispatch::limits::rate::Bucket;

/// Requests in flight at first; every answer adds one while the latency holds.
const FIRST_CONCURRENCY: f64 = 32.0;
/// More would never come from windows of sensible size.
const MAX_CONCURRENCY: f64 = 10_000.0;
/// The share of failures above which the remote side counts as overloaded. A few failures are
/// normal, and shrinking on each would ruin the throughput for nothing.
const OVERLOAD: f64 = 0.3;
/// What is left of the concurrency after an overload.
const SHRINK: f64 = 0.7;
/// Answers after which latencies are compared: fewer say nothing about a skewed distribution.
const LATENCY_SAMPLES: u32 = 50;
/// How much slower than at best answers may come while more are asked for.
const LATENCY_FACTOR: f64 = 2.0;
/// The least time between two cuts of the rate: the answers to what was sent before a cut say
/// nothing about the rate after it.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
/// What is left of a rate that was too high.
const CUT: f64 = 0.97;
/// A rate is cut by no more at once, whatever was measured.
const DEEPEST_CUT: f64 = 0.7;
/// How long nothing is sent after a refusal. Some servers count what they refuse: as long as requests
/// come as fast as before, they refuse every one. What was sent too much is made up for within this.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);
/// Beyond this rate a limit is none.
const MAX_RATE: f64 = 100_000.0;
/// Pauses that the remote side asks for are cut to this: it may mean a day's quota.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Learns how many requests the remote side takes at once and per second.
///
/// The concurrency doubles with every round of answers while they come no slower, and shrinks when
/// many fail. The rate has no limit until the first answer says that there is one; then it is what
/// was accepted before, creeps up to find out whether more is possible, and is cut when it is not.
#[derive(Debug)]
pub(crate) struct Adaptive {
    concurrency: f64,
    latency: Latency,
    failing: f64,
    shrunk: Option<Instant>,
    accepted: RecentCount,
    rate: Option<LearnedRate>,
    cut: Option<Instant>,
    paused_until: Option<Instant>,
    /// Whether the remote side has said something about its limits.
    hinted: bool,
}

impl Adaptive {
    pub(crate) fn new() -> Self {
        Self {
            concurrency: FIRST_CONCURRENCY,
            latency: Latency::default(),
            failing: 0.0,
            shrunk: None,
            accepted: RecentCount::default(),
            rate: None,
            cut: None,
            paused_until: None,
            hinted: false,
        }
    }

    /// Returns the requests that may be in flight.
    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency.max(1.0) as usize
    }

    /// Returns how long the next request must wait; zero if it may go.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        if let Some(until) = self.paused_until {
            let left = until.saturating_duration_since(now);
            if !left.is_zero() {
                return left;
            }
            self.paused_until = None;
        }
        let Some(rate) = &mut self.rate else { return Duration::ZERO };
        rate.grow(now);
        if rate.per_second() > MAX_RATE {
            self.rate = None;
            return Duration::ZERO;
        }
        rate.bucket.wait(1.0, now)
    }

    /// Counts a request that goes.
    pub(crate) fn take(&mut self) {
        if let Some(rate) = &mut self.rate {
            rate.bucket.take(1.0);
        }
    }

    /// Learns from an answer; `in_flight` counts it too.
    pub(crate) fn answered(&mut self, took: Duration, in_flight: usize, now: Instant) {
        self.accepted.add(now);
        self.failing *= 0.95;
        let holds = self.latency.add(took.as_secs_f64());
        if holds && in_flight * 2 >= self.concurrency() {
            self.concurrency = (self.concurrency + 1.0).min(MAX_CONCURRENCY);
        }
    }

    /// Learns from a failure that says nothing about limits.
    pub(crate) fn failed(&mut self, in_flight: usize, now: Instant) {
        self.failing = self.failing * 0.95 + 0.05;
        let pause = Duration::from_secs_f64(self.latency.recent().clamp(0.1, 60.0));
        if self.failing > OVERLOAD && self.shrunk.is_none_or(|at| now >= at + pause) {
            self.concurrency = (self.concurrency.min(in_flight as f64) * SHRINK).max(1.0);
            self.shrunk = Some(now);
        }
    }

    /// Learns from an answer that asks for fewer requests.
    pub(crate) fn throttled(&mut self, now: Instant) {
        self.pause_until(now + REFUSAL_PAUSE);
        if self.cut.is_some_and(|at| now < at + CUT_INTERVAL) {
            return;
        }
        self.cut = Some(now);
        let measured = self.accepted.per_second(now).max(1.0);
        self.rate = Some(match self.rate.take() {
            // What was accepted while most was refused is a poor guess: it is left quickly.
            None => LearnedRate::new(measured * CUT, true, now),
            Some(rate) => {
                let current = rate.per_second();
                let measured = measured.clamp(current * DEEPEST_CUT, current);
                LearnedRate::new(measured * CUT, false, now)
            }
        });
    }

    /// Takes what the remote side says about its limits.
    ///
    /// What it says first is where the rate starts: what is left, spread over the time it is left
    /// for. Later only that nothing is left counts; the rest is learned from refusals, because a
    /// period that begins anew looks like one that ends.
    pub(crate) fn hint(&mut self, hints: RateHints, now: Instant) {
        let (Some(remaining), Some(reset)) = (hints.remaining_requests, hints.reset_after) else {
            return;
        };
        if remaining == 0 {
            self.pause_until(now + reset.min(LONGEST_PAUSE));
        } else if !self.hinted && !reset.is_zero() {
            let rate = remaining as f64 / reset.as_secs_f64();
            if self.rate.is_none() && rate <= MAX_RATE {
                self.rate = Some(LearnedRate::new(rate, false, now));
            }
            self.concurrency = self.concurrency.min(remaining as f64);
        }
        self.hinted = true;
    }

    fn pause_until(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }
}

/// A rate that grows while it is used.
#[derive(Debug)]
struct LearnedRate {
    base: f64,
    /// Whether the base is a poor guess.
    searching: bool,
    /// The seconds for which it was in use.
    used: f64,
    at: Instant,
    bucket: Bucket,
}

impl LearnedRate {
    fn new(base: f64, searching: bool, now: Instant) -> Self {
        let bucket = Bucket::new(base, burst(base), now);
        Self { base, searching, used: 0.0, at: now, bucket }
    }

    /// Lets time count in which requests came; a rate that was not used proves nothing.
    fn grow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.used += passed.min(0.1);
        self.at = now;
        let rate = self.per_second();
        self.bucket.set_rate(rate, burst(rate), now);
    }

    /// A poor guess doubles twice a second. A good one creeps past itself within eight seconds, and
    /// is then left faster and faster, because the remote side seems to take more by now.
    fn per_second(&self) -> f64 {
        if self.searching {
            return self.base * (self.used * 2.0).exp2();
        }
        self.base * (1.0 + 0.005 * self.used) * ((self.used - 8.0).max(0.0) / 2.0).exp2()
    }
}

/// Returns the requests that may go at once: as many as come due while a timer is late.
fn burst(rate: f64) -> f64 {
    (rate * 0.004).max(1.0)
}

/// Compares recent latencies with the best ones.
#[derive(Debug, Default)]
struct Latency {
    samples: u32,
    recent: f64,
    best: f64,
}

impl Latency {
    /// Adds one; says whether answers come about as fast as at best.
    fn add(&mut self, seconds: f64) -> bool {
        self.samples = self.samples.saturating_add(1);
        let weight = f64::from(self.samples.min(2 * LATENCY_SAMPLES)).recip();
        self.recent += (seconds - self.recent) * weight;
        if self.samples < LATENCY_SAMPLES {
            return true;
        }
        if self.samples == LATENCY_SAMPLES {
            self.best = self.recent;
        }
        // The best is forgotten slowly: the remote side may have become slower for good.
        self.best = (self.best * 1.001).min(self.recent);
        self.recent <= self.best * LATENCY_FACTOR
    }

    fn recent(&self) -> f64 {
        self.recent
    }
}

/// Counts what happened within the last second.
#[derive(Debug, Default)]
struct RecentCount {
    /// Counts by tenth of a second, with its begin.
    slots: VecDeque<(Instant, u32)>,
}

impl RecentCount {
    fn add(&mut self, now: Instant) {
        match self.slots.back_mut() {
            Some((begun, count)) if now < *begun + Duration::from_millis(100) => *count += 1,
            _ => self.slots.push_back((now, 1)),
        }
        self.forget(now);
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        let Some((begun, _)) = self.slots.front() else { return 0.0 };
        // Less than a second is covered at first, and while the oldest slot is being forgotten.
        let covered = now.saturating_duration_since(*begun).as_secs_f64().max(0.9);
        self.slots.iter().map(|(_, count)| f64::from(*count)).sum::<f64>() / covered
    }

    fn forget(&mut self, now: Instant) {
        while self.slots.front().is_some_and(|(begun, _)| *begun + Duration::from_secs(1) <= now) {
            self.slots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn concurrency_grows_while_latency_holds() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        (0..200).for_each(|_| adaptive.answered(ms(10), 100, now));
        // No further than twice what is in flight.
        assert_eq!(adaptive.concurrency(), 201);
        (0..200).for_each(|_| adaptive.answered(ms(100), 200, now));
        assert!(adaptive.concurrency() < 250, "{}", adaptive.concurrency());
    }

    #[tokio::test(start_paused = true)]
    async fn concurrency_that_is_not_used_does_not_grow() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        (0..200).for_each(|_| adaptive.answered(ms(10), 3, now));
        assert_eq!(adaptive.concurrency(), FIRST_CONCURRENCY as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn skewed_latencies_do_not_stop_the_growth() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..5_000 {
            // About lognormal with sigma 1: a sum of twelve uniform numbers is about normal.
            let normal: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            adaptive.answered(Duration::from_secs_f64(0.05 * normal.exp()), 10_000, now);
        }
        assert!(adaptive.concurrency() > 1_000, "{}", adaptive.concurrency());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_failures_shrink_nothing_and_many_do() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        for request in 0..1_000 {
            match request % 20 {
                0 => adaptive.failed(30, now),
                _ => adaptive.answered(ms(10), 3, now),
            }
        }
        assert_eq!(adaptive.concurrency(), FIRST_CONCURRENCY as usize);
        for round in 0..20 {
            (0..20).for_each(|_| adaptive.failed(30, now + Duration::from_secs(round)));
        }
        assert_eq!(adaptive.concurrency(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_free_until_the_first_refusal() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        assert_eq!(adaptive.wait(now), Duration::ZERO);
        (0..100).for_each(|_| adaptive.answered(ms(1), 1, now));
        adaptive.throttled(now);
        assert_eq!(adaptive.wait(now), REFUSAL_PAUSE);
        let (mut sent, mut at) = (0, now);
        while at < now + ms(100) + REFUSAL_PAUSE {
            let wait = adaptive.wait(at);
            at += wait;
            if wait.is_zero() {
                adaptive.take();
                sent += 1;
            }
        }
        assert!((8..=14).contains(&sent), "{sent} requests in a tenth of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn the_remote_side_may_ask_for_a_pause() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        let reset_after = Some(Duration::from_secs(5));
        let hints = RateHints { remaining_requests: Some(0), reset_after, ..Default::default() };
        adaptive.hint(hints, now);
        assert_eq!(adaptive.wait(now + Duration::from_secs(2)), Duration::from_secs(3));
        assert_eq!(adaptive.wait(now + Duration::from_secs(5)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_starts_from_what_the_remote_side_says_first() {
        let (mut adaptive, now) = (Adaptive::new(), Instant::now());
        let hint = |remaining, seconds| RateHints {
            remaining_requests: Some(remaining),
            reset_after: Some(Duration::from_secs(seconds)),
            ..Default::default()
        };
        adaptive.hint(hint(20, 10), now);
        // Two a second, of which one may go at once.
        assert_eq!((adaptive.concurrency(), adaptive.wait(now)), (20, Duration::ZERO));
        adaptive.take();
        assert_eq!(adaptive.wait(now), ms(500));
        // A period that is nearly over says nothing of the next.
        adaptive.hint(hint(1, 10), now);
        assert_eq!((adaptive.concurrency(), adaptive.wait(now)), (20, ms(500)));
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
}
