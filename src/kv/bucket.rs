//! The arithmetic of a rate limit, implemented twice: in Rust for this process, and as a script for a Redis shared by
//! daemons. A test compares the two, decision by decision.
//!
//! Used permits drain evenly, `limit` in each `window`. A bucket is two numbers: the used permits, and the instant of
//! that value. It is empty after a window without use, and never holds more than the limit. (This is the generic cell
//! rate algorithm with its arrival time split in two. As a single number it would have three problems. Limits above a
//! million per second would be lost in rounding. A clock that is set back would block a client for the same time. A
//! client that had used up its limit would gain nothing from a higher one.)

use std::time::Duration;

/// Tolerance, in permits: rounding must not refuse a client that returns at the announced time.
const ROUNDING: f64 = 1e-6;

/// Permits per time window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Number of permits, at least 1.
    pub limit: u64,
    /// Time in which all permits come back, at least a microsecond.
    pub window: Duration,
}

impl Rate {
    fn limit(self) -> f64 {
        self.limit.max(1) as f64
    }

    /// The window in microseconds.
    fn window(self) -> f64 {
        self.window_micros() as f64
    }

    pub(super) fn window_micros(self) -> u64 {
        micros(self.window).max(1)
    }
}

/// A request for permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Key of the bucket.
    pub key: String,
    /// Limit of the bucket.
    pub rate: Rate,
    /// Permits that must be granted: all of these or none.
    pub required: u64,
    /// Additional permits wanted: at most a tenth of the permits left after `required`.
    pub extra: u64,
}

impl PermitRequest {
    pub(super) fn permits(&self) -> PermitCount {
        PermitCount { need: i64::try_from(self.required).unwrap_or(i64::MAX), extra: self.extra }
    }
}

/// The reply to a request for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitReply {
    /// Granted permits: none, or at least the required ones.
    pub granted: u64,
    /// After a refusal: time until the required permits may be available.
    pub retry_after: Duration,
}

/// Permits to take from a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PermitCount {
    /// Permits that must be granted: all of these or none. A negative number returns permits.
    pub need: i64,
    /// Additional permits wanted: at most a tenth of the permits left after `need`.
    pub extra: u64,
}

/// The used part of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Used permits.
    used: f64,
    /// Instant of `used` in microseconds, on any clock.
    at: u64,
}

impl Bucket {
    /// Takes `count` permits at `now` (microseconds), or none.
    pub fn take(&mut self, rate: Rate, count: u64, now: u64) -> PermitReply {
        let need = i64::try_from(count).unwrap_or(i64::MAX);
        self.take_permits(rate, PermitCount { need, extra: 0 }, now)
    }

    /// Records permits that were granted elsewhere.
    pub fn record(&mut self, rate: Rate, count: u64, now: u64) {
        let used = self.used(rate, now) + count as f64;
        *self = Self { used: used.min(rate.limit()), at: now };
    }

    /// Returns granted permits to the bucket.
    pub fn put_back(&mut self, rate: Rate, count: u64, now: u64) {
        let need = i64::try_from(count).map_or(i64::MIN, |count| -count);
        self.take_permits(rate, PermitCount { need, extra: 0 }, now);
    }

    /// Does the same as [`super::Kv::take_permits_at`], for tests that compare decisions.
    #[doc(hidden)]
    pub fn spend_at(&mut self, rate: Rate, (need, extra): (i64, u64), at: u64) -> PermitReply {
        self.take_permits(rate, PermitCount { need, extra }, at)
    }

    /// Follows the same steps as [`SCRIPT`].
    pub(super) fn take_permits(&mut self, rate: Rate, want: PermitCount, now: u64) -> PermitReply {
        let (limit, window, need) = (rate.limit(), rate.window(), want.need as f64);
        let used = self.used(rate, now);
        let left = (limit - used + ROUNDING).floor();
        if need > left {
            let wait = ((used + need - limit) * window / limit).ceil();
            return PermitReply { granted: 0, retry_after: Duration::from_micros(wait as u64) };
        }
        let granted = need + (want.extra as f64).min(((left - need) / 10.0).floor());
        *self = Self { used: (used + granted).max(0.0), at: now };
        PermitReply { granted: granted.max(0.0) as u64, retry_after: Duration::ZERO }
    }

    /// Used permits that have not drained yet. After the limit was lowered, the new limit caps the value. Otherwise
    /// draining would take as many windows as the old limit was higher.
    fn used(&self, rate: Rate, now: u64) -> f64 {
        let passed = now.saturating_sub(self.at) as f64;
        (self.used.min(rate.limit()) - passed * rate.limit() / rate.window()).max(0.0)
    }

    /// Time until the bucket is empty.
    pub(super) fn lifetime(&self, rate: Rate) -> Duration {
        let millis = (self.used * rate.window() / rate.limit() / 1000.0).ceil() + 1.0;
        Duration::from_millis(millis as u64)
    }

    /// Encodes the bucket for a store; both numbers are decoded unchanged.
    pub(super) fn encode(&self) -> Vec<u8> {
        format!("{} {}", self.used, self.at).into_bytes()
    }

    /// `None` if another program wrote the value.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (used, at) = str::from_utf8(value).ok()?.split_once(' ')?;
        Some(Self { used: used.parse().ok()?, at: at.parse().ok()? })
    }
}

/// `KEYS[1]` is the bucket. `ARGV` contains the limit, the window in microseconds, the need, the extra, and for tests
/// the time in microseconds. Without that time the server's clock is used, which all daemons share and which expires an
/// empty bucket. Returns the granted permits, and the microseconds until the next try.
pub(super) const SCRIPT: &str = r"
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local need, extra, now = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local used = 0
local state = redis.call('GET', KEYS[1])
if state then
  local before, at = string.match(state, '^(%S+) (%S+)$')
  before, at = tonumber(before or 0) or 0, tonumber(at or now) or now
  local passed = math.max(now - at, 0)
  used = math.max(math.min(before, limit) - passed * limit / window, 0)
end
local left = math.floor(limit - used + 0.000001)
if need > left then
  return {0, math.ceil((used + need - limit) * window / limit)}
end
local granted = need + math.min(extra, math.floor((left - need) / 10))
used = math.max(used + granted, 0)
local ttl = math.ceil(used * window / limit / 1000) + 1
if ARGV[5] then ttl = 3600000 end
redis.call('SET', KEYS[1], string.format('%.17g %.0f', used, now), 'PX', string.format('%.0f', ttl))
return {math.max(granted, 0), 0}
";

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn rate(limit: u64, seconds: u64) -> Rate {
        Rate { limit, window: Duration::from_secs(seconds) }
    }

    /// The number of permits granted one by one.
    fn taken(bucket: &mut Bucket, rate: Rate, tries: u64, now: u64) -> u64 {
        (0..tries).map(|_| bucket.take(rate, 1, now).granted).sum()
    }

    #[test]
    fn the_whole_limit_is_available_at_once_and_no_more() {
        for limit in [1, 3, 7, 20, 999, 100_000] {
            let mut bucket = Bucket::default();
            assert_eq!(taken(&mut bucket, rate(limit, 1), limit + 10, SECOND), limit);
        }
        let mut bucket = Bucket::default();
        let many = rate(1_000_000_000, 1);
        assert_eq!(bucket.take(many, many.limit, SECOND).granted, many.limit);
        assert_eq!(bucket.take(many, 1, SECOND).granted, 0);
    }

    #[test]
    fn a_client_is_served_at_the_announced_time_not_earlier() {
        for limit in [1, 3, 7, 20, 1_000] {
            let (rate, mut bucket, mut now) = (rate(limit, 60), Bucket::default(), 5);
            taken(&mut bucket, rate, limit, now);
            for _ in 0..100 {
                let wait = bucket.take(rate, 1, now).retry_after;
                assert_eq!(bucket.take(rate, 1, now + micros(wait) * 99 / 100).granted, 0, "{limit}");
                now += micros(wait);
                assert_eq!(bucket.take(rate, 1, now).granted, 1, "{limit} {wait:?}");
            }
        }
    }

    #[test]
    fn a_batch_is_granted_as_a_whole_or_refused() {
        let (rate, mut bucket) = (rate(10, 10), Bucket::default());
        assert_eq!(bucket.take(rate, 8, 0).granted, 8);
        let refused = bucket.take(rate, 5, 0);
        assert_eq!(refused, PermitReply { granted: 0, retry_after: Duration::from_secs(3) });
        assert_eq!(bucket.take(rate, 2, 0).granted, 2, "the refusal used no permits");
    }

    #[test]
    fn extra_permits_are_at_most_a_tenth_of_the_rest() {
        let (rate, mut bucket) = (rate(100, 10), Bucket::default());
        let mut want = |need, extra| bucket.take_permits(rate, PermitCount { need, extra }, 0).granted;
        assert_eq!(want(50, 50), 55);
        assert_eq!(want(36, 50), 36, "nine left allow no extra permit");
        assert_eq!(want(10, 50), 0);
    }

    #[test]
    fn a_changed_limit_takes_effect_within_one_window() {
        let mut bucket = Bucket::default();
        taken(&mut bucket, rate(100, 60), 100, 0);
        assert_eq!(bucket.take(rate(150, 60), 50, 0).granted, 50);
        let lowered = rate(10, 60);
        assert_eq!(bucket.take(lowered, 1, 0).retry_after, Duration::from_secs(6));
        assert_eq!(bucket.take(lowered, 10, 60 * SECOND).granted, 10);
    }

    #[test]
    fn a_clock_set_back_blocks_no_client() {
        let (rate, mut bucket) = (rate(2, 10), Bucket::default());
        assert_eq!(bucket.take(rate, 1, 3600 * SECOND).granted, 1);
        assert_eq!(bucket.take(rate, 1, 5).granted, 1);
        assert_eq!(bucket.take(rate, 1, 5 + 5 * SECOND).granted, 1);
    }

    #[test]
    fn returned_permits_can_be_taken_again_but_no_more() {
        let (rate, mut bucket) = (rate(2, 10), Bucket::default());
        taken(&mut bucket, rate, 2, 0);
        bucket.put_back(rate, 1, 0);
        assert_eq!(taken(&mut bucket, rate, 2, 0), 1);
        bucket.put_back(rate, 100, 0);
        assert_eq!(taken(&mut bucket, rate, 5, 0), 2);
    }

    proptest! {
        /// In any interval: the limit, and the permits that drained meanwhile.
        #[test]
        fn grants_never_exceed_the_limit_and_the_drained_permits(
            limit in 1u64..1_000, seconds in 1u64..100,
            steps in prop::collection::vec((0u64..2_000_000, 1u64..20, 0u64..50), 1..200),
        ) {
            let (rate, mut bucket, mut now) = (rate(limit, seconds), Bucket::default(), 0);
            let mut granted: Vec<(u64, u64)> = Vec::new();
            for (pause, need, extra) in steps {
                now += pause;
                let spent = bucket.take_permits(rate, PermitCount { need: need as i64, extra }, now);
                granted.push((now, spent.granted));
                let mut sum = 0;
                for (then, count) in granted.iter().rev() {
                    sum += count;
                    let ran_off = (now - then) as f64 * limit as f64 / (seconds * SECOND) as f64;
                    prop_assert!(sum as f64 <= limit as f64 + ran_off + 1e-5);
                }
            }
        }

        #[test]
        fn a_bucket_decodes_unchanged(used in 0.0f64..1e9, at: u64) {
            let bucket = Bucket { used, at };
            prop_assert_eq!(Bucket::decode(&bucket.encode()), Some(bucket));
        }
    }
}
