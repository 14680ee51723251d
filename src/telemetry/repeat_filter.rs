//! Suppression of repeated causes: the first warning or error is logged, and its repetitions are counted.
//!
//! A cause is a place in the code together with the texts of its line. Numbers and ids are not part of a cause, because
//! they differ between repetitions. While a cause repeats, a line `log.repeated` reports the number of repetitions:
//! after 10 s, then after 20 s, and so on up to one hour. A cause that does not repeat for one such period is logged
//! again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, iter};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use crate::sync::Mutex;

/// Time from the first line of a cause to the first count. Long enough to reduce a burst to one line.
const FIRST_PERIOD: Duration = Duration::from_secs(10);
/// Maximum period. A cause that lasts for days is counted every hour.
const MAX_PERIOD: Duration = Duration::from_secs(3_600);
/// Maximum number of causes per place in the code. Further ones count as one, because an error text may contain a
/// number.
const MAX_CAUSES: usize = 8;
/// Number of bytes of a line's texts that distinguish causes.
const MAX_TEXT: usize = 512;
/// Fields that differ between repetitions.
const IDS: [&str; 3] = ["command", "trace_id", "backtrace"];
/// Prefixes of events that are always logged: results for an operator, and changes of a state. If one of these were
/// suppressed, the next one would mislead. Their sources report each change once.
const CHANGES: [&str; 17] = [
    "auth.files_",
    "config.",
    "consumer.database_",
    "consumer.degraded_",
    "consumer.reservations_",
    "daemon.",
    "dependency.",
    "drain.topic_",
    "kv.subscription_",
    "log.",
    "login.times_",
    "operator.",
    "problem.",
    "ratelimit.",
    "telemetry.export_",
    "tls.",
    "users.notices_",
];

/// Causes of recent lines, with the number of repetitions.
#[derive(Default)]
pub(super) struct RepeatFilter {
    causes: Mutex<HashMap<Cause, RepeatCount>>,
    /// Whether repeated lines are logged, too.
    shows_all: AtomicBool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Cause {
    /// Name of the place in the code.
    place: &'static str,
    /// Empty for causes beyond [`MAX_CAUSES`].
    texts: String,
}

struct RepeatCount {
    event: String,
    level: tracing::Level,
    /// Start of the period.
    since: Instant,
    period: Duration,
    /// Lines suppressed in the period.
    count: u64,
}

/// Contents of a `log.repeated` line.
#[derive(Debug, PartialEq, Eq)]
struct RepeatSummary {
    level: tracing::Level,
    event: String,
    texts: String,
    count: u64,
    period: Duration,
}

impl RepeatFilter {
    /// Sets whether repetitions are logged, too.
    pub(super) fn show_all(&self, shows_all: bool) {
        self.shows_all.store(shows_all, Ordering::Relaxed);
    }

    /// Whether to log this line. A suppressed line is counted.
    fn should_log(&self, place: &'static str, level: tracing::Level, line: LineTexts, now: Instant) -> bool {
        let LineTexts { event, mut texts } = line;
        if CHANGES.iter().any(|begin| event.starts_with(begin)) {
            return true;
        }
        texts.truncate(texts.floor_char_boundary(MAX_TEXT));
        let mut causes = self.causes.lock();
        let mut cause = Cause { place, texts };
        if !causes.contains_key(&cause) && causes.keys().filter(|it| it.place == place).count() >= MAX_CAUSES
        {
            cause.texts.clear();
        }
        match causes.entry(cause) {
            Entry::Vacant(entry) => {
                entry.insert(RepeatCount { event, level, since: now, period: FIRST_PERIOD, count: 0 });
                true
            }
            Entry::Occupied(mut entry) => {
                let repeated = entry.get_mut();
                let is_new = repeated.count == 0 && repeated.is_over(now);
                match is_new {
                    true => (repeated.since, repeated.period) = (now, FIRST_PERIOD),
                    false => repeated.count += 1,
                }
                is_new
            }
        }
    }

    /// Logs the counts of all periods that have ended.
    pub(super) fn log_due_counts(&self, now: Instant) {
        self.take(now, |repeated| repeated.is_over(now)).iter().for_each(RepeatSummary::log);
    }

    /// Logs all counts, at the end of the process.
    pub(super) fn log_all_counts(&self, now: Instant) {
        self.take(now, |_| true).iter().for_each(RepeatSummary::log);
    }

    fn take(&self, now: Instant, is_over: impl Fn(&RepeatCount) -> bool) -> Vec<RepeatSummary> {
        let mut counts = Vec::new();
        self.causes.lock().retain(|cause, repeated| {
            if !is_over(repeated) {
                return true;
            }
            if repeated.count == 0 {
                return false;
            }
            counts.push(RepeatSummary {
                level: repeated.level,
                event: repeated.event.clone(),
                texts: cause.texts.clone(),
                count: std::mem::take(&mut repeated.count),
                period: now.saturating_duration_since(repeated.since),
            });
            repeated.since = now;
            repeated.period = (repeated.period * 2).min(MAX_PERIOD);
            true
        });
        counts
    }
}

impl RepeatCount {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.period
    }
}

impl RepeatSummary {
    fn log(&self) {
        let Self { event, texts, count, period, .. } = self;
        let seconds = period.as_secs_f64();
        match self.level {
            tracing::Level::ERROR => tracing::error!(
                event = "log.repeated",
                repeated.event = event,
                repeated.line = texts,
                repeated.count = count,
                repeated.period_s = seconds,
                "repeated line suppressed"
            ),
            _ => tracing::warn!(
                event = "log.repeated",
                repeated.event = event,
                repeated.line = texts,
                repeated.count = count,
                repeated.period_s = seconds,
                "repeated line suppressed"
            ),
        }
    }
}

/// Filter for a subscriber's layer that logs each cause once.
pub(super) struct DeduplicationFilter(pub(super) Arc<RepeatFilter>);

impl<S> Filter<S> for DeduplicationFilter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    // The default implementation would evaluate each callsite every time, even if its level is off.
    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > LevelFilter::WARN || self.0.shows_all.load(Ordering::Relaxed) {
            return true;
        }
        let mut line = LineTexts::default();
        event.record(&mut line);
        self.0.should_log(metadata.name(), *metadata.level(), line, Instant::now())
    }
}

/// Parts of a line that identify its cause.
#[derive(Default)]
struct LineTexts {
    event: String,
    /// `name=value` of each text, separated by spaces.
    texts: String,
}

impl LineTexts {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            "event" => self.event = value.to_string(),
            id if IDS.contains(&id) => {}
            name => {
                let separator = iter::repeat_n(' ', usize::from(!self.texts.is_empty()));
                self.texts.extend(separator);
                // A write to a string cannot fail.
                let _ = match name {
                    "message" => self.texts.write_fmt(value),
                    name => write!(self.texts, "{name}={value}"),
                };
            }
        }
    }
}

impl Visit for LineTexts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Values logged by `Display` arrive here, too, and look the same.
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, _: &Field, _: i64) {}

    fn record_u64(&mut self, _: &Field, _: u64) {}

    fn record_i128(&mut self, _: &Field, _: i128) {}

    fn record_u128(&mut self, _: &Field, _: u128) {}

    fn record_f64(&mut self, _: &Field, _: f64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: tracing::Level = tracing::Level::ERROR;

    struct Log {
        repeats: RepeatFilter,
        start: Instant,
    }

    impl Log {
        fn new() -> Self {
            Self { repeats: RepeatFilter::default(), start: Instant::now() }
        }

        fn admits(&self, event: &str, texts: &str, second: u64) -> bool {
            let line = LineTexts { event: event.to_owned(), texts: texts.to_owned() };
            self.repeats.should_log("place", ERROR, line, self.at(second))
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        /// Counts and periods, as logged at this second.
        fn counts(&self, second: u64) -> Vec<(u64, u64)> {
            let now = self.at(second);
            let counts = self.repeats.take(now, |repeated| repeated.is_over(now));
            counts.iter().map(|count| (count.count, count.period.as_secs())).collect()
        }
    }

    #[test]
    fn a_cause_is_logged_once_then_counted_less_often() {
        let log = Log::new();
        let admitted = (0..100).filter(|second| log.admits("drain.read_failed", "EIO", *second)).count();
        assert_eq!(admitted, 1);
        assert_eq!(log.counts(99), [(99, 99)]);
        assert!(!log.admits("drain.read_failed", "EIO", 100));
        assert_eq!(log.counts(118), [], "the next period is longer");
        assert_eq!(log.counts(119), [(1, 20)]);
        assert_eq!(log.counts(159), [], "nothing repeated for one period");
        assert!(log.admits("drain.read_failed", "EIO", 160), "the cause is new again");
    }

    #[test]
    fn a_cause_is_new_after_a_period_without_repetition() {
        let log = Log::new();
        assert!(log.admits("drain.read_failed", "EIO", 0));
        assert!(log.admits("drain.read_failed", "EIO", 10));
        assert!(!log.admits("drain.read_failed", "EIO", 19));
    }

    #[test]
    fn different_causes_are_logged_up_to_a_bound() {
        let log = Log::new();
        let admitted = (0..100).filter(|n| log.admits("drain.read_failed", &format!("error {n}"), 0)).count();
        assert_eq!(admitted, MAX_CAUSES + 1);
        assert_eq!(log.repeats.causes.lock().len(), MAX_CAUSES + 1);
        assert_eq!(log.counts(10), [(91, 10)], "causes beyond the bound count as one");
    }

    #[test]
    fn operator_results_and_state_changes_are_always_logged() {
        let log = Log::new();
        for event in
            ["config.reload_failed", "operator.drop_failed", "problem.started", "dependency.unavailable"]
        {
            assert!((0..3).all(|_| log.admits(event, "EIO", 0)), "{event}");
        }
    }

    #[test]
    fn numbers_and_ids_do_not_distinguish_causes() {
        let (repeats, all) = (Arc::new(RepeatFilter::default()), Arc::new(RepeatFilter::default()));
        all.show_all(true);
        let count = |repeats: &Arc<RepeatFilter>| {
            use tracing_subscriber::layer::SubscriberExt;
            let (lines, seen) = Counter::new();
            let lines =
                tracing_subscriber::Layer::with_filter(lines, DeduplicationFilter(Arc::clone(repeats)));
            let subscriber = tracing_subscriber::registry().with(lines);
            tracing::subscriber::with_default(subscriber, || {
                for n in 0..10_u64 {
                    let id = n.to_string();
                    tracing::warn!(event = "consumer.dead_letter", command = %id, n, reason = "x", "dead");
                    tracing::info!(event = "consumer.ready", "ready");
                }
                tracing::warn!(event = "consumer.dead_letter", reason = "y", "dead");
            });
            seen.load(Ordering::Relaxed)
        };
        assert_eq!(count(&repeats), 1 + 10 + 1);
        let counts = repeats.take(Instant::now(), |_| true);
        assert_eq!(counts.len(), 1);
        assert_eq!(
            (&*counts[0].event, &*counts[0].texts, counts[0].count),
            ("consumer.dead_letter", "dead reason=x", 9)
        );
        assert_eq!(count(&all), 21, "no line is suppressed");
    }

    /// Counts the lines that pass the filter.
    struct Counter(Arc<std::sync::atomic::AtomicUsize>);

    impl Counter {
        fn new() -> (Self, Arc<std::sync::atomic::AtomicUsize>) {
            let seen = Arc::default();
            (Self(Arc::clone(&seen)), seen)
        }
    }

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
