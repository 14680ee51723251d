//! A daemon's share of one client's limit: permits taken from the shared bucket ahead of need, so that most requests
//! need no call to the store.
//!
//! A lease is as large as the client's recent need in one lifetime of a lease. It is at most a hundredth of the limit,
//! and at most a tenth of the rest: near the limit every permit needs a call. Permits not used in time expire. So a
//! daemon does not hold permits that another daemon could grant, and no old permits are added to a full limit.

use std::time::Duration;

use crate::kv::{Bucket, PermitReply, Rate};

use super::limited::Limited;

/// Divisor of the window: a lease expires after this part of it, in which a thousandth of the limit drains.
const LIFETIME_DIVISOR: u32 = 1000;
/// Minimum lifetime of a lease: a busy machine needs this long to wake a waiting request.
const MIN_LIFETIME: Duration = Duration::from_millis(250);
/// Divisor of the limit: a lease is no larger than this part of it.
const SIZE_DIVISOR: u64 = 100;

/// The local state of one client's limit. Times are microseconds of the process's own clock.
pub(super) struct PermitLease {
    rate: Rate,
    /// Permits of this lease; `left` is the unused part.
    taken: u64,
    left: u64,
    taken_at: u64,
    /// Extra permits of the last request.
    extra: u64,
    refusal: Option<Refusal>,
    /// All permits granted by this daemon, for times when the shared count is unavailable.
    local: Bucket,
}

/// A refusal: this many permits are not available before this instant.
#[derive(Clone, Copy)]
struct Refusal {
    need: u64,
    until: u64,
}

/// The result of checking the lease.
pub(super) enum LeaseDecision {
    Granted,
    Refused(Limited),
    /// The lease has too few permits.
    Insufficient,
}

/// Permits to request from the shared bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefillAmount {
    pub need: u64,
    pub extra: u64,
}

impl PermitLease {
    /// A lease without permits.
    pub fn new(rate: Rate) -> Self {
        Self { rate, taken: 0, left: 0, taken_at: 0, extra: 0, refusal: None, local: Bucket::default() }
    }

    /// Takes this many permits if the lease has them.
    pub fn take(&mut self, rate: Rate, count: u64, now: u64) -> LeaseDecision {
        if rate != self.rate {
            // The limit changed: the lease's permits were taken under the old one.
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

    /// The number of permits to request, so that `count` can be granted.
    pub fn refill_amount(&mut self, count: u64, now: u64) -> RefillAmount {
        let (left, age) = (self.left(now), now.saturating_sub(self.taken_at));
        self.extra = match self.taken {
            0 => 0,
            // Expired: as much as was needed in its lifetime; the first permit is requested anyway.
            taken if age >= self.lifetime() => (taken - self.left).saturating_sub(1),
            // Used in less than half of its lifetime: too small.
            _ if age < self.lifetime() / 2 => self.extra * 2 + 1,
            _ => self.extra,
        };
        self.extra = self.extra.min(self.rate.limit / SIZE_DIVISOR);
        RefillAmount { need: count - left.min(count), extra: self.extra }
    }

    /// Applies the reply to a refill request.
    pub fn refilled(&mut self, rate: Rate, amount: RefillAmount, spent: PermitReply, now: u64) {
        if rate != self.rate {
            return;
        }
        if spent.granted == 0 {
            let wait = u64::try_from(spent.retry_after.as_micros()).unwrap_or(u64::MAX);
            self.refusal = Some(Refusal { need: amount.need, until: now.saturating_add(wait) });
            return;
        }
        self.left = self.left(now) + spent.granted;
        (self.taken, self.taken_at, self.refusal) = (self.left, now, None);
    }

    /// Decides by the permits granted by this daemon alone.
    pub fn decide_locally(&mut self, rate: Rate, count: u64, now: u64) -> Result<(), Limited> {
        let spent = self.local.take(rate, count, now);
        if spent.granted > 0 { Ok(()) } else { Err(Limited::after(spent.retry_after)) }
    }

    /// Records permits that the shared bucket granted to a single request.
    pub fn record(&mut self, rate: Rate, count: u64, now: u64) {
        self.local.record(rate, count, now);
    }

    /// Returns granted permits.
    pub fn give_back(&mut self, rate: Rate, count: u64, now: u64) {
        self.local.put_back(rate, count, now);
    }

    fn left(&self, now: u64) -> u64 {
        if now.saturating_sub(self.taken_at) < self.lifetime() { self.left } else { 0 }
    }

    fn lifetime(&self) -> u64 {
        let lifetime = (self.rate.window / LIFETIME_DIVISOR).max(MIN_LIFETIME);
        u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { limit: 100_000, window: Duration::from_secs(1000) };
    /// Lifetime of the tests' leases, in microseconds.
    const LIFETIME: u64 = 1_000_000;

    fn is_granted(lease: &mut PermitLease, count: u64, now: u64) -> bool {
        matches!(lease.take(RATE, count, now), LeaseDecision::Granted)
    }

    /// Refills from a bucket that grants everything.
    fn refill(lease: &mut PermitLease, count: u64, now: u64) -> RefillAmount {
        let amount = lease.refill_amount(count, now);
        let spent = PermitReply { granted: amount.need + amount.extra, retry_after: Duration::ZERO };
        lease.refilled(RATE, amount, spent, now);
        amount
    }

    /// Sends requests one by one, one per `every` microseconds. Returns the permits of each refill.
    fn requested_permits(lease: &mut PermitLease, every: u64, from: u64, requests: u64) -> u64 {
        let mut requested = 0;
        for number in 0..requests {
            let now = from + number * every;
            if !is_granted(lease, 1, now) {
                let RefillAmount { need, extra } = refill(lease, 1, now);
                requested += need + extra;
                assert!(is_granted(lease, 1, now));
            }
        }
        requested
    }

    #[test]
    fn an_infrequent_client_takes_permits_one_by_one() {
        let mut lease = PermitLease::new(RATE);
        assert_eq!(requested_permits(&mut lease, LIFETIME, 0, 1_000), 1_000);
    }

    #[test]
    fn a_busy_client_refills_seldom_and_wastes_little() {
        let mut lease = PermitLease::new(RATE);
        // 500 in the lifetime of a lease.
        let requested = requested_permits(&mut lease, LIFETIME / 500, 0, 50_000);
        assert!((50_000..51_500).contains(&requested), "{requested}");
        let refills = (0..5_000).filter(|number| {
            let now = 100 * LIFETIME + number * (LIFETIME / 500);
            let is_short = !is_granted(&mut lease, 1, now);
            if is_short {
                refill(&mut lease, 1, now);
                assert!(is_granted(&mut lease, 1, now));
            }
            is_short
        });
        assert!(refills.count() <= 40, "about two per lifetime of a lease, and the first few");
    }

    #[test]
    fn a_lease_is_at_most_a_hundredth_of_the_limit() {
        let mut lease = PermitLease::new(RATE);
        for _ in 0..30 {
            refill(&mut lease, 1, 5);
            lease.left = 0;
        }
        assert_eq!(lease.refill_amount(1, 5), RefillAmount { need: 1, extra: RATE.limit / 100 });
    }

    #[test]
    fn unused_permits_expire() {
        let mut lease = PermitLease::new(RATE);
        refill(&mut lease, 10, 5);
        assert!(is_granted(&mut lease, 1, 4 + LIFETIME));
        assert!(!is_granted(&mut lease, 1, 5 + LIFETIME));
    }

    #[test]
    fn a_refusal_applies_until_its_end_to_equal_requests() {
        let mut lease = PermitLease::new(RATE);
        let amount = lease.refill_amount(10, 0);
        lease.refilled(RATE, amount, PermitReply { granted: 0, retry_after: Duration::from_micros(100) }, 5);
        assert!(matches!(lease.take(RATE, 10, 104), LeaseDecision::Refused(_)));
        assert!(matches!(lease.take(RATE, 11, 104), LeaseDecision::Refused(_)));
        assert!(matches!(lease.take(RATE, 9, 104), LeaseDecision::Insufficient), "fewer may be available");
        assert!(matches!(lease.take(RATE, 10, 105), LeaseDecision::Insufficient), "the refusal has ended");
    }

    #[test]
    fn a_changed_limit_discards_the_lease() {
        let mut lease = PermitLease::new(RATE);
        let amount = lease.refill_amount(1, 0);
        let other = Rate { limit: 7, ..RATE };
        assert!(matches!(lease.take(other, 1, 0), LeaseDecision::Insufficient));
        lease.refilled(RATE, amount, PermitReply { granted: 9, retry_after: Duration::ZERO }, 0);
        assert!(matches!(lease.take(other, 1, 0), LeaseDecision::Insufficient), "a reply to the old request");
    }

    #[test]
    fn local_decisions_count_earlier_grants() {
        let rate = Rate { limit: 10, window: Duration::from_secs(1000) };
        let mut lease = PermitLease::new(rate);
        let amount = lease.refill_amount(6, 0);
        lease.refilled(rate, amount, PermitReply { granted: 6, retry_after: Duration::ZERO }, 0);
        assert!(matches!(lease.take(rate, 6, 0), LeaseDecision::Granted));
        assert!(lease.decide_locally(rate, 4, 0).is_ok());
        assert!(lease.decide_locally(rate, 1, 0).is_err());
    }
}
