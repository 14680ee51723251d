//! A daemon's part of one client's limit: permits taken from the shared bucket ahead of need, so that most requests
//! ask nobody.
//!
//! A lease is as large as the client lately needed in a lease's life, at most a hundredth of the limit, and at most a
//! tenth of what is left: near the limit every permit is asked for. What is not spent in time is void, so that a daemon
//! does not hold back what another one could grant, and no old permits come on top of a whole limit.

use std::time::Duration;

use crate::kv::{Bucket, PermitReply, Rate};

use super::limited::Limited;

/// A lease is void after this part of the window: what runs off meanwhile is a thousandth of the limit.
const LIFE_OF_WINDOW: u32 = 1000;
/// Or later: a busy machine needs this long to wake who waits for it.
const MIN_LIFE: Duration = Duration::from_millis(250);
/// A lease is no larger than this part of the limit.
const PART_OF_LIMIT: u64 = 100;

/// What is known here of one client's limit. Times are microseconds of the process's own clock.
pub(super) struct PermitLease {
    rate: Rate,
    /// Permits of this lease, and how many are left.
    taken: u64,
    left: u64,
    taken_at: u64,
    /// How many were last asked for beside what was needed.
    extra: u64,
    refusal: Option<Refusal>,
    /// Everything that was granted here, for a time when only that is known.
    local: Bucket,
}

/// So many are not to be had before this.
#[derive(Clone, Copy)]
struct Refusal {
    need: u64,
    until: u64,
}

/// What a look at the lease leads to.
pub(super) enum LeaseDecision {
    Granted,
    Refused(Limited),
    /// There are too few.
    Insufficient,
}

/// What to ask the shared bucket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefillAmount {
    pub need: u64,
    pub extra: u64,
}

impl PermitLease {
    /// Nothing yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, taken: 0, left: 0, taken_at: 0, extra: 0, refusal: None, local: Bucket::default() }
    }

    /// Takes this many permits if they are here.
    pub fn take(&mut self, rate: Rate, count: u64, now: u64) -> LeaseDecision {
        if rate != self.rate {
            // Another limit: what is here was taken under the old one.
            *self = Self { local: self.local, ..Self::new(rate) };
        }
        let left = self.left(now);
        if count <= left {
            self.left = left - count;
            self.local.record(rate, count, now);
            return LeaseDecision::Granted;
        }
        match self.refusal {
            Some(refusal) if now < refusal.until && count - left >= refusal.need => {
                LeaseDecision::Refused(Limited::after(Duration::from_micros(refusal.until - now)))
            }
            _ => LeaseDecision::Insufficient,
        }
    }

    /// What to ask for, so that this many can be granted.
    pub fn refill_amount(&mut self, count: u64, now: u64) -> RefillAmount {
        let (left, age) = (self.left(now), now.saturating_sub(self.taken_at));
        self.extra = match self.taken {
            0 => 0,
            // Over: as much as was needed in its life, the first one being asked for anyway.
            taken if age >= self.life() => (taken - self.left).saturating_sub(1),
            // Spent in less than half of its life: too small.
            _ if age < self.life() / 2 => self.extra * 2 + 1,
            _ => self.extra,
        };
        self.extra = self.extra.min(self.rate.limit / PART_OF_LIMIT);
        RefillAmount { need: count - left.min(count), extra: self.extra }
    }

    /// The answer to that.
    pub fn refilled(&mut self, rate: Rate, ask: RefillAmount, spent: PermitReply, now: u64) {
        if rate != self.rate {
            return;
        }
        if spent.granted == 0 {
            let wait = u64::try_from(spent.retry_after.as_micros()).unwrap_or(u64::MAX);
            self.refusal = Some(Refusal { need: ask.need, until: now.saturating_add(wait) });
            return;
        }
        self.left = self.left(now) + spent.granted;
        (self.taken, self.taken_at, self.refusal) = (self.left, now, None);
    }

    /// Decides by what was granted here alone.
    pub fn decide_locally(&mut self, rate: Rate, count: u64, now: u64) -> Result<(), Limited> {
        let spent = self.local.take(rate, count, now);
        if spent.granted > 0 { Ok(()) } else { Err(Limited::after(spent.retry_after)) }
    }

    /// Notes what the shared bucket granted for this one request.
    pub fn record(&mut self, rate: Rate, count: u64, now: u64) {
        self.local.record(rate, count, now);
    }

    /// Takes back what was granted.
    pub fn give_back(&mut self, rate: Rate, count: u64, now: u64) {
        self.local.put_back(rate, count, now);
    }

    fn left(&self, now: u64) -> u64 {
        if now.saturating_sub(self.taken_at) < self.life() { self.left } else { 0 }
    }

    fn life(&self) -> u64 {
        let life = (self.rate.window / LIFE_OF_WINDOW).max(MIN_LIFE);
        u64::try_from(life.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { limit: 100_000, window: Duration::from_secs(1000) };
    /// Of its leases.
    const LIFE: u64 = 1_000_000;

    fn is_granted(lease: &mut PermitLease, count: u64, now: u64) -> bool {
        matches!(lease.take(RATE, count, now), LeaseDecision::Granted)
    }

    /// Asks a bucket that has everything.
    fn refill(lease: &mut PermitLease, count: u64, now: u64) -> RefillAmount {
        let ask = lease.refill_amount(count, now);
        let spent = PermitReply { granted: ask.need + ask.extra, retry_after: Duration::ZERO };
        lease.refilled(RATE, ask, spent, now);
        ask
    }

    /// Requests one by one, so many in each microsecond-long turn of a lease's life; how many were asked for in all.
    fn asked_for(lease: &mut PermitLease, every: u64, from: u64, requests: u64) -> u64 {
        let mut asked = 0;
        for number in 0..requests {
            let now = from + number * every;
            if !is_granted(lease, 1, now) {
                let RefillAmount { need, extra } = refill(lease, 1, now);
                asked += need + extra;
                assert!(is_granted(lease, 1, now));
            }
        }
        asked
    }

    #[test]
    fn a_client_that_comes_seldom_is_asked_for_one_by_one() {
        let mut lease = PermitLease::new(RATE);
        assert_eq!(asked_for(&mut lease, LIFE, 0, 1_000), 1_000);
    }

    #[test]
    fn a_busy_client_is_asked_for_seldom_and_little_is_lost() {
        let mut lease = PermitLease::new(RATE);
        // 500 in the life of a lease.
        let asked = asked_for(&mut lease, LIFE / 500, 0, 50_000);
        assert!((50_000..51_500).contains(&asked), "{asked}");
        let refills = (0..5_000).filter(|number| {
            let now = 100 * LIFE + number * (LIFE / 500);
            let is_short = !is_granted(&mut lease, 1, now);
            if is_short {
                refill(&mut lease, 1, now);
                assert!(is_granted(&mut lease, 1, now));
            }
            is_short
        });
        assert!(refills.count() <= 40, "about two in a lease's life, and the first few");
    }

    #[test]
    fn a_lease_is_a_hundredth_of_the_limit_at_most() {
        let mut lease = PermitLease::new(RATE);
        for _ in 0..30 {
            refill(&mut lease, 1, 5);
            lease.left = 0;
        }
        assert_eq!(lease.refill_amount(1, 5), RefillAmount { need: 1, extra: RATE.limit / 100 });
    }

    #[test]
    fn what_is_not_spent_in_time_is_void() {
        let mut lease = PermitLease::new(RATE);
        refill(&mut lease, 10, 5);
        assert!(is_granted(&mut lease, 1, 4 + LIFE));
        assert!(!is_granted(&mut lease, 1, 5 + LIFE));
    }

    #[test]
    fn a_refusal_stands_for_its_time_for_all_who_need_as_many() {
        let mut lease = PermitLease::new(RATE);
        let ask = lease.refill_amount(10, 0);
        lease.refilled(RATE, ask, PermitReply { granted: 0, retry_after: Duration::from_micros(100) }, 5);
        assert!(matches!(lease.take(RATE, 10, 104), LeaseDecision::Refused(_)));
        assert!(matches!(lease.take(RATE, 11, 104), LeaseDecision::Refused(_)));
        assert!(matches!(lease.take(RATE, 9, 104), LeaseDecision::Insufficient), "fewer may be there");
        assert!(matches!(lease.take(RATE, 10, 105), LeaseDecision::Insufficient), "it is over");
    }

    #[test]
    fn under_another_limit_nothing_of_before_counts_here() {
        let mut lease = PermitLease::new(RATE);
        let ask = lease.refill_amount(1, 0);
        let other = Rate { limit: 7, ..RATE };
        assert!(matches!(lease.take(other, 1, 0), LeaseDecision::Insufficient));
        lease.refilled(RATE, ask, PermitReply { granted: 9, retry_after: Duration::ZERO }, 0);
        assert!(
            matches!(lease.take(other, 1, 0), LeaseDecision::Insufficient),
            "an answer to the old question"
        );
    }

    #[test]
    fn alone_it_counts_what_was_granted_before() {
        let rate = Rate { limit: 10, window: Duration::from_secs(1000) };
        let mut lease = PermitLease::new(rate);
        let ask = lease.refill_amount(6, 0);
        lease.refilled(rate, ask, PermitReply { granted: 6, retry_after: Duration::ZERO }, 0);
        assert!(matches!(lease.take(rate, 6, 0), LeaseDecision::Granted));
        assert!(lease.decide_locally(rate, 4, 0).is_ok());
        assert!(lease.decide_locally(rate, 1, 0).is_err());
    }
}
