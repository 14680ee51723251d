//! A limit's arithmetic, twice: in Rust for this process, and as a script for a Redis that daemons share. A test holds
//! the two together, decision by decision.
//!
//! What is spent runs off evenly, `limit` in each `window`. A bucket is two numbers: how much is in it, and when that
//! was. It is empty after a window in which nothing was spent, and never holds more than the limit. (It is the generic
//! cell rate algorithm with its arrival time taken apart. In one number, limits above a million a second would drown in
//! rounding, a clock that is set back would block for as long, and whoever had used up a limit would gain nothing from
//! a higher one.)

use std::time::Duration;

/// Of a permit: what rounding may have cost must not refuse somebody who came when he was told to.
const ROUNDING: f64 = 1e-6;

/// So many permits in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Permits, at least 1.
    pub limit: u64,
    /// The time in which they come back, at least a microsecond.
    pub window: Duration,
}

impl Rate {
    fn limit(self) -> f64 {
        self.limit.max(1) as f64
    }

    /// In microseconds.
    fn window(self) -> f64 {
        self.window_micros() as f64
    }

    pub(super) fn window_micros(self) -> u64 {
        micros(self.window).max(1)
    }
}

/// A question for permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// Of the bucket.
    pub key: String,
    /// Its limit.
    pub rate: Rate,
    /// All of these or none.
    pub required: u64,
    /// Up to as many beside them, but no more than a tenth of what is left then.
    pub extra: u64,
}

impl PermitRequest {
    pub(super) fn permits(&self) -> PermitCount {
        PermitCount { need: i64::try_from(self.required).unwrap_or(i64::MAX), extra: self.extra }
    }
}

/// What became of a question for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitReply {
    /// How many were granted: none, or at least as many as were needed.
    pub granted: u64,
    /// After a refusal: when so many may be there.
    pub retry_after: Duration,
}

/// What is asked of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PermitCount {
    /// All of these or none. Less than none: as many come back.
    pub need: i64,
    /// Up to as many beside them, but no more than a tenth of what is left then.
    pub extra: u64,
}

/// How much of a limit is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Permits.
    used: f64,
    /// Microseconds, on any clock.
    at: u64,
}

impl Bucket {
    /// Takes this many at `now` (microseconds), or none.
    pub fn take(&mut self, rate: Rate, count: u64, now: u64) -> PermitReply {
        let need = i64::try_from(count).unwrap_or(i64::MAX);
        self.take_permits(rate, PermitCount { need, extra: 0 }, now)
    }

    /// Notes what was granted elsewhere.
    pub fn record(&mut self, rate: Rate, count: u64, now: u64) {
        let used = self.used(rate, now) + count as f64;
        *self = Self { used: used.min(rate.limit()), at: now };
    }

    /// Takes back what was granted.
    pub fn put_back(&mut self, rate: Rate, count: u64, now: u64) {
        let need = i64::try_from(count).map_or(i64::MIN, |count| -count);
        self.take_permits(rate, PermitCount { need, extra: 0 }, now);
    }

    /// What [`super::Kv::spend_at`] does: for tests that compare decisions.
    #[doc(hidden)]
    pub fn spend_at(&mut self, rate: Rate, (need, extra): (i64, u64), at: u64) -> PermitReply {
        self.take_permits(rate, PermitCount { need, extra }, at)
    }

    /// The same steps as [`SCRIPT`].
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

    /// What has not run off. After the limit was lowered no more than the new one: else it would take as many windows
    /// as it was higher before.
    fn used(&self, rate: Rate, now: u64) -> f64 {
        let passed = now.saturating_sub(self.at) as f64;
        (self.used.min(rate.limit()) - passed * rate.limit() / rate.window()).max(0.0)
    }

    /// How long until it is empty.
    pub(super) fn lifetime(&self, rate: Rate) -> Duration {
        let millis = (self.used * rate.window() / rate.limit() / 1000.0).ceil() + 1.0;
        Duration::from_millis(millis as u64)
    }

    /// As it stands in a store; both numbers read back as they were.
    pub(super) fn encode(&self) -> Vec<u8> {
        format!("{} {}", self.used, self.at).into_bytes()
    }

    /// None for what something else wrote.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (used, at) = str::from_utf8(value).ok()?.split_once(' ')?;
        Some(Self { used: used.parse().ok()?, at: at.parse().ok()? })
    }
}

/// `KEYS[1]`: the bucket. `ARGV`: limit, window in microseconds, need, extra, and for tests the time in microseconds;
/// without it the server's clock counts, which all daemons share (and by which a bucket ends that is empty). Returns what was granted, and after how many
/// microseconds to ask again.
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

    /// How many of these come through one by one.
    fn taken(bucket: &mut Bucket, rate: Rate, tries: u64, now: u64) -> u64 {
        (0..tries).map(|_| bucket.take(rate, 1, now).granted).sum()
    }

    #[test]
    fn the_whole_limit_is_there_at_once_and_not_one_more() {
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
    fn whoever_comes_when_he_was_told_to_is_served_and_not_long_before() {
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
    fn a_batch_comes_through_as_a_whole_or_not_at_all() {
        let (rate, mut bucket) = (rate(10, 10), Bucket::default());
        assert_eq!(bucket.take(rate, 8, 0).granted, 8);
        let refused = bucket.take(rate, 5, 0);
        assert_eq!(refused, PermitReply { granted: 0, retry_after: Duration::from_secs(3) });
        assert_eq!(bucket.take(rate, 2, 0).granted, 2, "the refusal cost nothing");
    }

    #[test]
    fn what_comes_beside_is_a_tenth_of_what_is_left_at_most() {
        let (rate, mut bucket) = (rate(100, 10), Bucket::default());
        let mut want = |need, extra| bucket.take_permits(rate, PermitCount { need, extra }, 0).granted;
        assert_eq!(want(50, 50), 55);
        assert_eq!(want(36, 50), 36, "of nine none comes beside");
        assert_eq!(want(10, 50), 0);
    }

    #[test]
    fn a_raised_limit_frees_at_once_and_a_lowered_one_costs_a_window_at_most() {
        let mut bucket = Bucket::default();
        taken(&mut bucket, rate(100, 60), 100, 0);
        assert_eq!(bucket.take(rate(150, 60), 50, 0).granted, 50);
        let lowered = rate(10, 60);
        assert_eq!(bucket.take(lowered, 1, 0).retry_after, Duration::from_secs(6));
        assert_eq!(bucket.take(lowered, 10, 60 * SECOND).granted, 10);
    }

    #[test]
    fn a_clock_that_is_set_back_blocks_nobody() {
        let (rate, mut bucket) = (rate(2, 10), Bucket::default());
        assert_eq!(bucket.take(rate, 1, 3600 * SECOND).granted, 1);
        assert_eq!(bucket.take(rate, 1, 5).granted, 1);
        assert_eq!(bucket.take(rate, 1, 5 + 5 * SECOND).granted, 1);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_is_never_more_than_was_taken() {
        let (rate, mut bucket) = (rate(2, 10), Bucket::default());
        taken(&mut bucket, rate, 2, 0);
        bucket.put_back(rate, 1, 0);
        assert_eq!(taken(&mut bucket, rate, 2, 0), 1);
        bucket.put_back(rate, 100, 0);
        assert_eq!(taken(&mut bucket, rate, 5, 0), 2);
    }

    proptest! {
        /// In any stretch of time: the limit, and what has run off meanwhile.
        #[test]
        fn never_more_than_the_limit_and_what_ran_off(
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
        fn a_bucket_reads_back_as_it_was(used in 0.0f64..1e9, at: u64) {
            let bucket = Bucket { used, at };
            prop_assert_eq!(Bucket::decode(&bucket.encode()), Some(bucket));
        }
    }
}
